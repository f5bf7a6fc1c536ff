package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node/datafolder"
)

// onLog opens the log of a data folder as a member of a cluster does.
func onLog(t *testing.T, data string, do func(l *eventlog.Log) error) {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: datafolder.Log(data), Clustered: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(l), l.Close()); err != nil {
		t.Fatal(err)
	}
}

// jsonOf runs a command, which must succeed, and reads its answer.
func jsonOf[T any](t *testing.T, args ...string) (of T) {
	t.Helper()
	code, out, errOut := policyctl("", append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &of); code != exitDone || err != nil {
		t.Fatalf("%q: exit %d, %v: %s%s", args, code, err, out, errOut)
	}
	return of
}

// mustRefuse runs a command, which must fail.
func mustRefuse(t *testing.T, want int, words string, args ...string) {
	t.Helper()
	code, out, errOut := policyctl("", args...)
	if code != want || out != "" || !strings.Contains(errOut, words) {
		t.Errorf("%q: exit %d: %s%s, want exit %d: %s", args, code, out, errOut, want, words)
	}
}

// commit makes n commits in the cluster of a data folder, as its sequencer orders
// them.
func commit(t *testing.T, data string, n int) {
	t.Helper()
	onLog(t, data, func(l *eventlog.Log) error {
		g, _, _ := l.Generation()
		head, _ := l.Head()
		for i := range n {
			at := head + events.Position(i)
			records, err := l.Prepare(at, &events.Commit{
				Tenant: "acme", TenantVersion: uint64(at) + 1, Time: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), Actor: "operator:root", CommandID: "in the cluster",
				Events: []events.Event{events.RoleDefined{Name: "lab:cluster"}},
			})
			if err == nil {
				err = l.Ingest(t.Context(), events.Cursor{Generation: g.ID, Seq: uint64(at) + 2}, records)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// TestClusterCreate makes a node the first one of a cluster and back.
func TestClusterCreate(t *testing.T) {
	data, backup := nodeData(t, 20)
	before := jsonOf[verified](t, "verify", "--data", data)
	stream := datafolder.Stream(data)
	if err := os.MkdirAll(stream, 0o700); err != nil {
		t.Fatal(err)
	}
	made := jsonOf[clusterCreated](t, "cluster", "create", "--data", data, "--name", "acme")
	if made.Cluster != "acme" || len(made.Generation) != 32 || made.LogID != before.LogID || made.Position != 20 || made.NewLog || filepath.Dir(made.Moved) != data {
		t.Errorf("%+v", made)
	}
	if _, err := os.Stat(stream); err == nil {
		t.Error("the log server's old data was not moved")
	}
	mustRefuse(t, exitError, `belongs to the cluster "acme" already`, "cluster", "create", "--data", data, "--name", "other")
	// A stand-alone node cannot write to the log; verify can read it.
	if _, err := eventlog.Open(eventlog.Config{Dir: datafolder.Log(data)}); !errors.As(err, new(*eventlog.BoundError)) {
		t.Errorf("a stand-alone node: %v", err)
	}
	after := jsonOf[verified](t, "verify", "--data", data)
	if c := after.Cluster; after.LogID != before.LogID || after.Position != 20 || len(after.Snapshots) != 1 || c == nil || *c != (beginning{"acme", made.Generation, 20, true}) {
		t.Errorf("%+v, cluster %+v", after, c)
	}
	if _, out, _ := policyctl("", "verify", "--data", data); !strings.Contains(out, "belongs to the cluster acme, which began at position 20") {
		t.Errorf("%s", out)
	}
	gone := jsonOf[clusterDissolved](t, "cluster", "dissolve", "--data", data)
	if gone.Cluster != "acme" || gone.Position != 20 || gone.LogID != before.LogID {
		t.Errorf("%+v", gone)
	}
	mustRefuse(t, exitError, "is not bound to a cluster", "cluster", "dissolve", "--data", data)

	code, out, errOut := policyctl("", "cluster", "create", "--data", data, "--name", "again")
	if code != exitDone || !strings.Contains(out, "The cluster again begins with 20 commits of log "+before.LogID) {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	commit(t, data, 1)
	mustRefuse(t, exitError, `the cluster "again" began at 20, and commits up to 21`, "cluster", "dissolve", "--data", data)

	// The log of a cluster is restored as a log of no cluster.
	to := filepath.Join(t.TempDir(), "data")
	jsonOf[restored](t, "restore", "--yes", "--from", backup, "--data", to)
	mustRefuse(t, exitError, "is not bound to a cluster", "cluster", "dissolve", "--data", to)
}

// TestClusterOver begins a cluster again from one node's log.
func TestClusterOver(t *testing.T) {
	data, _ := nodeData(t, 5)
	old := jsonOf[clusterCreated](t, "cluster", "create", "--data", data, "--name", "acme")
	commit(t, data, 1)
	mustRefuse(t, exitError, "newest commit is at position 6, not at 5", "cluster", "create", "--data", data, "--over", "--position", "5")
	made := jsonOf[clusterCreated](t, "cluster", "create", "--data", data, "--over", "--position", "6")
	// Another node may have had more, so the log has a new id: all sessions end.
	if made.Cluster != "acme" || made.Generation == old.Generation || made.LogID == old.LogID || made.OldLogID != old.LogID || made.Position != 6 {
		t.Errorf("%+v", made)
	}
	if v := jsonOf[verified](t, "verify", "--data", data); v.LogID != made.LogID || len(v.Origins) != 1 || v.Origins[0].LogID != old.LogID || v.Origins[0].Position != 6 {
		t.Errorf("%+v", v)
	}
	onLog(t, data, func(l *eventlog.Log) error {
		if c, found := l.Cursor(); found {
			t.Errorf("the cursor of the old generation is left: %v", c)
		}
		return nil
	})
	// From here the cluster can be left.
	jsonOf[clusterDissolved](t, "cluster", "dissolve", "--data", data)

	// An incomplete copy cannot begin a cluster.
	member := filepath.Join(t.TempDir(), "data")
	onLog(t, member, func(l *eventlog.Log) error {
		return l.Bind(t.Context(), events.Generation{ID: [16]byte{1}, Cluster: "acme", LogID: made.LogID, Position: 6, Hash: [32]byte{1}}, false)
	})
	mustRefuse(t, exitError, "incomplete copy", "cluster", "create", "--data", member, "--over", "--position", "0")
	mustRefuse(t, exitError, `another node has created the cluster "acme"`, "cluster", "dissolve", "--data", member)
}

// TestClusterCreateNew: a cluster can begin with a folder that no node has used, and
// with no other folder without a log.
func TestClusterCreateNew(t *testing.T) {
	data := filepath.Join(t.TempDir(), "new", "data")
	mustRefuse(t, exitError, "there is no log", "cluster", "create", "--data", data, "--name", "acme", "--over", "--position", "0")
	mustRefuse(t, exitError, "there is no log", "cluster", "dissolve", "--data", data)
	if _, err := os.Stat(data); err == nil {
		t.Error("the folder was created")
	}
	made := jsonOf[clusterCreated](t, "cluster", "create", "--data", data, "--name", "acme")
	if !made.NewLog || made.Position != 0 {
		t.Errorf("%+v", made)
	}
	for name, words := range map[string]string{"decisions.jsonl": "it has decisions.jsonl in it", "log.restoring": "a restore was interrupted"} {
		data := t.TempDir()
		if err := os.WriteFile(filepath.Join(data, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, exitError, words, "cluster", "create", "--data", data, "--name", "acme")
	}
	data, _ = nodeData(t, 3)
	onLog(t, data, func(*eventlog.Log) error {
		for _, args := range [][]string{{"create", "--name", "acme"}, {"dissolve"}} {
			mustRefuse(t, exitError, "", append([]string{"cluster", args[0], "--data", data}, args[1:]...)...)
		}
		return nil
	})
	for _, args := range [][]string{
		{"create"}, {"create", "--data", data}, {"create", "--data", data, "--name", "a b"},
		{"create", "--data", data, "--name", "acme", "--over"}, {"create", "--data", data, "--name", "acme", "--position", "3"},
		{"create", "--data", data, "--over", "--position", "-1"}, {"dissolve"},
	} {
		mustRefuse(t, exitUsage, "", append([]string{"cluster"}, args...)...)
	}
}
