package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events/eventlog"
)

var update = flag.Bool("update", false, "rewrite testdata/previous/state.golden; only with the code that wrote the log beside it")

// TestPreviousVersion starts policyd on a log that an earlier version wrote.
// The log in testdata/previous holds each kind of event and two snapshots. The
// earlier version was killed while it ran, so Pebble's write-ahead log alone
// has the newest commits. The backup beside it ends three commits earlier. The
// admin API must give the same replies as the earlier version gave.
func TestPreviousVersion(t *testing.T) {
	left := testConfig(t)
	left.NATS.Gateways = []string{} // registering one would add a commit
	extract(t, "testdata/previous/log.tar.gz", left.Data)
	stop := begin(t, left)
	compare(t, "testdata/previous/state.golden", state(t, left))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// The high-water mark of that version is used: its file has the present name now.
	for name, want := range map[string]bool{"WITNESS": false, "HIGHWATER": true} {
		if _, err := os.Stat(filepath.Join(left.logDir(), name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The second start uses the snapshot that the present version wrote.
	begin(t, left)
	compare(t, "testdata/previous/state.golden", state(t, left))

	restored, backup := testConfig(t), t.TempDir()
	restored.NATS.Gateways = []string{}
	extract(t, "testdata/previous/backup.tar.gz", backup)
	if _, _, err := eventlog.Restore(t.Context(), backup, eventlog.Config{Dir: restored.logDir()}, func(string, uint64, uint64) {}); err != nil {
		t.Fatal(err)
	}
	begin(t, restored)
	compare(t, "testdata/previous/restored.golden", state(t, restored))
}

// state returns the state of a node: the replies of the admin API, a line of JSON
// each.
func state(t *testing.T, c *config) []byte {
	t.Helper()
	client := api.NewClient(c.Admin.Socket)
	defer client.Close()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	add := func(v any, err error) {
		t.Helper()
		if err == nil {
			err = e.Encode(v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tenants, err := client.Tenants(t.Context(), "", 0)
	add(tenants, err)
	for _, tenant := range tenants.Tenants {
		reply, err := client.Tenant(t.Context(), tenant.ID)
		add(reply, err)
		services, err := client.Services(t.Context(), tenant.ID)
		add(services, err)
		role, err := client.Role(t.Context(), tenant.ID, "prosody:registered")
		add(role, err)
		members, err := client.Members(t.Context(), tenant.ID, "", 0)
		add(members, err)
		for _, m := range members.Members {
			reply, err := client.Member(t.Context(), tenant.ID, m.JID)
			add(reply, err)
		}
		policy, err := client.Policy(t.Context(), tenant.ID)
		add(policy, err)
	}
	shared, err := client.SharedServices(t.Context())
	add(shared, err)
	tokens, err := client.Tokens(t.Context())
	add(tokens, err)
	from := uint64(0)
	log, err := client.Log(t.Context(), api.LogQuery{After: &from, Limit: 100})
	log.LogID = "" // a restored log has a new id
	add(log, err)
	return out.Bytes()
}

func compare(t *testing.T, golden string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, got, 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the state is not equal to %s:\n%s", golden, got)
	}
}

// extract unpacks an archive of folders and files into a folder.
func extract(t *testing.T, archive, to string) {
	t.Helper()
	packed, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(mkdir(t, to))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Clean(h.Name)
		if h.FileInfo().IsDir() {
			err = root.MkdirAll(name, 0o700)
		} else {
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = root.WriteFile(name, data, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func mkdir(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}
