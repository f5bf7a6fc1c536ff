package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
)

// base is the challenge at the start of a gateway's run; other runs begin far away.
const base, otherBase, thirdBase = 1 << 60, 1 << 59, 1 << 58

var someTime = time.Unix(1_763_890_200, 0)

func TestProofs(t *testing.T) {
	var p proofs
	for _, step := range []struct {
		at        events.Position
		challenge uint64
	}{
		{0, base + 1}, {3, base + 2}, {3, base + 4}, {5, base + 3}, {7, base + 6}, {8, otherBase + 1},
	} {
		p.add(step.at, []challenge{{"edge", step.challenge}}, someTime)
	}
	for _, test := range []struct {
		gateway   string
		challenge uint64
		at        events.Position
		want      uint64
	}{
		{"edge", base, 0, base + 1},
		{"edge", base, 2, base + 1},
		{"edge", base, 3, base + 4},
		{"edge", base + 1000, 6, base + 4}, // the older challenge at 5 proves nothing new
		{"edge", base, 7, base + 6},
		{"edge", base, 1000, base + 6},
		{"edge", otherBase + 5, 8, otherBase + 1},
		{"edge", otherBase + 5, 7, 0},
		{"edge", thirdBase, 1000, 0},
		{"other", base, 1000, 0},
	} {
		if got := p.newest(test.gateway, test.challenge, test.at); got != test.want {
			t.Errorf("%+v: %d", test, got)
		}
	}
}

// TestProofsAreBounded adds more runs, proofs and gateways than are kept.
func TestProofsAreBounded(t *testing.T) {
	var p proofs
	for i := range uint64(10 * maxProofs) {
		p.add(events.Position(i), []challenge{{"edge", base + 1 + i}}, someTime)
	}
	if got := len(p.gateways["edge"].runs[0]); got != maxProofs {
		t.Errorf("%d proofs", got)
	}
	if got := p.newest("edge", base, 1); got != 0 {
		t.Errorf("a View that is far behind gets the proof %d", got)
	}
	p.add(9000, []challenge{{"edge", otherBase}, {"edge", thirdBase}}, someTime)
	if got := p.newest("edge", base, 9000); got != 0 || len(p.gateways["edge"].runs) != maxRuns {
		t.Errorf("the oldest of three runs is kept: %d", got)
	}
	many := func(name string, number uint64) (list []challenge) {
		for i := range maxGateways {
			list = append(list, challenge{fmt.Sprint(name, i), number})
		}
		return list
	}
	p.add(9000, many("old", base), someTime)
	p.add(9000, many("new", base), someTime)
	if len(p.gateways) != maxGateways || p.newest("new5", base, 9000) != 0 {
		t.Errorf("%d gateways", len(p.gateways))
	}
	for range forgottenAfter {
		p.add(9000, nil, someTime)
	}
	p.add(9000, many("new", base), someTime)
	if len(p.gateways) != maxGateways || p.newest("new5", base, 9000) != base {
		t.Error("gateways of the past leave no room")
	}
}

// TestBarriersFindRoom fills the proofs with gateways before the node's first challenge
// to itself.
func TestBarriersFindRoom(t *testing.T) {
	p := proofs{own: ".n1"}
	for i := range maxGateways + 1 {
		p.add(1, []challenge{{fmt.Sprint("edge", i), base}}, someTime)
	}
	p.add(1, []challenge{{".n1", base}, {".n2", base}}, someTime)
	if p.newest(".n1", base, 1) != base {
		t.Error("gateways leave no room for the node's barrier")
	}
	if p.newest(".n2", base, 1) != 0 || len(p.gateways) != maxGateways+1 {
		t.Errorf("%d names are kept, with those of another node's barriers", len(p.gateways))
	}
}

func TestHeard(t *testing.T) {
	var h heard
	h.add("edge2", base+5)
	h.add("edge2", base+3) // late
	h.add("edge1", base+1)
	h.add("edge1", otherBase+1)
	h.add("edge1", base+2)
	h.add("", base)
	h.add("edge3", 0)
	got := fmt.Sprint(h.next())
	if want := fmt.Sprint([]challenge{{"edge1", base + 2}, {"edge1", otherBase + 1}, {"edge2", base + 5}}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	h.add("edge1", thirdBase)
	for range keptTicks - 1 {
		h.next()
	}
	if got, want := fmt.Sprint(h.next()), fmt.Sprint([]challenge{{"edge1", thirdBase}}); got != want {
		t.Errorf("after %d ticks: %s, want %s", keptTicks+1, got, want)
	}
	if h.next(); len(h.gateways) != 0 {
		t.Errorf("%v is kept", h.gateways)
	}
	for i := range 2 * maxGateways {
		h.add(fmt.Sprint(i), base)
	}
	if len(h.next()) != maxGateways {
		t.Error("more gateways are kept than a tick may have")
	}
}
