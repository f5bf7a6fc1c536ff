package events

import (
	"errors"
	"fmt"
)

// The errors of every log. A log has positions 1 to its head. An append is either
// durable and complete, or no reader sees any part of it.
var (
	// ErrFailed means that the outcome of an earlier append is unknown: it may or
	// may not be in the log. The log refuses further appends until it has been
	// opened again, which determines the outcome.
	ErrFailed = errors.New("the log has failed and must be opened again")
	// ErrUnknown means that the outcome of this append is unknown, although the log
	// works: a cluster may have put the append into its order, may still do so, or
	// may have lost it. The log itself shows the outcome later. The caller may repeat
	// the command with the same id.
	ErrUnknown = errors.New("it is unknown whether the commits are in the log")
	// ErrNoRoom means that the log's disk is too full. Nothing was written. The
	// same append may be repeated when there is room again.
	ErrNoRoom = errors.New("the disk of the log is too full")
	// ErrClosed means that the log has been closed.
	ErrClosed = errors.New("the log is closed")
	// ErrNoSuchPosition means that a position is beyond the head of the log. A
	// reader that expected the position has followed another log.
	ErrNoSuchPosition = errors.New("no such position in the log")
)

// A ConflictError refuses an append because the log's head is not at the expected
// position. Nothing was written.
type ConflictError struct {
	Expected, Head Position
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("expected the head at %d, but it is at %d", e.Expected, e.Head)
}

// A DuplicateCommandError refuses an append because the tenant's command has
// already been carried out. Nothing was written.
type DuplicateCommandError struct {
	Tenant, CommandID string
	// Position is the position of the command's commit. It is zero if two commits of
	// the same append have this command id.
	Position Position
}

func (e *DuplicateCommandError) Error() string {
	if e.Position == 0 {
		return fmt.Sprintf("command %q of tenant %q is in the append twice", e.CommandID, e.Tenant)
	}
	return fmt.Sprintf("command %q of tenant %q was carried out at %d", e.CommandID, e.Tenant, e.Position)
}

// A RecordError refuses a record that cannot be the log's next one, although the
// order of its cluster says so. Nothing was written. The order or the record is
// wrong, or a newer version wrote the record; repeating does not help.
type RecordError struct {
	Position Position // where the record would be in the log
	Err      error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("the record for position %d cannot follow: %v", e.Position, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// A CorruptError means that the log's contents differ from what was written to it, or that
// a newer version wrote them (see Newer). Position is the first position that cannot be
// read.
type CorruptError struct {
	Position Position
	Err      error
}

func (e *CorruptError) Error() string {
	if Newer(e.Err) {
		return fmt.Sprintf("a newer version wrote the commit at %d of the log, so upgrade this node: %v", e.Position, e.Err)
	}
	return fmt.Sprintf("the log is corrupt at %d: %v", e.Position, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }
