package datafolder

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-im/postern/events"
)

// discarded begins the name of a folder into which Discard moves a node's data.
const discarded = "discarded-"

// A Discarded describes data that was moved away.
type Discarded struct {
	Cluster  string
	LogID    string
	Position events.Position // the head of the log
	Folder   string          // where the data is now, within the data folder
	Server   string          // the name of the node's log server; empty: it had none
}

// Discard moves the data of a member of a cluster away, so that the node can join again
// with empty data. It removes nothing: all files go into a new folder within the data
// folder. Before, it calls give with its result and with each commit after a position,
// in order; the last call has no commit. If the log cannot be read from there,
// or give fails, nothing is moved.
func Discard(ctx context.Context, c Config, after events.Position, give func(d Discarded, c *events.Commit) error) (d Discarded, err error) {
	if d.Server, err = LogServer(c.Dir); err != nil {
		return d, err
	}
	l, err := Open(c)
	if err != nil {
		return d, err
	}
	d.LogID = l.LogID()
	d.Position, _ = l.Head()
	g, _, bound := l.Generation()
	d.Cluster = g.Cluster
	switch {
	case !bound:
		err = errors.New("the log belongs to no cluster, so no other node has a copy of it; to replace it by a backup, see: policyctl restore --help")
	case after > d.Position:
		err = fmt.Errorf("the log ends at position %d, before %d: policyctl cluster diff prints the last common position", d.Position, after)
	}
	if err != nil {
		return d, errors.Join(err, l.Close())
	}
	var random [4]byte
	rand.Read(random[:]) // never fails
	d.Folder = filepath.Join(c.Dir, discarded+hex.EncodeToString(random[:]))
	if err := os.Mkdir(d.Folder, 0o700); err != nil {
		return d, errors.Join(err, l.Close())
	}
	if after < d.Position {
		err = l.Read(ctx, after+1, func(c *events.Commit) error { return give(d, c) })
	}
	if err == nil {
		err = give(d, nil)
	}
	if err := errors.Join(err, l.Close()); err != nil {
		return d, errors.Join(err, os.RemoveAll(d.Folder))
	}
	return d, moveAll(c.Dir, d.Folder)
}

// moveAll moves the files of a data folder into a folder within it. The log is the last
// one: a node refuses to start with records but without a log, and until then it has
// lost nothing.
func moveAll(data, to string) error {
	list, err := os.ReadDir(data)
	if err != nil {
		return fmt.Errorf("read the data folder: %w", err)
	}
	var names []string
	for _, e := range list {
		if name := e.Name(); !strings.HasPrefix(name, discarded) && name != logFolder && name != "lost+found" {
			names = append(names, name)
		}
	}
	for _, name := range append(names, logFolder) {
		if err := os.Rename(filepath.Join(data, name), filepath.Join(to, name)); err != nil {
			return fmt.Errorf("move the data away; repeat the command, or move the rest into %s: %w", to, err)
		}
	}
	return nil
}
