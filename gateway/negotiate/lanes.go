package negotiate

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// maxDials bounds the connections to one backend address that have been
	// asked for and have not shown their features yet. A server's kernel keeps
	// only a few connections that the server has not accepted (5 by ejabberd's
	// default) and loses the others for seconds. With 24 under way few are
	// lost, and a server that is 0.1 s away still has something to do.
	maxDials = 24
	// downTime is how long a backend address that could not be reached is not
	// tried again.
	downTime = time.Second
	// keptLanes is how many lanes there may be before those of no use are
	// looked for.
	keptLanes = 64
)

var (
	errTurn = errors.New("too many others are connecting to it")
	errDown = errors.New("it could not be reached a moment ago")
)

// lanes let connections to backends begin in turn: at most maxDials at a time
// for each address, in the order they came. If many clients come at once, a
// backend would otherwise begin with all of them, and finish with few before
// their time is over.
//
// If an address cannot be reached, all that wait for it are told at once, and
// go on to the domain's next address.
type lanes struct {
	mu sync.Mutex // guards by and the lanes in it
	by map[string]*lane
}

// A lane is the way to one backend address.
type lane struct {
	underWay int
	waiting  list.List // of *turn, oldest first
	up       time.Time // when the backend was last seen to answer
	down     time.Time // until when it is not tried
	cause    error     // why it is not
}

// A turn is one connection's place in a lane.
type turn struct {
	given chan error // sent one value, under the lock; nil: it may begin
	place *list.Element
	began time.Time
}

// An outcome is what a turn has told about its backend.
type outcome int

const (
	unclear     outcome = iota
	answered            // it answers
	unreachable         // it takes no connection, or says nothing on one
)

// counts returns how many connections wait for their turn, and how many have
// it.
func (l *lanes) counts() (waiting, underWay int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range l.by {
		waiting += lane.waiting.Len()
		underWay += lane.underWay
	}
	return waiting, underWay
}

// enter waits for a turn at an address, at most so long. The turn lasts until
// leave is called, which must be once.
func (l *lanes) enter(ctx context.Context, address string, most time.Duration) (leave func(outcome, error), err error) {
	t, err := l.queue(address)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case err = <-t.given:
	case <-timer.C:
		err = l.giveUp(address, t, errTurn)
	case <-ctx.Done():
		err = l.giveUp(address, t, ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	return func(o outcome, cause error) { l.leave(address, t, o, cause) }, nil
}

// queue gives a turn at once where there is one, else a place among those that
// wait.
func (l *lanes) queue(address string) (*turn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	way := l.by[address]
	if way == nil {
		if len(l.by) >= keptLanes {
			l.sweep(now)
		}
		way = new(lane)
		l.by[address] = way
	}
	if now.Before(way.down) {
		return nil, fmt.Errorf("%w: %w", errDown, way.cause)
	}
	t := &turn{given: make(chan error, 1)}
	if way.underWay < maxDials {
		way.begin(t, now)
	} else {
		t.place = way.waiting.PushBack(t)
	}
	return t, nil
}

// sweep forgets lanes that nobody is in and that hold nothing back. The caller
// holds the lock.
func (l *lanes) sweep(now time.Time) {
	for address, way := range l.by {
		if way.underWay == 0 && way.waiting.Len() == 0 && !now.Before(way.down) {
			delete(l.by, address)
		}
	}
}

// begin gives t its turn. The caller holds the lock.
func (w *lane) begin(t *turn, now time.Time) {
	w.underWay++
	t.began = now
	t.given <- nil
}

// giveUp leaves the queue with err, unless the turn was given meanwhile.
func (l *lanes) giveUp(address string, t *turn, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case given := <-t.given:
		return given
	default:
	}
	l.by[address].waiting.Remove(t.place)
	return err
}

// leave ends a turn. An address is taken for down if it was unreachable for a
// turn, and no other turn has seen it answer since that one began: one lost
// connection of many says nothing.
func (l *lanes) leave(address string, t *turn, o outcome, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	way, now := l.by[address], time.Now()
	way.underWay--
	switch {
	case o == answered:
		way.up = now
	case o == unreachable && way.up.Before(t.began):
		way.down, way.cause = now.Add(downTime), cause
		for e := way.waiting.Front(); e != nil; e = e.Next() {
			e.Value.(*turn).given <- fmt.Errorf("%w: %w", errDown, cause)
		}
		way.waiting.Init()
	}
	if e := way.waiting.Front(); e != nil {
		way.waiting.Remove(e)
		way.begin(e.Value.(*turn), now)
	} else if way.underWay == 0 && !now.Before(way.down) {
		delete(l.by, address)
	}
}
