package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
)

// An unfinished request has arrived except for the last byte of its body.
type unfinished struct {
	conn net.Conn
	last string
}

// slowly begins a request with a token and returns when the handler has it.
func (r *running) slowly(t *testing.T, address, token, path, body string, arrived <-chan string) *unfinished {
	t.Helper()
	host := strings.TrimPrefix(address, "http://")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	head, last := body[:len(body)-1], body[len(body)-1:]
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, host, token, len(body), head); err != nil {
		t.Fatal(err)
	}
	for at := range arrived {
		if at == path {
			break
		}
	}
	return &unfinished{c, last}
}

// end sends the last byte and reads the answer.
func (s *unfinished) end(t *testing.T) (status int, body string) {
	t.Helper()
	if _, err := io.WriteString(s.conn, s.last); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(s.conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// arrivals returns a channel that receives the path of each request that the handler
// gets.
func (r *running) arrivals() <-chan string {
	arrived := make(chan string, 2*server.MaxRunning)
	r.server.Tap(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			arrived <- q.URL.Path
			h.ServeHTTP(w, q)
		})
	})
	return arrived
}

// TestRevokedMeanwhile revokes a token while requests with it are in progress. These
// requests change nothing, and their answers show nothing.
func TestRevokedMeanwhile(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", acme())
	address, _ := r.network(t, false)
	token, id := r.mint(t, "write", "acme", 0)
	arrived := r.arrivals()
	var slows []*unfinished
	for path, body := range map[string]string{
		"/v1/tenants/acme/commands/tenant.rename": `{"args":{"display_name":"by a revoked token"}}`,
		"/v1/tenants/acme/plan":                   `{"display_name":"planned"}`,
	} {
		slows = append(slows, r.slowly(t, address, token, path, body, arrived))
	}
	r.do(t, "", api.TokenRevoke{ID: id})
	for _, s := range slows {
		if status, body := s.end(t); status != http.StatusUnauthorized || strings.Contains(body, "planned") {
			t.Errorf("%d %s", status, body)
		}
	}
	if tenant, err := r.client.Tenant(t.Context(), "acme"); err != nil || tenant.Version != 1 {
		t.Errorf("%+v, %v", tenant, err)
	}
}

// TestShares checks that requests of one tenant leave room for other tenants, that
// requests of all tenants leave room for operators, and that requests over the
// network leave room for the local socket.
func TestShares(t *testing.T) {
	r := start(t, nil)
	address, _ := r.network(t, false)
	arrived := r.arrivals()
	tenant := func(i int) (id, token string) {
		id = fmt.Sprint("t", i)
		r.do(t, id, api.TenantCreate{DisplayName: id})
		token, _ = r.mint(t, "read", id, 0)
		return id, token
	}
	const tenants = server.MaxTenants / server.MaxShare
	for i := range tenants {
		id, token := tenant(i)
		other, _ := r.mint(t, "read", id, 0)
		if _, err := remote(t, address, token, nil).Tenant(t.Context(), id); err != nil {
			t.Errorf("tenant %d: %v", i, err)
		}
		for range server.MaxShare {
			r.slowly(t, address, token, "/v1/tenants/"+id+"/plan", `{"display_name":"x"}`, arrived)
		}
		if _, err := remote(t, address, other, nil).Tenant(t.Context(), id); codeOf(err) != api.CodeBusy {
			t.Errorf("tenant %d, over its share: %v", i, err)
		}
	}
	id, token := tenant(tenants)
	if _, err := remote(t, address, token, nil).Tenant(t.Context(), id); codeOf(err) != api.CodeBusy {
		t.Errorf("one tenant too many: %v", err)
	}
	token, operator := r.mint(t, "operator", "", 0)
	if _, err := remote(t, address, token, nil).Status(t.Context()); err != nil {
		t.Errorf("an operator, beside the tenants: %v", err)
	}
	for range server.MaxNetwork - server.MaxTenants {
		r.slowly(t, address, token, "/v1/tenants/"+id+"/plan", `{"display_name":"x"}`, arrived)
	}
	token, _ = r.mint(t, "operator", "", 0)
	if _, err := remote(t, address, token, nil).Status(t.Context()); codeOf(err) != api.CodeBusy {
		t.Errorf("over the network: %v", err)
	}
	r.do(t, "", api.TokenRevoke{ID: operator})
}

// TestFollowersOfTenants checks that an operator can follow the log even if tenants
// have all their places for it.
func TestFollowersOfTenants(t *testing.T) {
	r := start(t, nil)
	address, _ := r.network(t, false)
	const tenants = (server.MaxTenantFollowers + server.MaxShare - 1) / server.MaxShare
	var of [tenants]*api.Client
	for i := range tenants {
		id := fmt.Sprint("t", i)
		r.do(t, id, api.TenantCreate{DisplayName: id})
		token, _ := r.mint(t, "read", id, 0)
		of[i] = remote(t, address, token, nil)
	}
	status, err := r.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	follow := func(ctx context.Context, c *api.Client, tenant string, wait time.Duration) error {
		_, err := c.Log(ctx, api.LogQuery{Tenant: tenant, After: &status.Position, Wait: wait})
		return err
	}
	ended := make(chan error, tenants*server.MaxShare)
	for i, c := range of {
		for range server.MaxShare {
			group.Go(func() {
				ended <- follow(ctx, c, fmt.Sprint("t", i), 25*time.Second)
			})
		}
	}
	for range tenants*server.MaxShare - server.MaxTenantFollowers {
		if err := <-ended; codeOf(err) != api.CodeBusy { // the other requests then have all the places for tenants
			t.Errorf("one too many: %v", err)
		}
	}
	if err := follow(t.Context(), r.client, "", time.Second); err != nil {
		t.Errorf("an operator: %v", err)
	}
}
