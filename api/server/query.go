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

// A kind is the type of a query parameter's value.
type kind uint8

const (
	text   kind = iota // a text that is not empty
	number             // a decimal number within bounds
	truth              // true or false
)

// A param is one query parameter of a route. A request may have each parameter at
// most once. readQuery accepts a request without the parameter. The handler then uses
// the documented default or refuses the request.
type param struct {
	name string
	kind kind
	// min and max bound a number, max a text's length in bytes.
	min, max uint64
	// oneOf lists the allowed texts; if empty, all texts are allowed.
	oneOf []string
	// def is the number to use if the parameter is absent; zero if there is no
	// default.
	def uint64
	doc string
}

// limitParam is the parameter for the size of a page.
func limitParam(def, most uint64) param {
	return param{name: "limit", kind: number, min: 1, max: most, def: def, doc: "the maximum number of entries to return"}
}

// afterParam is the parameter for the last entry of the page before.
func afterParam(doc string) param { return param{name: "after", max: maxText, doc: doc} }

// maxText bounds a text in a query: the length of the longest full JID.
const maxText = 3071

// read checks one value, and returns it if it is a number.
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

// A query has the query parameters of a request, checked against its route.
type query struct {
	route   *route
	texts   map[string]string
	numbers map[string]uint64
}

// readQuery parses a request's query strictly. Each parameter must be one of the
// route's, within its bounds, and must not be repeated.
func readQuery(rt *route, r *http.Request) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, &api.Error{Code: api.CodeBadRequest, Text: "the query cannot be parsed"}
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

// param finds a parameter of the query's route. It panics if the route does not
// list the parameter: this is a programmer's mistake, because readQuery refuses
// every request that has it.
func (q query) param(name string) *param {
	i := slices.IndexFunc(q.route.query, func(p param) bool { return p.name == name })
	if i < 0 {
		panic("api: " + q.route.path + " lists no query parameter " + name)
	}
	return &q.route.query[i]
}

// text returns the value of a text, which is empty if the parameter is absent.
func (q query) text(name string) string {
	q.param(name)
	return q.texts[name]
}

// number returns the value of a number, or its default, and whether the request has
// the parameter.
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

// queryOf returns the checked query of a request to a route.
func queryOf(r *http.Request) query {
	q, _ := r.Context().Value(queryKey{}).(query)
	return q
}
