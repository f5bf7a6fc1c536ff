package audit

import "testing"

// TestCheckPeer: an entry does not store the kind of a peer's name, so a peer of another
// kind is refused.
func TestCheckPeer(t *testing.T) {
	r := Record{Kind: VerdictKind, Judged: []byte{1}, Peer: Name{Kind: JIDName, Text: []byte("a@b.test")}}
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	r.Peer.Kind = ActorName
	if r.Check() == nil {
		t.Error("a peer that is an actor is accepted")
	}
}
