package natsserver_test

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/internal/natsserver/natsservertest"
)

// TestLogServerWithoutRoom takes the room from one of three log servers. The other two
// go on without it. With room again, it comes back with its name, its store, its client
// and its certificate, although the file of the certificate has become unusable.
func TestLogServerWithoutRoom(t *testing.T) {
	t.Parallel()
	c := natsservertest.New(t, 3)
	var full atomic.Bool
	said := new(journal)
	c.Configs[0].Room = func() error {
		if full.Load() {
			return errors.New("3 MiB are free")
		}
		return nil
	}
	c.Configs[0].Logger = slog.New(slog.NewTextHandler(said, nil))
	all := c.StartAll()
	name := all[0].Name()
	public, err := all[0].Key().PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect("", nats.InProcessServer(all[0]), nats.Nkey(public, all[0].Key().Sign), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "three current members", func() bool { return len(members(t, all[1])) == 3 })

	certificate, err := os.ReadFile(c.Configs[0].CertFile)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is a server that again has made
		full.Store(true)
		eventually(t, "the server has stopped", func() bool { return len(all[1].Seen()) == 2 && !conn.IsConnected() })
		if !said.has("3 MiB are free") {
			t.Error("the log does not name the cause")
		}
		if !all[0].SyncAlways() {
			t.Error("a server without room counts as one that does not sync")
		}
		if err := all[0].Reload(); err != nil {
			t.Error(err)
		}
		if err := all[0].Lacking(); err == nil || !strings.Contains(err.Error(), "3 MiB are free") {
			t.Errorf("it lacks %v", err)
		}
		if err := os.WriteFile(c.Configs[0].CertFile, []byte("no certificate"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := all[0].Reload(); err == nil {
			t.Error("a file without a certificate is used")
		}
		full.Store(false)
		eventually(t, "the server is back", func() bool {
			return len(members(t, all[1])) == 3 && len(all[0].Seen()) == 3 && conn.IsConnected()
		})
		if all[0].Name() != name {
			t.Errorf("the name is %s, it was %s", all[0].Name(), name)
		}
		if err := os.WriteFile(c.Configs[0].CertFile, certificate, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := all[0].Reload(); err != nil {
			t.Error(err)
		}
	}
}
