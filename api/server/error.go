package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/history"
)

// statuses are the HTTP statuses of the codes.
var statuses = map[api.Code]int{
	api.CodeBadRequest:   http.StatusBadRequest,
	api.CodeInvalid:      http.StatusUnprocessableEntity,
	api.CodeNotFound:     http.StatusNotFound,
	api.CodeExists:       http.StatusConflict,
	api.CodeConflict:     http.StatusConflict,
	api.CodeInUse:        http.StatusConflict,
	api.CodeForbidden:    http.StatusForbidden,
	api.CodeUnauthorized: http.StatusUnauthorized,
	api.CodeMethod:       http.StatusMethodNotAllowed,
	api.CodeMediaType:    http.StatusUnsupportedMediaType,
	api.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	api.CodeBusy:         http.StatusTooManyRequests,
	api.CodeUnavailable:  http.StatusServiceUnavailable,
	api.CodeBehind:       http.StatusServiceUnavailable,
	api.CodeNotFresh:     http.StatusServiceUnavailable,
	api.CodeUnknown:      http.StatusGatewayTimeout,
	api.CodeInternal:     http.StatusInternalServerError,
}

func notFound(format string, args ...any) error {
	return &api.Error{Code: api.CodeNotFound, Text: fmt.Sprintf(format, args...)}
}

// errorOf returns the answer to an error. The text of an internal error is written
// only to the node's log.
func (s *Server) errorOf(r *http.Request, err error) *api.Error {
	var e *api.Error
	var slow *history.SlowError
	switch {
	case errors.As(err, &e):
	case errors.Is(err, history.ErrBusy):
		e = &api.Error{Code: api.CodeBusy, Text: history.ErrBusy.Error() + "; try again"}
	case errors.As(err, &slow):
		e = &api.Error{Code: api.CodeUnavailable, Text: slow.Error() + "; try again"}
	default:
		s.logger.Error("admin request", "method", r.Method, "path", r.URL.Path, "error", err)
		e = &api.Error{Code: api.CodeInternal, Text: "the node failed; its log has details"}
	}
	return e
}

// statusOf returns the HTTP status of a code.
func statusOf(c api.Code) int {
	if status := statuses[c]; status != 0 {
		return status
	}
	return http.StatusInternalServerError
}

// writeJSON answers with v. An error after the header means that the connection has
// failed. It is ignored, because the client notices it too.
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
