package auditlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/audit"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
)

// randomGroup returns records of two tenants with few accounts, peers, sessions and
// effects.
func randomGroup(rng *rand.Rand, at time.Time) *audit.Group {
	one := func(list ...string) []byte { return []byte(list[rng.IntN(len(list))]) }
	g := &audit.Group{At: at, LogID: "log", Position: uint64(1 + rng.IntN(2)), Table: 2}
	for range 1 + rng.IntN(5) {
		account := one("ann@a.test", "bob@a.test", "cat@b.test")
		s := audit.Session{ID: append([]byte("s-"), account...), Account: account}
		tenant := one("acme", "other")
		if rng.IntN(6) == 0 {
			g.Records = append(g.Records, audit.Record{Kind: audit.OpeningKind, Tenant: tenant, Session: s, Body: &audit.Opening{Allowed: true}})
			continue
		}
		v := decision.Verdict{Effect: decision.Pass}
		switch rng.IntN(4) {
		case 0:
			v = decision.Verdict{Effect: decision.Refuse, Reason: decision.NoMessage, Permission: string(one("p:one", "p:two"))}
		case 1:
			v.Effect, v.Reason = decision.Drop, decision.Forgery
		}
		r := audit.Record{Kind: audit.VerdictKind, Tenant: tenant, Session: s, Question: rng.Uint64N(99),
			Judged: audit.AppendJudged(nil, &decision.Facts{Kind: stanza.Message, Type: stanza.Chat, Peer: decision.Remote}, &v)}
		if rng.IntN(4) > 0 {
			r.Peer = audit.Name{Kind: audit.JIDName, Text: one("eve@far.test", "far.test", "zed@near.test")}
		}
		g.Records = append(g.Records, r)
	}
	return g
}

// TestFind compares queries with a filter over all records, with and without an index,
// and page by page.
func TestFind(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	l, err := Open(Config{Dir: "audit", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	l.chunkRecords = 64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	defer func() {
		cancel()
		if err := errors.Join(<-ended, l.Close()); err != nil {
			t.Error(err)
		}
	}()
	for i := range 400 {
		if err := l.Append(randomGroup(rng, time.UnixMicro(int64(1000+i)))); err != nil {
			t.Fatal(err)
		}
	}
	var all []string
	line := func(ref audit.Ref, r *audit.Record) string {
		return fmt.Sprintf("%d.%d %s %s %s %v %s", ref.Leaf, ref.Index, r.Tenant, r.Session.Account, r.Peer.Text, r.Kind, r.Time)
	}
	var records []audit.Record
	var refs []audit.Ref
	if _, err := l.Find(t.Context(), &audit.Query{}, func(ref audit.Ref, r *audit.Record) error {
		all = append(all, line(ref, r))
		c := *r
		c.Tenant, c.Session.Account, c.Session.ID, c.Judged = slices.Clone(c.Tenant), slices.Clone(c.Session.Account), slices.Clone(c.Session.ID), slices.Clone(c.Judged)
		records, refs = append(records, c), append(refs, ref)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(refs, func(a, b audit.Ref) int {
		if b.Before(a) {
			return -1
		}
		return 1
	}) {
		t.Fatal("the records are not in their order, newest first")
	}
	one := func(list ...string) string { return list[rng.IntN(len(list))] }
	indexed := 0
	for range 300 {
		q := audit.Query{
			Tenant: one("", "", "acme", "nobody"), Account: one("", "", "ann@a.test", "none@a.test"),
			Peer:    one("", "", "", "eve@far.test", "far.test", "near.test", "else.test"),
			Session: one("", "", "", "s-ann@a.test"), Permission: one("", "", "", "p:one"),
		}
		if rng.IntN(3) == 0 {
			q.Effects = []decision.Effect{decision.Effect(1 + rng.IntN(5))}
		}
		if rng.IntN(4) == 0 {
			q.Kinds = []audit.Kind{audit.Kind(1 + rng.IntN(3))}
		}
		if rng.IntN(3) == 0 {
			q.Since, q.Until = time.UnixMicro(1100), time.UnixMicro(1300)
		}
		var want, got []string
		for i := range records {
			if naive(t, &q, &records[i]) {
				want = append(want, all[i])
			}
		}
		page := q
		page.Limit = 1 + rng.IntN(40)
		for {
			var last audit.Ref
			f, err := l.Find(t.Context(), &page, func(ref audit.Ref, r *audit.Record) error {
				last = ref
				got = append(got, line(ref, r))
				return nil
			})
			if err != nil || f.Unreadable > 0 {
				t.Fatal(f, err)
			}
			if !f.More {
				break
			}
			page.Before = &last
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v: found %d, want %d\n%v\n%v", q, len(got), len(want), got, want)
		}
		chunks, err := l.chunks()
		if err != nil {
			t.Fatal(err)
		}
		indexed = len(chunks)
	}
	if indexed < 5 {
		t.Errorf("only %d chunks are indexed", indexed)
	}
}

// naive matches a record without an index.
func naive(t *testing.T, q *audit.Query, r *audit.Record) bool {
	t.Helper()
	var j audit.Judged
	if r.Kind == audit.VerdictKind {
		if err := audit.DecodeJudged(r.Judged, &j); err != nil {
			t.Fatal(err)
		}
	}
	peer := string(r.Peer.Text)
	return (q.Tenant == "" || q.Tenant == string(r.Tenant)) &&
		(q.Account == "" || q.Account == string(r.Session.Account)) &&
		(q.Session == "" || q.Session == string(r.Session.ID)) &&
		(q.Peer == "" || q.Peer == peer || peer != "" && q.Peer == string(audit.DomainOf(r.Peer.Text))) &&
		(q.Permission == "" || q.Permission == j.Permission) &&
		(len(q.Effects) == 0 || slices.Contains(q.Effects, j.Effect)) &&
		(len(q.Kinds) == 0 || slices.Contains(q.Kinds, r.Kind)) &&
		(q.Since.IsZero() || !r.Time.Before(q.Since)) && (q.Until.IsZero() || r.Time.Before(q.Until))
}
