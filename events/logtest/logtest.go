// Package logtest is the conformance suite every event log must pass,
// whatever orders it: one node's Pebble, or JetStream.
//
// It is code for tests only, and depends on nothing but package events.
package logtest

import (
	"context"

	"github.com/postern-im/postern/events"
)

// A Log is what the suite asks of one.
type Log interface {
	LogID() string
	Head() (events.Position, [32]byte)
	Append(ctx context.Context, head events.Position, commits ...*events.Commit) error
	Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error
	ByCommand(tenant, commandID string) (events.Commit, bool, error)
	Wait(ctx context.Context, after events.Position) (events.Position, error)
	Verify(ctx context.Context) error
	Close() error
}
