package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/api"
	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// TestRoomOf: each reserve has its finding, with the remedy.
func TestRoomOf(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		free             uint64
		known            bool
		err              error
		prevents, limits string // parts of the findings, separated by |; empty: none
	}{
		{0, false, nil, "", ""},
		{0, false, errors.New("input/output error"), "input/output error", ""},
		{256 * mib, true, nil, "", ""},
		{256*mib - 1, true, nil, "", "255 MiB free; with less than 256 MiB policyd writes no snapshots|make room"},
		{128 * mib, true, nil, "", "no snapshots"},
		{128*mib - 1, true, nil, "127 MiB free; with less than 128 MiB policyd decides nothing: make room", ""},
		{64*mib - 1, true, nil, "decides nothing|with less than 64 MiB policyd takes no changes: make room", ""},
	} {
		prevents, limits := roomOf("/data", tt.free, tt.known, tt.err)
		for _, f := range []struct {
			got  error
			want string
		}{{prevents, tt.prevents}, {limits, tt.limits}} {
			if (f.got == nil) != (f.want == "") {
				t.Errorf("%d: %v, want %q", tt.free, f.got, f.want)
			}
			for part := range strings.SplitSeq(f.want, "|") {
				if f.got != nil && !strings.Contains(f.got.Error(), part) {
					t.Errorf("%d: %v, want %q", tt.free, f.got, part)
				}
			}
		}
	}
}

// TestNoRoomFromTheStart: a policyd whose disk has less than the reserve of the
// records free is not ready, before the first question.
func TestNoRoomFromTheStart(t *testing.T) {
	c := testConfig(t)
	p, err := newProcess(c, false)
	if err != nil {
		t.Fatal(err)
	}
	if p.reserve != recordReserve {
		t.Errorf("reserve %d", p.reserve)
	}
	p.reserve = math.MaxUint64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	eventually(t, "policyd to say that it cannot record", func() bool { return strings.Contains(get(c, "/readyz"), "is nearly full") })
	if metrics := get(c, "/metrics"); !strings.Contains(metrics, "postern_node_recording 0\n") {
		t.Error("the metric does not show it")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// noRecords is a Recorder that drops records.
type noRecords struct{}

func (noRecords) Ready() error                { return nil }
func (noRecords) Record([]audit.Record) error { return nil }

// TestNoRoomForCommands: the answer to a command for which the log has no room says
// that nothing was done.
func TestNoRoomForCommands(t *testing.T) {
	fs := vfs.NewMem()
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := node.New(node.Config{ID: "n1", Log: l, LogID: l.LogID(), Recorder: noRecords{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	eventually(t, "the node", func() bool { return n.Ready() == nil })
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 40})
	_, err = adminRunner{n, nil}.Execute(ctx, tenants.Command{
		Tenant: "acme", ID: "1", Actor: tenants.Actor{Name: "operator:root", Operator: true},
		Change: tenants.CreateTenant{DisplayName: "Acme"},
	})
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != api.CodeUnavailable || !strings.Contains(e.Text, "nothing was done") {
		t.Errorf("%v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
