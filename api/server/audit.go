package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/postern-im/postern/api"
)

// An Auditor stores records of calls. A record is one line of JSON, without its
// line feed. A durable record must be on disk when Append returns.
type Auditor interface {
	Append(line []byte, durable bool) error
}

// The phases of a record. A call that changes something has two records with the
// same call id: its intent, which is on disk before the change begins, and its
// result. Every other call has one record, written before the answer.
const (
	phaseIntent = "intent"
	phaseResult = "result"
	phaseCall   = "call"
)

// unrecordedEach is the time between two log lines about calls that cannot be
// recorded.
const unrecordedEach = time.Minute

// maxAuditPath bounds the path in a record.
const maxAuditPath = 4 << 10

// A call is one request in progress. Its exported fields are its record: the
// actor, its source, the operation and the result. A record has no query. It has
// nothing of a body, except the reason for ending a session or removing a node of the
// cluster, because the event log does not have this reason.
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
	// Position is the position of a command's result, or the position that the
	// caller asked about. Enforced says whether that position is enforced everywhere.
	Position uint64 `json:"position,omitempty"`
	Enforced string `json:"enforced,omitempty"`
	// Tenant, Session and Reason are set for a call that ends a session, and Reason
	// for a call that removes a node of the cluster, because no event records them.
	Tenant  string   `json:"tenant,omitempty"`
	Session string   `json:"session,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Status  int      `json:"status,omitempty"`
	Code    api.Code `json:"code,omitempty"`
	// Micros is the time since the call began, in microseconds.
	Micros int64 `json:"micros"`

	began    time.Time
	intended bool // its intent is recorded
}

type callKey struct{}

// withCall adds a new call to the context of a request.
func withCall(r *http.Request) *http.Request {
	who := callerOf(r.Context())
	path := r.URL.EscapedPath()
	c := &call{
		ID: rand.Text(), Actor: who.actor, Scope: who.scope(), Source: who.source,
		Method: cut(r.Method, 32), Path: cut(path, maxAuditPath), began: time.Now(),
	}
	return r.WithContext(context.WithValue(r.Context(), callKey{}, c))
}

// cut shortens a text to a number of bytes.
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

// intend records that a change is about to be made. After an error, the change must
// not be made.
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

// record writes a record. Its error may be shown to the client.
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
	s.unrecorded.Say(slog.LevelError, "admin calls", "calls cannot be recorded: they are refused", "phase", phase, "call", c.ID, "error", err,
		"remedy", "if the disk of the data folder is full, make room; policyd needs no restart")
	return &api.Error{Code: api.CodeUnavailable, Text: "the node cannot record this call and therefore refuses it; its log has the cause"}
}

// finish records the result of a request and then answers it. If a read cannot be
// recorded, its answer is an error. A change is answered even if its result cannot
// be recorded, because its intent is on disk and the event log has the change under
// the command's id.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, reply any, err error) {
	c := callOf(r)
	if !c.intended && !s.stillKnown(r) {
		reply, err = nil, errUnauthorized()
	}
	if err == nil && !c.intended {
		err = s.checkFresh(r) // the node may have lost its cluster meanwhile
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
