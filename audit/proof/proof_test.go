package proof

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A tree is a log of leaves in memory.
type tree struct {
	hashes []tlog.Hash
	n      int64
}

func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var list []tlog.Hash
	for _, i := range indexes {
		list = append(list, t.hashes[i])
	}
	return list, nil
}

func (t *tree) add(tb testing.TB, leaf string) {
	tb.Helper()
	h, err := tlog.StoredHashes(t.n, []byte(leaf), t)
	if err != nil {
		tb.Fatal(err)
	}
	t.hashes = append(t.hashes, h...)
	t.n++
}

func (t *tree) head(tb testing.TB) tlog.Tree {
	tb.Helper()
	h, err := tlog.TreeHash(t.n, t)
	if err != nil {
		tb.Fatal(err)
	}
	return tlog.Tree{N: t.n, Hash: h}
}

const origin = "postern/acme/audit/n1/1"

// signed returns a tree of n leaves, its checkpoint with the signature of the log and
// of a witness, and the keys of both.
func signed(tb testing.TB, n int) (*tree, Checkpoint, note.Verifiers) {
	tb.Helper()
	secret, public, err := note.GenerateKey(nil, origin)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		tb.Fatal(err)
	}
	var t tree
	for i := range n {
		t.add(tb, fmt.Sprint("leaf ", i))
	}
	c, err := Sign(signer, origin, t.head(tb))
	if err != nil {
		tb.Fatal(err)
	}
	witness, err := NewCosigner("witness.example/w1", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)), func() time.Time { return time.Unix(1679315147, 0) })
	if err != nil {
		tb.Fatal(err)
	}
	var keys []note.Verifier
	for _, key := range []string{public, witness.Key()} {
		v, err := NewVerifier(key)
		if err != nil {
			tb.Fatal(err)
		}
		keys = append(keys, v)
	}
	known := note.VerifierList(keys...)
	opened, err := note.Open(c.Note, known)
	if err != nil {
		tb.Fatal(err)
	}
	if c.Note, err = note.Sign(opened, witness); err != nil {
		tb.Fatal(err)
	}
	return &t, c, known
}

// TestInclusion proves each leaf of trees of several sizes. No other leaf, index, hash
// or checkpoint fits the proof.
func TestInclusion(t *testing.T) {
	for _, n := range []int{1, 2, 3, 8, 13} {
		tr, c, known := signed(t, n)
		for i := range n {
			p, err := Include(tr, c, int64(i))
			if err != nil {
				t.Fatal(err)
			}
			p.Extra = []byte("salts")
			text := p.Append(nil)
			back, err := ParseInclusion(text)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			leaf := tlog.RecordHash(fmt.Append(nil, "leaf ", i))
			got, signers, err := back.Verify(leaf, known)
			if err != nil || got.Tree != c.Tree || got.Origin != origin || strings.Join(signers, " ") != origin+" witness.example/w1" {
				t.Fatalf("leaf %d of %d: %+v, %v, %v", i, n, got.Tree, signers, err)
			}
			if _, _, err := back.Verify(tlog.RecordHash([]byte("another leaf")), known); err == nil {
				t.Errorf("another leaf fits the proof of leaf %d of %d", i, n)
			}
			for other := range int64(n) {
				moved := *back
				moved.Index = other
				if _, _, err := moved.Verify(leaf, known); (err == nil) != (other == int64(i)) {
					t.Errorf("leaf %d of %d at index %d: %v", i, n, other, err)
				}
			}
			for h := range back.Hashes {
				changed := *back
				changed.Hashes = append(tlog.RecordProof(nil), back.Hashes...)
				changed.Hashes[h][3] ^= 1
				if _, _, err := changed.Verify(leaf, known); err == nil {
					t.Errorf("another hash %d fits leaf %d of %d", h, i, n)
				}
			}
			forged := *back
			forged.Checkpoint = bytes.Replace(back.Checkpoint, fmt.Appendf(nil, "\n%d\n", n), fmt.Appendf(nil, "\n%d\n", n+1), 1)
			if _, _, err := forged.Verify(leaf, known); err == nil {
				t.Errorf("another size of the tree fits leaf %d of %d", i, n)
			}
		}
	}
}

// TestSigners: an unknown key's signature is ignored, and without a known one the
// checkpoint is refused.
func TestSigners(t *testing.T) {
	_, c, known := signed(t, 3)
	_, _, others := signed(t, 3)
	if _, _, err := Open(c.Note, others); err != nil {
		// The witness has the same key in both, so its signature alone counts.
		t.Errorf("a checkpoint that the witness has signed: %v", err)
	}
	if _, _, err := Open(c.Note, note.VerifierList()); err == nil {
		t.Error("a checkpoint without a known signature is accepted")
	}
	// A log of another owner with the same witness: no proof of it counts.
	foreign, theirs, _ := signed(t, 3)
	p, err := Include(foreign, theirs, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Verify(tlog.RecordHash([]byte("leaf 1")), known); err == nil {
		t.Error("a proof is accepted whose checkpoint no known log has signed")
	}
	late := bytes.Replace(c.Note, []byte("\n3\n"), []byte("\n4\n"), 1)
	if _, _, err := Open(late, known); err == nil {
		t.Error("a changed checkpoint is accepted")
	}
}

// TestExtends: each tree extends each smaller one, and no tree of another history.
func TestExtends(t *testing.T) {
	var heads []tlog.Tree
	var tr tree
	for i := range 20 {
		heads = append(heads, tr.head(t))
		tr.add(t, fmt.Sprint("leaf ", i))
	}
	var forked tree
	for i := range 20 {
		leaf := fmt.Sprint("leaf ", i)
		if i == 4 {
			leaf = "another"
		}
		forked.add(t, leaf)
	}
	newest := tr.head(t)
	if err := Extends(&tr, tlog.Tree{Hash: newest.Hash}, newest); err == nil {
		t.Error("an empty tree with the hash of another is extended")
	}
	for n, older := range heads {
		if err := Extends(&tr, older, newest); err != nil {
			t.Errorf("from %d: %v", n, err)
		}
		if err := Extends(&forked, older, forked.head(t)); (err == nil) != (n <= 4) {
			t.Errorf("another history from %d: %v", n, err)
		}
		if err := Extends(&tr, newest, older); err == nil {
			t.Errorf("a smaller tree of %d extends a larger one", n)
		}
	}
}

// TestKeys: keys with a wrong id or of a wrong form are refused.
func TestKeys(t *testing.T) {
	w, err := NewCosigner("w", ed25519.NewKeyFromSeed(make([]byte, 32)), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	good := w.Key()
	if _, err := NewVerifier(good); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "w", "w+", "w+00000000", "w+00000000+" + strings.SplitN(good, "+", 3)[2], "x" + good, good + "A", "w+12345678+!", " " + good} {
		if _, err := NewVerifier(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// FuzzInclusion reads proofs. A proof that can be read is written as the same text.
func FuzzInclusion(f *testing.F) {
	tr, c, known := signed(f, 5)
	for i := range int64(5) {
		p, err := Include(tr, c, i)
		if err != nil {
			f.Fatal(err)
		}
		if i == 2 {
			p.Extra = []byte{1, 2, 3}
		}
		f.Add(p.Append(nil))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseInclusion(text)
		if err != nil {
			return
		}
		if again := p.Append(nil); !bytes.Equal(again, text) {
			t.Fatalf("%q was written as %q", text, again)
		}
		if _, _, err := p.Verify(tlog.RecordHash([]byte("no leaf")), known); err == nil {
			t.Fatal("a leaf that is not in the tree has a proof")
		}
	})
}
