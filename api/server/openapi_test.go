package server_test

import (
	"bytes"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/projections"
)

var update = flag.Bool("update", false, "rewrite openapi.json")

const openapiFile = "openapi.json"

// loadOpenAPI parses a description with an independent library and validates it.
func loadOpenAPI(t testing.TB, text []byte) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// loadCommitted parses the committed description once for all tests, because parsing
// takes longer than most tests. Nothing changes the result, so that parallel tests
// can share it.
var loadCommitted = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(server.OpenAPI)
	if err != nil {
		return nil, err
	}
	return closed(doc), nil
})

// committedOpenAPI returns the committed description, closed. The caller must not
// change it.
func committedOpenAPI(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := loadCommitted()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestOpenAPI checks that the description is valid and has exactly the routes of the
// table. It must be equal to the committed file, which the server returns.
func TestOpenAPI(t *testing.T) {
	text, err := server.Describe(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	doc := loadOpenAPI(t, text)
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	operations := 0
	for _, item := range doc.Paths.Map() {
		operations += len(item.Operations())
	}
	lines := server.Lines()
	for _, l := range lines {
		op := doc.Paths.Value(l.Path).GetOperation(l.Method)
		if op == nil || op.Extensions["x-postern-scope"] != l.Scope {
			t.Errorf("%s %s is not described as it is", l.Method, l.Path)
		}
	}
	if operations != len(lines) {
		t.Errorf("%d operations are described, %d exist", operations, len(lines))
	}
	for name, s := range doc.Components.Schemas {
		if s.Value.Description == "" {
			t.Errorf("type %s has no comment", name)
		}
	}
	if *update {
		if err := os.WriteFile(openapiFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return // this test's binary has the old file embedded
	}
	if !bytes.Equal(server.OpenAPI, text) {
		t.Errorf("%s is not what the table says: run make docs", openapiFile)
	}
}

// BenchmarkNew measures how long the start of policyd takes to make a Server.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := server.New(server.Config{Runner: broken{view: projections.New()}}); err != nil {
			b.Fatal(err)
		}
	}
}

// described checks all answers of a server, and all requests that it accepts, against
// its own description until the test ends.
func described(t testing.TB, s *server.Server) {
	t.Helper()
	doc := committedOpenAPI(t)
	s.Tap(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(io.LimitReader(r.Body, server.MaxRequest+1))
			if err != nil {
				next.ServeHTTP(w, r) // the client has disconnected
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			for name, values := range answer.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes())
			r.Body = io.NopCloser(bytes.NewReader(body))
			checkDescribed(t, doc, r, answer)
		})
	})
}

// closed changes a description so that its types allow only the described fields. An
// answer with any other field then fails validation.
func closed(doc *openapi3.T) *openapi3.T {
	for _, s := range doc.Components.Schemas {
		if len(s.Value.Properties) > 0 && s.Value.AdditionalProperties.Schema == nil {
			s.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: new(false)}
		}
	}
	return doc
}

func checkDescribed(t testing.TB, doc *openapi3.T, r *http.Request, answer *httptest.ResponseRecorder) {
	item := doc.Paths.Value(r.Pattern)
	if item == nil || item.GetOperation(r.Method) == nil {
		if answer.Code < http.StatusBadRequest {
			t.Errorf("%s %s is answered with %d, but not described", r.Method, r.URL.Path, answer.Code)
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
		Request: r, PathParams: map[string]string{},
		Route: &routers.Route{Spec: doc, Path: r.Pattern, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
	}
	for _, p := range in.Route.Operation.Parameters {
		if p.Value.In == "path" {
			in.PathParams[p.Value.Name] = r.PathValue(p.Value.Name)
		}
	}
	if answer.Code < http.StatusBadRequest {
		if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil {
			t.Errorf("%s %s was accepted, but is not described: %v", r.Method, r.URL, err)
		}
	}
	err := openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: answer.Code, Header: answer.Header(),
		Body:    io.NopCloser(bytes.NewReader(answer.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("%s %s is answered as is not described: %v\n%s", r.Method, r.URL, err, answer.Body)
	}
}
