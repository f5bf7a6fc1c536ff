package decision

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/postern-im/postern/xmpp/stanza"
)

// TestFactsAreASet adds parts in two orders, some twice, until the set is full.
func TestFactsAreASet(t *testing.T) {
	var parts []FactPart
	for s := range stanza.Space(16) {
		for n := range 2 {
			for inner := range 2 {
				parts = append(parts, FactPart{Space: s, Name: FactName(n), Inner: inner == 1})
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var f, g Facts
	for _, p := range append(parts, parts[3], parts[9]) {
		if !f.Add(p) {
			t.Fatalf("%+v: does not fit", p)
		}
	}
	rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	for _, p := range parts {
		g.Add(p)
	}
	if f != g || int(f.NumParts) != len(parts) {
		t.Fatalf("%d and %d parts, equal: %v", f.NumParts, g.NumParts, f == g)
	}
	if f.Add(FactPart{Space: stanza.MUCSub}) {
		t.Fatal("a 65th part fits")
	}
}

// FuzzFacts decodes bytes as facts. Facts that can be decoded must be encoded to
// the same bytes, because the audit log compares facts by their bytes.
func FuzzFacts(f *testing.F) {
	full := Facts{Direction: In, Kind: stanza.IQ, Type: stanza.Set, Marks: stanza.IsPlain, Peer: Remote, PeerLocal: true, ToResource: true,
		HasPayload: true, Payload: FactPart{Space: stanza.PubSub, Name: QueryName}}
	full.Add(FactPart{Space: stanza.PubSub, Name: CreateName, Node: OMEMONode})
	full.Add(FactPart{Space: stanza.PubSub, Name: ConfigureName, Inner: true})
	f.Add(AppendFacts(nil, &full))
	f.Add(AppendFacts(nil, &Facts{Kind: stanza.Message, Type: stanza.Chat, Peer: OwnAccount}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var f Facts
		rest, err := DecodeFacts(b, &f)
		if err != nil {
			return
		}
		if again := AppendFacts(nil, &f); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%x was encoded as %x", again, b)
		}
	})
}
