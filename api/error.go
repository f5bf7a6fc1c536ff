package api

import "errors"

// A Code identifies the kind of an error, for programs.
type Code string

// The codes. For an unknown code, a client should use the HTTP status.
const (
	CodeBadRequest   Code = "bad_request"  // the request cannot be decoded
	CodeInvalid      Code = "invalid"      // the request is invalid in every state of the tenant
	CodeNotFound     Code = "not_found"    // the named object does not exist
	CodeExists       Code = "exists"       // the object to be created exists already
	CodeConflict     Code = "conflict"     // the current state does not allow it: a name is taken, or the version differs
	CodeInUse        Code = "in_use"       // the object to be removed is in use
	CodeForbidden    Code = "forbidden"    // the caller may not do this
	CodeUnauthorized Code = "unauthorized" // there is no valid token
	CodeMethod       Code = "method"       // the path does not accept this method
	CodeMediaType    Code = "media_type"   // the body is not JSON
	CodeTooLarge     Code = "too_large"    // the request exceeds a bound
	CodeBusy         Code = "busy"         // too many requests at the same time; nothing was done
	CodeUnavailable  Code = "unavailable"  // the node cannot do it now; nothing was done
	CodeBehind       Code = "behind"       // the node's state does not include the position of at_least yet
	CodeNotFresh     Code = "not_fresh"    // the node has lost its cluster, and does not answer requests with a token
	CodeUnknown      Code = "unknown"      // the outcome of a command is unknown; send it again with the same id
	CodeInternal     Code = "internal"     // a fault of the node; its log has details
	CodeBadResponse  Code = "bad_response" // set by the client: the answer cannot be decoded
)

// An Error is an answer that is not a success. Both client and server use it. Its
// text is safe to show: it describes the request, and nothing internal to the
// node.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
	// Details are all reasons why a command was refused. Code is the code of the
	// first reason, and Text joins the texts of all.
	Details []Detail `json:"details,omitempty"`
}

// A Detail is one reason why a command is refused.
type Detail struct {
	Code Code `json:"code"`
	// Field is the argument at fault, such as "roles[2].inherits[0]". It is empty
	// if the command as a whole is at fault.
	Field string `json:"field,omitempty"`
	Text  string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// Unclear reports whether a command that failed with err may have been carried out.
// This is so if the node reports that the outcome is unknown, if its answer cannot
// be decoded, or if there was no answer.
func Unclear(err error) bool {
	e, answered := errors.AsType[*Error](err)
	return err != nil && (!answered || e.Code == CodeUnknown || e.Code == CodeBadResponse)
}

// An ErrorBody is the body of an answer that is not a success.
type ErrorBody struct {
	Error *Error `json:"error"`
}
