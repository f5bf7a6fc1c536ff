package negotiate

import (
	"errors"
	"io"
	"net"
	"os"

	"github.com/postern-im/postern/xmpp/stream"
)

// An Error is the reason why a negotiation failed: the stream error for the
// client, and the cause, which is only logged.
type Error struct {
	// Condition is a condition of RFC 6120 section 4.9.3. Text is safe to show.
	Condition, Text string
	App             string // application condition, as in stream.Error
	// Silent is true if the client is gone or is not an XMPP client. The
	// gateway then sends it nothing.
	Silent bool
	// LogInFailed is the SASL condition of the client's last log-in attempt. It
	// is empty if there was no attempt or if it succeeded.
	LogInFailed string
	Err         error
}

func (e *Error) Error() string {
	s := e.Condition
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func fail(condition, text string, err error) *Error {
	return &Error{Condition: condition, Text: text, Err: err}
}

// readFailure returns the error to send to a client after reading from it
// failed.
func readFailure(err error) error {
	var wire *stream.Error
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &wire):
		return &Error{Condition: wire.Condition, Text: wire.Text, App: wire.App}
	case isTimeout(err):
		return fail("connection-timeout", "negotiation took too long", err)
	case errors.Is(err, io.EOF):
		return &Error{Condition: "undefined-condition", Silent: true, Err: errors.New("client closed the connection")}
	}
	return &Error{Condition: "undefined-condition", Silent: true, Err: err}
}

// backendFailure returns the error to send to a client when the backend is the
// cause.
func backendFailure(err error) error {
	return fail("remote-connection-failed", "the domain's server cannot be reached", err)
}

// isTimeout reports whether err means that a deadline has passed.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
