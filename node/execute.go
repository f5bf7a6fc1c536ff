package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

const (
	// maxCommands bounds each queue of commands for the writer. When a queue is
	// full, Execute returns ErrBusy.
	maxCommands = 256
	// maxGroup bounds the commands that share one append, and so the time for which
	// the first command waits for the checks of the others.
	maxGroup = 64
	// executeWithin bounds the time from the arrival of a command until the log has its
	// commit. A cluster that has lost the leader of its order needs up to 20 seconds
	// for the next one, and one append then meets several of other nodes.
	executeWithin = 45 * time.Second
)

// An execution is a command and its result. The writer sets the result.
type execution struct {
	ctx      context.Context // has a deadline
	command  tenants.Command
	result   tenants.Result
	err      error
	done     chan struct{} // closed when result and err are set
	begun    atomic.Bool   // see begin
	deadline time.Time     // of ctx
}

// begin claims the execution, for the writer that runs it or for the caller that no
// longer waits. Only the first call returns true. A command is thus either run, or
// its caller knows that it was not.
func (x *execution) begin() bool { return x.begun.CompareAndSwap(false, true) }

func (x *execution) finish(err error) {
	x.err = err
	close(x.done)
}

// Execute checks a command against the newest View, appends its commit, and returns
// when the View includes the commit. A command that changes nothing appends nothing.
// A command with the id of an earlier command is answered with the first result if
// it is the same command, else it is refused. If the command is refused, the error
// is a tenants.Errors. After any other error except ErrBusy and ErrNotReady, the
// command may have been run or not; to learn which, send the same command again.
//
// In a cluster, a command is also refused if some member cannot read its events, and
// Execute returns only when a majority of voters have stored the commit.
func (n *Node) Execute(ctx context.Context, c tenants.Command) (tenants.Result, error) {
	// Execute checks Failure and not Ready, because commands must work while decisions
	// cannot be recorded. The Recorder does not record commands.
	if err := n.Failure(); err != nil {
		return tenants.Result{}, err
	}
	if n.view.Load() == nil {
		return tenants.Result{}, ErrNotReady
	}
	result, err := n.run(ctx, c)
	if err != nil {
		return tenants.Result{}, err
	}
	// The writer does not wait for other nodes, so that it can append the next group.
	if err := n.confirm(ctx, result.Position); err != nil {
		return tenants.Result{}, fmt.Errorf("run a command: %w", err)
	}
	return result, nil
}

// run gives a command to the writer and waits for its result.
func (n *Node) run(ctx context.Context, c tenants.Command) (tenants.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, executeWithin)
	defer cancel()
	x := &execution{ctx: ctx, command: c, done: make(chan struct{})}
	x.deadline, _ = ctx.Deadline()
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
		case <-x.done: // answered before the writer stopped
			return x.result, x.err
		default:
			return tenants.Result{}, ErrStopped
		}
	case <-ctx.Done():
		if x.begin() {
			return tenants.Result{}, fmt.Errorf("the commands before it took too long: %w", ErrBusy)
		}
		return tenants.Result{}, fmt.Errorf("run a command: %w", context.Cause(ctx))
	}
}

// write runs commands until ctx ends. It returns an error if the log has failed.
func (n *Node) write(ctx context.Context) error {
	defer close(n.written)
	for {
		group := n.gather(ctx)
		if group == nil {
			return nil
		}
		// A caller that has given up claims its command itself.
		group = slices.DeleteFunc(group, func(x *execution) bool { return x.ctx.Err() != nil || !x.begin() })
		if len(group) == 0 {
			continue
		}
		if err := n.carryOut(ctx, group); err != nil {
			return err
		}
	}
}

// gather waits for commands and returns the next group, or nil when ctx ends. A
// group has commands either of operators or of tenants; operators come first. If a
// tenant's command takes long to check, it is the last of its group. An operator
// therefore waits for at most one such command, however many the tenants send.
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

// long reports whether a tenant's command is checked against all members of the
// tenant. For a tenant with a million members, that takes seconds.
func (x *execution) long() bool {
	switch x.command.Change.(type) {
	case tenants.ApplyTenant, tenants.RemoveDomain:
		return !x.command.Actor.Operator
	}
	return false
}

// carryOut runs a group of commands with one append. If the log refuses the group,
// it runs the commands one by one, so that a command does not fail because of
// another. It does not if no command has time left, or if the outcome of the append
// is unknown: the group may be in the log already, and the wait for each command
// would block the writer again.
func (n *Node) carryOut(ctx context.Context, group []*execution) error {
	err := n.tryGroup(ctx, group)
	if err == nil {
		return nil
	}
	final := slices.ContainsFunc([]error{events.ErrFailed, events.ErrClosed, events.ErrUnknown, ErrBusy}, func(e error) bool { return errors.Is(err, e) })
	if len(group) > 1 && ctx.Err() == nil && !final && n.Failure() == nil {
		for _, x := range group {
			if err := n.carryOut(ctx, []*execution{x}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, x := range group {
		if errors.Is(err, events.ErrUnknown) {
			x.finish(fmt.Errorf("run a command: %w: send the same command again", err))
			continue
		}
		x.finish(fmt.Errorf("run a command: %w", err))
	}
	if errors.Is(err, events.ErrFailed) {
		return fmt.Errorf("append to the log: %w", err)
	}
	return nil
}

// tryGroup checks a group against the newest View and appends its commits. If
// another writer has appended in between, it tries again, until the last command of
// the group has run out of time. On success every command has been answered; on
// error none has.
func (n *Node) tryGroup(ctx context.Context, group []*execution) error {
	within, cancel := context.WithDeadline(ctx, latest(group))
	defer cancel()
	var seen events.Position // the newest known position of the log
	for tries := 0; ; tries++ {
		if within.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("other writers were first, %d times in a row: %w", tries, ErrBusy) // nothing was appended
		}
		v, err := n.Await(within, seen)
		if err != nil {
			return err
		}
		p := newProposal(v, n.cfg.Log, n.members())
		for _, x := range group {
			if err := p.add(x); err != nil {
				return err
			}
		}
		switch {
		case len(p.commits) > 0:
			// A successful append shows that v was the newest state.
			err = n.cfg.Log.Append(within, v.Position(), p.commits...)
		case n.cfg.Cluster != nil:
			// Another node may have acknowledged a commit that v does not include. A
			// refusal, or the answer that there is nothing to do, would then be wrong.
			if seen, err = n.cfg.Cluster.Barrier(within); err == nil && seen > v.Position() {
				continue
			}
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
		// The commits take effect even if no caller waits for the result any more.
		if _, err := n.Await(ctx, max(p.view.Position(), p.seen)); err != nil {
			return err
		}
		n.metrics.commits.Add(float64(len(p.commits)))
		p.deliver()
		return nil
	}
}

// latest returns the latest deadline of a group.
func latest(group []*execution) time.Time {
	return slices.MaxFunc(group, func(a, b *execution) int { return a.deadline.Compare(b.deadline) }).deadline
}

// A proposal holds the commits and results of a group of commands. Each command is
// checked against the View that includes the commits of the commands before it.
type proposal struct {
	log      Log
	members  []Member          // of the cluster; nil if there is none
	view     *projections.View // includes commits
	commits  []*events.Commit
	outcomes []outcome
	ids      map[[2]string]proposed // of the commands in commits
	seen     events.Position        // of the newest commit found by its command id
}

// A proposed is a commit that is not appended yet, and the result of its command.
type proposed struct {
	commit *events.Commit
	result tenants.Result
}

type outcome struct {
	x      *execution
	result tenants.Result
	err    error
}

func newProposal(v *projections.View, log Log, members []Member) *proposal {
	return &proposal{log: log, members: members, view: v, ids: make(map[[2]string]proposed)}
}

// add adds a command. It returns only errors of the log, which concern all commands.
func (p *proposal) add(x *execution) error {
	if err := x.ctx.Err(); err != nil {
		p.settle(x, tenants.Result{}, err) // its caller does not wait any more
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
		p.settle(x, resultOf(&commit), nil)
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

// propose adds a commit for an outcome, unless the outcome has no events.
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
	if err := checkLevels(p.members, levelOf(outcome.Events)); err != nil {
		return tenants.Result{}, err
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
	result := resultOf(commit)
	result.Warnings = texts(outcome.Warnings)
	return result, nil
}

// resultOf returns the result of the command of a commit, without warnings.
func resultOf(c *events.Commit) tenants.Result {
	return tenants.Result{Changed: true, Position: c.Position, TenantVersion: c.TenantVersion, TakesAway: events.TakesAway(c.Events)}
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

// settleAgain settles a command that has the id of an earlier command in the group.
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
