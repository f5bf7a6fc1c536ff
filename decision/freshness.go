package decision

import "time"

const (
	// Lease is the greatest age of the proof of a node's state when a stanza is
	// handed over. A revocation is therefore in force everywhere, at the latest,
	// this long after it was acknowledged, whatever fails. It leaves a cluster room
	// to survive the loss of its leader without refusing stanzas.
	Lease = 20 * time.Second
	// MaxAge is the greatest age of a verdict when its stanza is handed over. Nodes
	// usually learn of a revocation within milliseconds, so it usually takes effect
	// within MaxAge.
	MaxAge = time.Second
)

// Freshness says how old a node's answer is. Both times are of the gateway's
// boot-time clock (package internal/boottime). The Asker sets them; they are never
// on the wire. The zero Freshness is not fresh.
type Freshness struct {
	// AskedAt is when the gateway sent the request. The answer was made later.
	AskedAt time.Duration
	// ProvenAt is an instant for which the node has proven its state: the answer
	// knows every commit that was acknowledged before ProvenAt.
	ProvenAt time.Duration
}

// Fresh reports whether the answer may be acted on now. It reports false if either
// time is missing or is in the future, because such a time proves nothing.
func (f *Freshness) Fresh(now time.Duration) bool {
	return within(now, f.AskedAt, MaxAge) && within(now, f.ProvenAt, Lease)
}

func within(now, at, age time.Duration) bool {
	return at > 0 && at <= now && now-at <= age
}
