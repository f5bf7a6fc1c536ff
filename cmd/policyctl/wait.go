package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
)

const (
	// waitStep is how long one request waits for a change to be enforced. After each
	// step, the progress is shown.
	waitStep = 2 * time.Second
	// waitPause is the time between two requests if a request fails.
	waitPause = 500 * time.Millisecond
	// waitWithin bounds the whole wait. A change is enforced everywhere after 20
	// seconds at the latest; the rest is for a node that is restarted meanwhile.
	waitWithin = 60 * time.Second
)

// A waitFlag is the --wait flag of every command that changes something.
type waitFlag struct {
	Wait *bool `help:"Wait until the change is enforced on all nodes. This is the default for a change that may take a right away; --wait=false turns it off."`
}

// wanted reports whether to wait for a change.
func (f *waitFlag) wanted(takesAway bool) bool {
	if f.Wait != nil {
		return *f.Wait
	}
	return takesAway
}

// A changed is the result of a command in JSON.
type changed struct {
	api.Result
	Enforced *api.Enforced `json:"enforced,omitempty"`
}

// A waitError means that a change was made, but that it is not known to be enforced
// on all nodes.
type waitError struct {
	position uint64
	err      error
}

func (e *waitError) Error() string {
	return fmt.Sprintf("the change was made (position %d), but it is not known to be enforced on all nodes: %v", e.position, e.err)
}

func (e *waitError) Unwrap() error { return e.err }

// onlyWait reports whether the wait is the only thing that failed.
func onlyWait(err error) bool {
	if list, joined := err.(interface{ Unwrap() []error }); joined {
		return !slices.ContainsFunc(list.Unwrap(), func(err error) bool { return !onlyWait(err) })
	}
	_, is := err.(*waitError)
	return is
}

// enforce waits until a change is enforced on all nodes, if that is wanted. Without a
// wait, the answer is nil. The error is a *waitError.
func (f *waitFlag) enforce(ctx context.Context, a *app, position uint64, takesAway bool) (*api.Enforced, error) {
	if !f.wanted(takesAway) {
		return nil, nil
	}
	e, err := a.enforced(ctx, position)
	if err != nil {
		return nil, &waitError{position, err}
	}
	return &e, nil
}

// enforced asks the node again and again, until a position is enforced.
func (a *app) enforced(ctx context.Context, position uint64) (api.Enforced, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, waitWithin, fmt.Errorf("no answer within %v", waitWithin))
	defer cancel()
	began := time.Now()
	shown := a.progress("", 0, "")
	defer shown.close()
	client := a.client.Within(a.timeout + waitStep)
	for {
		e, err := client.Enforced(ctx, position, waitStep)
		switch {
		case err == nil && e.Enforced:
			return e, nil
		case err == nil:
			shown.say(waitingFor(&e, time.Since(began)))
			continue
		case ctx.Err() != nil:
			return e, context.Cause(ctx)
		case !mayPass(err):
			return e, err
		}
		shown.say(fmt.Sprintf("waiting for the policy node: %v", err))
		pause := time.NewTimer(waitPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return e, errors.Join(context.Cause(ctx), err)
		}
	}
}

// mayPass reports whether the same request may succeed soon: the node cannot answer
// now, or it did not answer.
func mayPass(err error) bool {
	e, answered := errors.AsType[*api.Error](err)
	if !answered {
		return true
	}
	switch e.Code {
	case api.CodeBehind, api.CodeUnavailable, api.CodeNotFresh, api.CodeBusy:
		return true
	}
	return false
}

// waitingFor describes a wait that has not ended.
func waitingFor(e *api.Enforced, took time.Duration) string {
	var missing []string
	for _, n := range e.Nodes {
		if !n.Reported {
			missing = append(missing, n.Node)
		}
	}
	whom := ""
	if len(missing) > 0 {
		whom = "; not reported yet: " + strings.Join(missing, ", ")
	}
	return fmt.Sprintf("waiting until position %d is enforced on all nodes, %v so far%s", e.Position, took.Round(time.Second), whom)
}

// writeEnforced writes in one line how a position came to be enforced.
func writeEnforced(w io.Writer, e *api.Enforced) {
	if e == nil {
		return
	}
	fmt.Fprintf(w, "enforced everywhere at position %d, %s\n", e.Position, clean(enforcedWords(e)))
}

func enforcedWords(e *api.Enforced) string {
	var reported, missing []string
	for _, n := range e.Nodes {
		if n.TookMicros == nil {
			missing = append(missing, n.Node)
			continue
		}
		reported = append(reported, fmt.Sprintf("%s after %v", n.Node, micros(*n.TookMicros)))
	}
	words := e.By // of a newer node
	switch e.By {
	case "alone":
		words = "by the only node"
	case "reported":
		words = "reported by all nodes"
		if len(reported) > 0 {
			words += ": " + strings.Join(reported, ", ")
		}
	case "bound":
		words = fmt.Sprintf("because no verdict is used for longer than %v", micros(e.TookMicros))
		if len(missing) > 0 {
			words += "; not reported by " + strings.Join(missing, ", ")
		}
		if len(reported) > 0 {
			words += "; reported by " + strings.Join(reported, ", ")
		}
	}
	if e.MarginMicros > 0 {
		words += fmt.Sprintf("; verdicts asked for before are used for at most %v", micros(e.MarginMicros))
	}
	return words
}

// micros returns a time on the wire, rounded for people.
func micros(n int64) time.Duration {
	d := time.Duration(n) * time.Microsecond
	if d >= time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}
