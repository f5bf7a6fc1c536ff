package server

import (
	_ "embed"
	"encoding/json"
	"net/http"
)

// openapi is the OpenAPI description of the routes. TestOpenAPI generates it from
// the table of routes and the types on the wire, and fails if the committed file
// differs. The server therefore does not generate it at run time.
//
//go:embed openapi.json
var openapi []byte

// getOpenAPI answers with the description.
func getOpenAPI(http.ResponseWriter, *http.Request) (any, error) {
	return json.RawMessage(openapi), nil
}
