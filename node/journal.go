package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
)

// A Journal is a Recorder that writes one JSON line for each result, all
// lines of a batch with one write.
type Journal struct {
	mu    sync.Mutex // guards what follows; records of one batch stay together
	to    io.Writer
	lines lines
}

// NewJournal returns a Journal that writes to w.
func NewJournal(w io.Writer) *Journal { return &Journal{to: w} }

// Record implements Recorder. What it returns from without an error has been
// given to the operating system.
func (j *Journal) Record(d Decided) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = j.lines[:0]
	for i := range d.Batch.Requests {
		if unknown(&d.Batch.Requests[i], &d.Results[i]) {
			continue
		}
		j.lines.add(&d, &d.Batch.Requests[i], &d.Results[i])
	}
	if len(j.lines) == 0 {
		return nil
	}
	if _, err := j.to.Write(j.lines); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return nil
}

// unknown reports whether somebody asked for a domain nobody serves. That lets
// nobody in and anybody may do it, before TLS even: it is counted by the
// gateway, and must not fill the disk that decisions are recorded on.
func unknown(q *decision.Request, r *decision.Result) bool {
	return q.Kind == decision.Admit && !r.Admission.Known
}

// lines are JSON objects, a line each. Every key but time begins with a comma.
type lines []byte

// add adds the line of one result.
func (l *lines) add(d *Decided, q *decision.Request, r *decision.Result) {
	*l = append(*l, `{"time":"`...)
	*l = d.At.UTC().AppendFormat(*l, time.RFC3339Nano)
	*l = append(*l, '"')
	switch q.Kind {
	case decision.Ask:
		text(l, "msg", "verdict")
		l.question(d.View, &q.Question)
		l.verdict(&r.Verdict)
	case decision.Admit:
		a := &r.Admission
		text(l, "msg", "admission")
		text(l, "domain", q.Domain)
		l.bool("known", a.Known)
		text(l, "tenant", a.Tenant)
		l.number("position", a.Position)
	case decision.Open:
		text(l, "msg", "opening")
		l.session(&q.Session)
		l.bool("allowed", r.Opening.Allowed)
		l.number("position", r.Opening.Position)
	}
	text(l, "node", d.Node)
	text(l, "gateway", d.Batch.Gateway)
	*l = append(*l, "}\n"...)
}

func (l *lines) session(s *decision.Session) {
	text(l, "session", s.ID)
	text(l, "tenant", s.Tenant)
	text(l, "account", s.Account)
	text(l, "resource", s.Resource)
	text(l, "grant", s.Grant)
}

func (l *lines) question(v *projections.View, q *decision.Question) {
	d := &q.Desc
	l.number("question", q.ID)
	l.session(&q.Session)
	direction := "out"
	if q.Direction == decision.In {
		direction = "in"
	}
	text(l, "direction", direction)
	l.number("kind", uint64(d.Kind))
	l.number("type", uint64(d.Type))
	l.number("fault", uint64(d.Fault))
	a := addresses{view: v, tenant: v.Tenant(q.Session.Tenant), account: q.Session.Account}
	text(l, "to", a.show(d.To))
	text(l, "from", a.show(d.From))
	if len(d.Payloads) > 0 {
		p := &d.Payloads[0]
		if p.Space.HasText() {
			text(l, "space", p.Other)
		} else {
			text(l, "space", p.Space.Text())
		}
		text(l, "name", p.Local)
	}
}

func (l *lines) verdict(v *decision.Verdict) {
	text(l, "effect", v.Effect.String())
	l.number("reason", uint64(v.Reason))
	text(l, "permission", v.Permission)
	l.number("position", v.Position)
	l.number("table", policy.TableVersion)
}

func (l *lines) key(key string) {
	*l = append(append(append(*l, `,"`...), key...), `":`...)
}

func (l *lines) number(key string, n uint64) {
	l.key(key)
	*l = strconv.AppendUint(*l, n, 10)
}

func (l *lines) bool(key string, b bool) {
	l.key(key)
	*l = strconv.AppendBool(*l, b)
}

// text adds a text, where it is not empty.
func text[T string | []byte](l *lines, key string, value T) {
	if len(value) == 0 {
		return
	}
	l.key(key)
	if !isPlain(value) {
		quoted, _ := json.Marshal(string(value)) // a string never fails
		*l = append(*l, quoted...)
		return
	}
	*l = append(append(append(*l, '"'), value...), '"')
}

// isPlain reports whether a text stands in JSON as it is.
func isPlain[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// addresses show as much of an address as the tenant wants in its records.
type addresses struct {
	view    *projections.View
	tenant  *projections.Tenant // nil: there is none to have a wish
	account []byte
}

func (s addresses) show(a jid.Addr) []byte {
	setting := events.AuditClass
	if s.tenant != nil {
		setting = s.tenant.Settings().AuditAddresses
	}
	switch {
	case a.IsZero():
		return nil
	case setting == events.AuditFull:
		return a.Bytes()
	case setting == events.AuditDomain:
		return a.Domain()
	case bytes.Equal(a.Bare(), s.account):
		return []byte("own")
	case s.tenant != nil && s.view.PlaceFor(s.tenant, a.Domain()) != projections.Elsewhere:
		return []byte("local")
	}
	return []byte("remote")
}
