package server

import (
	_ "embed"
	"encoding/json"
	"net/http"
)

// openapi is the description of the routes. TestOpenAPI writes it from the
// table of routes and from the wire's types, and fails when the two differ, so
// that a server need not build it.
//
//go:embed openapi.json
var openapi []byte

// getOpenAPI answers with the description.
func getOpenAPI(http.ResponseWriter, *http.Request) (any, error) {
	return json.RawMessage(openapi), nil
}
