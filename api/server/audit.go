package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"time"

	"github.com/postern-im/postern/api"
)

// An Auditor keeps the record of calls: one line of JSON each, without its
// end. A durable one must be on disk when Append returns.
type Auditor interface {
	Append(line []byte, durable bool) error
}

// The phases of a record. What changes something has two, with one call id:
// what it means to do, on disk before it is begun, and what became of it.
// Everything else has one, written before it is answered.
const (
	phaseIntent = "intent"
	phaseResult = "result"
	phaseCall   = "call"
)

// maxAuditPath bounds the path in a record.
const maxAuditPath = 4 << 10

// A call is one request on its way. Its exported part is its record: who did
// what from where, and what became of it. It holds no query, and of
// a body the reason of what the event log does not keep.
type call struct {
	Time      time.Time `json:"time"`
	Phase     string    `json:"phase"`
	ID        string    `json:"call"`
	Actor     string    `json:"actor,omitempty"`
	Scope     string    `json:"scope"`
	Source    string    `json:"source"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Operation string    `json:"operation,omitempty"`
	Command   string    `json:"command,omitempty"`
	CommandID string    `json:"command_id,omitempty"`
	// Of what ends a session, which no event tells of.
	Tenant  string   `json:"tenant,omitempty"`
	Session string   `json:"session,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Status  int      `json:"status,omitempty"`
	Code    api.Code `json:"code,omitempty"`
	// Micros is how long it took, in microseconds.
	Micros int64 `json:"micros"`

	began    time.Time
	intended bool
}

type callKey struct{}

// withCall begins the record of a request.
func withCall(r *http.Request) *http.Request {
	who := callerOf(r.Context())
	path := r.URL.EscapedPath()
	c := &call{
		ID: rand.Text(), Actor: who.actor, Scope: who.scope(), Source: who.source,
		Method: cut(r.Method, 32), Path: cut(path, maxAuditPath), began: time.Now(),
	}
	return r.WithContext(context.WithValue(r.Context(), callKey{}, c))
}

func cut(s string, most int) string {
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func callOf(r *http.Request) *call {
	c, _ := r.Context().Value(callKey{}).(*call)
	return c
}

// intend records that a change is about to be made. On error it must not be.
func (s *Server) intend(r *http.Request, commandID string) error {
	if !s.stillKnown(r) {
		return errUnauthorized()
	}
	c := callOf(r)
	c.CommandID = commandID
	if err := s.record(c, phaseIntent); err != nil {
		return err
	}
	c.intended = true
	return nil
}

// record writes a record; its error is an answer.
func (s *Server) record(c *call, phase string) error {
	if s.audit == nil {
		return nil
	}
	now := time.Now()
	line := *c
	line.Time, line.Phase, line.Micros = now.UTC(), phase, now.Sub(c.began).Microseconds()
	text, err := json.Marshal(&line)
	if err == nil {
		err = s.audit.Append(text, phase == phaseIntent)
	}
	if err == nil {
		return nil
	}
	s.logger.Error("record an admin's call", "phase", phase, "call", c.ID, "error", err)
	return &api.Error{Code: api.CodeUnavailable, Text: "the node cannot record this call, and does nothing unrecorded; its log says why"}
}

// finish records what became of a request, then answers it. What cannot be
// recorded is not shown. A change that was made is answered all the same: its
// intent is on disk, and the event log has the rest under the command's id.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, reply any, err error) {
	c := callOf(r)
	if !c.intended && !s.stillKnown(r) {
		reply, err = nil, errUnauthorized()
	}
	c.Status = http.StatusOK
	var e *api.Error
	if err != nil {
		e = s.errorOf(r, err)
		c.Status, c.Code = statusOf(e.Code), e.Code
	}
	phase := phaseCall
	if c.intended {
		phase = phaseResult
	}
	if failed := s.record(c, phase); failed != nil && !c.intended {
		e = s.errorOf(r, failed)
	}
	if e != nil {
		writeJSON(w, statusOf(e.Code), api.ErrorBody{Error: e})
		return
	}
	writeJSON(w, http.StatusOK, reply)
}
