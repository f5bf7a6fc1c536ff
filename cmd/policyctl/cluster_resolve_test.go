package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

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
	mustRefuse(t, exitUsage, "missing flags", "cluster", "resolve", "--data", data, "--position", "5")
	mustRefuse(t, exitUsage, "--yes", "cluster", "resolve", "--data", data, "--discard", "--position", "5")
	if list, err := os.ReadDir(data); err != nil || len(list) != 2 {
		t.Fatalf("a refused command has changed the folder: %v, %v", list, err)
	}
	done := jsonOf[clusterResolved](t, resolve(4)...)
	if done.Cluster != "acme" || done.Position != 6 || done.GivenUp != 2 {
		t.Errorf("%+v", done)
	}
	text, err := os.ReadFile(done.File)
	if lines := strings.Split(strings.TrimSpace(string(text)), "\n"); err != nil || len(lines) != 3 || !strings.HasPrefix(lines[0], "POSITION") ||
		!strings.HasPrefix(lines[1], "5 ") || !strings.HasPrefix(lines[2], "6 ") || !strings.Contains(lines[2], "lab:cluster") {
		t.Errorf("%s, %v", text, err)
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
