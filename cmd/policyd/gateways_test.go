package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/internal/natsserver"
)

// registry gives a command on the registry of gateways, as the operator.
func registry(t *testing.T, c *config, cmd api.Command) {
	t.Helper()
	client := api.NewClient(c.Admin.Socket)
	defer client.Close()
	if r, err := client.Do(t.Context(), "", cmd, api.CommandMeta{}); err != nil || !r.Changed {
		t.Fatalf("%s: %+v, %v", cmd.Command(), r, err)
	}
}

// newSeed makes the key of a gateway where the test helpers look for it, and returns
// its public part.
func newSeed(t *testing.T, c *config, id string) string {
	t.Helper()
	if err := os.RemoveAll(c.gatewaySeed(id)); err != nil {
		t.Fatal(err)
	}
	public, err := natsserver.EnsureSeed(c.gatewaySeed(id))
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// registered returns the registered gateways with their keys, as the admin API lists
// them.
func registered(t *testing.T, c *config) map[string]string {
	t.Helper()
	client := api.NewClient(c.Admin.Socket)
	defer client.Close()
	reply, err := client.Gateways(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for _, g := range reply.Gateways {
		list[g.ID] = g.PublicKey
	}
	return list
}

// TestGatewaysWithoutRestart: a gateway that is added can ask at once, and one that is
// removed gets no answer any more, while another one asks without an interruption.
func TestGatewaysWithoutRestart(t *testing.T) {
	c := testConfig(t)
	begin(t, c)
	steady := gateway(t, c, "gw1")
	ask := func(a *overnats.Asker) error {
		_, err := a.Admit(t.Context(), "alpha.test")
		return err
	}
	if err := ask(steady); err != nil {
		t.Fatal(err)
	}
	lost := counted(get(c, "/metrics"), "postern_policyd_refused_gateways_total")

	registry(t, c, api.GatewayAdd{ID: "edge3", PublicKey: newSeed(t, c, "edge3")})
	edge := gateway(t, c, "edge3")
	if err := ask(edge); err != nil {
		t.Errorf("after it was added: %v", err)
	}
	client := api.NewClient(c.Admin.Socket)
	defer client.Close()
	if again := counted(get(c, "/metrics"), "postern_policyd_refused_gateways_total"); again != lost {
		t.Errorf("gateways were turned away meanwhile: %s, was %s", again, lost)
	}

	registry(t, c, api.GatewayRemove{ID: "edge3"})
	if err := edge.Ask(t.Context(), chat(t, 0), make([]decision.Verdict, 1), time.Second); !errors.Is(err, overnats.ErrUnavailable) {
		t.Errorf("after it was removed: %v", err)
	}
	if err := ask(steady); err != nil {
		t.Errorf("the other gateway: %v", err)
	}
	sessions, err := client.Sessions(t.Context(), "", api.SessionFilter{}, "", 10)
	if err != nil || slices.Contains(sessions.Missing, "edge3") {
		t.Errorf("sessions: missing %v, %v", sessions.Missing, err)
	}

	// The same id with a new key is a new gateway.
	registry(t, c, api.GatewayAdd{ID: "edge3", PublicKey: newSeed(t, c, "edge3")})
	if err := ask(gateway(t, c, "edge3")); err != nil {
		t.Errorf("after it was added again: %v", err)
	}
}

// counted returns the lines of a metric.
func counted(metrics, name string) string {
	var lines []string
	for _, l := range strings.Split(metrics, "\n") {
		if strings.HasPrefix(l, name) {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// TestConfiguredGateways: the configuration's gateways are registered when policyd
// first starts with them. After that, only the log counts: a removed gateway stays
// removed, a key file with another key is named, and neither stops policyd.
func TestConfiguredGateways(t *testing.T) {
	c := testConfig(t)
	stop := begin(t, c)
	first := registered(t, c)
	for _, id := range c.NATS.Gateways {
		if public, err := natsserver.ReadSeed(c.gatewaySeed(id)); err != nil || first[id] != public {
			t.Errorf("%s is registered with %q, its file has %q, %v", id, first[id], public, err)
		}
	}
	client := api.NewClient(c.Admin.Socket)
	defer client.Close()
	log, err := client.Log(t.Context(), api.LogQuery{Limit: 10})
	if err != nil || len(log.Entries) != 2 || log.Entries[0].Actor != "policyd" || log.Entries[0].CommandID != "configured-gateway-gw1" {
		t.Errorf("%+v, %v", log.Entries, err)
	}
	registry(t, c, api.GatewayRemove{ID: "gw1"})
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	other := newSeed(t, c, "gw2")
	if err := os.Rename(c.gatewaySeed("gw1"), c.gatewaySeed("gw4")); err != nil {
		t.Fatal(err)
	}
	c.NATS.Gateways = []string{"gw1", "gw2", "gw3", "gw4"}
	p := startProcess(t, c)
	eventually(t, "policyd to be ready", func() bool { return get(c, "/readyz") == "ok\n" })
	now := registered(t, c)
	if len(now) != 2 || now["gw2"] != first["gw2"] || now["gw3"] == "" {
		t.Errorf("registered %v, at first %v", now, first)
	}
	if err := gateway(t, c, "gw2").Ask(t.Context(), chat(t, 0), make([]decision.Verdict, 1), time.Second); !errors.Is(err, overnats.ErrUnavailable) {
		t.Errorf("gw2 with a key that is not registered: %v", err)
	}
	if _, err := gateway(t, c, "gw3").Admit(t.Context(), "alpha.test"); err != nil {
		t.Errorf("gw3: %v", err)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	out := p.stderr.String()
	for _, want := range []string{
		`msg="a gateway that was removed is still in the configuration; it stays removed" gateway=gw1 removed=3`,
		`gateway=gw2 file=` + c.gatewaySeed("gw2") + ` key_of_file=` + other + ` key=` + first["gw2"],
		`msg="a configured gateway was registered" gateway=gw3`,
		`msg="a configured gateway cannot be registered" gateway=gw4`,
	} {
		if strings.Count(out, want) != 1 {
			t.Errorf("%d times %s:\n%s", strings.Count(out, want), want, out)
		}
	}
	if strings.Contains(out, "gateway=gw1 file") {
		t.Errorf("a removed gateway's file was compared:\n%s", out)
	}

	// Without gateways in the configuration, the log decides alone.
	c.NATS.Gateways = []string{}
	begin(t, c)
	if again := registered(t, c); len(again) != 2 || again["gw3"] != now["gw3"] {
		t.Errorf("without a configuration: %v", again)
	}
}

// TestConfiguredGatewaysOfABehindNode: a node that starts behind its cluster adds no
// configured gateway before it has caught up. Otherwise it would add a gateway again that
// was removed meanwhile.
func TestConfiguredGatewaysOfABehindNode(t *testing.T) {
	configs := clusterConfigs(t, 3)
	stops := beginAll(t, configs)
	if err := stops[2](); err != nil {
		t.Fatal(err)
	}
	registry(t, configs[0], api.GatewayAdd{ID: "gw1", PublicKey: newSeed(t, configs[0], "gw1")})
	registry(t, configs[0], api.GatewayRemove{ID: "gw1"})
	behind := configs[2]
	behind.NATS.Gateways = []string{"gw1", "gw2"}
	beginAll(t, configs[2:])
	eventually(t, "the other gateway to be added", func() bool { return registered(t, configs[0])["gw2"] != "" })
	if list := registered(t, configs[0]); len(list) != 1 {
		t.Errorf("registered: %v", list)
	}
}

// TestRegistryOnOldLog: an installation of the version before keeps its gateways and
// their keys. policyd registers them when it starts.
func TestRegistryOnOldLog(t *testing.T) {
	c := testConfig(t)
	extract(t, "testdata/previous/log.tar.gz", c.Data)
	mkdir(t, c.natsDir())
	key := newSeed(t, c, "gw1")
	begin(t, c)
	if list := registered(t, c); len(list) != 2 || list["gw1"] != key {
		t.Errorf("registered: %v, the key in the folder is %s", list, key)
	}
	if _, err := gateway(t, c, "gw1").Admit(t.Context(), "alpha.test"); err != nil {
		t.Error(err)
	}
}

// TestNoGatewayYet: the gateways of the configuration can be left out altogether; an
// absent list names one gateway, as in the versions before.
func TestNoGatewayYet(t *testing.T) {
	for environ, want := range map[string][]string{"NATS_GATEWAYS=": {}, "NATS_GATEWAYS=a,b": {"a", "b"}, "ID=n1": {defaultGateway}} {
		c, err := loadConfig("", []string{envPrefix + environ})
		if err != nil || !slices.Equal(c.gateways(), want) {
			t.Errorf("%s: %v, %v", environ, c.gateways(), err)
		}
	}
	file := filepath.Join(t.TempDir(), "policyd.toml")
	for text, want := range map[string][]string{"gateways = []": {}, "": {defaultGateway}} {
		if err := os.WriteFile(file, fmt.Appendf(nil, "[nats]\n%s\n", text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := loadConfig(file, nil); err != nil || !slices.Equal(c.gateways(), want) {
			t.Errorf("%q: %v, %v", text, c.gateways(), err)
		}
	}
	c := testConfig(t)
	c.NATS.Gateways = []string{}
	begin(t, c)
	if list := registered(t, c); len(list) != 0 {
		t.Errorf("registered: %v", list)
	}
}
