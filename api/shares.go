package api

import "sync"

// shares counts the requests being worked on for whoever came over the
// network, so that none takes what is there for all.
type shares struct {
	// mu guards the counts, of which none is zero.
	mu     sync.Mutex
	counts map[string]int
	all    int
}

// enter counts a request of somebody, if that is within bounds; leave takes it
// off again.
func (s *shares) enter(who string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxNetwork || s.counts[who] >= maxShare {
		return nil, false
	}
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[who]++
	s.all++
	return func() { s.leave(who) }, true
}

func (s *shares) leave(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.counts[who]--; s.counts[who] == 0 {
		delete(s.counts, who)
	}
}
