package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// makeCluster runs cluster init and returns the folder.
func makeCluster(t *testing.T, nodes string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cluster")
	if code, _, errOut := policyctl("", "cluster", "init", "--name", "acme", "--nodes", nodes, "--out", dir); code != exitDone {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	return dir
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(read(t, file))) {
		t.Fatalf("no certificate in %s", file)
	}
	return p
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// handshake connects to a server with a certificate of one folder, from a client
// with one of another, as the routes between nodes do.
func handshake(t *testing.T, server, client, trusted, name string) error {
	t.Helper()
	serverPair, err := tls.LoadX509KeyPair(server+".crt", server+".key")
	if err != nil {
		t.Fatal(err)
	}
	clientPair, err := tls.LoadX509KeyPair(client+".crt", client+".key")
	if err != nil {
		t.Fatal(err)
	}
	roots := pool(t, trusted)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{serverPair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots})
	_ = a.SetDeadline(time.Now().Add(10 * time.Second))
	accepted := make(chan error, 1)
	go func() {
		err := s.HandshakeContext(t.Context())
		s.Close()
		accepted <- err
	}()
	c := tls.Client(b, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{clientPair}, RootCAs: roots, ServerName: name})
	if err = c.HandshakeContext(t.Context()); err == nil {
		_, _ = c.Read(make([]byte, 1)) // the server closes once it has verified the client
	}
	b.Close()
	return errors.Join(err, <-accepted)
}

// TestClusterInit uses the certificates as nodes and gateways do.
func TestClusterInit(t *testing.T) {
	dir := makeCluster(t, "n1=10.0.0.1,n2=[2001:db8::2],n3=node3.example:6300")
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	for _, c := range []struct {
		server, client, name string
		accepted             bool
	}{
		{at("n1", "cluster"), at("n2", "cluster"), "10.0.0.1", true},
		{at("n1", "cluster"), at("n2", "cluster"), "n1", true},
		{at("n2", "cluster"), at("n1", "cluster"), "2001:db8::2", true},
		{at("n3", "cluster"), at("n1", "cluster"), "node3.example", true},
		{at("n3", "cluster"), at("n1", "cluster"), "10.0.0.1", false},
		{at("n3", "nats"), at("n1", "cluster"), "node3.example", true},
		// The key of the listener for gateways opens no route.
		{at("n1", "cluster"), at("n2", "nats"), "10.0.0.1", false},
	} {
		if err := handshake(t, c.server, c.client, at("n1", "ca.crt"), c.name); (err == nil) != c.accepted {
			t.Errorf("%s from %s as %s: %v", c.server, c.client, c.name, err)
		}
	}
	other := makeCluster(t, "n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3")
	if handshake(t, at("n1", "cluster"), filepath.Join(other, "n2", "cluster"), at("n1", "ca.crt"), "10.0.0.1") == nil {
		t.Error("a node of another cluster was accepted")
	}
	pair, err := tls.LoadX509KeyPair(at("n1", "cluster.crt"), at("n1", "cluster.key"))
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(pair.Leaf.NotAfter); left < 729*24*time.Hour || left > 731*24*time.Hour {
		t.Errorf("valid for %v", left)
	}
}

// TestClusterInitFiles: nobody but the owner can read a file, and the
// configurations are complete.
func TestClusterInitFiles(t *testing.T) {
	dir := makeCluster(t, "n1=10.0.0.1,n2=10.0.0.2:6300,n3=node3.example")
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var node struct {
		ID      string
		Cluster struct {
			Name, Listen, CA, Cert, Key string
			Peers                       []string
		}
		NATS struct {
			Listen, Cert, Key string
			ServerName        string `toml:"server_name"`
		}
	}
	if err := toml.Unmarshal([]byte(read(t, filepath.Join(dir, "n2", "policyd.toml"))), &node); err != nil {
		t.Fatal(err)
	}
	if node.ID != "n2" || node.Cluster.Name != "acme" || node.Cluster.Listen != "10.0.0.2:6300" || node.NATS.Listen != "10.0.0.2:4222" ||
		node.NATS.ServerName != "postern-n2" || node.Cluster.Key != "/etc/postern/cluster/cluster.key" || node.NATS.Key != "/etc/postern/cluster/nats.key" ||
		!slices.Equal(node.Cluster.Peers, []string{"n1=10.0.0.1:6223", "n2=10.0.0.2:6300", "n3=node3.example:6223"}) {
		t.Errorf("node: %+v", node)
	}
	if err := toml.Unmarshal([]byte(read(t, filepath.Join(dir, "n3", "policyd.toml"))), &node); err != nil || node.Cluster.Listen != "[::]:6223" || node.NATS.Listen != "[::]:4222" {
		t.Errorf("a node with a host name: %v, %+v", err, node)
	}
	var gateway struct {
		NATS struct {
			URLs       []string
			CA         string
			ServerName string `toml:"server_name"`
		}
	}
	if err := toml.Unmarshal([]byte(read(t, filepath.Join(dir, "gateway", "gateway.toml"))), &gateway); err != nil {
		t.Fatal(err)
	}
	if gateway.NATS.ServerName != "postern" || !slices.Equal(gateway.NATS.URLs, []string{"tls://10.0.0.1:4222", "tls://10.0.0.2:4222", "tls://node3.example:4222"}) {
		t.Errorf("gateway: %+v", gateway)
	}
}

// TestClusterInitRefuses: a wrong command line makes no folder.
func TestClusterInitRefuses(t *testing.T) {
	existing := t.TempDir()
	for _, c := range []struct{ name, nodes, out, want string }{
		{"acme", "n1=10.0.0.1,n2=10.0.0.2", "", "at least 3"},
		{"acme", "n1=10.0.0.1,n1=10.0.0.2,n3=10.0.0.3", "", "has a node n1 already"},
		{"acme", "n1=10.0.0.1,n2=10.0.0.1:6223,n3=10.0.0.3", "", "node n1 has the same address"},
		{"acme", "n1=10.0.0.1,n2=0.0.0.0,n3=10.0.0.3", "", "cannot reach this address"},
		{"acme", "n1=10.0.0.1,n2=b\"d,n3=10.0.0.3", "", "neither a host name nor an IP address"},
		{"acme", "n1=10.0.0.1,n2=10.0.0.2:99999,n3=10.0.0.3", "", "not a port"},
		{"acme", "N1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3", "", "want ID=HOST"},
		{"acme", "n1,n2,n3", "", "want ID=HOST"},
		{"acme", "ca=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3", "", "the name of another folder"},
		{"a b", "n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3", "", "--name"},
		{"acme", "n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3", existing, "exists"},
		{"acme", "n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3,n4=h4,n5=h5,n6=h6,n7=h7,n8=h8,n9=h9", "", "at most 8"},
	} {
		out := c.out
		if out == "" {
			out = filepath.Join(t.TempDir(), "cluster")
		}
		code, _, errOut := policyctl("", "cluster", "init", "--name", c.name, "--nodes", c.nodes, "--out", out)
		if code != exitUsage || !strings.Contains(errOut, c.want) {
			t.Errorf("%+v: exit %d: %s", c, code, errOut)
		}
		if _, err := os.Stat(out); c.out == "" && err == nil {
			t.Errorf("%+v: a folder was made", c)
		}
	}
	if list, err := os.ReadDir(existing); err != nil || len(list) != 0 {
		t.Errorf("the existing folder: %v, %v", list, err)
	}
}

// TestClusterIssue renews a node and replaces another.
func TestClusterIssue(t *testing.T) {
	dir := makeCluster(t, "n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3")
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	before := map[string]string{}
	for _, name := range []string{"n1/cluster.key", "n2/cluster.key", "n2/cluster.crt", "n2/nats.key", "n1/ca.crt"} {
		before[name] = read(t, at(name))
	}
	if code, _, errOut := policyctl("", "cluster", "issue", "n2", "--dir", dir); code != exitDone {
		t.Fatalf("renew: exit %d: %s", code, errOut)
	}
	for name, old := range before {
		if changed := read(t, at(name)) != old; changed != strings.HasPrefix(name, "n2/") {
			t.Errorf("renew: %s changed: %v", name, changed)
		}
	}
	if err := handshake(t, at("n1", "cluster"), at("n2", "cluster"), at("n1", "ca.crt"), "10.0.0.1"); err != nil {
		t.Errorf("the renewed certificate: %v", err)
	}

	code, out, errOut := policyctl("", "cluster", "issue", "n4=10.0.0.4", "--replaces", "n3", "--dir", dir, "--json")
	var made clusterFiles
	if code != exitDone || json.Unmarshal([]byte(out), &made) != nil || !slices.Equal(made.Nodes, []string{"n4"}) {
		t.Fatalf("replace: exit %d: %s%s", code, out, errOut)
	}
	if err := handshake(t, at("n4", "cluster"), at("n1", "cluster"), at("n1", "ca.crt"), "10.0.0.4"); err != nil {
		t.Errorf("the further node: %v", err)
	}
	for _, file := range []string{at("n1", "policyd.toml"), at("n4", "policyd.toml"), at("gateway", "gateway.toml")} {
		if text := read(t, file); strings.Contains(text, "10.0.0.3") || !strings.Contains(text, "10.0.0.4") {
			t.Errorf("%s:\n%s", file, text)
		}
	}

	for _, c := range []struct {
		args string
		want string
	}{
		{"n9", "no node \"n9\""},
		{"n1=10.0.0.9", "has a node n1 already"},
		{"n5=10.0.0.5 --replaces n9", "no node \"n9\""},
		{"n1=10.0.0.5 --replaces n1", "under a new id"},
		{"n1 --replaces n2", "needs the host"},
	} {
		plan := read(t, at("ca", "cluster.json"))
		args := append([]string{"cluster", "issue", "--dir", dir}, strings.Fields(c.args)...)
		if code, _, errOut := policyctl("", args...); code != exitUsage || !strings.Contains(errOut, c.want) {
			t.Errorf("%s: exit %d: %s", c.args, code, errOut)
		}
		if read(t, at("ca", "cluster.json")) != plan {
			t.Errorf("%s: the plan has changed", c.args)
		}
	}

	if err := os.Chmod(at("ca", "ca.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := policyctl("", "cluster", "issue", "n1", "--dir", dir); code != exitError || !strings.Contains(errOut, "chmod 600") {
		t.Errorf("a key that others can read: exit %d: %s", code, errOut)
	}
}

// TestClusterOneHost gives nodes on one host ports of their own.
func TestClusterOneHost(t *testing.T) {
	p := &clusterPlan{Name: "acme", Etc: "/etc"}
	for _, text := range []string{"n1=127.0.0.1", "n2=127.0.0.1", "n3=127.0.0.1:7000", "n4=10.0.0.1"} {
		if err := p.add(text); err != nil {
			t.Fatal(err)
		}
	}
	want := []clusterNode{{"n1", "127.0.0.1", 6223, 4222}, {"n2", "127.0.0.1", 6224, 4223}, {"n3", "127.0.0.1", 7000, 4224}, {"n4", "10.0.0.1", 6223, 4222}}
	if !slices.Equal(p.Nodes, want) || !slices.Equal(p.sharedHosts(), []string{"127.0.0.1"}) {
		t.Errorf("%+v", p.Nodes)
	}
}

// TestClusterCALifetime: no certificate outlives the authority, and an expired
// authority issues none.
func TestClusterCALifetime(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ca, _, err := newClusterCA("acme", start)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.issue(clusterNode{ID: "n1", Host: "10.0.0.1"}, true, start.Add(caLifetime-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	both, err := tls.X509KeyPair(pair.cert, pair.key)
	if err != nil || both.Leaf.NotAfter.After(ca.cert.NotAfter) {
		t.Errorf("%v, until %v", err, both.Leaf.NotAfter)
	}
	if _, err := ca.issue(clusterNode{ID: "n1", Host: "10.0.0.1"}, true, start.Add(caLifetime)); err == nil {
		t.Error("an expired authority has issued a certificate")
	}
}
