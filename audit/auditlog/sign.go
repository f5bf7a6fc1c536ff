package auditlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/mod/sumdb/note"

	"github.com/postern-im/postern/audit/proof"
)

const (
	// checkpointName is the file of the newest checkpoint.
	checkpointName = "checkpoint"
	// signEach is the least time between two checkpoints.
	signEach = time.Second
	// keepEach is the time between two checkpoints that are kept for good. An auditor
	// can compare the log with each of them.
	keepEach = time.Hour

	// prefixKept are the kept checkpoints: k|leaves → checkpoint.
	prefixKept = "k|"
)

// sign makes checkpoints until ctx ends, and a last one then. If one cannot be stored,
// for example because the disk is full, sign tries again at the next tick.
func (l *Log) sign(ctx context.Context) error {
	if l.cfg.Signer == nil {
		return nil
	}
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	tick := time.NewTicker(signEach)
	defer tick.Stop()
	signed, kept, failing := int64(-1), time.Time{}, false
	for {
		ended := false
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		tree := l.Tree()
		if tree.N != signed {
			c, err := proof.Sign(l.cfg.Signer, l.cfg.Origin, tree)
			if err != nil {
				return err
			}
			now := l.cfg.Now()
			keep := kept.IsZero() || now.Sub(kept) >= keepEach || now.Before(kept)
			err = l.publish(c, keep)
			if err == nil {
				if signed = tree.N; keep {
					kept = now
				}
			} else if !failing {
				l.cfg.Logger.Error("the newest checkpoint of the audit log cannot be stored; trying again", "error", err)
			}
			failing = err != nil
		}
		if ended {
			return nil
		}
	}
}

// publish replaces the newest checkpoint, in the file too, which outlives a crash
// complete or not at all.
func (l *Log) publish(c proof.Checkpoint, keep bool) error {
	if keep {
		if err := l.db.Set(key(prefixKept, uint64(c.Tree.N)), c.Note, pebble.NoSync); err != nil {
			return fmt.Errorf("keep a checkpoint: %w", err)
		}
	}
	fs, path := l.cfg.FS, l.cfg.FS.PathJoin(l.cfg.Dir, checkpointName)
	f, err := fs.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	_, err = f.Write(c.Note)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = fs.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checkpoint = c
	return nil
}

// Checkpoint returns the newest checkpoint. ok is false if there is none yet.
func (l *Log) Checkpoint() (c proof.Checkpoint, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkpoint, l.checkpoint.Note != nil
}

// Kept returns the checkpoints that are kept for good, verified with the keys, oldest
// first. One that cannot be verified is an error.
func (l *Log) Kept(known note.Verifiers) (list []proof.Checkpoint, err error) {
	if err := l.use(); err != nil {
		return nil, err
	}
	defer l.users.Done()
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefixKept), UpperBound: []byte("k}")})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for iter.First(); iter.Valid(); iter.Next() {
		text, err := iter.ValueAndErr()
		if err != nil {
			return list, err
		}
		c, _, err := proof.Open(append([]byte(nil), text...), known)
		if err != nil {
			return list, fmt.Errorf("a kept checkpoint: %w", err)
		}
		list = append(list, c)
	}
	return list, iter.Error()
}
