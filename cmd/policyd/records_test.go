package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
)

// TestRecordsAfterATornLine: a verdict that is recorded behind a line that was
// cut off has a line of its own.
func TestRecordsAfterATornLine(t *testing.T) {
	c := testConfig(t)
	if err := begin(t, c)(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.journal(), []byte("{\"time\":\"2026-"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin(t, c)
	if err := gateway(t, c, "gw1").Ask(t.Context(), chat(t, 0), make([]decision.Verdict, 1), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.journal())
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if last := lines[len(lines)-1]; len(lines) != 2 || !json.Valid(last) || !bytes.Contains(last, []byte(`"msg":"verdict"`)) {
		t.Errorf("records:\n%s", text)
	}
}

// TestFullDisk: a node that cannot record a verdict does not give it, and
// policyd ends, so that a service manager starts it again.
func TestFullDisk(t *testing.T) {
	c := testConfig(t)
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", c.journal()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx, c, true) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for get(c, "/readyz") != "ok\n" && ctx.Err() == nil {
		<-tick.C
	}
	vs := make([]decision.Verdict, 1)
	if err := gateway(t, c, "gw1").Ask(ctx, chat(t, 0), vs, time.Second); !errors.Is(err, overnats.ErrUnavailable) || vs[0].Effect != decision.Undecided {
		t.Errorf("an unrecorded verdict: %+v, %v", vs[0], err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("policyd ended: %v", err)
	}
}
