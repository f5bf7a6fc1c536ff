package jetstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/postern-im/postern/internal/natsserver/natsservertest"
)

// An operators value is three NATS servers with JetStream that are not Postern's.
// Clients connect by TLS with nkeys.
type operators struct {
	urls []string
	tls  *tls.Config
}

// startOperators starts an operator's servers. users are public keys with the
// subjects that each may publish and subscribe to.
func startOperators(t *testing.T, users map[string][2][]string) *operators {
	t.Helper()
	ca := natsservertest.NewCA(t)
	certFile, keyFile := ca.Issue(t, "nats", "127.0.0.1")
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	o := &operators{tls: &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}}
	o.tls.RootCAs.AppendCertsFromPEM(text)
	var routes []*url.URL
	ports := freePorts(t, 3)
	for _, port := range ports {
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	var all []*server.Server
	for i, port := range ports {
		opts := &server.Options{
			ServerName: fmt.Sprintf("nats%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			TLS: true, TLSTimeout: 5, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
			Cluster: server.ClusterOpts{Name: "theirs", Host: "127.0.0.1", Port: port}, Routes: routes,
		}
		for key, rights := range users {
			opts.Nkeys = append(opts.Nkeys, &server.NkeyUser{Nkey: key, Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: rights[0]}, Subscribe: &server.SubjectPermission{Allow: rights[1]},
			}})
		}
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
		go s.Start()
	}
	t.Cleanup(func() {
		for _, s := range all {
			s.Shutdown()
			s.WaitForShutdown()
		}
	})
	for _, s := range all {
		if !s.ReadyForConnections(within) {
			t.Fatal("an operator's server does not start")
		}
		o.urls = append(o.urls, "tls://"+s.Addr().String())
	}
	return o
}

// freePorts returns ports that were free a moment ago.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// seed writes a new seed and returns its file and public key.
func seed(t *testing.T) (file, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, public
}

func (o *operators) connect(t *testing.T, seedFile string) *nats.Conn {
	t.Helper()
	auth, err := nats.NkeyOptionFromSeed(seedFile)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(strings.Join(o.urls, ","), append(options(), auth, nats.Secure(o.tls), nats.IgnoreAuthErrorAbort())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// A journal is a log that a test reads while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
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

// TestExternal runs nodes on an operator's NATS servers, with exactly the rights
// that Rights returns.
func TestExternal(t *testing.T) {
	t.Parallel()
	seedFile, public := seed(t)
	weak, weakKey := seed(t)
	publish, subscribe := Rights()
	o := startOperators(t, map[string][2][]string{
		public:  {publish, subscribe},
		weakKey: {{"nothing"}, {"_INBOX.>"}},
	})
	var nodes []*node
	for i := range 2 {
		n := &node{conn: o.connect(t, seedFile)}
		var log journal
		n.stream = NewStream(StreamConfig{Conn: n.conn, Cluster: "acme", Create: i == 0, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		background(t, n.stream.Run)
		eventually(t, "the warning about sync_interval", func() bool { return log.has("sync_interval: always") })
		nodes = append(nodes, n)
	}
	books := []*book{follow(t, nodes[0], 0), follow(t, nodes[1], 0)}
	for k := range 20 {
		offer(t, nodes[k%2], batch("entry %d", k), books[k%2])
	}
	eventually(t, "all entries", func() bool { return books[0].has(batch("entry 19")) && books[1].has(batch("entry 19")) })
	checkSame(t, books[0], books[1])

	full := filledLog(t, 10, 10)
	peers(t, nodes[0], 0, full)
	p := peers(t, nodes[1], 1, filledLog(t, 0, 0))
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var got [][]byte
	if err := p.Copy(ctx, 1, 10, func(r [][]byte) error { got = append(got, r...); return nil }); err != nil {
		t.Fatal(err)
	}
	checkCopy(t, got, full, 1, 10)

	// A missing user or right is reported, and tried again.
	strange, _ := seed(t)
	for _, test := range []struct{ name, seed, want string }{
		{"an unknown key", strange, "do not know the key in nats_seed_file"},
		{"too few rights", weak, "do not let this node do what it must"},
	} {
		conn := o.connect(t, test.seed)
		var log journal
		s := NewStream(StreamConfig{Conn: conn, Cluster: "acme", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		background(t, s.Run)
		eventually(t, test.name, func() bool { return log.has(test.want) })
	}
}

// TestGuide checks that the operator's guide lists exactly the rights of Rights.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../../docs/CLUSTER.md")
	if err != nil {
		t.Fatal(err)
	}
	publish, subscribe := Rights()
	for key, want := range map[string][]string{"publish": publish, "subscribe": subscribe} {
		_, rest, _ := strings.Cut(string(text), "\n  "+key+": [")
		list, _, _ := strings.Cut(rest, "]")
		var got []string
		for i, part := range strings.Split(list, `"`) {
			if i%2 == 1 {
				got = append(got, part)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: docs/CLUSTER.md has %q, want %q", key, got, want)
		}
	}
}

// TestReasons checks what an operator reads while the stream is not there.
func TestReasons(t *testing.T) {
	t.Parallel()
	c := natsservertest.New(t, 3)
	var first, second journal
	run := func(i int, log *journal) {
		s := c.Start(i)
		stream := NewStream(StreamConfig{
			Conn: connect(t, s), Cluster: "acme", SyncAlways: s.SyncAlways, Logger: slog.New(slog.NewTextHandler(log, nil)),
			Seen: func() (int, int) { return len(s.Seen()), len(c.Configs) },
		})
		background(t, stream.Run)
	}
	run(0, &first)
	eventually(t, "a lone new server has no vote", func() bool { return first.has("has no vote yet; 1 of 3 log servers") })
	run(1, &second)
	eventually(t, "two new servers have no vote", func() bool { return second.has("has no vote yet; 2 of 3 log servers") })
	c.Start(2)
	eventually(t, "nobody has made the stream", func() bool { return second.has("the stream does not exist yet") && second.has("3 of 3 log servers") })
	creator := NewStream(StreamConfig{
		Conn: connect(t, c.Server(0)), Cluster: "acme", Create: true, SyncAlways: c.Server(0).SyncAlways, Logger: slog.New(slog.DiscardHandler),
	})
	background(t, creator.Run)
	select {
	case <-creator.Ready():
	case <-time.After(within):
		t.Error("the stream is not made")
	}
	c.Stop(0)
	c.Stop(1)
	c.Stop(2)
	var third journal
	run(2, &third)
	eventually(t, "a lone server with a vote has no leader", func() bool { return third.has("the log servers have no leader") && third.has("1 of 3 log servers") })
}
