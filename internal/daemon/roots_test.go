package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRoots(t *testing.T) {
	if c, err := Roots(""); c != nil || err != nil {
		t.Error("no file:", c, err)
	}
	file := filepath.Join(t.TempDir(), "roots.pem")
	if _, err := Roots(file); err == nil {
		t.Error("no error for a missing file")
	}
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Roots(file); err == nil {
		t.Error("no error for a file without certificates")
	}
}
