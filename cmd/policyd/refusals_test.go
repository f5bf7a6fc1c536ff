package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/projections"
)

// TestTurnedAway: policyd logs the gateways that it turns away, each once a minute,
// with the remedy.
func TestTurnedAway(t *testing.T) {
	c := testConfig(t)
	c.NATS.Gateways = []string{"gw1", "gw2", "gone"}
	stop := begin(t, c)
	registry(t, c, api.GatewayRemove{ID: "gone"})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// policyd made this key once, and its log does not have it.
	if _, err := natsserver.EnsureSeed(c.gatewaySeed("lost")); err != nil {
		t.Fatal(err)
	}
	strange := filepath.Join(t.TempDir(), "strange")
	if _, err := natsserver.EnsureSeed(strange); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, c)
	eventually(t, "policyd to be ready", func() bool { return get(c, "/readyz") == "ok\n" })
	for _, g := range []struct{ id, seed, reason string }{
		{"gw1", strange, refusedUnknownKey},
		{"gone", c.gatewaySeed("gone"), refusedUnknownKey},
		{"lost", c.gatewaySeed("lost"), refusedUnknownKey},
		{"gw3", c.gatewaySeed("gw2"), refusedRights},
		{"gw1", "", refusedNoKey},
	} {
		count := func() string {
			_, line, _ := strings.Cut(get(c, "/metrics"), `postern_policyd_refused_gateways_total{reason="`+g.reason+`"} `)
			line, _, _ = strings.Cut(line, "\n")
			return line
		}
		before := count()
		conn, err := overnats.Connect(overnats.ConnectConfig{
			URLs: []string{"nats://" + c.NATS.Listen}, ServerName: c.NATS.ServerName, SeedFile: g.seed, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		a, err := overnats.New(overnats.Config{Links: []overnats.LinkConfig{{Conn: conn}}, Gateway: g.id, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		eventually(t, fmt.Sprintf("%+v to be turned away", g), func() bool { return count() != before })
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		conn.Close()
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	out := p.stderr.String()
	for _, want := range []string{
		`level=WARN msg="a gateway is turned away: its key is unknown" from=127.0.0.1 key=U`,
		`level=WARN msg="a gateway is turned away: it was removed" from=127.0.0.1 id=gone key=U`,
		`level=WARN msg="a gateway is turned away: its key is not registered" from=127.0.0.1 id=lost key=U`,
		`level=WARN msg="a gateway uses the key of another id: it is not answered" from=127.0.0.1 key_of=gw2 id=gw3 subject=`,
		`level=WARN msg="a client without a key is turned away from NATS" from=127.0.0.1`,
	} {
		// One line for the first refusal, and one for those counted until the end.
		if n := strings.Count(out, want); n < 1 || n > 2 {
			t.Errorf("%d times %s:\n%s", n, want, out)
		}
	}
	if strings.Count(out, "remedy=") < 5 {
		t.Errorf("remedies are missing:\n%s", out)
	}
}

// TestRefusedSubjects checks the log lines about subjects that a registered key has no
// right to. Only a subject of another gateway means that the id is wrong.
func TestRefusedSubjects(t *testing.T) {
	for subject, want := range map[string]string{
		"postern.ask.n1.gw2":    `msg="a gateway uses the key of another id: it is not answered" from=192.0.2.1 key_of=gw1 id=gw2`,
		"postern.nodes":         `msg="a gateway's key is used for a subject that gateways have no right to: this is refused" from=192.0.2.1 id=gw1 subject=postern.nodes`,
		"postern.log.batch":     `this is refused" from=192.0.2.1 id=gw1 subject=postern.log.batch`,
		"postern.ask.n1.gw1":    `this is refused" from=192.0.2.1 id=gw1`,
		"$SYS.REQ.SERVER.PING.": `this is refused" from=192.0.2.1 id=gw1`,
	} {
		var log strings.Builder
		r, err := newRefusals(slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		r.know([]*projections.Gateway{{ID: "gw1", PublicKey: "U1"}})
		r.refused(natsserver.Refusal{From: "192.0.2.1", Key: "U1", Subject: subject})
		if !strings.Contains(log.String(), want) || !strings.Contains(log.String(), "remedy=") {
			t.Errorf("%s: %s", subject, &log)
		}
	}
}
