package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
)

// A Journal is a Recorder that writes one JSON line for each result, all
// lines of a batch with one write.
type Journal struct {
	mu      sync.Mutex // guards what follows; records of one batch stay together
	to      io.Writer
	buffer  bytes.Buffer
	handler slog.Handler // writes to buffer
}

// NewJournal returns a Journal that writes to w.
func NewJournal(w io.Writer) *Journal {
	j := &Journal{to: w}
	j.handler = slog.NewJSONHandler(&j.buffer, nil)
	return j
}

// Record implements Recorder. What it returns from without an error has been
// given to the operating system.
func (j *Journal) Record(d Decided) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buffer.Reset()
	for i := range d.Batch.Requests {
		line := slog.NewRecord(d.At, slog.LevelInfo, "", 0)
		line.AddAttrs(slog.String("node", d.Node), slog.String("gateway", d.Batch.Gateway))
		describe(&line, &d, &d.Batch.Requests[i], &d.Results[i])
		if err := j.handler.Handle(context.Background(), line); err != nil {
			return fmt.Errorf("write a record: %w", err)
		}
	}
	if _, err := j.to.Write(j.buffer.Bytes()); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return nil
}

func describe(line *slog.Record, d *Decided, q *decision.Request, r *decision.Result) {
	switch q.Kind {
	case decision.Ask:
		line.Message = "verdict"
		describeQuestion(line, d.View, &q.Question)
		v := &r.Verdict
		line.AddAttrs(
			slog.String("effect", v.Effect.String()), slog.Int("reason", int(v.Reason)), slog.String("permission", v.Permission),
			slog.Uint64("position", v.Position), slog.Int("table", policy.TableVersion))
	case decision.Admit:
		line.Message = "admission"
		a := &r.Admission
		line.AddAttrs(slog.String("domain", string(q.Domain)), slog.Bool("known", a.Known),
			slog.String("tenant", a.Tenant), slog.Uint64("position", a.Position))
	case decision.Open:
		line.Message = "opening"
		s := &q.Session
		line.AddAttrs(slog.String("session", string(s.ID)), slog.String("tenant", string(s.Tenant)),
			slog.String("account", string(s.Account)), slog.String("resource", string(s.Resource)),
			slog.Bool("allowed", r.Opening.Allowed), slog.Uint64("position", r.Opening.Position))
	}
}

func describeQuestion(line *slog.Record, v *projections.View, q *decision.Question) {
	s, d := &q.Session, &q.Desc
	direction := "out"
	if q.Direction == decision.In {
		direction = "in"
	}
	a := addresses{tenant: v.Tenant(s.Tenant), account: s.Account}
	line.AddAttrs(
		slog.Uint64("question", q.ID), slog.String("session", string(s.ID)), slog.String("tenant", string(s.Tenant)),
		slog.String("account", string(s.Account)), slog.String("resource", string(s.Resource)), slog.String("grant", string(s.Grant)),
		slog.String("direction", direction), slog.Int("kind", int(d.Kind)), slog.Int("type", int(d.Type)), slog.Int("fault", int(d.Fault)),
		slog.String("to", a.show(d.To)), slog.String("from", a.show(d.From)))
	if len(d.Payloads) > 0 {
		p := &d.Payloads[0]
		space := p.Space.Text()
		if p.Space.HasText() {
			space = string(p.Other)
		}
		line.AddAttrs(slog.String("space", space), slog.String("name", string(p.Local)))
	}
}

// addresses show as much of an address as the tenant wants in its records.
type addresses struct {
	tenant  *projections.Tenant // nil: there is none to have a wish
	account []byte
}

func (s addresses) show(a jid.Addr) string {
	setting := events.AuditClass
	if s.tenant != nil {
		setting = s.tenant.Settings().AuditAddresses
	}
	switch {
	case a.IsZero():
		return ""
	case setting == events.AuditFull:
		return a.String()
	case setting == events.AuditDomain:
		return string(a.Domain())
	case bytes.Equal(a.Bare(), s.account):
		return "own"
	case s.tenant != nil && s.tenant.Place(a.Domain()) != projections.Elsewhere:
		return "local"
	}
	return "remote"
}
