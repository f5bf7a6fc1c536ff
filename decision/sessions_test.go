package decision

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

func aSession() LiveSession {
	return LiveSession{
		ID: "s1", Tenant: "acme", Account: "bob@a.test", Resource: "r", Remote: "[::1]:5", TLS: "TLS 1.3", Mechanism: "PLAIN",
		LogID: "log", Opened: 7, Since: time.Unix(1000, 0), Active: time.Unix(2000, 0), PassedOut: 1, RefusedOut: 2, PassedIn: 3, RefusedIn: 4,
	}
}

func TestSessionQueryWants(t *testing.T) {
	s := aSession()
	for name, c := range map[string]struct {
		q    SessionQuery
		want bool
	}{
		"all":            {SessionQuery{}, true},
		"everything":     {SessionQuery{Tenant: "acme", Domain: "a.test", Account: "bob@a.test", Session: "s1"}, true},
		"another tenant": {SessionQuery{Tenant: "other", Session: "s1"}, false},
		"another domain": {SessionQuery{Domain: "test"}, false},
		"account":        {SessionQuery{Account: "eve@a.test"}, false},
		"session":        {SessionQuery{Session: "s2"}, false},
		"behind":         {SessionQuery{After: s.Key()}, false},
	} {
		if got := c.q.Wants(&s); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzSessions checks that each query and reply has one encoding only.
func FuzzSessions(f *testing.F) {
	q := SessionQuery{ID: 9, Tenant: "acme", Session: "s1", End: true, Limit: 1}
	reply := SessionReply{ID: 9, Gateway: "gw", More: true, Sessions: []LiveSession{aSession(), aSession()}}
	var gotQ SessionQuery
	if err := DecodeSessionQuery(AppendSessionQuery(nil, &q), &gotQ); err != nil || gotQ != q {
		f.Errorf("%+v, %v", gotQ, err)
	}
	var gotR SessionReply
	if err := DecodeSessionReply(AppendSessionReply(nil, &reply), &gotR); err != nil || !reflect.DeepEqual(gotR, reply) {
		f.Errorf("%+v, %v", gotR, err)
	}
	f.Add(AppendSessionQuery(nil, &q))
	f.Add(AppendSessionReply(nil, &reply))
	f.Fuzz(func(t *testing.T, b []byte) {
		if DecodeSessionQuery(b, &gotQ) == nil && !bytes.Equal(AppendSessionQuery(nil, &gotQ), b) {
			t.Errorf("query %q", b)
		}
		if DecodeSessionReply(b, &gotR) == nil && !bytes.Equal(AppendSessionReply(nil, &gotR), b) {
			t.Errorf("reply %q", b)
		}
	})
}
