package api

import "time"

// The kinds of long work, and the states of one.
const (
	WorkBackup = "backup" // copies the log, online, and reads the copy through
	WorkVerify = "verify" // reads the log through

	WorkNone    = "none" // nothing was begun since the node started
	WorkRunning = "running"
	WorkDone    = "done"
	WorkFailed  = "failed"
)

// A WorkRequest begins long work on the log. It is taken on the node's own
// machine only.
type WorkRequest struct {
	Kind string `json:"kind"` // backup, verify
	// Dir is where a backup goes: an absolute path on the node's machine, of a
	// folder that is new or empty and that the node may write to.
	Dir string `json:"dir,omitempty"`
}

// Work is the long work under way, or the last one.
type Work struct {
	// ID names this piece of work; empty when there is none.
	ID    string    `json:"id"`
	Kind  string    `json:"kind"`
	Dir   string    `json:"dir,omitempty"`
	State string    `json:"state"` // none, running, done, failed
	Begun time.Time `json:"begun"`
	// Step is what is being done: copying, verifying; Done of All of it.
	Step string `json:"step,omitempty"`
	Done uint64 `json:"done"`
	All  uint64 `json:"all"`
	// Error says why it failed.
	Error string `json:"error,omitempty"`
	// LogID and Position say what was backed up or found good.
	LogID    string `json:"log_id,omitempty"`
	Position uint64 `json:"position"`
}
