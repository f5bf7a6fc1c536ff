package jsonl

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// TestFree: the free space of a real disk is less than the largest reserve, so a
// Writer with that reserve refuses to write.
func TestFree(t *testing.T) {
	w, err := Open(Config{Path: filepath.Join(t.TempDir(), "records.jsonl"), Reserve: math.MaxInt64})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Append([]byte("1"), false); err == nil || !strings.Contains(err.Error(), "nearly full") {
		t.Errorf("recorded in the reserve: %v", err)
	}
}
