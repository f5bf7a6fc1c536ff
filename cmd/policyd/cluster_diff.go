package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/events"
)

const (
	// diffCommits and diffBytes bound the commits of one node in the answer about two
	// logs that differ. Other commits are counted only.
	diffCommits = 1000
	diffBytes   = 4 << 20
)

// An ownLog is the part of this node's log that is compared.
type ownLog interface {
	Head() (events.Position, [32]byte)
	Records(from events.Position, max int) ([][]byte, error)
}

// An otherLog reads the records of another node's log.
type otherLog func(ctx context.Context, from, to events.Position, fn func(records [][]byte) error) error

// diffNode compares this node's log with the log of another node, which must run.
func (p *process) diffNode(ctx context.Context, node string) (server.Difference, error) {
	if node == p.config.ID {
		return server.Difference{}, &api.Error{Code: api.CodeInvalid, Text: fmt.Sprintf("%s is the node that answers: name another one", node)}
	}
	var known []string
	for _, m := range p.cluster.replica.Members() {
		known = append(known, m.Node)
		if m.Node != node {
			continue
		}
		if ago := time.Since(m.Heard); ago > heardWithin {
			return server.Difference{}, &api.Error{Code: api.CodeUnavailable, Text: fmt.Sprintf("node %s has not been heard from for %v: policyd must run there, also if it has stopped deciding", node, ago.Round(time.Second))}
		}
		d, err := compareLogs(ctx, p.events, m.Position, func(ctx context.Context, from, to events.Position, fn func([][]byte) error) error {
			return p.cluster.peers.From(ctx, node, from, to, fn)
		})
		d.Own.Node, d.Other.Node = p.config.ID, node
		return d, err
	}
	return server.Difference{}, &api.Error{Code: api.CodeNotFound, Text: fmt.Sprintf("node %q has not been heard from since this node was started; it has heard %s", node, strings.Join(known, ", "))}
}

// errEnough ends the reading of records, because no more are wanted.
var errEnough = errors.New("enough")

// compareLogs finds the last position up to which two logs are the same. It needs few
// records, because two logs with the same hash at a position are the same up to there.
func compareLogs(ctx context.Context, own ownLog, otherHead events.Position, other otherLog) (d server.Difference, err error) {
	ownHead, _ := own.Head()
	d.Own.Position, d.Other.Position = ownHead, otherHead
	same := func(p events.Position) bool {
		var a, b [][]byte
		if a, err = own.Records(p, events.MaxSize); err != nil || len(a) == 0 {
			err = errors.Join(err, fmt.Errorf("compare the commits at %d", p))
			return false
		}
		if b, err = few(ctx, other, p, p); err != nil {
			return false
		}
		return events.Hash(a[0]) == events.Hash(b[0])
	}
	// The invariant: the logs are the same up to lo, and differ from hi on.
	lo, hi := events.Position(0), min(ownHead, otherHead)+1
	for at := hi - 1; lo+1 < hi; at = lo + (hi-lo)/2 {
		if same(at) {
			lo = at
		} else if hi = at; err != nil {
			return d, err
		}
	}
	d.Common = lo
	if d.Own.Only, err = commitsAfter(ctx, lo, ownHead, func(_ context.Context, from, _ events.Position, fn func([][]byte) error) error {
		for from <= ownHead {
			records, err := own.Records(from, events.MaxSize)
			if err != nil {
				return err
			}
			if err := fn(records); err != nil {
				return err
			}
			from += events.Position(len(records))
		}
		return nil
	}); err != nil {
		return d, err
	}
	d.Other.Only, err = commitsAfter(ctx, lo, otherHead, other)
	return d, err
}

// few reads the records of a short range.
func few(ctx context.Context, from otherLog, first, last events.Position) (records [][]byte, err error) {
	err = from(ctx, first, last, func(part [][]byte) error {
		records = append(records, part...)
		return nil
	})
	if err == nil && len(records) == 0 {
		err = fmt.Errorf("the other node does not have the commit %d", first)
	}
	return records, err
}

// commitsAfter reads the commits of a log after a position, within the bounds of an
// answer.
func commitsAfter(ctx context.Context, after, head events.Position, from otherLog) (list []*events.Commit, err error) {
	last := min(head, after+diffCommits)
	if after == head {
		return nil, nil
	}
	size := 0
	err = from(ctx, after+1, last, func(records [][]byte) error {
		for _, r := range records {
			c, err := events.DecodeCommit(slices.Clone(r))
			if err != nil {
				return fmt.Errorf("read the commit %d: %w", int(after)+1+len(list), err)
			}
			list = append(list, c)
			if size += len(r); size >= diffBytes || after+events.Position(len(list)) == last {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return list, err
}
