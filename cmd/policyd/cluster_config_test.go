package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// clusterText is a correct configuration of a node of a cluster.
const clusterText = `id = "n1"
[cluster]
name = "acme"
listen = "10.0.0.1:6223"
peers = ["n1=10.0.0.1:6223", "n2=10.0.0.2:6223", "n3=10.0.0.3:6223"]
ca = "ca.pem"
cert = "n1.pem"
key = "n1.key"
`

func TestClusterConfig(t *testing.T) {
	external := `id = "n1"
[cluster]
name = "acme"
nats_urls = ["tls://nats.example:4222"]
nats_seed_file = "seed"
nats_ca = "ca.pem"
nodes = ["n1", "n2", "n3"]
`
	for _, test := range []struct {
		name, text, old, with string
		want                  string // part of the error; empty: none
	}{
		{name: "correct", text: clusterText},
		{name: "external", text: external},
		{name: "no name", text: clusterText, old: `name = "acme"`, want: "needs a name"},
		{name: "wrong name", text: clusterText, old: `"acme"`, with: `"Acme Inc"`, want: `name "Acme Inc"`},
		{name: "gateways", text: clusterText, old: "[cluster]", with: "[nats]\ngateways = [\"edge\"]\n[cluster]", want: "policyctl gateway add"},
		{name: "no listen", text: clusterText, old: `listen = "10.0.0.1:6223"`, want: "no address in listen"},
		{name: "no certificate", text: clusterText, old: `cert = "n1.pem"`, want: "policyctl cluster init"},
		{name: "two nodes", text: clusterText, old: `, "n3=10.0.0.3:6223"`, want: "at least 3"},
		{name: "not itself", text: clusterText, old: `id = "n1"`, with: `id = "n9"`, want: "does not list this node, n9"},
		{name: "not a peer", text: clusterText, old: "n2=10.0.0.2:6223", with: "n2", want: `"n2": want ID=HOST:PORT`},
		{name: "no port", text: clusterText, old: "n2=10.0.0.2:6223", with: "n2=10.0.0.2", want: "want ID=HOST:PORT"},
		{name: "not an id", text: clusterText, old: "n2=10.0.0.2:6223", with: "n.2=10.0.0.2:6223", want: "want ID=HOST:PORT"},
		{name: "an id twice", text: clusterText, old: "n2=", with: "n1=", want: "listed twice"},
		{name: "an address twice", text: clusterText, old: "n2=10.0.0.2", with: "n2=10.0.0.1", want: "listed twice"},
		{name: "both kinds", text: external, old: "[cluster]", with: "[cluster]\nlisten = \"10.0.0.1:6223\"", want: "leave out listen"},
		{name: "external without a seed", text: external, old: `nats_seed_file = "seed"`, want: "requires nats_seed_file"},
		{name: "external without nodes", text: external, old: `nodes = ["n1", "n2", "n3"]`, want: "list the ids of all nodes"},
		{name: "external, two nodes", text: external, old: `, "n3"`, want: "lists 2 nodes"},
		{name: "external, not itself", text: external, old: `"n1", "n2"`, with: `"n4", "n2"`, want: "does not list this node, n1"},
		{name: "external, a node twice", text: external, old: `"n3"`, with: `"n2"`, want: "listed twice"},
		{name: "external, not an id", text: external, old: `"n3"`, with: `"n.3"`, want: "want an id"},
		{name: "nodes and peers", text: clusterText, old: `key = "n1.key"`, with: "key = \"n1.key\"\nnodes = [\"n1\"]", want: "for nats_urls only"},
		{name: "a seed without servers", text: clusterText, old: `key = "n1.key"`, with: "key = \"n1.key\"\nnats_seed_file = \"seed\"", want: "for nats_urls only"},
		{name: "nothing but a seed", text: "[cluster]\nnats_seed_file = \"seed\"\n", want: "needs a name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := test.text
			if test.old != "" {
				if !strings.Contains(text, test.old) {
					t.Fatalf("the text does not contain %q", test.old)
				}
				text = strings.Replace(text, test.old, test.with, 1)
			}
			path := filepath.Join(t.TempDir(), "policyd.toml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := loadConfig(path, nil)
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "" && (!c.clustered() || len(c.gateways()) > 0):
				t.Errorf("clustered: %v, gateways: %v", c.clustered(), c.gateways())
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// A node without [cluster] has the default gateway, also if [nats] is given.
func TestStandaloneGateways(t *testing.T) {
	c, err := loadConfig("", nil)
	if err != nil || c.clustered() || len(c.gateways()) != 1 {
		t.Errorf("%v, %v", c.gateways(), err)
	}
}

// TestDoubts checks the warnings about settings with which a node starts, but which
// keep the other nodes from connecting to it.
func TestDoubts(t *testing.T) {
	for name, test := range map[string]struct {
		change func(c, other *config)
		want   string // empty: no warning
	}{
		"as made by cluster init":     {func(_, _ *config) {}, ""},
		"on all addresses":            {func(c, _ *config) { c.Cluster.Listen = "0.0.0.0:6223" }, ""},
		"a name in peers":             {func(c, _ *config) { c.Cluster.Listen = "localhost:6223" }, ""},
		"another port":                {func(c, _ *config) { c.Cluster.Listen = "0.0.0.0:6224" }, "listen is 0.0.0.0:6224, but the other nodes connect to 127."},
		"another address":             {func(c, _ *config) { c.Cluster.Listen = "192.0.2.1:6223" }, "listen is 192.0.2.1:6223"},
		"another node's certificate":  {func(c, other *config) { c.Cluster.Cert, c.Cluster.Key = other.Cluster.Cert, other.Cluster.Key }, "policyctl cluster issue n2"},
		"another node's name":         {func(c, _ *config) { c.ID = "n3" }, "is the certificate of n2 for 127."},
		"a certificate without a key": {func(c, _ *config) { c.Cluster.Key = "missing" }, ""},
	} {
		list := clusterConfigs(t, 3)
		c := list[1]
		test.change(c, list[0])
		found := errors.Join(c.doubts()...)
		if test.want == "" && found != nil || test.want != "" && (found == nil || !strings.Contains(found.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, found, test.want)
		}
	}
}
