package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants"
)

// TestTableIsComplete checks that every entry of the table can be served, and that
// every command of the catalogue has a route with the right scope.
func TestTableIsComplete(t *testing.T) {
	s := &Server{commands: commands(), mux: http.NewServeMux()}
	table := s.table()
	if err := s.mount(table); err != nil {
		t.Fatal(err)
	}
	scopes := map[string]scope{}
	for _, rt := range table {
		if rt.command != "" {
			scopes[rt.command] = rt.scope
		}
	}
	for _, e := range tenants.Catalogue() {
		want := tenantWrite
		if e.Operator {
			want = operator
		}
		if scopes[e.Name] != want {
			t.Errorf("%s has the scope %q, want %q", e.Name, scopes[e.Name], want)
		}
	}
}

// TestBadLines checks that New fails for a table with an incomplete entry or with an
// entry whose scope could not be enforced.
func TestBadLines(t *testing.T) {
	good := route{method: "GET", path: "/v1/x", name: "x", summary: "x", reply: api.Status{}, scope: operator,
		handle: func(http.ResponseWriter, *http.Request) (any, error) { return nil, nil }}
	for want, spoil := range map[string]func(*route){
		"not complete":          func(rt *route) { rt.handle = nil },
		"has no scope":          func(rt *route) { rt.scope = nobody },
		"not below /v1":         func(rt *route) { rt.path = "/x" },
		"cannot have the scope": func(rt *route) { rt.scope = tenantRead },
		`the scope "any"`:       func(rt *route) { rt.path, rt.scope = "/v1/tenants/{tenant}/x", anyone },
		"but is not":            func(rt *route) { rt.path = "/v1/x/{tenant}" },
		"no bound":              func(rt *route) { rt.query = []param{{name: "n", kind: number, doc: "n"}} },
	} {
		rt := good
		spoil(&rt)
		if err := (&Server{mux: http.NewServeMux()}).mount([]route{rt}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if err := (&Server{mux: http.NewServeMux()}).mount([]route{good, good}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("twice: %v", err)
	}
}

// TestMay checks every kind of caller against every scope.
func TestMay(t *testing.T) {
	callers := map[string]caller{
		"nobody":   {},
		"operator": {actor: "a", operator: true},
		"reader":   {actor: "a", tenant: "own"},
		"writer":   {actor: "a", tenant: "own", write: true},
		"empty":    {actor: "a", write: true},
	}
	may := map[string]string{
		"operator": "operator:own operator:other operator: tenant read:own tenant read:other tenant write:own tenant write:other any:",
		"reader":   "tenant read:own any:",
		"writer":   "tenant read:own tenant write:own any:",
		"empty":    "any:",
	}
	for name, c := range callers {
		for s := nobody; s <= anyone; s++ {
			for _, tenant := range []string{"own", "other", ""} {
				if s == anyone && tenant != "" || (s == tenantRead || s == tenantWrite) && tenant == "" && c.operator {
					continue
				}
				if got, want := c.may(s, tenant), may[name] != "" && strings.Contains(" "+may[name]+" ", " "+s.String()+":"+tenant+" "); got != want {
					t.Errorf("%s, %s of %q: %v, want %v", name, s, tenant, got, want)
				}
			}
		}
	}
}

// TestQueryBounds parses values of each kind, within their bounds and beyond.
func TestQueryBounds(t *testing.T) {
	rt := &route{path: "/v1/x", query: []param{
		{name: "n", kind: number, min: 1, max: 10, def: 7, doc: "n"}, {name: "yes", kind: truth, doc: "yes"},
		{name: "word", oneOf: []string{"a", "b"}, max: 9, doc: "word"}, afterParam("after"),
	}}
	for query, want := range map[string]string{
		"": "", "n=1&yes=true&word=b&after=x": "",
		"n=0": "n must be", "n=11": "n must be", "n=01": "n must be", "n=+1": "n must be", "n=": "n must be",
		"n=99999999999999999999": "n must be", "yes=1": "true or false", "word=c": "one of a, b",
		"after=": "empty", "after=" + strings.Repeat("x", maxText+1): "longer than",
		"m=1": "unknown", "n=1&n=1": "twice", "n=%": "cannot be parsed", "n=1;m=2": "cannot be parsed",
	} {
		r := httptest.NewRequest("GET", "/v1/x?"+query, nil)
		q, err := readQuery(rt, r)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", query, err, want)
		}
		if err != nil {
			continue
		}
		if n, given := q.number("n"); given != (query != "") || !given && n != 7 {
			t.Errorf("%q: n is %d, %v", query, n, given)
		}
	}
}
