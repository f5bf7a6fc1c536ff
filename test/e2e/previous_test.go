//go:build e2e

package e2e

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/test/e2e/installation"
)

var record = flag.Bool("record", false, "write testdata/previous with the present programs; only for a release whose data must stay readable")

// The data of the three nodes of a cluster, and the log that they have.
const (
	previousData = "testdata/previous/cluster.tar.gz"
	previousLog  = "testdata/previous/log.json"
)

// TestPreviousCluster starts a cluster on the data that the first release with clusters
// wrote: logs, snapshots, and the log servers' stores with the stream. The nodes must
// agree, have the same log as then, and take further commands.
func TestPreviousCluster(t *testing.T) {
	ctx := waiting(t)
	if *record {
		recordCluster(t)
	}
	members := t.TempDir()
	if err := unpack(previousData, members); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(previousLog)
	if err != nil {
		t.Fatal(err)
	}
	var want []api.LogEntry
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	in := startCluster(t, installation.ClusterConfig{Members: members})
	got := in.sameLogs(ctx, t)
	again, err := json.Marshal(got[:min(len(got), len(want))])
	if err != nil {
		t.Fatal(err)
	}
	if len(got) <= len(want) || string(again) != string(text) {
		t.Errorf("the log has %d entries and begins with\n%s\nwant %d entries\n%s", len(got), again, len(want), text)
	}
	in.do(ctx, t, 1, "lab", api.MemberSet{JID: "later@alpha.test", Role: "talk"})
	in.sameLogs(ctx, t)
}

// recordCluster runs a cluster with the present programs and keeps its data.
func recordCluster(t *testing.T) {
	t.Helper()
	ctx := waiting(t)
	c := newCluster(t, installation.ClusterConfig{})
	c.do(ctx, t, 0, "lab", api.RoleDefine{Role: "talk", Allow: everything()})
	for node, jid := range []string{"one@alpha.test", "two@alpha.test", "three@alpha.test"} {
		c.do(ctx, t, node, "lab", api.MemberSet{JID: jid, Role: "talk"})
	}
	for _, g := range c.Gateways {
		c.do(ctx, t, 0, "", api.GatewayRemove{ID: g.ID}) // a start with this data adds it again
	}
	log, err := json.Marshal(c.sameLogs(ctx, t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(previousLog), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(previousLog, log, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := pack(c, previousData); err != nil {
		t.Fatal(err)
	}
}

// pack writes the data folders of all nodes to an archive.
func pack(c *cluster, archive string) (err error) {
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	compressed, _ := gzip.NewWriterLevel(file, gzip.BestCompression) // the level is valid
	w := tar.NewWriter(compressed)
	for _, n := range c.Nodes {
		err = errors.Join(err, filepath.WalkDir(n.Data(), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() || filepath.Ext(path) == ".jsonl" {
				return err
			}
			name, err := filepath.Rel(n.Data(), path)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := w.WriteHeader(&tar.Header{Name: filepath.Join(n.ID, name), Mode: 0o600, Size: int64(len(text)), Format: tar.FormatPAX}); err != nil {
				return err
			}
			_, err = w.Write(text)
			return err
		}))
	}
	return errors.Join(err, w.Close(), compressed.Close(), file.Close())
}

// unpack writes the files of an archive into a folder.
func unpack(archive, to string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := root.MkdirAll(filepath.Dir(h.Name), 0o700); err != nil {
			return err
		}
		if err := root.WriteFile(h.Name, text, 0o600); err != nil {
			return err
		}
	}
}
