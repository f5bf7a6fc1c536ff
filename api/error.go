package api

import "errors"

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

// Unclear reports whether a command that ended with err may have been carried
// out: the node says so, its answer cannot be read, or it gave none.
func Unclear(err error) bool {
	e, answered := errors.AsType[*Error](err)
	return err != nil && (!answered || e.Code == CodeUnknown || e.Code == CodeBadResponse)
}

// An ErrorBody is the body of an answer that is not a success.
type ErrorBody struct {
	Error *Error `json:"error"`
}
