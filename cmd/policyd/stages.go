package main

import (
	"context"
	"fmt"
	"sync"
)

// The stages of a process. A part of one stage may use the parts of the stages below
// it. Therefore the stages stop from the top: first the front stage, which accepts
// requests, then the back stage, which carries them out, and last the floor, which
// has the servers that the others connect to.
type stages struct {
	front, back, floor *stage
	// fail ends the front stage because of an error.
	fail context.CancelCauseFunc
}

// A stage runs some parts of a process.
type stage struct {
	ctx     context.Context
	cancel  context.CancelFunc
	fail    context.CancelCauseFunc
	running sync.WaitGroup
}

// newStages returns stages whose front ends with ctx, or when a part of any stage
// fails.
func newStages(ctx context.Context) *stages {
	s := new(stages)
	front, fail := context.WithCancelCause(ctx)
	s.fail = fail
	s.front = &stage{ctx: front, cancel: func() { fail(nil) }, fail: fail}
	for _, lower := range []**stage{&s.back, &s.floor} {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		*lower = &stage{ctx: ctx, cancel: cancel, fail: fail}
	}
	return s
}

// start runs a part until the stage ends.
func (s *stage) start(what string, run func(context.Context) error) {
	s.running.Go(func() {
		if err := run(s.ctx); err != nil {
			s.fail(fmt.Errorf("%s: %w", what, err))
		}
	})
}

// end ends the stage and waits for its parts.
func (s *stage) end() {
	s.cancel()
	s.running.Wait()
}

// stop waits until the front stage has ended, and then ends the back stage. It
// returns the error that ended the front stage. The caller ends the floor.
func (s *stages) stop() error {
	<-s.front.ctx.Done()
	s.front.end()
	s.back.end()
	return context.Cause(s.front.ctx)
}
