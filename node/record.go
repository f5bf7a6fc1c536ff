package node

import (
	"bytes"
	"time"

	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
)

// record writes the records of a batch with the Recorder.
func (n *Node) record(b *decision.Batch, results []decision.Result, v *projections.View, at time.Time) error {
	scratch, _ := n.scratch.Get().(*[]audit.Record)
	if scratch == nil {
		scratch = new([]audit.Record)
	}
	records := (&decided{n.cfg.ID, at, v, b, results}).records((*scratch)[:0])
	var err error
	if len(records) > 0 {
		err = n.cfg.Recorder.Record(records)
	}
	clear(records) // scratch must not keep the batch's memory
	*scratch = records
	n.scratch.Put(scratch)
	return err
}

// decided is a batch and its results.
type decided struct {
	node    string
	at      time.Time
	view    *projections.View
	batch   *decision.Batch
	results []decision.Result
}

// records appends the records of a batch. They refer to the bytes of the batch.
func (d *decided) records(to []audit.Record) []audit.Record {
	for i := range d.batch.Requests {
		q, r := &d.batch.Requests[i], &d.results[i]
		if unknown(q, r) {
			continue
		}
		to = append(to, audit.Record{})
		to := &to[len(to)-1]
		to.Time, to.Node, to.Gateway = d.at, d.node, d.batch.Gateway
		switch q.Kind {
		case decision.Ask:
			d.verdict(to, &q.Question, &r.Verdict)
		case decision.Admit:
			a := &r.Admission
			to.Kind, to.Domain, to.Known, to.Tenant, to.Position = audit.Admission, q.Domain, a.Known, a.Tenant, a.Position
		case decision.Open:
			to.Kind, to.Session, to.Allowed, to.Position = audit.Opening, q.Session, r.Opening.Allowed, r.Opening.Position
		}
	}
	return to
}

// unknown reports whether a request asked about a domain that is not served. Such a
// request has no record, because any client can cause it, even before TLS, and could
// fill the disk. The answer admits no client, and the gateway counts such requests.
func unknown(q *decision.Request, r *decision.Result) bool {
	return q.Kind == decision.Admit && !r.Admission.Known
}

func (d *decided) verdict(to *audit.Record, q *decision.Question, v *decision.Verdict) {
	to.Kind, to.Position, to.Table = audit.Verdict, v.Position, policy.TableVersion
	to.Question, to.Session, to.Direction = q.ID, q.Session, q.Direction
	to.Effect, to.Reason, to.Permission = v.Effect, v.Reason, v.Permission
	desc, s := &q.Desc, &to.Stanza
	s.Kind, s.Type, s.Fault = desc.Kind, desc.Type, desc.Fault
	a := addresses{view: d.view, tenant: d.view.Tenant(q.Session.Tenant), account: q.Session.Account}
	s.To, s.From = a.show(desc.To), a.show(desc.From)
	if len(desc.Payloads) > 0 {
		p := &desc.Payloads[0]
		s.Space, s.OtherSpace, s.Name = p.Space, p.Other, p.Local
	}
}

// addresses shortens addresses in records as the tenant's setting requires.
type addresses struct {
	view    *projections.View
	tenant  *projections.Tenant // nil: unknown tenant, default setting
	account []byte
}

func (s *addresses) show(a jid.Addr) audit.Address {
	setting := events.AuditClass
	if s.tenant != nil {
		setting = s.tenant.Settings().AuditAddresses
	}
	switch {
	case a.IsZero():
		return audit.Address{}
	case setting == events.AuditFull:
		return audit.Address{Text: a.Bytes()}
	case setting == events.AuditDomain:
		return audit.Address{Text: a.Domain()}
	}
	return audit.Address{Class: s.class(a)}
}

func (s *addresses) class(a jid.Addr) audit.Class {
	switch {
	case bytes.Equal(a.Bare(), s.account):
		return audit.Own
	case s.tenant != nil && s.view.HostKindFor(s.tenant, a.Domain()) != projections.Elsewhere:
		return audit.Local
	}
	return audit.Remote
}
