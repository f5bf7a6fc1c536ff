package headfile

import (
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const id = "0123456789abcdef0123456789abcdef"

func write(t *testing.T, fs vfs.FS, heads ...Head) {
	t.Helper()
	f, err := Open(fs, "head")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range heads {
		if err := f.Write(id, h); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, fs vfs.FS) []byte {
	t.Helper()
	f, err := fs.Open("head")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, fs vfs.FS, b []byte) {
	t.Helper()
	f, err := fs.Create("head", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestHeads: the newest head is read, also after the file is opened again, and a file
// without a head has none.
func TestHeads(t *testing.T) {
	fs := vfs.NewMem()
	if got, _, err := Read(fs, "head"); got != "" || err != nil {
		t.Errorf("a missing file: %q, %v", got, err)
	}
	put(t, fs, nil)
	if got, _, err := Read(fs, "head"); got != "" || err != nil {
		t.Errorf("an empty file: %q, %v", got, err)
	}
	for n := range uint64(5) {
		write(t, fs, Head{Number: 2*n + 1, Hash: [32]byte{byte(n)}}, Head{Number: 2*n + 2, Hash: [32]byte{9, byte(n)}})
		got, h, err := Read(fs, "head")
		if want := (Head{Number: 2*n + 2, Hash: [32]byte{9, byte(n)}}); got != id || h != want || err != nil {
			t.Fatalf("round %d: %q, %v, %v", n, got, h, err)
		}
	}
}

// TestDamage flips each bit of a file. One intact place is enough; the newest head may
// be lost, but a wrong one is never read.
func TestDamage(t *testing.T) {
	fs := vfs.NewMem()
	old, newest := Head{Number: 7, Hash: [32]byte{1}}, Head{Number: 8, Hash: [32]byte{2}}
	write(t, fs, old, newest)
	whole := content(t, fs)
	older := 0
	for i := range len(whole) * 8 {
		b := append([]byte(nil), whole...)
		b[i/8] ^= 1 << (i % 8)
		put(t, fs, b)
		got, h, err := Read(fs, "head")
		switch {
		case err != nil || got != id || h != old && h != newest:
			t.Fatalf("bit %d: %q, %v, %v", i, got, h, err)
		case h == old:
			older++
		}
	}
	if older != size*8 {
		t.Errorf("%d bits hide the newest head, which has %d", older, size*8)
	}
	for _, b := range [][]byte{whole[:10], make([]byte, len(whole))} {
		put(t, fs, b)
		if _, _, err := Read(fs, "head"); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%d bytes without a head: %v", len(b), err)
		}
	}
}

// TestTwoLogs: two places of different logs are refused.
func TestTwoLogs(t *testing.T) {
	fs := vfs.NewMem()
	f, err := Open(fs, "head")
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("f", IDLength)
	for _, id := range []string{id, other} {
		if err := f.Write(id, Head{Number: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Write("short", Head{}); err == nil {
		t.Error("a short id is written")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Read(fs, "head"); err == nil {
		t.Error("a file of two logs is read")
	}
}
