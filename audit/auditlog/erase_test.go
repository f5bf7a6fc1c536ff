package auditlog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/audit"
)

// TestEraseNamed: the mark of an erasure may use the very name that it erases. The name
// then gets a number that is not erased.
func TestEraseNamed(t *testing.T) {
	l, _ := run(t, Config{Dir: "audit", FS: vfs.NewMem()})
	admin := audit.Name{Kind: audit.ActorName, Text: []byte("admin")}
	mark := &audit.Group{At: time.Unix(1, 0), Records: []audit.Record{{Kind: audit.MarkKind, Body: &audit.Mark{Mark: audit.StartMark, By: "admin"}}}}
	if err := l.Append(mark); err != nil {
		t.Fatal(err)
	}
	number, err := l.Erase(t.Context(), time.Unix(2, 0), admin, "admin", "asked")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(mark); err != nil {
		t.Fatal(err)
	}
	if again, ok, err := l.Number(admin); err != nil || !ok || again == number {
		t.Errorf("used again, the name has number %d, %v, %v; %d was erased", again, ok, err, number)
	}
	var by []string
	if _, err := l.Find(t.Context(), &audit.Query{}, func(_ audit.Ref, r *audit.Record) error {
		by = append(by, r.Body.(*audit.Mark).By)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("admin admin erased#%d", number); strings.Join(by, " ") != want {
		t.Errorf("actors %v, want %s", by, want)
	}
}
