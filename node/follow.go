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
	// progressEach is the time between two log lines about the progress of a fold.
	// The fold reads the clock once every progressStep commits.
	progressEach = 5 * time.Second
	progressStep = 1024
)

// A foldError means that a commit in the log cannot be applied.
type foldError struct{ err error }

func (e *foldError) Error() string { return e.err.Error() }
func (e *foldError) Unwrap() error { return e.err }

// follow folds the log and then each new commit, until ctx ends or the log cannot
// be read. If a commit cannot be applied or its record breaks the chain, the node
// stops deciding, and follow only waits for ctx.
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

// fold folds the log when the node starts: the newest snapshot and the commits
// after it.
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

// notify calls OnRevocation for the sessions that a commit may have revoked: for
// each account in its events, or for the whole tenant. An unneeded revocation costs
// one question per session. A missing one only delays the end of idle sessions.
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

// revocations returns the accounts whose sessions the events may have revoked. If
// all is true, the sessions of every account of the tenant may be revoked.
func revocations(list []events.Event) (accounts []string, all bool) {
	for _, e := range list {
		if _, created := e.(events.TenantCreated); created {
			return nil, false // there are no sessions yet
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

// maxAccountNotices bounds the revocations for one commit. A commit that concerns
// more accounts causes one revocation for the whole tenant.
const maxAccountNotices = 64
