package natsserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/internal/natsserver/natsservertest"
)

// eventually waits until done returns true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 60 s: %s", what)
		case <-tick.C:
		}
	}
}

// A journal is a log that a test reads while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) has(part string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.text.String(), part)
}

// members returns the members that s sees, if all are current.
func members(t *testing.T, s *natsserver.LogServer) []natsserver.LogMember {
	list, err := s.Members(t.Context())
	if err != nil || slices.ContainsFunc(list, func(m natsserver.LogMember) bool { return !m.Current }) {
		return nil
	}
	return list
}

func TestLogServersJoin(t *testing.T) {
	t.Parallel()
	c := natsservertest.New(t, 3)
	all := c.StartAll()
	for _, s := range all {
		eventually(t, "three log servers see each other", func() bool { return len(s.Seen()) == 3 })
		if !s.SyncAlways() || s.Refused() > 0 || len(s.Twins()) > 0 {
			t.Errorf("%s: syncs %v, refused %d, twins %v", s.Name(), s.SyncAlways(), s.Refused(), s.Twins())
		}
	}
	var list []natsserver.LogMember
	eventually(t, "three current members", func() bool { list = members(t, all[1]); return len(list) == 3 })
	leaders := 0
	for i, m := range list {
		if m.Name != all[i].Name() || m.Node != c.Configs[i].Node {
			t.Errorf("member %d is %+v, want %s", i, m, all[i].Name())
		}
		if m.Leader {
			leaders++
		}
	}
	if leaders != 1 {
		t.Errorf("%d leaders", leaders)
	}
	// The name is kept as long as the store.
	name := all[0].Name()
	c.Stop(0)
	if again := c.Start(0).Name(); again != name {
		t.Errorf("after a restart the name is %s, it was %s", again, name)
	}
}

// TestLogServerNames checks that a name and a store are made and lost together.
func TestLogServerNames(t *testing.T) {
	c := natsservertest.New(t, 3)
	name := c.StartAll()[0].Name()
	c.Stop(0)
	dir := c.Configs[0].Dir
	file, store := filepath.Join(dir, "ID"), filepath.Join(dir, "jetstream")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	other := c.Configs[0]
	other.Node = "n2"
	if _, err := natsserver.NewLogServer(other); err == nil || !strings.Contains(err.Error(), `belongs to the log server "`+name+`", but this node is "n2"`) {
		t.Errorf("the store of another node: %v", err)
	}
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := natsserver.NewLogServer(c.Configs[0]); err == nil || !strings.Contains(err.Error(), "joins as a new log server") {
		t.Errorf("a store without a name: %v", err)
	}
	if err := errors.Join(os.Rename(file+".away", file), os.RemoveAll(store)); err != nil {
		t.Fatal(err)
	}
	s, err := natsserver.NewLogServer(c.Configs[0])
	if err != nil || s.Name() == name {
		t.Errorf("without its store the server has its former name: %v", err)
	}
}

func TestLogServerHasNoClients(t *testing.T) {
	t.Parallel()
	c := natsservertest.New(t, 3)
	s := c.Start(0)
	public, err := s.Key().PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.Nkey(public, s.Key().Sign))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn, err := nats.Connect("", nats.InProcessServer(s)); err == nil {
		conn.Close()
		t.Error("a client without a key is accepted")
	}
	// The server has a port for clients on loopback, and its peers' port. Neither
	// lets in a client, not even with the right key.
	for _, address := range []string{clientPort(t, s), c.Configs[0].Listen} {
		insecure := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
		for _, option := range []nats.Option{nats.Secure(insecure), nats.Name("without TLS")} {
			if conn, err := nats.Connect("nats://"+address, nats.Nkey(public, s.Key().Sign), option); err == nil {
				conn.Close()
				t.Errorf("a client is accepted at %s", address)
			}
		}
	}
}

// clientPort returns the address of the server's listener for clients, as its first
// line says.
func clientPort(t *testing.T, s *natsserver.LogServer) string {
	t.Helper()
	conn, err := s.InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var info struct {
		Host string `json:"host"`
		Port int    `json:"port"`
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info)
	}
	if err != nil || info.Port == 0 {
		t.Fatalf("the first line is %q: %v", line, err)
	}
	return fmt.Sprintf("%s:%d", info.Host, info.Port)
}

// TestPeersRefused checks that log servers that do not belong together refuse each
// other, say why, and count it.
func TestPeersRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(t *testing.T, c *natsservertest.Cluster)
		want   string
	}{
		"another CA": {
			change: func(t *testing.T, c *natsservertest.Cluster) {
				host, _, err := net.SplitHostPort(c.Configs[1].Listen)
				if err != nil {
					t.Fatal(err)
				}
				ca := natsservertest.NewCA(t)
				c.Configs[1].CAFile = ca.File
				c.Configs[1].CertFile, c.Configs[1].KeyFile = ca.Issue(t, "n2", host)
			},
			want: "signed by the cluster's CA",
		},
		"another cluster": {
			change: func(_ *testing.T, c *natsservertest.Cluster) { c.Configs[1].Cluster = "globex" },
			want:   "the setting [cluster] name must be the same on all nodes",
		},
		"a copied data folder": {
			change: func(t *testing.T, c *natsservertest.Cluster) {
				c.StartAll()
				for i := range c.Configs {
					c.Stop(i)
				}
				c.Configs[1].Node = c.Configs[0].Node
				if err := os.RemoveAll(c.Configs[1].Dir); err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(c.Configs[1].Dir, os.DirFS(c.Configs[0].Dir)); err != nil {
					t.Fatal(err)
				}
			},
			want: "the data folder of one node was copied to another",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := natsservertest.New(t, 3)
			var log journal
			c.Configs[0].Logger = slog.New(slog.NewTextHandler(&log, nil))
			test.change(t, c)
			first := c.Start(0)
			c.Start(1)
			eventually(t, "the refusal is logged", func() bool {
				return first.Refused() > 0 && log.has("a log server was refused") && log.has(test.want)
			})
			if seen := first.Seen(); len(seen) != 1 {
				t.Errorf("it is connected to %v", seen)
			}
		})
	}
}

// TestTwins checks that two nodes with one id are noticed.
func TestTwins(t *testing.T) {
	t.Parallel()
	c := natsservertest.New(t, 3)
	c.Configs[1].Node = c.Configs[0].Node
	var log journal
	c.Configs[0].Logger = slog.New(slog.NewTextHandler(&log, nil))
	a, b := c.Start(0), c.Start(1)
	want := []string{a.Name(), b.Name()}
	slices.Sort(want)
	eventually(t, "the twins are seen", func() bool { return slices.Equal(a.Twins(), want) })
	eventually(t, "the twins are logged", func() bool { return log.has("two nodes have the same id") })
}

func TestLogServerPortTaken(t *testing.T) {
	c := natsservertest.New(t, 3)
	l, err := net.Listen("tcp", c.Configs[0].Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := natsserver.NewLogServer(c.Configs[0])
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), "log server: NATS server on "+c.Configs[0].Listen) {
		t.Errorf("a taken port: %v", err)
	}
}

func TestLogConfigRefused(t *testing.T) {
	for want, spoil := range map[string]func(*natsserver.LogConfig){
		"no node id":         func(c *natsserver.LogConfig) { c.Node = "" },
		"no cluster name":    func(c *natsserver.LogConfig) { c.Cluster = "" },
		"no directory":       func(c *natsserver.LogConfig) { c.Dir = "" },
		"2 nodes":            func(c *natsserver.LogConfig) { c.Peers = c.Peers[:2] },
		"not in the list":    func(c *natsserver.LogConfig) { c.Node = "n9" },
		"must know the port": func(c *natsserver.LogConfig) { c.Listen = "127.0.0.1:0" },
		"missing port": func(c *natsserver.LogConfig) {
			c.Peers = append(slices.Clone(c.Peers), natsserver.LogPeer{Node: "n4", Address: "n4"})
		},
		"certificate: open":    func(c *natsserver.LogConfig) { c.CertFile = "missing.pem" },
		"CA: open":             func(c *natsserver.LogConfig) { c.CAFile = "missing.pem" },
		"holds no certificate": func(c *natsserver.LogConfig) { c.CAFile = c.KeyFile },
	} {
		cfg := natsservertest.New(t, 3).Configs[0]
		if err := cfg.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(&cfg)
		err := cfg.Check()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %q, got %v", want, err)
		}
		if _, made := natsserver.NewLogServer(cfg); made == nil || made.Error() != err.Error() {
			t.Errorf("Check says %v, NewLogServer %v", err, made)
		}
	}
	cfg := natsservertest.New(t, 3).Configs[0]
	cfg.CertFile, cfg.KeyFile = natsservertest.NewCA(t).Issue(t, "n1", "127.0.0.1")
	if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "the other log servers would refuse it") {
		t.Errorf("a certificate of another CA: %v", err)
	}
}

// TestReload checks that new certificates of a new CA are used for new connections,
// while the connections that exist stay.
func TestReload(t *testing.T) {
	t.Parallel()
	c := natsservertest.New(t, 3)
	all := c.StartAll()
	for _, s := range all {
		eventually(t, "three log servers see each other", func() bool { return len(s.Seen()) == 3 })
	}
	public, err := all[0].Key().PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect("", nats.InProcessServer(all[0]), nats.Nkey(public, all[0].Key().Sign))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ca := natsservertest.NewCA(t)
	for i := range c.Configs {
		host, _, err := net.SplitHostPort(c.Configs[i].Listen)
		if err != nil {
			t.Fatal(err)
		}
		cert, key := ca.Issue(t, c.Configs[i].Node, host)
		replace(t, c.Configs[i].CertFile, cert)
		replace(t, c.Configs[i].KeyFile, key)
	}
	if err := all[0].Reload(); err == nil || !strings.Contains(err.Error(), "would refuse it") {
		t.Errorf("certificates that do not fit the CA: %v", err)
	}
	replace(t, c.Configs[0].CAFile, ca.File)
	for _, s := range all[:2] {
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		if len(s.Seen()) != 3 {
			t.Errorf("after the reload %s is connected to %v", s.Name(), s.Seen())
		}
	}
	if err := conn.FlushTimeout(10 * time.Second); err != nil || conn.Stats().Reconnects > 0 {
		t.Errorf("the process has lost its connection: %v, %d reconnects", err, conn.Stats().Reconnects)
	}
	c.Stop(2)
	third := c.Start(2)
	eventually(t, "the third is connected with its new certificate", func() bool { return len(third.Seen()) == 3 })
}

func replace(t *testing.T, path, with string) {
	t.Helper()
	text, err := os.ReadFile(with)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
