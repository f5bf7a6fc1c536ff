package overnats

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
)

// attend starts a gateway that answers queries with its sessions. If answer is not
// nil, it may change the reply.
func attend(t *testing.T, s *server.Server, gateway string, has []decision.LiveSession, answer func(*decision.SessionReply)) {
	t.Helper()
	a := &SessionReporter{Links: oneLink(connect(t, s)), Gateway: gateway, Sessions: func(q *decision.SessionQuery) decision.SessionReply {
		var r decision.SessionReply
		for i := range has {
			if q.Wants(&has[i]) {
				r.Sessions = append(r.Sessions, has[i])
			}
		}
		if r.More = len(r.Sessions) > q.Limit; r.More {
			r.Sessions = r.Sessions[:q.Limit]
		}
		if answer != nil {
			answer(&r)
		}
		return r
	}}
	running(t, a.Serve)
}

func live(tenant, account, id string) decision.LiveSession {
	return decision.LiveSession{ID: id, Tenant: tenant, Account: account, Resource: "r", Since: time.Unix(1, 0), Active: time.Unix(2, 0)}
}

// directory starts a SessionDirectory. It waits until all named gateways can
// answer.
func directory(t *testing.T, s *server.Server, answering string, gateways ...string) *SessionDirectory {
	t.Helper()
	c, err := NewSessionDirectory(connect(t, s), "n1", gateways, quiet())
	if err != nil {
		t.Fatal(err)
	}
	running(t, c.Run)
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := c.Ask(t.Context(), answering, decision.SessionQuery{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Missing) == 0 {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer", answering)
		}
	}
}

func idsOf(s Sessions) (ids []string) {
	for _, l := range s.Sessions {
		ids = append(ids, l.Gateway+":"+l.ID)
	}
	return ids
}

// TestDirectoryPages checks that each session of two gateways is listed exactly
// once, in order, with every page size.
func TestDirectoryPages(t *testing.T) {
	s := startNATS(t, -1)
	var one, two []decision.LiveSession
	var want []string
	for i := range 20 {
		l, gateway := live("acme", fmt.Sprintf("u%02d@a.test", i), fmt.Sprint("s", i)), "gw1"
		if i%3 == 0 {
			two, gateway = append(two, l), "gw2"
		} else {
			one = append(one, l)
		}
		want = append(want, gateway+":"+l.ID)
	}
	attend(t, s, "gw1", one, nil)
	attend(t, s, "gw2", two, nil)
	c := directory(t, s, "", "gw1", "gw2")
	for _, limit := range []int{1, 2, 7, 200} {
		q, got := decision.SessionQuery{Tenant: "acme", Limit: limit}, []string(nil)
		for {
			page, err := c.Ask(t.Context(), "", q)
			if err != nil || len(page.Missing) > 0 || len(page.Sessions) == 0 {
				t.Fatalf("%+v, %v", page, err)
			}
			got = append(got, idsOf(page)...)
			if !page.More {
				break
			}
			q.After = page.Sessions[len(page.Sessions)-1].Key()
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q", limit, got)
		}
	}
}

// TestDirectoryBelievesNoLiar checks that a gateway is missing if it does not
// answer, answers with sessions outside the query, or answers in the name of
// another gateway. None of its sessions is listed.
func TestDirectoryBelievesNoLiar(t *testing.T) {
	mine := live("acme", "bob@a.test", "s1")
	for name, lie := range map[string]func(*decision.SessionReply){
		"another tenant's": func(r *decision.SessionReply) { r.Sessions = []decision.LiveSession{live("other", "eve@c.test", "s9")} },
		"out of order":     func(r *decision.SessionReply) { r.Sessions = append(r.Sessions, r.Sessions...) },
		"more of nothing":  func(r *decision.SessionReply) { *r = decision.SessionReply{More: true} },
		"too many": func(r *decision.SessionReply) {
			for i := range 10 {
				r.Sessions = append(r.Sessions, live("acme", "zoe@a.test", fmt.Sprint("t", i)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startNATS(t, -1)
			attend(t, s, "good", []decision.LiveSession{mine}, nil)
			attend(t, s, "liar", []decision.LiveSession{mine}, lie)
			c := directory(t, s, "good", "good", "liar")
			got, err := c.Ask(t.Context(), "", decision.SessionQuery{Tenant: "acme", Limit: 5})
			if err != nil || !slices.Equal(got.Missing, []string{"liar"}) || !slices.Equal(idsOf(got), []string{"good:s1"}) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	t.Run("another's name", func(t *testing.T) {
		s := startNATS(t, -1)
		attend(t, s, "good", []decision.LiveSession{mine}, nil)
		c := directory(t, s, "good", "good", "dead")
		// The reply is published on the gateway's own subject but names another gateway.
		liar := &SessionReporter{Links: oneLink(connect(t, s)), Gateway: "dead"}
		reply := decision.AppendSessionReply(nil, &decision.SessionReply{ID: c.next + 1, Gateway: "good"})
		if err := liar.Links[0].Conn.Publish(reportPrefix+"n1.dead", reply); err != nil {
			t.Fatal(err)
		}
		got, err := c.Ask(t.Context(), "", decision.SessionQuery{Limit: 5})
		if err != nil || !slices.Equal(got.Missing, []string{"dead"}) || !slices.Equal(idsOf(got), []string{"good:s1"}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestDirectoryOfTwins checks that an id that two gateways use is reported as
// missing and is named in the log. A restarted gateway does not count as two.
func TestDirectoryOfTwins(t *testing.T) {
	s := startNATS(t, -1)
	attend(t, s, "gw1", []decision.LiveSession{live("acme", "bob@a.test", "s1")}, nil)
	c := directory(t, s, "gw1", "gw1")
	if got, err := c.Ask(t.Context(), "", decision.SessionQuery{Limit: 5}); err != nil || len(got.Missing) != 0 {
		t.Errorf("one gateway: %+v, %v", got, err)
	}
	attend(t, s, "gw1", []decision.LiveSession{live("acme", "carol@a.test", "s2")}, nil)
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := c.Ask(t.Context(), "", decision.SessionQuery{Limit: 5})
		if err != nil || len(got.Sessions) != 1 {
			t.Fatalf("two gateways: %+v, %v", got, err)
		}
		if slices.Equal(got.Missing, []string{"gw1"}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not named as missing")
		}
	}
}

// TestRuns checks that an id counts as used twice if a run appears again after a
// newer run has replaced it, and for twinsFor afterwards.
func TestRuns(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name  string
		heard []uint64 // one a second
		twice bool
	}{
		{"one", []uint64{1, 1, 1}, false},
		{"started again and again", []uint64{1, 1, 2, 2, 3}, false},
		{"two", []uint64{1, 2, 1}, true},
		{"two after a restart", []uint64{1, 2, 3, 2}, true},
		{"three, always in the same order", []uint64{1, 2, 3, 1, 2, 3}, true},
		{"one of two has gone", []uint64{1, 2, 1, 1, 1, 1, 1, 1}, false},
	} {
		r, at := new(runs), now
		for _, run := range c.heard {
			at = at.Add(announceEach)
			r.hear(run, at)
		}
		if r.twice(at) != c.twice {
			t.Errorf("%s: twice is %v", c.name, !c.twice)
		}
	}
	for _, b := range [][]byte{nil, {here}, announcement(2, 1), append(announcement(here, 1), 0)} {
		if _, _, ok := readAnnouncement(b); ok {
			t.Errorf("read % x", b)
		}
	}
	if state, run, ok := readAnnouncement(announcement(here, 7)); state != here || run != 7 || !ok {
		t.Errorf("read %d %d %v", state, run, ok)
	}
}

// TestDirectoryOfTheUnheard checks that a named gateway is queried even if it is
// unknown. If it does not answer, it is missing; the answer is not just empty.
func TestDirectoryOfTheUnheard(t *testing.T) {
	s := startNATS(t, -1)
	c := directory(t, s, "")
	got, err := c.Ask(t.Context(), "dead", decision.SessionQuery{Limit: 5})
	if err != nil || !slices.Equal(got.Missing, []string{"dead"}) || len(got.Sessions) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	attend(t, s, "late", []decision.LiveSession{live("acme", "bob@a.test", "s1")}, nil)
	c = directory(t, s, "late") // no gateway is configured, but it waits until "late" can answer
	got, err = c.Ask(t.Context(), "late", decision.SessionQuery{Limit: 5})
	if err != nil || len(got.Missing) != 0 || !slices.Equal(idsOf(got), []string{"late:s1"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestDirectoryOfTheSilent checks that only the first page of a list waits for a
// gateway that does not answer, but every page reports it as missing. Once the
// gateway sends a message, and for a query about one session, Ask waits for it again.
func TestDirectoryOfTheSilent(t *testing.T) {
	s := startNATS(t, -1)
	mine := live("acme", "bob@a.test", "s1")
	attend(t, s, "good", []decision.LiveSession{mine}, nil)
	c := directory(t, s, "good", "good", "dead")
	metrics := prometheus.NewRegistry()
	if err := c.Register(metrics); err != nil {
		t.Fatal(err)
	}
	before := gathered(t, metrics)
	ask := func(q decision.SessionQuery, waited bool, missing ...string) {
		t.Helper()
		began := time.Now()
		q.Limit = 5
		got, err := c.Ask(t.Context(), "", q)
		if err != nil || !slices.Equal(got.Missing, missing) || !slices.Contains(idsOf(got), "good:s1") {
			t.Fatalf("%+v, %v", got, err)
		}
		if took := time.Since(began); (took >= answerWithin) != waited {
			t.Errorf("%+v took %s", q, took)
		}
	}
	ask(decision.SessionQuery{}, true, "dead")
	for range 10 {
		ask(decision.SessionQuery{}, false, "dead")
	}
	ask(decision.SessionQuery{Session: "s1"}, true, "dead")
	now := gathered(t, metrics)
	for name, want := range map[string]float64{"inquiries_total": 12, "unanswered_total": 12, "not_credible_total": 0, "turned_away_total": 0, "silent": 1, "gateways": 0} {
		if got := now["postern_census_"+name] - before["postern_census_"+name]; got != want {
			t.Errorf("%s is %g more, want %g", name, got, want)
		}
	}
	attend(t, s, "dead", []decision.LiveSession{live("acme", "zoe@a.test", "s2")}, nil)
	for deadline := time.Now().Add(10 * time.Second); gathered(t, metrics)["postern_census_silent"] > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the gateway is back, but still counts as silent")
		}
	}
	ask(decision.SessionQuery{}, false)
}

// gathered returns the values of all counters and gauges.
func gathered(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		values[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return values
}

// TestSessionRights checks that no gateway has rights to receive the queries of
// another gateway or to answer them.
func TestSessionRights(t *testing.T) {
	rights := GatewayRights("gw1")
	for _, subject := range slices.Concat(rights.Publish, rights.Subscribe) {
		for _, prefix := range []string{gatewayPrefix, queryPrefix, reportPrefix} {
			rest, ok := strings.CutPrefix(subject, prefix)
			if ok && !slices.Contains(strings.Split(rest, "."), "gw1") {
				t.Errorf("a gateway has the right to %s", subject)
			}
		}
	}
}
