package history

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	ms    = time.Millisecond
	bound = 100 * ms
)

func revoke(began, acked time.Duration) Write {
	return Write{Account: "a", Began: began, Acked: acked}
}

func grant(began, acked time.Duration) Write {
	return Write{Account: "a", Allowed: true, Began: began, Acked: acked}
}

func passed(sent, decided time.Duration) Stanza {
	return Stanza{Account: "a", Sent: sent, Decided: decided, Passed: true}
}

func refused(sent, decided time.Duration) Stanza {
	return Stanza{Account: "a", Sent: sent, Decided: decided}
}

func TestHistory(t *testing.T) {
	for _, test := range []struct {
		name         string
		writes       []Write
		stanzas      []Stanza
		late         bool // OneSided finds a violation
		unexplained  bool // Linearizable does not hold
		longestAfter time.Duration
	}{
		{name: "nothing"},
		{name: "passed before", stanzas: []Stanza{passed(1*ms, 2*ms)}, writes: []Write{revoke(10*ms, 11*ms)}},
		{
			name: "passed within the bound", writes: []Write{revoke(10*ms, 11*ms)}, stanzas: []Stanza{passed(50*ms, 60*ms)},
			longestAfter: 49 * ms,
		},
		{
			name: "passed too late", writes: []Write{revoke(10*ms, 11*ms)}, stanzas: []Stanza{passed(150*ms, 160*ms)},
			late: true, unexplained: true, longestAfter: 149 * ms,
		},
		{name: "granted again", writes: []Write{revoke(10*ms, 11*ms), grant(140*ms, 150*ms)}, stanzas: []Stanza{passed(150*ms, 160*ms)}},
		{
			name:   "granted again later",
			writes: []Write{revoke(10*ms, 11*ms), grant(170*ms, 180*ms)}, stanzas: []Stanza{passed(150*ms, 160*ms)},
			late: true, unexplained: true, longestAfter: 149 * ms,
		},
		{name: "an unknown grant", writes: []Write{revoke(10*ms, 11*ms), grant(20*ms, Unknown)}, stanzas: []Stanza{passed(350*ms, 360*ms)}},
		{name: "an unknown revocation", writes: []Write{revoke(10*ms, Unknown)}, stanzas: []Stanza{passed(350*ms, 360*ms)}},
		{name: "refused while allowed", stanzas: []Stanza{refused(350*ms, 360*ms)}, unexplained: true},
		{name: "refused after a revocation", writes: []Write{revoke(10*ms, 11*ms)}, stanzas: []Stanza{refused(350*ms, 360*ms)}},
		{
			name:   "refused too long after a grant",
			writes: []Write{revoke(10*ms, 11*ms), grant(20*ms, 21*ms)}, stanzas: []Stanza{refused(350*ms, 360*ms)},
			unexplained: true,
		},
		{
			name:   "another account",
			writes: []Write{{Account: "b", Began: 10 * ms, Acked: 11 * ms}}, stanzas: []Stanza{passed(350*ms, 360*ms)},
		},
		{
			name:   "forth and back",
			writes: []Write{revoke(10*ms, 11*ms)},
			stanzas: []Stanza{
				refused(120*ms, 130*ms), passed(140*ms, 150*ms),
			},
			late: true, unexplained: true, longestAfter: 139 * ms,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := History{Writes: test.writes, Stanzas: test.stanzas}
			if late := h.OneSided(bound); (len(late) > 0) != test.late {
				t.Errorf("violations %v, want some: %v", late, test.late)
			}
			if got := h.Latest(); got != test.longestAfter {
				t.Errorf("latest %v, want %v", got, test.longestAfter)
			}
			explained, err := h.Linearizable(bound, 10*time.Second)
			if err != nil || explained == test.unexplained {
				t.Errorf("explained: %v, %v", explained, err)
			}
		})
	}
}

// A long run of equal answers must not make the search slow, and its last answer
// must still be looked at.
func TestSample(t *testing.T) {
	h := History{Writes: []Write{revoke(0, 1*ms)}}
	for i := range 10_000 {
		h.Stanzas = append(h.Stanzas, refused(time.Duration(200+i)*ms, time.Duration(201+i)*ms))
	}
	if n := len(h.sample()); n > maxReads {
		t.Errorf("%d stanzas are left", n)
	}
	explained, err := h.Linearizable(bound, 10*time.Second)
	if err != nil || !explained {
		t.Fatalf("%v, %v", explained, err)
	}
	h.Stanzas[len(h.Stanzas)-1].Passed = true
	if explained, err = h.Linearizable(bound, 10*time.Second); err != nil || explained {
		t.Errorf("%v, %v", explained, err)
	}
}

// TestLong: the search in a long history is fast, and finds one wrong answer anywhere.
func TestLong(t *testing.T) {
	var h History
	rng := rand.New(rand.NewPCG(1, 1))
	at, allowed := 10*ms, true
	for range 600 {
		allowed = !allowed
		w := Write{Account: "a", Allowed: allowed, Began: at, Acked: at + time.Duration(1+rng.IntN(5))*ms}
		h.Writes = append(h.Writes, w)
		for range 4 {
			sent := w.Acked + time.Duration(rng.IntN(30))*ms
			h.Stanzas = append(h.Stanzas, Stanza{Account: "a", Sent: sent, Decided: sent + time.Duration(rng.IntN(4))*ms, Passed: allowed})
		}
		at = w.Acked + 40*ms
	}
	if pieces, left := h.cut(bound); len(pieces) < 20 || left > 0 {
		t.Fatalf("%d pieces, %d stanzas left", len(pieces), left)
	}
	if ok, err := h.Linearizable(bound, time.Minute); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	// A quiet time, at whose end an old answer comes.
	for range 8 {
		long := History{Writes: slices.Clone(h.Writes), Stanzas: slices.Clone(h.Stanzas)}
		i := 2 * rng.IntN(len(long.Writes)/2) // a revocation
		for k := i + 1; k < len(long.Writes); k++ {
			long.Writes[k].Began += 3 * bound
			long.Writes[k].Acked += 3 * bound
		}
		for k := range long.Stanzas {
			if k >= 4*(i+1) {
				long.Stanzas[k].Sent += 3 * bound
				long.Stanzas[k].Decided += 3 * bound
			}
		}
		wrong := long.Writes[i].Acked + 2*bound
		long.Stanzas = append(long.Stanzas, passed(wrong, wrong+1*ms))
		if ok, err := long.Linearizable(bound, time.Minute); ok || err != nil {
			t.Fatalf("a wrong answer after command %d: %v, %v", i, ok, err)
		}
	}
}

// TestPieces: each piece begins with the value that the command before it gave. The
// stanzas come so long after a command that no older value explains them.
func TestPieces(t *testing.T) {
	var h History
	allowed := true
	for i := range 60 {
		allowed = !allowed
		at := time.Duration(i) * 3 * bound
		h.Writes = append(h.Writes, Write{Account: "a", Allowed: allowed, Began: at, Acked: at + ms})
		h.Stanzas = append(h.Stanzas, Stanza{Account: "a", Sent: at + 5*bound/2, Decided: at + 5*bound/2 + ms, Passed: allowed})
	}
	if pieces, left := h.cut(bound); len(pieces) < 10 || left > 0 {
		t.Fatalf("%d pieces, %d stanzas left", len(pieces), left)
	}
	if ok, err := h.Linearizable(bound, time.Minute); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	for i := range h.Stanzas {
		h.Stanzas[i].Passed = !h.Stanzas[i].Passed
		if ok, err := h.Linearizable(bound, time.Minute); ok || err != nil {
			t.Errorf("a wrong answer after command %d: %v, %v", i, ok, err)
		}
		h.Stanzas[i].Passed = !h.Stanzas[i].Passed
	}
}
