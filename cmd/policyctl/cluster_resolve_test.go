package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node/datafolder"
)

// logServer leaves the name of a log server in a data folder.
func logServer(t *testing.T, data, name string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(datafolder.Stream(data), 0o700), os.WriteFile(filepath.Join(datafolder.Stream(data), "ID"), []byte(name+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestClusterResolve discards the data of a node. Nothing is lost, and the folder then
// looks like a new one.
func TestClusterResolve(t *testing.T) {
	data, _ := nodeData(t, 5)
	resolve := func(position int) []string {
		return []string{"cluster", "resolve", "--data", data, "--discard", "--yes", "--position", strconv.Itoa(position)}
	}
	mustRefuse(t, exitError, "belongs to no cluster", resolve(3)...)
	jsonOf[clusterCreated](t, "cluster", "create", "--data", data, "--name", "acme")
	commit(t, data, 1)
	if err := os.WriteFile(filepath.Join(data, "decisions.jsonl"), []byte("records"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, exitError, "the log ends at position 6, before 7", resolve(7)...)
	mustRefuse(t, exitUsage, "--discard", "cluster", "resolve", "--data", data, "--position", "5")
	mustRefuse(t, exitUsage, "--yes", "cluster", "resolve", "--data", data, "--discard", "--position", "5")
	logServer(t, data, "n3-0a1b2c3d")
	if list, err := os.ReadDir(data); err != nil || len(list) != 3 {
		t.Fatalf("a refused command has changed the folder: %v, %v", list, err)
	}
	done := jsonOf[clusterResolved](t, resolve(4)...)
	if done.Cluster != "acme" || done.Position != 6 || done.GivenUp != 2 || done.LogServer != "n3-0a1b2c3d" {
		t.Errorf("%+v", done)
	}
	text, err := os.ReadFile(done.File)
	if lines := strings.Split(strings.TrimSpace(string(text)), "\n"); err != nil || len(lines) != 7 || !strings.HasPrefix(lines[4], "POSITION") || !strings.Contains(lines[2], "n3-0a1b2c3d") ||
		!strings.HasPrefix(lines[5], "5 ") || !strings.HasPrefix(lines[6], "6 ") || !strings.Contains(lines[6], "lab:cluster") {
		t.Errorf("%s, %v", text, err)
	}
	if info, err := os.Stat(done.File); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if list, err := os.ReadDir(data); err != nil || len(list) != 1 || filepath.Join(data, list[0].Name()) != done.Folder {
		t.Errorf("left in the folder: %v, %v", list, err)
	}
	if kept := jsonOf[verified](t, "verify", "--data", done.Folder); kept.Position != 6 || kept.LogID != done.LogID {
		t.Errorf("%+v", kept)
	}
	if records, err := os.ReadFile(filepath.Join(done.Folder, "decisions.jsonl")); err != nil || string(records) != "records" {
		t.Errorf("%s, %v", records, err)
	}
	mustRefuse(t, exitError, "there is no log", resolve(5)...)
}

// TestClusterDiscardSays: the terminal shows what is given up, and the next commands.
func TestClusterDiscardSays(t *testing.T) {
	data, _ := nodeData(t, givenUpShown+5)
	jsonOf[clusterCreated](t, "cluster", "create", "--data", data, "--name", "acme")
	logServer(t, data, "n3-0a1b2c3d")
	code, out, errOut := policyctl("", "cluster", "resolve", "--data", data, "--discard", "--yes", "--position", "2")
	for _, want := range []string{"\n102 ", "lab:r101\n", "and 3 later ones\n", "These 103 commits are given up", "policyctl cluster join", "policyctl cluster remove n3-0a1b2c3d\n"} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Errorf("exit %d, not %q: %s%s", code, want, out, errOut)
		}
	}
	if strings.Contains(out, "lab:r102") {
		t.Errorf("more than %d commits are shown: %s", givenUpShown, out)
	}

	data, _ = nodeData(t, 3)
	jsonOf[clusterCreated](t, "cluster", "create", "--data", data, "--name", "acme")
	code, out, errOut = policyctl("", "cluster", "resolve", "--data", data, "--discard", "--yes", "--position", "3")
	if code != exitDone || !strings.Contains(out, "no commits after position 3") || strings.Contains(out, "POSITION") || strings.Contains(out, "cluster remove") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
}

// TestClusterTake begins a cluster again from one node's log, under a new id.
func TestClusterTake(t *testing.T) {
	data, _ := nodeData(t, 5)
	take := func(args ...string) []string {
		return append([]string{"cluster", "resolve", "--data", data, "--yes"}, args...)
	}
	mustRefuse(t, exitError, "policyctl cluster create --name NAME begins one", take("--take", "n1", "--position", "5")...)
	old := jsonOf[clusterCreated](t, "cluster", "create", "--data", data, "--name", "acme")
	commit(t, data, 1)
	logServer(t, data, "n1-0a1b2c3d")
	mustRefuse(t, exitError, "is the data folder of node n1, not of n2: run the command on n2", take("--take", "n2", "--position", "6")...)
	mustRefuse(t, exitError, "give --position 6", take("--take", "n1", "--position", "5")...)
	mustRefuse(t, exitUsage, "policyctl verify --data", take("--take", "n1")...)
	mustRefuse(t, exitUsage, "--discard and --take can't be used together", take("--take", "n1", "--discard", "--position", "6")...)
	mustRefuse(t, exitUsage, "--file is for", take("--take", "n1", "--position", "6", "--file", "x")...)
	mustRefuse(t, exitUsage, "--data is missing", "cluster", "resolve", "--discard", "--position", "6")
	mustRefuse(t, exitUsage, "--data is missing", "cluster", "resolve", "--take", "n1", "--position", "6")
	mustRefuse(t, exitUsage, "--file", "cluster", "resolve", "--take", "n1")
	mustRefuse(t, exitUsage, "all sessions end", "cluster", "resolve", "--data", data, "--take", "n1", "--position", "6")
	onLog(t, data, func(l *eventlog.Log) error {
		mustRefuse(t, exitError, "open already", take("--take", "n1", "--position", "6")...)
		if g, _, _ := l.Generation(); l.LogID() != old.LogID || g.Position != 5 {
			t.Errorf("a refused command has changed the log: %s, %+v", l.LogID(), g)
		}
		return nil
	})
	done := jsonOf[clusterTaken](t, take("--take", "n1", "--position", "6")...)
	if done.Node != "n1" || done.Cluster != "acme" || done.Position != 6 || done.OldLogID != old.LogID || done.LogID == old.LogID ||
		done.Generation == old.Generation || done.LogServer != "n1-0a1b2c3d" || filepath.Dir(done.Moved) != data {
		t.Errorf("%+v", done)
	}
	v := jsonOf[verified](t, "verify", "--data", data)
	if v.LogID != done.LogID || v.Position != 6 || v.Cluster == nil || *v.Cluster != (beginning{"acme", done.Generation, 6, true}) ||
		len(v.Origins) != 1 || v.Origins[0].LogID != old.LogID || v.Origins[0].Position != 6 {
		t.Errorf("%+v, cluster %+v", v, v.Cluster)
	}
	if name, err := datafolder.LogServer(data); name != "" || err != nil {
		t.Errorf("the old log server's data is left: %s, %v", name, err)
	}
	// A node that has joined before cannot join this cluster with its old data.
	other := filepath.Join(t.TempDir(), "data")
	onLog(t, other, func(l *eventlog.Log) error {
		g := events.Generation{ID: [16]byte{1}, Cluster: "acme", LogID: old.LogID, Position: 5, Hash: [32]byte{1}}
		if err := l.Bind(t.Context(), g, false); err != nil {
			return err
		}
		g.ID, g.LogID = [16]byte{2}, done.LogID
		if err := l.Bind(t.Context(), g, false); !errors.As(err, new(*eventlog.BoundError)) {
			t.Errorf("a member of the old cluster joins: %v", err)
		}
		return nil
	})
	code, out, errOut := policyctl("", take("--take", "n1", "--position", "6")...)
	if code != exitDone || !strings.Contains(out, "The log has a new id") || !strings.Contains(out, "policyctl cluster resolve --discard") || !strings.Contains(out, "policyctl cluster join") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
}
