package node

import (
	"bytes"
	"strings"
	"testing"

	"github.com/postern-im/postern/decision"
)

// TestJournalUnknownDomain: who asks for a domain nobody serves, which anybody
// may do, writes nothing to the disk; who is let in does.
func TestJournalUnknownDomain(t *testing.T) {
	var out bytes.Buffer
	batch := &decision.Batch{Requests: []decision.Request{
		{Kind: decision.Admit, Domain: []byte("nowhere.test")}, {Kind: decision.Admit, Domain: []byte("alpha.test")},
	}}
	j := NewJournal(&out)
	results := make([]decision.Result, 2)
	if err := j.Record(Decided{Batch: batch, Results: results}); err != nil || out.Len() > 0 {
		t.Errorf("wrote %q, %v", out.String(), err)
	}
	results[1].Admission.Known = true
	if err := j.Record(Decided{Batch: batch, Results: results}); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "nowhere.test") || !strings.Contains(text, "alpha.test") {
		t.Errorf("wrote %q", text)
	}
}
