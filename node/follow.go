package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

const (
	// progressEach is how often a long fold says how far it is; it looks at
	// the clock each progressStep commits.
	progressEach = 5 * time.Second
	progressStep = 1024
)

// A foldError is a commit that is in the log and does not fold.
type foldError struct{ err error }

func (e *foldError) Error() string { return e.err.Error() }
func (e *foldError) Unwrap() error { return e.err }

// follow folds what is in the log and then whatever comes, until ctx
// ends or the log cannot be read. What cannot be folded or fails its chain
// stops the node deciding; then follow only waits for ctx.
func (n *Node) follow(ctx context.Context) error {
	err := n.fold(ctx)
	for err == nil {
		v := n.view.Load()
		if _, err = n.cfg.Log.Wait(ctx, v.Position()); err != nil {
			err = fmt.Errorf("wait for commits after %d: %w", v.Position(), err)
			break
		}
		err = n.cfg.Log.Read(ctx, v.Position()+1, func(c *events.Commit) error {
			next, err := n.view.Load().Apply(c)
			if err != nil {
				return &foldError{err}
			}
			n.publish(next)
			n.watchClock(next)
			n.notify(c)
			return nil
		})
	}
	_, unfoldable := errors.AsType[*foldError](err)
	_, corrupt := errors.AsType[*events.CorruptError](err)
	if unfoldable || corrupt {
		n.fail(err)
		<-ctx.Done()
		return nil
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("follow the log: %w", err)
}

// fold folds what is in the log when the node begins, behind the newest
// snapshot.
func (n *Node) fold(ctx context.Context) error {
	begin := time.Now()
	said := begin
	past := n.newestSnapshot(ctx)
	from := past.Position()
	if from > 0 {
		n.cfg.Logger.Info("snapshot read", "position", from, "took", time.Since(begin))
	}
	b := projections.BuilderFrom(past)
	err := n.cfg.Log.Read(ctx, from+1, func(c *events.Commit) error {
		if err := b.Apply(c); err != nil {
			return &foldError{err}
		}
		if c.Position%progressStep != 0 {
			return nil
		}
		if now := time.Now(); now.Sub(said) >= progressEach {
			said = now
			n.cfg.Logger.Info("folding the log", "position", c.Position)
		}
		return nil
	})
	if err != nil {
		return err
	}
	v := b.View()
	took := time.Since(begin)
	n.metrics.fold.Set(took.Seconds())
	n.metrics.snapshot.Set(float64(from))
	n.cfg.Logger.Info("log folded", "position", v.Position(), "snapshot", from, "took", took)
	n.began = beginning{snapshot: from, past: past, long: took >= progressEach}
	n.publish(v)
	n.watchClock(v)
	return nil
}

// notify calls OnRevocation for the sessions a commit may have revoked: for each
// account its events name, or for all of the tenant when they name none. Too many
// cost a question each; too few only delay the end of idle sessions.
func (n *Node) notify(c *events.Commit) {
	accounts, all := revocations(c.Events)
	if all {
		accounts = []string{""}
	}
	for _, account := range accounts {
		n.cfg.OnRevocation(decision.Revocation{
			Tenant: c.Tenant, Account: account, Position: uint64(c.Position), LogID: n.cfg.LogID,
		})
	}
}

// revocations lists the accounts whose sessions the events may have revoked; all
// means every account of the tenant.
func revocations(list []events.Event) (accounts []string, all bool) {
	for _, e := range list {
		if _, created := e.(events.TenantCreated); created {
			return nil, false // nobody has a session yet
		}
		if !events.EffectsOf(e).Have(events.RevokesSessions) {
			continue
		}
		subject := events.SubjectOf(e)
		if subject.Kind != events.KindMember {
			return nil, true
		}
		accounts = append(accounts, subject.Name)
	}
	return accounts, len(accounts) > maxAccountNotices
}

// maxAccountNotices is how many accounts one commit may name in notices of their
// own. A commit that names more has one notice for the whole tenant.
const maxAccountNotices = 64
