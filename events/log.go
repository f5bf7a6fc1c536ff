package events

import (
	"errors"
	"fmt"
)

// What every log answers when it does not do what it was asked. A log has
// positions 1 to its head; an append is durable and complete, or leaves no
// trace that a reader could see.
var (
	// ErrFailed means that an earlier append ended without a clear answer:
	// it may or may not be in the log. The log writes nothing more until it
	// has been opened again and knows.
	ErrFailed = errors.New("the log has failed and must be opened again")
	// ErrNoRoom means that the log's disk is too full. Nothing was written; the
	// same append is good when there is room again.
	ErrNoRoom = errors.New("the disk of the log is too full")
	// ErrClosed means that the log has been closed.
	ErrClosed = errors.New("the log is closed")
	// ErrNoSuchPosition means that the log does not reach that far. A reader
	// that expected it to has followed another history.
	ErrNoSuchPosition = errors.New("no such position in the log")
)

// A ConflictError refuses an append because the log's head is not the
// expected one. Nothing was written.
type ConflictError struct {
	Expected, Head Position
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("expected the head at %d, it is at %d", e.Expected, e.Head)
}

// A DuplicateCommandError refuses an append because the tenant's command has
// been carried out: its commit is at Position. Nothing was written.
type DuplicateCommandError struct {
	Tenant, CommandID string
	// Position is where the first commit stands; zero when it is an earlier
	// one of the same append.
	Position Position
}

func (e *DuplicateCommandError) Error() string {
	if e.Position == 0 {
		return fmt.Sprintf("command %q of tenant %q stands twice in one append", e.CommandID, e.Tenant)
	}
	return fmt.Sprintf("command %q of tenant %q was carried out at %d", e.CommandID, e.Tenant, e.Position)
}

// A CorruptError says that the log does not hold what was written to it.
// Position is the first place where that shows.
type CorruptError struct {
	Position Position
	Err      error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("the log is corrupt at %d: %v", e.Position, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }
