package server

import (
	"cmp"
	"sync"
)

// shares counts the requests being worked on for whoever came over the
// network, so that none takes what is there for all.
type shares struct {
	// mu guards the counts, of which none is zero.
	mu     sync.Mutex
	counts map[string]int
	// tenants and all are the sums, of tenants and with operators.
	tenants, all int
}

// enter counts a request of somebody, if that is within bounds; leave takes it
// off again.
func (s *shares) enter(c caller) (leave func(), ok bool) {
	who := cmp.Or(c.tenant, c.actor)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxNetwork || s.counts[who] >= maxShare || !c.operator && s.tenants >= maxTenants {
		return nil, false
	}
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[who]++
	s.all++
	if !c.operator {
		s.tenants++
	}
	return func() { s.leave(c, who) }, true
}

func (s *shares) leave(c caller, who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if !c.operator {
		s.tenants--
	}
	if s.counts[who]--; s.counts[who] == 0 {
		delete(s.counts, who)
	}
}
