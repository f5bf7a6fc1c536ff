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
	// maxDials bounds the unfinished connections to one backend address. A
	// connection is unfinished until it has received the backend's features. A
	// server's kernel queues only a few connections that the server has not
	// accepted (5 by ejabberd's default) and delays the others for seconds.
	// With 24 connections few are lost, and a server with a network delay of
	// 0.1 s is still kept busy.
	maxDials = 24
	// downTime is the time for which an unreachable backend address is not
	// tried again.
	downTime = time.Second
	// When there are keptLanes lanes, unused lanes are removed before another
	// lane is added.
	keptLanes = 64
)

var (
	errTurn = errors.New("too many others are connecting to it")
	errDown = errors.New("it could not be reached a moment ago")
)

// lanes limit and order the connections to backends: for each address, at most
// maxDials are unfinished at a time, in the order of arrival. Without lanes, a
// backend that gets many connections at once would begin to answer all of them
// and finish few before their deadline.
//
// If an address is unreachable, all connections that wait for it get an error
// at once and try the domain's next address.
type lanes struct {
	mu sync.Mutex // guards by and the lanes in it
	by map[string]*lane
}

// A lane is the queue for one backend address.
type lane struct {
	underWay int
	waiting  list.List // of *turn, oldest first
	up       time.Time // when the backend last answered
	down     time.Time // not tried before this time
	cause    error     // why it is not tried
}

// A turn is the place of one connection in a lane.
type turn struct {
	given chan error // sent one value, under the lock; nil means that the connection may begin
	place *list.Element
	began time.Time
}

// An outcome reports whether a turn has reached its backend address.
type outcome int

const (
	unclear     outcome = iota
	answered            // the backend answers
	unreachable         // it accepts no connection, or sends nothing
)

// counts returns the number of connections that wait for a turn and the number
// that have one.
func (l *lanes) counts() (waiting, underWay int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range l.by {
		waiting += lane.waiting.Len()
		underWay += lane.underWay
	}
	return waiting, underWay
}

// enter waits for a turn at an address, for at most the given time. The turn
// lasts until leave is called. leave must be called exactly once.
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

// queue gives the connection a turn at once if one is free. Otherwise it adds
// the connection to the queue.
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

// sweep removes lanes that are empty and whose address is not down. The caller
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

// giveUp removes t from the queue and returns err. If t has received its turn
// or an error in the meantime, giveUp returns that result instead.
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

// leave ends a turn. An address counts as down if it was unreachable in this
// turn and has not answered another connection since the turn began. One lost
// connection among many answered ones therefore does not make the address
// count as down.
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
