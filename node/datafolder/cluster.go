package datafolder

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// A NewCluster describes the cluster that CreateCluster creates.
type NewCluster struct {
	// Name is the cluster's name. If Over is set, it may be empty and then stays as
	// it is.
	Name string
	// Over allows replacing the generation that the log is bound to. The sequencer's
	// data of the old generation is given up. Position is then the expected head of
	// the log: everything that other nodes have behind it is given up too. This folder
	// does not show whether there is anything, so such a log always gets a new id.
	Over     bool
	Position events.Position
	// Node is the node that must own the data folder; empty: any node may. A folder
	// without the data of a log server does not show its owner.
	Node string
}

// A CreatedCluster is the result of CreateCluster.
type CreatedCluster struct {
	Generation events.Generation
	NewLog     bool   // there was no log, and the cluster begins with an empty one
	Moved      string // the folder with the old data of the log server; empty: none
	// Origin is the log's former id, and where it ends in this log. It is zero if the
	// log has kept its id.
	Origin eventlog.Origin
	// Server is the former name of the node's log server; empty: it had none.
	Server string
}

// CreateCluster verifies the log of a data folder and binds it to a new generation
// of a cluster, as its creator. A folder that no node has used gets an empty log
// first. It calls at with the number of verified commits and of all. If it fails,
// the log is bound as before.
func CreateCluster(ctx context.Context, c Config, n NewCluster, at func(done, all events.Position)) (r CreatedCluster, err error) {
	if err := checkName(n); err != nil {
		return r, err
	}
	found, err := eventlog.Exists(Log(c.Dir), nil)
	if err != nil {
		return r, fmt.Errorf("look for the log: %w", err)
	}
	if r.Server, err = LogServer(c.Dir); err != nil {
		return r, err
	}
	if err := owns(c.Dir, r.Server, n.Node); err != nil {
		return r, err
	}
	var verified events.Position
	if found {
		if verified, err = c.mayCreate(ctx, &n, at); err != nil {
			return r, err
		}
	} else {
		if err := mayBegin(c.Dir, n); err != nil {
			return r, err
		}
		r.NewLog = true
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return r, fmt.Errorf("make the data folder: %w", err)
		}
	}
	return r, c.change(found, func(l *eventlog.Log) error {
		head, hash := l.Head()
		if head != verified {
			return fmt.Errorf("the log has grown from %d to %d: stop policyd, and repeat the command", verified, head)
		}
		g := events.Generation{Cluster: n.Name, LogID: l.LogID(), Position: head, Hash: hash}
		rand.Read(g.ID[:]) // never fails
		// The log server's old data is moved first. A log server without it is a new
		// member of the old cluster, which is harmless.
		if r.Moved, err = moveStream(c.Dir); err != nil {
			return err
		}
		if _, _, bound := l.Generation(); bound {
			r.Generation, r.Origin, err = l.Renew(ctx, g)
			return err
		}
		r.Generation = g
		return l.Bind(ctx, g, true)
	})
}

// owns returns an error if the data folder, with the log server of this name, is known
// to belong to another node.
func owns(data, server, node string) error {
	at := strings.LastIndexByte(server, '-')
	if node == "" || at < 0 || server[:at] == node {
		return nil
	}
	return fmt.Errorf("%s is the data folder of node %s, not of %s: run the command on %[3]s", data, server[:at], node)
}

func checkName(n NewCluster) error {
	if n.Name == "" && n.Over {
		return nil
	}
	return events.CheckClusterName(n.Name)
}

// mayBegin returns an error if the data folder, which has no log, must not get an
// empty one.
func mayBegin(data string, n NewCluster) error {
	if n.Over {
		return fmt.Errorf("there is no log in %s that a cluster could continue", data)
	}
	if left := eventlog.Restoring(Log(data)); exists(left) {
		return fmt.Errorf("a restore was interrupted and has left %s: run policyctl restore again, or remove that folder", left)
	}
	names, err := used(data)
	if err != nil || names == "" {
		return err
	}
	return fmt.Errorf("%s has no log, but it is no new folder: it has %s in it; restore a backup into a new folder, or name a new folder", data, names)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// mayCreate verifies the log, and returns an error if it must not be bound to a new
// generation. It returns the head, and sets the name of the cluster if it stays.
func (c Config) mayCreate(ctx context.Context, n *NewCluster, at func(done, all events.Position)) (head events.Position, err error) {
	l, err := Open(c)
	if err != nil {
		return 0, err
	}
	head, _ = l.Head()
	err = mayReplace(l, n)
	if err == nil {
		_, err = Verify(ctx, l, func(done events.Position) { at(done, head) })
	}
	return head, errors.Join(err, l.Close())
}

// mayReplace returns an error if the log's binding forbids a new generation.
func mayReplace(l *eventlog.Log, n *NewCluster) error {
	head, _ := l.Head()
	old, _, bound := l.Generation()
	switch {
	case bound && !n.Over:
		return fmt.Errorf("the log belongs to the cluster %q already; start policyd to continue it. If most of the other nodes are lost for good, see: policyctl cluster create --help, --over", old.Cluster)
	case bound && head < old.Position:
		return fmt.Errorf("the log is an incomplete copy of the log of the cluster %q: it ends at %d, and the cluster began at %d. Give the command on another node, or restore a backup: policyctl restore", old.Cluster, head, old.Position)
	case n.Over && n.Position != head:
		return fmt.Errorf("the log's newest commit is at position %d, not at %d. Compare with the other nodes, because their later commits are given up: policyctl verify --data prints a stopped node's position. If this node is the right one, give --position %[1]d", head, n.Position)
	case n.Name == "" && !bound:
		return errors.New("the log belongs to no cluster: policyctl cluster create --name NAME begins one from it")
	case n.Name == "":
		n.Name = old.Cluster
	}
	return nil
}

// change opens the log of the folder for a member of a cluster, calls fn, and
// closes it.
func (c Config) change(existing bool, fn func(l *eventlog.Log) error) error {
	config := c.log(false)
	config.Clustered, config.Existing = true, existing
	l, err := eventlog.Open(config)
	if _, ok := errors.AsType[*eventlog.LockedError](err); ok {
		return fmt.Errorf("the log in %s is in use: stop policyd, and repeat the command", c.Dir)
	}
	if err != nil {
		return err
	}
	return errors.Join(fn(l), l.Close())
}

// A DissolvedCluster is the result of DissolveCluster.
type DissolvedCluster struct {
	Generation events.Generation // the former one
	Moved      string            // the folder with the old data of the log server; empty: none
}

// DissolveCluster makes the node of a data folder stand-alone again. It fails if
// the node has not created the cluster, or if commits were made in the cluster.
func DissolveCluster(ctx context.Context, c Config) (r DissolvedCluster, err error) {
	if !exists(Log(c.Dir)) {
		return r, fmt.Errorf("there is no log in %s: %w", c.Dir, fs.ErrNotExist)
	}
	return r, c.change(true, func(l *eventlog.Log) error {
		r.Generation, _, _ = l.Generation()
		if err := l.Unbind(ctx); err != nil {
			return err
		}
		if r.Moved, err = moveStream(c.Dir); err != nil {
			return fmt.Errorf("the node is stand-alone, but: %w", err)
		}
		return nil
	})
}

// LogServer returns the name of the log server whose data is in a data folder, such as
// n3-0a1b2c3d; "" if there is none.
func LogServer(data string) (string, error) {
	name, err := os.ReadFile(filepath.Join(Stream(data), serverName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the log server's name: %w", err)
	}
	return strings.TrimSpace(string(name)), nil
}

// moveStream moves the data of the log server away, if there is any: it belongs to
// an earlier generation. An operator may remove it.
func moveStream(data string) (string, error) {
	var random [4]byte
	rand.Read(random[:]) // never fails
	to := Stream(data) + ".old-" + hex.EncodeToString(random[:])
	err := os.Rename(Stream(data), to)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("move the log server's old data away: %w", err)
	}
	return to, nil
}
