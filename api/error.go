package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// A Code is what went wrong, for programs.
type Code string

// The codes. A client that meets another one goes by the HTTP status.
const (
	CodeBadRequest   Code = "bad_request"  // the request cannot be read
	CodeInvalid      Code = "invalid"      // it can, and asks for something no state allows
	CodeNotFound     Code = "not_found"    // what it names is not there
	CodeExists       Code = "exists"       // what it makes is there already
	CodeConflict     Code = "conflict"     // the state does not allow it: taken, or at another version
	CodeInUse        Code = "in_use"       // something else needs what it removes
	CodeForbidden    Code = "forbidden"    // not for who asks
	CodeUnauthorized Code = "unauthorized" // no token that is in force
	CodeMethod       Code = "method"       // the address does not take this method
	CodeMediaType    Code = "media_type"   // the body is not JSON
	CodeTooLarge     Code = "too_large"    // the request is over a bound
	CodeBusy         Code = "busy"         // too many requests at once; nothing was done
	CodeUnavailable  Code = "unavailable"  // the node cannot do it now; nothing was done
	CodeUnknown      Code = "unknown"      // the outcome of a command is not known; give it again with the same id
	CodeInternal     Code = "internal"     // a fault of the node; its own log says more
	CodeBadResponse  Code = "bad_response" // the client's: the answer cannot be read
)

var statuses = map[Code]int{
	CodeBadRequest:   http.StatusBadRequest,
	CodeInvalid:      http.StatusUnprocessableEntity,
	CodeNotFound:     http.StatusNotFound,
	CodeExists:       http.StatusConflict,
	CodeConflict:     http.StatusConflict,
	CodeInUse:        http.StatusConflict,
	CodeForbidden:    http.StatusForbidden,
	CodeUnauthorized: http.StatusUnauthorized,
	CodeMethod:       http.StatusMethodNotAllowed,
	CodeMediaType:    http.StatusUnsupportedMediaType,
	CodeTooLarge:     http.StatusRequestEntityTooLarge,
	CodeBusy:         http.StatusTooManyRequests,
	CodeUnavailable:  http.StatusServiceUnavailable,
	CodeUnknown:      http.StatusGatewayTimeout,
	CodeInternal:     http.StatusInternalServerError,
}

// An Error is an answer that is not a success, at both ends. Its text is safe
// to show: it speaks of what was asked, never of what is inside.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
	// Details are, for a refused command, all reasons, of which Code is the
	// first one's and Text joins the texts.
	Details []Detail `json:"details,omitempty"`
}

// A Detail is one reason why a command is refused.
type Detail struct {
	Code Code `json:"code"`
	// Field is the argument at fault, such as "roles[2].inherits[0]"; empty
	// when it is the command as a whole.
	Field string `json:"field,omitempty"`
	Text  string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// An ErrorBody is the body of an answer that is not a success.
type ErrorBody struct {
	Error *Error `json:"error"`
}

func notFound(format string, args ...any) error {
	return &Error{Code: CodeNotFound, Text: fmt.Sprintf(format, args...)}
}

// errorOf is the answer to err; what is not an Error is told to nobody but the
// node's own log.
func (s *Server) errorOf(r *http.Request, err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		s.logger.Error("admin request", "method", r.Method, "path", r.URL.Path, "error", err)
		e = &Error{Code: CodeInternal, Text: "the node failed; its log says more"}
	}
	return e
}

// statusOf is the HTTP status of a code.
func statusOf(c Code) int {
	if status := statuses[c]; status != 0 {
		return status
	}
	return http.StatusInternalServerError
}

// writeJSON answers with v. What fails behind the header can only be the
// connection, of which the other side knows.
func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
