package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events/eventlog"
)

// finished starts long work and waits until it has ended.
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
			t.Fatalf("the work has not ended: %+v", now)
		}
	}
}

// TestBackupAndRestore: a running node verifies its log and backs it up. A node with
// the restored log has the same state and another log id.
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
	last := uint64(len(c.NATS.Gateways)) + 1
	if now := finished(t, client, api.WorkRequest{Kind: api.WorkVerify}); now.State != api.WorkDone || now.Position != last {
		t.Errorf("verify: %+v", now)
	}
	if now := finished(t, client, api.WorkRequest{Kind: api.WorkBackup, Dir: dir}); now.State != api.WorkDone || now.Position != last || now.LogID != before.LogID {
		t.Fatalf("backup: %+v", now)
	}
	if now := finished(t, client, api.WorkRequest{Kind: api.WorkBackup, Dir: dir}); now.State != api.WorkFailed || !strings.Contains(now.Error, "not empty") {
		t.Errorf("over another: %+v", now)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(c.Data, link); err != nil {
		t.Fatal(err)
	}
	free := t.TempDir()
	away := filepath.Join(t.TempDir(), "away")
	if err := errors.Join(os.Symlink(free, away), os.WriteFile(filepath.Join(free, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []api.WorkRequest{
		{Kind: api.WorkBackup, Dir: link}, {Kind: api.WorkBackup, Dir: filepath.Join(link, "new", "backup")},
		{Kind: api.WorkBackup, Dir: away}, {Kind: api.WorkBackup, Dir: filepath.Join(away, "a", "b")},
		{Kind: api.WorkBackup, Dir: filepath.Join(free, "file", "backup")}, {Kind: api.WorkBackup, Dir: c.Data},
		{Kind: "erase"}, {Kind: api.WorkBackup}, {Kind: api.WorkVerify, Dir: dir}, {Kind: api.WorkBackup, Dir: "relative"},
		{Kind: api.WorkBackup, Dir: dir + "/../x"}, {Kind: api.WorkBackup, Dir: filepath.Join(c.Data, "backup")},
		{Kind: api.WorkBackup, Dir: filepath.Join(link, "backup")},
	} {
		if now, err := client.StartWork(t.Context(), bad); err == nil {
			t.Errorf("%+v: %+v", bad, now)
		}
	}
	if _, err := client.StartWork(t.Context(), api.WorkRequest{Kind: api.WorkBackup, Dir: filepath.Join(away, "x")}); err == nil || !strings.Contains(err.Error(), away+" is a symbolic link") {
		t.Errorf("through a link: %v", err)
	}
	if left, err := os.ReadDir(free); err != nil || len(left) != 1 {
		t.Errorf("written through a link: %v, %v", left, err)
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
	if err != nil || after.LogID == before.LogID || after.Position != last || after.Tenants != 1 {
		t.Errorf("%+v, %v; was %+v", after, err, before)
	}
}

// TestBrokenOffRestore: after an interrupted restore, a node does not begin an
// empty log.
func TestBrokenOffRestore(t *testing.T) {
	c := testConfig(t)
	if err := os.MkdirAll(eventlog.Restoring(c.logDir()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), c, false); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%v", err)
	}
}

// TestVersion: the version of a build is known or said to be unknown.
func TestVersion(t *testing.T) {
	for want, info := range map[string]*debug.BuildInfo{
		"unknown": nil,
		"unknown (built without version control)": {Main: debug.Module{Version: "(devel)"}},
		"v1.2.3":           {Main: debug.Module{Version: "v1.2.3"}},
		"abc":              {Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}}},
		"abc with changes": {Settings: []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc"}}},
	} {
		if got := versionOf(info); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestFolderMeanwhile: makeFolder does not follow a symbolic link that was created
// after the backup was requested.
func TestFolderMeanwhile(t *testing.T) {
	top, elsewhere := t.TempDir(), t.TempDir()
	w := &worker{data: t.TempDir()}
	dir := filepath.Join(top, "a", "b")
	if err := w.mayWrite(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(top, "a")); err != nil {
		t.Fatal(err)
	}
	if err := makeFolder(dir); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(elsewhere); err != nil || len(left) > 0 {
		t.Errorf("made through the link: %v, %v", left, err)
	}
	if err := os.Remove(filepath.Join(top, "a")); err != nil {
		t.Fatal(err)
	}
	if err := makeFolder(dir); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestBackupMeanwhile: a backup does not follow such a link either.
func TestBackupMeanwhile(t *testing.T) {
	l, err := eventlog.Open(eventlog.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	top, elsewhere := t.TempDir(), t.TempDir()
	w := newWorker(l, t.TempDir(), slog.New(slog.DiscardHandler))
	if _, err := w.Start(api.WorkRequest{Kind: api.WorkBackup, Dir: filepath.Join(top, "a", "b")}); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(top, "a")); err != nil {
		t.Fatal(err)
	}
	w.work(t.Context())
	if now := w.Work(); now.State != api.WorkFailed || !strings.Contains(now.Error, "symbolic link") {
		t.Errorf("%+v", now)
	}
	if left, err := os.ReadDir(elsewhere); err != nil || len(left) > 0 {
		t.Errorf("written through the link: %v, %v", left, err)
	}
}
