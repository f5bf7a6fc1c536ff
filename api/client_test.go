package api_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
)

// TestClientSaysWhatIsWrong checks the error for a socket that does not exist. It
// names the cause, and not the client's internal URL.
func TestClientSaysWhatIsWrong(t *testing.T) {
	client := api.NewClient("/nonexistent/policyd.sock")
	defer client.Close()
	if _, err := client.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") || strings.Contains(err.Error(), "http://") {
		t.Errorf("no socket: %v", err)
	}
}

// TestRemoteClientRefuses checks that no token is sent to another machine without
// TLS.
func TestRemoteClientRefuses(t *testing.T) {
	token, _, _ := api.NewToken()
	for address, want := range map[string]string{
		"http://admin.example.org:1": "in clear", "http://10.0.0.1:1": "in clear", "http://0.0.0.0": "in clear",
		"http://localhost.evil.test:1": "in clear", "http://127.0.0.1.evil.test": "in clear", "ftp://127.0.0.1": "https://",
		"admin.example.org": "no server", "https://a:b@admin.example.org": "no server", "https://admin.example.org/v1": "no server",
	} {
		if _, err := api.NewRemoteClient(address, token, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"http://localhost:1", "http://127.0.0.1:9", "http://[::1]:9", "http://[::ffff:127.0.0.1]:1"} {
		if _, err := api.NewRemoteClient(address, token, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := api.NewRemoteClient("https://a.test", "secret", nil); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("no token: %v", err)
	}
}

// TestWithin checks that a client of Within stops waiting after its time, although
// the context has not ended.
func TestWithin(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	silent, err := net.Listen("unix", socket) // its backlog accepts connections, but nothing answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	client := api.NewClient(socket)
	defer client.Close()
	for _, d := range []time.Duration{20 * time.Millisecond, 0, -1} {
		if _, err := client.Within(d).Status(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("within %v: %v", d, err)
		}
	}
	if err := t.Context().Err(); err != nil {
		t.Error(err)
	}
}

// TestUnclear checks that a command counts as not carried out only if the node's
// answer can be decoded and says so.
func TestUnclear(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{&api.Error{Code: api.CodeConflict}, false},
		{fmt.Errorf("change: %w", &api.Error{Code: api.CodeBusy}), false},
		{&api.Error{Code: api.CodeUnknown}, true},
		{fmt.Errorf("change: %w", &api.Error{Code: api.CodeBadResponse}), true},
		{context.DeadlineExceeded, true},
	} {
		if got := api.Unclear(c.err); got != c.want {
			t.Errorf("%v: %t, want %t", c.err, got, c.want)
		}
	}
}
