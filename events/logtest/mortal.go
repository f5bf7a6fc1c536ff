package logtest

import (
	"context"
	"errors"

	"github.com/postern-im/postern/events"
)

// ErrDead is the result of a call to a log of a machine that has lost its power.
var ErrDead = errors.New("the machine is dead")

// Until waits until a call returns, or until dead is closed. The call may continue after
// Until has returned.
func Until(dead <-chan struct{}, call func() error) error {
	answer := make(chan error, 1)
	go func() { answer <- call() }()
	select {
	case err := <-answer:
		return err
	case <-dead:
		return ErrDead
	}
}

// Mortal returns a log whose calls return ErrDead once dead is closed, even if the calls
// of log are blocked by then. LogID and Head do not block, and are answered by log.
func Mortal(log Log, dead <-chan struct{}) Log { return mortal{log, dead} }

type mortal struct {
	Log
	dead <-chan struct{}
}

func (m mortal) Append(ctx context.Context, head events.Position, commits ...*events.Commit) error {
	// The call may continue after the caller has left, so it gets its own
	// commits.
	var own []*events.Commit
	for _, c := range commits {
		copied := *c
		own = append(own, &copied)
	}
	err := Until(m.dead, func() error { return m.Log.Append(ctx, head, own...) })
	if err == nil {
		for i, c := range commits {
			*c = *own[i]
		}
	}
	return err
}

func (m mortal) Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error {
	var read []*events.Commit
	err := Until(m.dead, func() error {
		return m.Log.Read(ctx, from, func(c *events.Commit) error {
			own := c.Clone()
			read = append(read, &own)
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, c := range read {
		if err := fn(c); err != nil {
			return err
		}
	}
	return nil
}

func (m mortal) ByCommand(tenant, commandID string) (events.Commit, bool, error) {
	type found struct {
		commit events.Commit
		found  bool
	}
	answer := make(chan found, 1)
	err := Until(m.dead, func() error {
		c, ok, err := m.Log.ByCommand(tenant, commandID)
		answer <- found{c, ok}
		return err
	})
	if err != nil {
		return events.Commit{}, false, err
	}
	got := <-answer
	return got.commit, got.found, nil
}

func (m mortal) Wait(ctx context.Context, after events.Position) (events.Position, error) {
	head := make(chan events.Position, 1)
	err := Until(m.dead, func() error {
		p, err := m.Log.Wait(ctx, after)
		head <- p
		return err
	})
	if err != nil {
		return 0, err
	}
	return <-head, nil
}

func (m mortal) Verify(ctx context.Context) error {
	return Until(m.dead, func() error { return m.Log.Verify(ctx) })
}

func (m mortal) Close() error { return Until(m.dead, m.Log.Close) }
