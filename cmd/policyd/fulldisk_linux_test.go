package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
)

// largeFile is larger than any other file that the test's process writes.
const largeFile = 1 << 30

// A fullDisk is a policyd whose writes of records can be made to fail as on a full
// disk. It limits the size of files of this process (setrlimit(2)); a write then
// writes the bytes that still fit, and fails. The records, of decisions and of
// admin calls, are the only files large enough to reach the limit.
type fullDisk struct {
	t      *testing.T
	config *config
	asker  *overnats.Asker
	client *api.Client
	before syscall.Rlimit
	log    string // log and position of the admission
	at     uint64

	next   uint64
	passed map[uint64]bool // the questions that were answered with pass
}

func newFullDisk(t *testing.T) *fullDisk {
	c := testConfig(t)
	if err := begin(t, c)(); err != nil {
		t.Fatal(err)
	}
	for file, size := range map[string]int64{c.journal(): largeFile, c.adminCalls(): 2 * largeFile} {
		if err := os.Truncate(file, size); err != nil { // extends the file with holes
			t.Fatal(err)
		}
	}
	begin(t, c)
	admin(t, c, api.TenantCreate{Domains: []api.DomainAdd{{Domain: "alpha.test", Backends: []api.Backend{{Address: "127.0.0.1:15222", Security: "none"}}}}})
	d := &fullDisk{t: t, config: c, asker: gateway(t, c, "gw1"), client: api.NewClient(c.Admin.Socket), passed: map[uint64]bool{}}
	t.Cleanup(func() { d.client.Close() })
	admission, err := d.asker.Admit(t.Context(), "alpha.test")
	if err != nil || !admission.Known {
		t.Fatalf("%+v, %v", admission, err)
	}
	d.log, d.at = admission.LogID, admission.Position
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &d.before); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.makeRoom)
	return d
}

// fill leaves room for room bytes of decisions, and none for admin calls.
func (d *fullDisk) fill(room int64) {
	d.t.Helper()
	info, err := os.Stat(d.config.journal())
	if err != nil {
		d.t.Fatal(err)
	}
	limit := syscall.Rlimit{Cur: uint64(info.Size() + room), Max: d.before.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		d.t.Fatal(err)
	}
}

func (d *fullDisk) makeRoom() {
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &d.before); err != nil {
		d.t.Error(err)
	}
}

// ask asks for a verdict as a gateway does. In an outage it waits for at most hold.
func (d *fullDisk) ask(hold time.Duration) error {
	d.t.Helper()
	d.next++
	questions, verdicts := chat(d.t, d.at), make([]decision.Verdict, 1)
	questions[0].ID, questions[0].Session.OpenedLog = d.next, []byte(d.log)
	err := d.asker.Ask(d.t.Context(), questions, verdicts, hold)
	switch {
	case err == nil && verdicts[0].Effect == decision.Pass:
		d.passed[d.next] = true
	case err == nil || verdicts[0].Effect != decision.Undecided:
		d.t.Errorf("question %d: %+v, %v", d.next, verdicts[0], err)
	}
	return err
}

// suspend suspends an account as the operator.
func (d *fullDisk) suspend(account string) error {
	_, err := d.client.Do(d.t.Context(), "acme", api.MemberSuspend{JID: account}, api.CommandMeta{})
	return err
}

// TestFullDisk: while records cannot be written, policyd gives no verdict, makes no
// change and is not ready. When they can be written again, it resumes by itself.
// Each verdict that it gave has a record.
func TestFullDisk(t *testing.T) {
	d := newFullDisk(t)
	rooms := []int64{0, 1, 100, 500} // room for no byte, a line's end, part of a record, one record
	for _, room := range rooms {
		if err := d.ask(10 * time.Second); err != nil {
			t.Fatalf("there is room: %v", err)
		}
		d.fill(room)
		for begun := d.next; !strings.Contains(get(d.config, "/readyz"), "decisions cannot be recorded: "); {
			if _ = d.ask(200 * time.Millisecond); d.next > begun+100 {
				t.Fatal("the disk is not full")
			}
		}
		if err := d.ask(200 * time.Millisecond); !errors.Is(err, overnats.ErrUnavailable) {
			t.Errorf("room for %d bytes: %v", room, err)
		}
		if err := d.suspend("eve@alpha.test"); err == nil || !strings.Contains(err.Error(), "cannot record this call") {
			t.Errorf("a change without a record: %v", err)
		}
		if live := get(d.config, "/livez"); live != "ok\n" {
			t.Errorf("livez %q", live)
		}
		if metrics := get(d.config, "/metrics"); !strings.Contains(metrics, "postern_node_recording 0\n") || !strings.Contains(metrics, "postern_node_ready 0\n") {
			t.Error("the metrics do not show it")
		}
		d.makeRoom()
		if err := d.ask(10 * time.Second); err != nil {
			t.Fatalf("there is room again: %v", err)
		}
		if err := d.suspend("eve@alpha.test"); err != nil {
			t.Errorf("a change when there is room again: %v", err)
		}
	}
	if v := d.resumptions(); v != len(rooms) {
		t.Errorf("%d records of resuming, want %d", v, len(rooms))
	}
	if len(d.passed) > 0 {
		t.Errorf("no record of the verdicts %v", d.passed)
	}
}

// resumptions reads the records. It removes each recorded verdict from passed, and
// returns the number of records of resuming.
func (d *fullDisk) resumptions() (n int) {
	d.t.Helper()
	f, err := os.Open(d.config.journal())
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(largeFile, 0); err != nil {
		d.t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(f); err != nil {
		d.t.Fatal(err)
	}
	for line := range bytes.Lines(text.Bytes()) {
		var r struct {
			Msg, Effect string
			Question    uint64
		}
		switch err := json.Unmarshal(line, &r); {
		case err != nil: // an incomplete record
		case r.Msg == "resumed":
			n++
		case r.Msg == "verdict" && r.Effect == "pass":
			delete(d.passed, r.Question)
		}
	}
	return n
}
