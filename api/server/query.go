package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-im/postern/api"
)

// A kind is what a query parameter's value must look like.
type kind uint8

const (
	text   kind = iota // any text that is not empty
	number             // a decimal number within bounds
	truth              // true or false
)

// A param is one query parameter of a route. Each may stand once, and none
// has to: a handler takes what is absent as the documented default.
type param struct {
	name string
	kind kind
	// min and max bound a number, max a text's length in bytes.
	min, max uint64
	// oneOf, where set, lists the texts there are.
	oneOf []string
	// def is the number that absence stands for; zero when there is none.
	def uint64
	doc string
}

// The parameters several routes have.
func limitParam(def, most uint64) param {
	return param{name: "limit", kind: number, min: 1, max: most, def: def, doc: "how many to answer with at most"}
}

func afterParam(doc string) param { return param{name: "after", max: maxText, doc: doc} }

// maxText bounds a text in a query: a full JID at its longest.
const maxText = 3071

// read checks one value.
func (p *param) read(s string) (uint64, error) {
	bad := func(format string, args ...any) error {
		return &api.Error{Code: api.CodeBadRequest, Text: fmt.Sprintf(format, args...)}
	}
	switch p.kind {
	case number:
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || n < p.min || n > p.max || strconv.FormatUint(n, 10) != s {
			return 0, bad("%s must be a number from %d to %d", p.name, p.min, p.max)
		}
		return n, nil
	case truth:
		if s != "true" && s != "false" {
			return 0, bad("%s must be true or false", p.name)
		}
	default:
		switch {
		case s == "":
			return 0, bad("%s is empty; leave it out", p.name)
		case uint64(len(s)) > p.max:
			return 0, bad("%s is longer than %d bytes", p.name, p.max)
		case len(p.oneOf) > 0 && !slices.Contains(p.oneOf, s):
			return 0, bad("%s must be one of %s", p.name, strings.Join(p.oneOf, ", "))
		}
	}
	return 0, nil
}

// A query is what a request asks beside its path, checked by its route.
type query struct {
	route   *route
	texts   map[string]string
	numbers map[string]uint64
}

// readQuery reads a request's query by its route, strictly: each parameter of
// the route at most once and within its bounds, no others.
func readQuery(rt *route, r *http.Request) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, &api.Error{Code: api.CodeBadRequest, Text: "the query cannot be read"}
	}
	q := query{rt, map[string]string{}, map[string]uint64{}}
	for name, list := range values {
		i := slices.IndexFunc(rt.query, func(p param) bool { return p.name == name })
		switch {
		case i < 0:
			return query{}, &api.Error{Code: api.CodeBadRequest, Text: fmt.Sprintf("unknown query parameter %q", name)}
		case len(list) > 1:
			return query{}, &api.Error{Code: api.CodeBadRequest, Text: fmt.Sprintf("query parameter %q is given twice", name)}
		}
		if q.numbers[name], err = rt.query[i].read(list[0]); err != nil {
			return query{}, err
		}
		q.texts[name] = list[0]
	}
	return q, nil
}

// param finds a parameter of the query's route. Asking for one the route does
// not list is a programmer's mistake, as nobody could ever give it.
func (q query) param(name string) *param {
	i := slices.IndexFunc(q.route.query, func(p param) bool { return p.name == name })
	if i < 0 {
		panic("api: " + q.route.path + " lists no query parameter " + name)
	}
	return &q.route.query[i]
}

// text is a text's value, empty when it was not given.
func (q query) text(name string) string {
	q.param(name)
	return q.texts[name]
}

// number is a number's value, or its default, and whether it was given.
func (q query) number(name string) (uint64, bool) {
	p := q.param(name)
	if n, given := q.numbers[name]; given {
		return n, true
	}
	return p.def, false
}

type queryKey struct{}

func withQuery(ctx context.Context, q query) context.Context {
	return context.WithValue(ctx, queryKey{}, q)
}

// queryOf is the query of a request that came through a route.
func queryOf(r *http.Request) query {
	q, _ := r.Context().Value(queryKey{}).(query)
	return q
}
