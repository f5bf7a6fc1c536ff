package api

import "time"

// The kinds and the states of long operations.
const (
	WorkBackup = "backup" // copies the log while the node runs, and verifies the copy
	WorkVerify = "verify" // reads and verifies the whole log

	WorkNone    = "none" // no operation was started since the node started
	WorkRunning = "running"
	WorkDone    = "done"
	WorkFailed  = "failed"
)

// A WorkRequest starts a long operation on the log. The node accepts it only from
// its own machine.
type WorkRequest struct {
	Kind string `json:"kind"` // backup, verify
	// Dir is the folder for a backup: an absolute path on the node's machine. The
	// folder must be new or empty, and the node must be able to write to it.
	Dir string `json:"dir,omitempty"`
}

// Work is the long operation in progress, or the last one.
type Work struct {
	// ID identifies the operation. It is empty if there is none.
	ID    string    `json:"id"`
	Kind  string    `json:"kind"`
	Dir   string    `json:"dir,omitempty"`
	State string    `json:"state"` // none, running, done, failed
	Begun time.Time `json:"begun"`
	// Step is the current step, copying or verifying. Done of All units of the step
	// are complete.
	Step string `json:"step,omitempty"`
	Done uint64 `json:"done"`
	All  uint64 `json:"all"`
	// Error is the cause of a failure.
	Error string `json:"error,omitempty"`
	// LogID and Position identify the state that was backed up or verified.
	LogID    string `json:"log_id,omitempty"`
	Position uint64 `json:"position"`
}
