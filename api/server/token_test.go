package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
)

// network serves a running node's API on a port until the test ends.
func (r *running) network(t *testing.T, secure bool) (address string, roots *x509.CertPool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = "http://" + l.Addr().String()
	if secure {
		// Only the certificate of this test server is used.
		holder := httptest.NewTLSServer(http.NotFoundHandler())
		t.Cleanup(holder.Close)
		roots = x509.NewCertPool()
		roots.AddCert(holder.Certificate())
		l = tls.NewListener(l, &tls.Config{Certificates: holder.TLS.Certificates, MinVersion: tls.VersionTLS12})
		address = "https://" + l.Addr().String()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return address, roots
}

// mint creates a token at the node.
func (r *running) mint(t *testing.T, scope, tenant string, expires uint64) (token, id string) {
	t.Helper()
	token, id, hash := api.NewToken()
	r.do(t, "", api.TokenCreate{ID: id, Label: "test " + scope, Scope: scope, Tenant: tenant, Hash: hash, Expires: expires})
	return token, id
}

func remote(t *testing.T, address, token string, roots *x509.CertPool) *api.Client {
	t.Helper()
	c, err := api.NewRemoteClient(address, token, roots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func codeOf(err error) api.Code {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Code
	}
	if err != nil {
		return api.Code(err.Error())
	}
	return ""
}

// TestTokens checks over TLS that each token has the rights of its scope until it is
// revoked or expires, and that the log has its name as the actor.
func TestTokens(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	r.do(t, "bravo", bravo())
	address, roots := r.network(t, true)
	ctx := t.Context()
	read, readID := r.mint(t, "read", "acme", 0)
	write, writeID := r.mint(t, "write", "acme", uint64(time.Now().Add(time.Hour).Unix()))
	all, _ := r.mint(t, "operator", "", 0)
	expired, _ := r.mint(t, "operator", "", uint64(time.Now().Add(-time.Second).Unix()))

	for name, c := range map[string]struct {
		token                             string
		own, other, change, admin, tokens api.Code
	}{
		"read":     {read, "", api.CodeForbidden, api.CodeForbidden, api.CodeForbidden, api.CodeForbidden},
		"write":    {write, "", api.CodeForbidden, "", api.CodeForbidden, api.CodeForbidden},
		"operator": {all, "", "", "", "", ""},
		"expired":  {expired, api.CodeUnauthorized, api.CodeUnauthorized, api.CodeUnauthorized, api.CodeUnauthorized, api.CodeUnauthorized},
		"another secret": {read[:len(read)-1] + map[bool]string{true: "1", false: "0"}[read[len(read)-1] == '0'],
			api.CodeUnauthorized, api.CodeUnauthorized, api.CodeUnauthorized, api.CodeUnauthorized, api.CodeUnauthorized},
	} {
		client := remote(t, address, c.token, roots)
		_, own := client.Tenant(ctx, "acme")
		_, other := client.Tenant(ctx, "bravo")
		_, change := client.Do(ctx, "acme", api.TenantRename{DisplayName: "by " + name}, api.CommandMeta{})
		_, admin := client.Do(ctx, "acme", api.DomainSuspend{Domain: "none.test"}, api.CommandMeta{})
		if name == "operator" {
			_, admin = client.Do(ctx, "acme", api.ServiceAdd{Service: "s.acme.test"}, api.CommandMeta{})
		} else if name == "write" {
			_, admin = client.Do(ctx, "acme", api.ServiceAdd{Service: "s2.acme.test"}, api.CommandMeta{})
		}
		_, tokens := client.Tokens(ctx)
		got := []api.Code{codeOf(own), codeOf(other), codeOf(change), codeOf(admin), codeOf(tokens)}
		want := []api.Code{c.own, c.other, c.change, c.admin, c.tokens}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	list, err := r.client.Tokens(ctx)
	if err != nil || len(list.Tokens) != 4 {
		t.Fatalf("%+v, %v", list, err)
	}
	tail, err := r.client.Log(ctx, api.LogQuery{Tenant: "acme", Limit: 3})
	if err != nil || !strings.Contains(fmt.Sprint(tail), "token:"+writeID) {
		t.Errorf("%+v, %v", tail, err)
	}
	if self, err := remote(t, address, read, roots).Self(ctx); err != nil || self.Actor != "token:"+readID || self.Scope != "tenant read" || self.Tenant != "acme" {
		t.Errorf("self: %+v, %v", self, err)
	}

	// The first request after the revocation is refused, even on a connection that
	// is already open.
	client := remote(t, address, write, roots)
	if _, err := client.Tenant(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	r.do(t, "", api.TokenRevoke{ID: writeID})
	if _, err := client.Tenant(ctx, "acme"); codeOf(err) != api.CodeUnauthorized {
		t.Errorf("revoked: %v", err)
	}
	r.do(t, "acme", api.TenantRemove{})
	if _, err := remote(t, address, read, roots).Self(ctx); codeOf(err) != api.CodeUnauthorized {
		t.Errorf("of a removed tenant: %v", err)
	}
	// No record contains a token's secret.
	for _, secret := range []string{read, write, all, expired} {
		if text := fmt.Sprint(r.audit.since(0)); strings.Contains(text, secret[len(secret)-64:]) {
			t.Error("a secret is recorded")
		}
	}
}

// TestUnknownCallers checks that a request without a valid token gets the same answer
// at every path.
func TestUnknownCallers(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	address, _ := r.network(t, false)
	token, id := r.mint(t, "operator", "", 0)
	r.do(t, "", api.TokenRevoke{ID: id})
	other, _, _ := api.NewToken()
	first := ""
	for _, path := range []string{"/v1/status", "/v1/tenants/acme", "/v1/tenants/nobody", "/v1/nothing", "/v1//status", "/v1/openapi.json"} {
		for i, header := range []string{"", "Bearer", "Bearer ", "Bearer " + token, "Bearer " + other, "Basic YTpi", "Bearer  " + other, "Bearer " + other + " "} {
			q, err := http.NewRequestWithContext(t.Context(), "GET", address+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if header != "" {
				q.Header.Set("Authorization", header)
			}
			answer := do(t, q)
			if answer.StatusCode == http.StatusTooManyRequests && i > 1 {
				continue // this source has too many failures
			}
			text, _ := io.ReadAll(answer.Body)
			if first == "" {
				first = string(text)
			}
			if code := answer.StatusCode; code != http.StatusUnauthorized && code != http.StatusTooManyRequests {
				t.Errorf("%s %q: %d", path, header, code)
			}
			if answer.StatusCode == http.StatusUnauthorized && string(text) != first {
				t.Errorf("%s %q: another answer: %s", path, header, text)
			}
			if c := answer.Header.Get("WWW-Authenticate"); !strings.HasPrefix(c, `Bearer realm="postern"`) || strings.Contains(c, "invalid_token") != (header != "") {
				t.Errorf("%s %q: challenge %q", path, header, c)
			}
		}
	}
	// Failures do not affect valid tokens from the same address, and only a bounded
	// number of them is recorded.
	if n := len(r.audit.since(0)); n > 60 {
		t.Errorf("%d records", n)
	}
	good, _ := r.mint(t, "operator", "", 0)
	if _, err := remote(t, address, good, nil).Status(t.Context()); err != nil {
		t.Errorf("a valid token from the same address: %v", err)
	}
	// With DNS rebinding, a web page's requests have the page's host name.
	q, err := http.NewRequestWithContext(t.Context(), "GET", address+"/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Host = "evil.example"
	q.Header.Set("Authorization", "Bearer "+good)
	if answer := do(t, q); answer.StatusCode != http.StatusForbidden {
		t.Errorf("by another name: %d", answer.StatusCode)
	}
}

func do(t *testing.T, q *http.Request) *http.Response {
	t.Helper()
	client := &http.Client{Timeout: within, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// FuzzBearer checks that a token is found only in a header that consists of the
// scheme, one space and the token.
func FuzzBearer(f *testing.F) {
	token, _, _ := api.NewToken()
	f.Add("Bearer " + token)
	f.Add("bearer  " + token)
	f.Add("Basic x")
	f.Add("")
	f.Fuzz(func(t *testing.T, header string) {
		text, given := server.Bearer(http.Header{"Authorization": {header}})
		if !given {
			t.Fatal("a header that is there is not given")
		}
		if id, ok := api.ParseToken(text); ok && (len(id) != 16 || len(header) != len("Bearer ")+len(token) || !strings.HasSuffix(header, text)) {
			t.Fatalf("%q is read as token %q", header, id)
		}
	})
}
