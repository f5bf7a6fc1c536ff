package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/internal/daemon/daemontest"
)

// TestLostLog: policyd refuses a data folder that has lost its log, whichever file
// is left in it, and changes nothing there. With --init it begins a new
// installation, but only if there is no log.
func TestLostLog(t *testing.T) {
	for left, lose := range map[string]func(t *testing.T, c *config){
		"nats/gw1.nkey": func(t *testing.T, c *config) { remove(t, c.logDir(), c.adminCalls(), c.journal()) },
		"admin.jsonl":   func(t *testing.T, c *config) { remove(t, c.logDir(), c.natsDir(), c.journal()) },
		"decisions.jsonl.1": func(t *testing.T, c *config) {
			remove(t, c.logDir(), c.natsDir(), c.adminCalls())
			if err := os.Rename(c.journal(), c.journal()+".1"); err != nil {
				t.Fatal(err)
			}
		},
		"log/HIGHWATER": loseAllButMark,
		"log/WITNESS": func(t *testing.T, c *config) { // from an earlier version
			loseAllButMark(t, c)
			if err := os.Rename(filepath.Join(c.logDir(), "HIGHWATER"), filepath.Join(c.logDir(), "WITNESS")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(strings.ReplaceAll(left, "/", "-"), func(t *testing.T) {
			c := testConfig(t)
			stop := begin(t, c)
			admin(t, c, api.TenantCreate{})
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if err := run(t.Context(), c, true); err == nil || !strings.Contains(err.Error(), "start without --init") {
				t.Errorf("--init where there is a log: %v", err)
			}
			lose(t, c)
			before := daemontest.Snapshot(t, c.Data)
			if err := run(t.Context(), c, false); err == nil || !strings.Contains(err.Error(), left) || !strings.Contains(err.Error(), "policyd --init") {
				t.Fatalf("without its log: %v", err)
			}
			if after := daemontest.Snapshot(t, c.Data); !maps.Equal(before, after) {
				t.Errorf("the refusal changed the folder: %v", after)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // policyd stops once it has started
			switch err := run(ctx, c, true); {
			case strings.HasPrefix(left, "log/"):
				if err == nil || !strings.Contains(err.Error(), "move the folder") {
					t.Errorf("--init into the remains of a log: %v", err)
				}
			case err != nil:
				t.Errorf("--init: %v", err)
			default:
				begin(t, c)
			}
		})
	}
}

// loseAllButMark removes all files of an installation except the high-water mark
// of its log.
func loseAllButMark(t *testing.T, c *config) {
	t.Helper()
	remove(t, c.natsDir(), c.adminCalls(), c.journal())
	files, err := filepath.Glob(filepath.Join(c.logDir(), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Base(f) != "HIGHWATER" {
			remove(t, f)
		}
	}
}

// TestFirstStart: policyd logs once that a new installation begins. If a policyd
// has the data folder open, a second one is told which process has it.
func TestFirstStart(t *testing.T) {
	c := testConfig(t)
	for _, want := range []int{1, 0} {
		p := startProcess(t, c)
		eventually(t, "policyd to be ready", func() bool { return get(c, "/readyz") == "ok\n" })
		other := testConfig(t)
		other.Data = c.Data
		err := run(t.Context(), other, false)
		if holder := fmt.Sprintf("process %d (", p.cmd.Process.Pid); err == nil || !strings.Contains(err.Error(), holder) || !strings.Contains(err.Error(), c.Data) {
			t.Errorf("a second policyd on one folder: %v", err)
		}
		if code := p.end(syscall.SIGTERM); code != 0 {
			t.Errorf("exit status %d", code)
		}
		if n := strings.Count(p.stderr.String(), `msg="a new installation begins, with an empty log"`); n != want {
			t.Errorf("logged %d times, want %d:\n%s", n, want, p.stderr.String())
		}
	}
}

// TestPortTaken: if a port is in use, policyd exits with status 1 before it logs
// that it serves, and the error names the address.
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for setting, spoil := range map[string]func(*config){
		"nats":        func(c *config) { c.NATS.Listen = taken },
		"listen http": func(c *config) { c.Listen.HTTP = taken },
		"admin":       func(c *config) { c.Admin.Listen = taken },
	} {
		c := testConfig(t)
		spoil(c)
		p := startProcess(t, c)
		code := p.end(nil)
		if out := p.stderr.String(); code != 1 || strings.Contains(out, "serves") || strings.Contains(out, "the admin port is open") ||
			!strings.Contains(out, taken) || !strings.Contains(out, "address already in use") {
			t.Errorf("%s: exit status %d:\n%s", setting, code, out)
		}
	}
}

// A started is a policyd in another process.
type started struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
}

// startProcess starts policyd in another process, and keeps its log.
func startProcess(t *testing.T, c *config) *started {
	t.Helper()
	p := &started{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), killVariable+"=1", envPrefix+"DATA="+c.Data, envPrefix+"ADMIN_SOCKET="+c.Admin.Socket,
		envPrefix+"NATS_LISTEN="+c.NATS.Listen, envPrefix+"LISTEN_HTTP="+c.Listen.HTTP, envPrefix+"ADMIN_LISTEN="+c.Admin.Listen,
		envPrefix+"NATS_GATEWAYS="+strings.Join(c.NATS.Gateways, ","),
		envPrefix+"ADMIN_CERT="+c.Admin.Cert, envPrefix+"ADMIN_KEY="+c.Admin.Key, envPrefix+"NATS_CERT="+c.NATS.Cert, envPrefix+"NATS_KEY="+c.NATS.Key)
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// end sends a signal, unless it is nil, and waits for the exit status.
func (p *started) end(signal os.Signal) int {
	p.t.Helper()
	if signal != nil {
		if err := p.cmd.Process.Signal(signal); err != nil {
			p.t.Fatal(err)
		}
	}
	late := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	_ = p.cmd.Wait() // its error is the exit status
	return p.cmd.ProcessState.ExitCode()
}

func remove(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
