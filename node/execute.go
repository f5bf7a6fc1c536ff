package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

const (
	// maxCommands bounds the commands that wait for the writer. An admin who
	// finds it full is told to come back.
	maxCommands = 256
	// maxGroup bounds the commands that share one append, and so how long
	// the first of them waits for the others' checks.
	maxGroup = 64
	// maxTries bounds how often a group is checked anew because somebody
	// else wrote to the log in between.
	maxTries = 16
	// executeWithin bounds a command, from its arrival to its answer.
	executeWithin = 20 * time.Second
)

// An execution is a command on its way through the writer.
type execution struct {
	ctx     context.Context
	command tenants.Command
	result  tenants.Result
	err     error
	done    chan struct{} // closed when result or err stands
}

func (x *execution) finish(err error) {
	x.err = err
	close(x.done)
}

// Execute checks a command against the newest View, appends what it asks for
// and returns when the View includes that. A command that was carried out
// before, by its id, is answered with its first result, and refused if it is
// another command than that was; one that changes
// nothing writes nothing. The error is a tenants.Errors when the command is
// refused. After any other error it may have been carried out, unless the
// error is ErrBusy or ErrNotReady: giving the same command again tells.
func (n *Node) Execute(ctx context.Context, c tenants.Command) (tenants.Result, error) {
	// Not Ready: what changes the log is recorded elsewhere than decisions, and
	// is wanted the more when those cannot be recorded.
	if err := n.Failure(); err != nil {
		return tenants.Result{}, err
	}
	if n.view.Load() == nil {
		return tenants.Result{}, ErrNotReady
	}
	ctx, cancel := context.WithTimeout(ctx, executeWithin)
	defer cancel()
	x := &execution{ctx: ctx, command: c, done: make(chan struct{})}
	queue := n.commands
	if c.Actor.Operator {
		queue = n.operators
	}
	select {
	case queue <- x:
	default:
		return tenants.Result{}, ErrBusy
	}
	select {
	case <-x.done:
		return x.result, x.err
	case <-n.written:
		select {
		case <-x.done: // it was answered before the writer stopped
			return x.result, x.err
		default:
			return tenants.Result{}, ErrStopped
		}
	case <-ctx.Done():
		return tenants.Result{}, fmt.Errorf("carry out a command: %w", context.Cause(ctx))
	}
}

// write carries out commands until ctx ends. It returns an error when the log
// has failed.
func (n *Node) write(ctx context.Context) error {
	defer close(n.written)
	for {
		group := n.gather(ctx)
		if group == nil {
			return nil
		}
		if err := n.carryOut(ctx, group); err != nil {
			return err
		}
	}
}

// gather waits for commands and gives the next group; nil when ctx ends.
// Operators' come first and by themselves, and a tenant's that takes long to
// check ends a group: so an operator waits for one of those, whatever tenants
// send.
func (n *Node) gather(ctx context.Context) []*execution {
	if ctx.Err() != nil {
		return nil
	}
	var x *execution
	queue := n.operators
	select {
	case x = <-queue:
	default:
		select {
		case x = <-queue:
		case x = <-n.commands:
			queue = n.commands
		case <-ctx.Done():
			return nil
		}
	}
	group := []*execution{x}
	for len(group) < maxGroup && !x.long() {
		select {
		case x = <-queue:
			group = append(group, x)
		default:
			return group
		}
	}
	return group
}

// long reports whether a tenant's command looks at all its members: a policy is
// checked in seconds where there are a million.
func (x *execution) long() bool {
	switch x.command.Change.(type) {
	case tenants.ApplyTenant, tenants.RemoveDomain:
		return !x.command.Actor.Operator
	}
	return false
}

// carryOut carries out a group of commands with one append. Commands that the
// log refuses together are carried out one by one, so that one command's
// fault is not another's.
func (n *Node) carryOut(ctx context.Context, group []*execution) error {
	err := n.tryGroup(ctx, group)
	if err == nil {
		return nil
	}
	if len(group) > 1 && ctx.Err() == nil && !errors.Is(err, events.ErrFailed) && !errors.Is(err, events.ErrClosed) && n.Failure() == nil {
		for _, x := range group {
			if err := n.carryOut(ctx, []*execution{x}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, x := range group {
		x.finish(fmt.Errorf("carry out a command: %w", err))
	}
	if errors.Is(err, events.ErrFailed) {
		return fmt.Errorf("append to the log: %w", err)
	}
	return nil
}

// tryGroup checks a group against the newest View and appends what it comes
// to, again and again while others write in between. On success every command
// has been answered; on error none has.
func (n *Node) tryGroup(ctx context.Context, group []*execution) error {
	var seen events.Position // where the log is known to be
	for range maxTries {
		v, err := n.await(ctx, seen)
		if err != nil {
			return err
		}
		p := newProposal(v, n.cfg.Log)
		for _, x := range group {
			if err := p.add(x); err != nil {
				return err
			}
		}
		if len(p.commits) > 0 {
			err = n.cfg.Log.Append(ctx, v.Position(), p.commits...)
		}
		if conflict, ok := errors.AsType[*events.ConflictError](err); ok {
			seen = conflict.Head
			continue
		}
		if duplicate, ok := errors.AsType[*events.DuplicateCommandError](err); ok {
			seen = duplicate.Position
			continue
		}
		if err != nil {
			return err
		}
		// What is appended happens whoever is still there to hear it.
		if _, err := n.await(ctx, max(p.view.Position(), p.seen)); err != nil {
			return err
		}
		n.metrics.commits.Add(float64(len(p.commits)))
		p.deliver()
		return nil
	}
	return fmt.Errorf("append: %d times in a row somebody else was first", maxTries)
}

// A proposal is what a group of commands amounts to, each checked against the
// View that the ones before it would make.
type proposal struct {
	log      Log
	view     *projections.View
	commits  []*events.Commit
	outcomes []outcome
	ids      map[[2]string]proposed // of the commands in commits
	seen     events.Position        // of the newest commit found by its command
}

// A proposed is a commit that is not appended yet, and what its command would
// be told.
type proposed struct {
	commit *events.Commit
	result tenants.Result
}

type outcome struct {
	x      *execution
	result tenants.Result
	err    error
}

func newProposal(v *projections.View, log Log) *proposal {
	return &proposal{log: log, view: v, ids: make(map[[2]string]proposed)}
}

// add adds a command. The error is the log's, and concerns all.
func (p *proposal) add(x *execution) error {
	if err := x.ctx.Err(); err != nil {
		p.settle(x, tenants.Result{}, err) // nobody waits for it any more
		return nil
	}
	c := &x.command
	id := [2]string{c.Tenant, c.ID}
	if first, ok := p.ids[id]; ok {
		p.settleAgain(x, first)
		return nil
	}
	commit, found, err := p.log.ByCommand(c.Tenant, c.ID)
	if err != nil {
		return fmt.Errorf("look for command %q: %w", c.ID, err)
	}
	if found {
		p.seen = max(p.seen, commit.Position)
		if err := c.Repeats(&commit); err != nil {
			p.settle(x, tenants.Result{}, err)
			return nil
		}
		p.settle(x, tenants.Result{Changed: true, Position: commit.Position, TenantVersion: commit.TenantVersion}, nil)
		return nil
	}
	outcome, err := c.Check(p.view)
	if err != nil {
		p.settle(x, tenants.Result{}, err)
		return nil
	}
	result, err := p.propose(c, &outcome)
	if err == nil && result.Changed {
		p.ids[id] = proposed{p.commits[len(p.commits)-1], result}
	}
	p.settle(x, result, err)
	return nil
}

// propose turns an outcome into a commit, if there is anything to commit.
func (p *proposal) propose(c *tenants.Command, outcome *tenants.Outcome) (tenants.Result, error) {
	version := uint64(0)
	if c.Tenant == "" {
		version = p.view.Installation().Version()
	}
	if t := p.view.Tenant([]byte(c.Tenant)); t != nil {
		version = t.Version()
	}
	if len(outcome.Events) == 0 {
		return tenants.Result{Position: p.view.Position(), TenantVersion: version, Warnings: texts(outcome.Warnings)}, nil
	}
	commit := &events.Commit{
		Position:      p.view.Position() + 1,
		Tenant:        c.Tenant,
		TenantVersion: version + 1,
		Time:          notBefore(p.view.Time(), time.Now().UTC().Truncate(time.Microsecond)),
		Actor:         c.Actor.Name,
		CommandID:     c.ID,
		Reason:        c.Reason,
		Events:        outcome.Events,
		CommandHash:   c.Hash(),
	}
	next, err := p.view.Apply(commit)
	if err != nil {
		return tenants.Result{}, fmt.Errorf("a checked command does not apply: %w", err)
	}
	p.view = next
	p.commits = append(p.commits, commit)
	return tenants.Result{Changed: true, Position: commit.Position, TenantVersion: commit.TenantVersion, Warnings: texts(outcome.Warnings)}, nil
}

func texts(warnings []tenants.Warning) []string {
	var list []string
	for _, w := range warnings {
		list = append(list, w.Text)
	}
	return list
}

func (p *proposal) settle(x *execution, result tenants.Result, err error) {
	p.outcomes = append(p.outcomes, outcome{x, result, err})
}

// settleAgain settles a command whose id one before it in the group has.
func (p *proposal) settleAgain(x *execution, first proposed) {
	if err := x.command.Repeats(first.commit); err != nil {
		p.settle(x, tenants.Result{}, err)
		return
	}
	p.settle(x, first.result, nil)
}

// deliver answers every command.
func (p *proposal) deliver() {
	for _, o := range p.outcomes {
		o.x.result = o.result
		o.x.finish(o.err)
	}
}
