package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events/eventlog"
)

// finished waits for the end of long work.
func finished(t *testing.T, c *api.Client, q api.WorkRequest) api.Work {
	t.Helper()
	begun, err := c.StartWork(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		now, err := c.Work(t.Context())
		if err != nil || now.ID != begun.ID {
			t.Fatalf("%+v, %v", now, err)
		}
		if now.State != api.WorkRunning {
			return now
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no end: %+v", now)
		}
	}
}

// TestBackupAndRestore: a running node backs its log up and verifies it; a node
// on what was restored from that has the same state under another log id.
func TestBackupAndRestore(t *testing.T) {
	c := testConfig(t)
	stop := begin(t, c)
	admin(t, c, api.TenantCreate{})
	client := api.NewClient(c.Admin.Socket)
	defer client.Close()
	if now, err := client.Work(t.Context()); err != nil || now.State != api.WorkNone {
		t.Errorf("before: %+v, %v", now, err)
	}
	before, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "backup")
	if now := finished(t, client, api.WorkRequest{Kind: api.WorkVerify}); now.State != api.WorkDone || now.Position != 1 {
		t.Errorf("verify: %+v", now)
	}
	if now := finished(t, client, api.WorkRequest{Kind: api.WorkBackup, Dir: dir}); now.State != api.WorkDone || now.Position != 1 || now.LogID != before.LogID {
		t.Fatalf("backup: %+v", now)
	}
	if now := finished(t, client, api.WorkRequest{Kind: api.WorkBackup, Dir: dir}); now.State != api.WorkFailed || !strings.Contains(now.Error, "not empty") {
		t.Errorf("over another: %+v", now)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(c.Data, link); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []api.WorkRequest{
		{Kind: "erase"}, {Kind: api.WorkBackup}, {Kind: api.WorkVerify, Dir: dir}, {Kind: api.WorkBackup, Dir: "relative"},
		{Kind: api.WorkBackup, Dir: dir + "/../x"}, {Kind: api.WorkBackup, Dir: filepath.Join(c.Data, "backup")},
		{Kind: api.WorkBackup, Dir: filepath.Join(link, "backup")},
	} {
		if now, err := client.StartWork(t.Context(), bad); err == nil {
			t.Errorf("%+v: %+v", bad, now)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	to := testConfig(t)
	quiet := func(string, uint64, uint64) {}
	if _, _, err := eventlog.Restore(t.Context(), dir, eventlog.Config{Dir: to.logDir()}, quiet); err != nil {
		t.Fatal(err)
	}
	begin(t, to)
	again := api.NewClient(to.Admin.Socket)
	defer again.Close()
	after, err := again.Status(t.Context())
	if err != nil || after.LogID == before.LogID || after.Position != 1 || after.Tenants != 1 {
		t.Errorf("%+v, %v; was %+v", after, err, before)
	}
}

// TestBrokenOffRestore: a node does not begin an empty log where one was to be
// restored.
func TestBrokenOffRestore(t *testing.T) {
	c := testConfig(t)
	if err := os.MkdirAll(eventlog.Restoring(c.logDir()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "broken off") {
		t.Errorf("%v", err)
	}
}
