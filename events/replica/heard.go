package replica

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// keptTicks is the number of own ticks for which a node repeats a challenge that
// the gateway has not renewed. A repetition replaces a tick that was lost. After
// twenty seconds no gateway accepts the challenge any more.
const keptTicks = 20

// heard holds the newest challenges that gateways have sent to this node.
type heard struct {
	ticks    uint64 // the ticks that this node has offered
	gateways map[string][]heardRun
}

// A heardRun is the newest challenge of one run of a gateway.
type heardRun struct {
	challenge uint64
	at        uint64 // the ticks that had been offered before it was heard
}

// add keeps a challenge if it is newer than the gateway's others of the same run.
func (h *heard) add(gateway string, challenge uint64) {
	if gateway == "" || len(gateway) > maxName || challenge == 0 {
		return
	}
	if h.gateways == nil {
		h.gateways = map[string][]heardRun{}
	}
	runs, known := h.gateways[gateway]
	if !known && len(h.gateways) >= maxGateways && !strings.HasPrefix(gateway, barrierPrefix) {
		return
	}
	now := heardRun{challenge, h.ticks}
	i := slices.IndexFunc(runs, func(r heardRun) bool { return sameRun(r.challenge, challenge) })
	switch {
	case i < 0:
		runs = slices.Insert(runs, 0, now)
		runs = runs[:min(len(runs), maxRuns)]
	case challenge > runs[i].challenge:
		runs = slices.Insert(slices.Delete(runs, i, i+1), 0, now)
	}
	h.gateways[gateway] = runs
}

// next returns the challenges for the next tick, the node's own first and then in the
// order of the gateways' names. It forgets the ones that have been repeated often enough.
func (h *heard) next() []challenge {
	h.ticks++
	var list []challenge
	for _, gateway := range slices.SortedFunc(maps.Keys(h.gateways), cmp.Compare) {
		runs := slices.DeleteFunc(h.gateways[gateway], func(r heardRun) bool { return h.ticks-r.at > keptTicks })
		if len(runs) == 0 {
			delete(h.gateways, gateway)
			continue
		}
		h.gateways[gateway] = runs
		for _, r := range runs {
			list = append(list, challenge{gateway, r.challenge})
		}
	}
	return list[:min(len(list), maxChallenges)] // the node's own come first
}
