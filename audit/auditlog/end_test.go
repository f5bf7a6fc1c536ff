package auditlog

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/mod/sumdb/note"
)

// TestCloseWithoutRun: a caller of Append does not wait for ever if Run is never called.
func TestCloseWithoutRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(Config{Dir: "audit", FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() { answered <- l.Append(verdicts(0, 1, "t", "ann@a.test")) }()
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-answered; !errors.Is(err, ErrClosed) {
			t.Errorf("append to a log that never ran: %v", err)
		}
	})
}

// newSigner returns the key of a log.
func newSigner(t *testing.T) note.Signer {
	t.Helper()
	secret, _, err := note.GenerateKey(nil, "log")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLastCheckpoint: the last checkpoint has the groups that were written after the
// context of Run had ended.
func TestLastCheckpoint(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			l, err := Open(Config{Dir: "audit", FS: vfs.NewMem(), Signer: newSigner(t), Origin: "log"})
			if err != nil {
				t.Fatal(err)
			}
			answered := make(chan error, 1)
			go func() { answered <- l.Append(verdicts(0, 1, "t", "ann@a.test")) }()
			synctest.Wait()
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if err := errors.Join(l.Run(ended), <-answered); err != nil {
				t.Fatal(err)
			}
			if c, _ := l.Checkpoint(); c.Tree != l.Tree() {
				t.Errorf("the last checkpoint has %d entries, the log %d", c.Tree.N, l.Tree().N)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A fullFS has no room for new checkpoints while full is set.
type fullFS struct {
	vfs.FS
	full atomic.Bool
}

func (f *fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.full.Load() && strings.Contains(name, checkpointName) {
		return nil, errors.New("no space")
	}
	return f.FS.Create(name, c)
}

// TestCheckpointAgain: after a checkpoint that could not be stored the next ones are
// made.
func TestCheckpointAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &fullFS{FS: vfs.NewMem()}
		fs.full.Store(true)
		l, stop := run(t, Config{Dir: "audit", FS: fs, Signer: newSigner(t), Origin: "log"})
		if err := l.Append(verdicts(0, 1, "t", "ann@a.test")); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * signEach)
		synctest.Wait()
		if _, ok := l.Checkpoint(); ok {
			t.Error("a checkpoint that was not stored is shown")
		}
		fs.full.Store(false)
		<-time.After(3 * signEach)
		synctest.Wait()
		if c, _ := l.Checkpoint(); c.Tree != l.Tree() {
			t.Errorf("with room again the checkpoint has %d entries, the log %d", c.Tree.N, l.Tree().N)
		}
		stop()
	})
}
