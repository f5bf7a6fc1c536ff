package main

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
)

// TestRecordsAfterATornLine: if the last line of the file is incomplete, the next
// record begins a new line.
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
