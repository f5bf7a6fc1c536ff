// Package natsservertest runs the log servers of a cluster in the process of a
// test. Their routes use real TCP connections and real certificates.
package natsservertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-im/postern/internal/natsserver"
)

// startWithin is the time that a log server has to listen.
const startWithin = 20 * time.Second

// A Cluster is the log servers of the nodes n1, n2 and so on. Its methods are
// called from the goroutine of the test.
type Cluster struct {
	t       testing.TB
	Configs []natsserver.LogConfig // may be changed before a Start
	running []*running             // nil: stopped
}

type running struct {
	server *natsserver.LogServer
	cancel context.CancelFunc
	done   chan error
}

// New returns n log servers that are not started. Their process may use all
// subjects.
func New(t testing.TB, n int) *Cluster {
	t.Helper()
	// Each cluster has loopback addresses of its own, so that clusters of several
	// processes do not take each other's ports.
	network := fmt.Sprintf("127.%d.%d", 1+mathrand.IntN(250), mathrand.IntN(256))
	ca := NewCA(t)
	c := &Cluster{t: t, running: make([]*running, n)}
	var peers []natsserver.LogPeer
	for i := range n {
		peers = append(peers, natsserver.LogPeer{Node: fmt.Sprintf("n%d", i+1), Address: fmt.Sprintf("%s.%d:6223", network, i+1)})
	}
	dir := t.TempDir()
	for _, p := range peers {
		host, _, err := net.SplitHostPort(p.Address)
		if err != nil {
			t.Fatal(err)
		}
		cert, key := ca.Issue(t, p.Node, host)
		c.Configs = append(c.Configs, natsserver.LogConfig{
			Node: p.Node, Cluster: "acme", Listen: p.Address, Peers: peers,
			CAFile: ca.File, CertFile: cert, KeyFile: key,
			Dir: filepath.Join(dir, p.Node), Publish: []string{">"}, Subscribe: []string{">"},
			Logger: slog.New(slog.DiscardHandler),
		})
	}
	t.Cleanup(func() {
		for i := range c.running {
			c.Stop(i)
		}
	})
	return c
}

// Start starts the log server with index i and returns it when it listens.
func (c *Cluster) Start(i int) *natsserver.LogServer {
	c.t.Helper()
	s, err := natsserver.NewLogServer(c.Configs[i])
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{server: s, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-r.done:
		cancel()
		c.t.Fatalf("log server %d: %v", i, err)
	case <-time.After(startWithin):
		cancel()
		c.t.Fatalf("log server %d is not ready", i)
	}
	c.running[i] = r
	return s
}

// StartAll starts all log servers and returns them when each has a vote.
func (c *Cluster) StartAll() []*natsserver.LogServer {
	c.t.Helper()
	var all []*natsserver.LogServer
	for i := range c.running {
		all = append(all, c.Start(i))
	}
	for i := range c.running {
		c.AwaitVote(i)
	}
	return all
}

// AwaitVote waits until the log server with index i has a vote.
func (c *Cluster) AwaitVote(i int) {
	c.t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	deadline := time.After(startWithin)
	for s := c.Server(i); s.Waiting() != nil; {
		select {
		case <-look.C:
		case <-deadline:
			c.t.Fatalf("log server %d has no vote: %v", i, s.Waiting())
		}
	}
}

// Server returns the log server with index i, which runs.
func (c *Cluster) Server(i int) *natsserver.LogServer { return c.running[i].server }

// Stop stops the log server with index i, if it runs.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	r := c.running[i]
	if r == nil {
		return
	}
	c.running[i] = nil
	r.cancel()
	if err := <-r.done; err != nil {
		c.t.Errorf("log server %d: %v", i, err)
	}
}

// A CA issues certificates for log servers.
type CA struct {
	File string // its certificate
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA returns a new CA.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{dir: t.TempDir(), key: newKey(t)}
	ca.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cluster CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca.cert, ca.cert, ca.key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	ca.File = filepath.Join(ca.dir, "ca.pem")
	write(t, ca.File, "CERTIFICATE", der)
	return ca
}

// Issue writes a certificate for a node and its hosts, and returns the files.
func (ca *CA) Issue(t testing.TB, node string, hosts ...string) (certFile, keyFile string) {
	t.Helper()
	key := newKey(t)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: node},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(ca.dir, node+".pem"), filepath.Join(ca.dir, node+".key")
	write(t, certFile, "CERTIFICATE", der)
	write(t, keyFile, "PRIVATE KEY", keyDER)
	return certFile, keyFile
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
