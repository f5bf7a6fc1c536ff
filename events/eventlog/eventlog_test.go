package eventlog_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/logtest"
)

var _ logtest.Log = (*eventlog.Log)(nil)

func TestConformance(t *testing.T) {
	for name, newFS := range map[string]func() vfs.FS{
		"memory": func() vfs.FS { return vfs.NewMem() },
		"disk":   func() vfs.FS { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			logtest.Run(t, func(t *testing.T) logtest.Place {
				running := goleak.IgnoreCurrent()
				t.Cleanup(func() { goleak.VerifyNone(t, running) })
				c := eventlog.Config{Dir: t.TempDir() + "/a/log", FS: newFS()}
				return func() (logtest.Log, error) { return eventlog.Open(c) }
			})
		})
	}
}
