package auditlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/postern-im/postern/audit"
	"github.com/postern-im/postern/audit/proof"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
)

// run opens a log and runs it until the test ends, or until stop is called.
func run(t testing.TB, c Config) (l *Log, stop func()) {
	t.Helper()
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, l.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l, stop
}

// verdicts returns a group of verdicts with question numbers from first.
func verdicts(first, n uint64, tenant, account string) *audit.Group {
	f := decision.Facts{Kind: stanza.Message, Type: stanza.Chat, Peer: decision.Remote, PeerLocal: true}
	judged := audit.AppendJudged(nil, &f, &decision.Verdict{Effect: decision.Pass})
	g := &audit.Group{At: time.UnixMicro(int64(first)), LogID: "log", Position: 5, Table: 2, Describer: 1}
	for i := range n {
		g.Records = append(g.Records, audit.Record{
			Kind: audit.VerdictKind, Tenant: []byte(tenant), Question: first + i, Judged: judged,
			Session: audit.Session{ID: []byte("s-" + account), Account: []byte(account), Gateway: []byte("g1"), Opened: 3},
			Peer:    audit.Name{Kind: audit.JIDName, Text: fmt.Appendf(nil, "u%d@far.test", (first+i)%7)},
		})
	}
	return g
}

// content returns the questions in the log with their account and peer, by question,
// and fails if the tree does not match.
func content(t testing.TB, l *Log) map[uint64]string {
	t.Helper()
	tree := l.Tree()
	found := map[uint64]string{}
	var again edge
	name := func(number uint64) []byte {
		_, n, ok, err := l.Name(number)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return fmt.Appendf(nil, "erased#%d", number)
		}
		return n.Text
	}
	err := l.Entries(t.Context(), 0, uint64(tree.N), func(leaf uint64, e *audit.Entry, err error) error {
		if err != nil {
			return err
		}
		for i := range e.Items {
			var r audit.Record
			if err := e.Record(i, name, &r); err != nil {
				return err
			}
			if r.Kind != audit.VerdictKind {
				continue
			}
			if _, twice := found[r.Question]; twice {
				t.Errorf("question %d is there twice", r.Question)
			}
			found[r.Question] = fmt.Sprintf("%s %s %s", r.Tenant, r.Session.Account, r.Peer.Text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Values(t.Context(), 0, uint64(tree.N), func(_ uint64, v []byte) error {
		h, err := leafHash(v)
		again.add(h, func(int, int64, tlog.Hash) {})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if again.root() != tree.Hash {
		t.Errorf("the tree of %d leaves has another hash than its entries", tree.N)
	}
	if tree.N > 0 {
		h, err := tlog.TreeHash(tree.N, l.Hashes())
		if err != nil || h != tree.Hash {
			t.Errorf("the tree hashes to %v, %v", h, err)
		}
	}
	return found
}

// TestAppend appends from several callers at once, opens the log again, and checks a
// proof of each leaf with the tree hash alone.
func TestAppend(t *testing.T) {
	fs := vfs.NewMem()
	l, stop := run(t, Config{Dir: "audit", FS: fs})
	const callers, groups, each = 8, 60, 3
	var wait sync.WaitGroup
	for c := range uint64(callers) {
		wait.Go(func() {
			for g := range uint64(groups) {
				first := (c*groups + g) * each
				if err := l.Append(verdicts(first, each, fmt.Sprintf("t%d", c%3), fmt.Sprintf("ann%d@a.test", c))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	check := func(l *Log) {
		t.Helper()
		found := content(t, l)
		if len(found) != callers*groups*each {
			t.Errorf("%d records", len(found))
		}
		for q, got := range found {
			c := q / each / groups
			if want := fmt.Sprintf("t%d ann%d@a.test u%d@far.test", c%3, c, q%7); got != want {
				t.Errorf("question %d: %s, want %s", q, got, want)
			}
		}
	}
	check(l)
	tree := l.Tree()
	if tree.N < 257 {
		t.Fatalf("only %d leaves: no hash is stored", tree.N)
	}
	if err := l.Values(t.Context(), 0, uint64(tree.N), func(leaf uint64, v []byte) error {
		proof, err := tlog.ProveRecord(tree.N, int64(leaf), l.Hashes())
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, tree.N, tree.Hash, int64(leaf), tlog.RecordHash(v[1:]))
	}); err != nil {
		t.Error(err)
	}
	stop()
	if err := l.Append(verdicts(0, 1, "t", "a@b")); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed log: %v", err)
	}
	again, _ := run(t, Config{Dir: "audit", FS: fs})
	if again.Tree() != tree || again.ID() != l.ID() {
		t.Errorf("after opening again: %v and %v", again.Tree(), tree)
	}
	check(again)
}

// TestCrash cuts the power at random moments: every acknowledged record is there, an
// unanswered group is there whole or not at all, and the log goes on.
func TestCrash(t *testing.T) {
	seeds := uint64(8)
	if os.Getenv("POSTERN_SOAK") == "1" {
		seeds = 400
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 1))
		mem := vfs.NewCrashableMem()
		acknowledged := map[uint64]bool{}
		next := uint64(0)
		for round := range 4 {
			l, err := Open(Config{Dir: "audit", FS: mem})
			if err != nil {
				t.Fatalf("seed %d, round %d: %v", seed, round, err)
			}
			found := content(t, l)
			for q := range acknowledged {
				if _, ok := found[q]; !ok {
					t.Fatalf("seed %d, round %d: question %d was acknowledged and is lost", seed, round, q)
				}
			}
			const each = 3
			for q := range found {
				for i := range uint64(each) {
					if _, ok := found[q/each*each+i]; !ok {
						t.Fatalf("seed %d, round %d: question %d is there without its group", seed, round, q)
					}
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- l.Run(ctx) }()
			var left *vfs.MemFS
			for range 5 + rng.IntN(40) {
				if rng.IntN(30) == 0 {
					break
				}
				if err := l.Append(verdicts(next*each, each, "t", "ann@a.test")); err != nil {
					t.Fatal(err)
				}
				for i := range uint64(each) {
					acknowledged[next*each+i] = true
				}
				next++
			}
			// One more is under way when the power goes.
			unanswered := make(chan error, 1)
			go func() { unanswered <- l.Append(verdicts(next*each, each, "t", "ann@a.test")) }()
			left = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 100}[rng.IntN(3)], RNG: rng})
			<-unanswered
			next++
			cancel()
			if err := errors.Join(<-ended, l.Close()); err != nil {
				t.Fatal(err)
			}
			mem = left
		}
	}
}

// TestShorter: a log that has lost its newest entries is refused, and so is a folder
// that has lost its log.
func TestShorter(t *testing.T) {
	fs := vfs.NewMem()
	l, stop := run(t, Config{Dir: "audit", FS: fs})
	if err := l.Append(verdicts(0, 2, "t", "ann@a.test")); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := vfs.Clone(fs, fs, "audit", "old"); err != nil {
		t.Fatal(err)
	}
	l, stop = run(t, Config{Dir: "audit", FS: fs})
	if err := l.Append(verdicts(2, 2, "t", "ann@a.test")); err != nil {
		t.Fatal(err)
	}
	stop()
	mark, err := fs.Open("audit/" + highWaterName)
	if err != nil {
		t.Fatal(err)
	}
	mark.Close()
	if err := fs.Rename("audit/"+highWaterName, "old/"+highWaterName); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: "old", FS: fs}); !errors.Is(err, ErrShorter) {
		t.Errorf("a log that lost an entry: %v", err)
	}
	if err := fs.MkdirAll("gone", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := fs.Rename("old/"+highWaterName, "gone/"+highWaterName); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: "gone", FS: fs}); !errors.Is(err, ErrShorter) {
		t.Errorf("a folder that lost its log: %v", err)
	}
}

// TestFull: without room nothing is written, and when there is room again the log goes
// on by itself.
func TestFull(t *testing.T) {
	var mu sync.Mutex
	free := uint64(10 << 20)
	now := time.Unix(0, 0)
	set := func(n uint64) {
		mu.Lock()
		defer mu.Unlock()
		free = n
		now = now.Add(2 * lookEach)
	}
	l, _ := run(t, Config{Dir: "audit", FS: vfs.NewMem(), Reserve: 5 << 20,
		Free: func() (uint64, error) { mu.Lock(); defer mu.Unlock(); return free, nil },
		Now:  func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
	})
	g := verdicts(0, 1, "t", "ann@a.test")
	if err := l.Append(g); err != nil {
		t.Fatal(err)
	}
	set(4 << 20)
	for range 3 {
		if err := l.Append(g); !errors.Is(err, ErrFull) {
			t.Errorf("in the reserve: %v", err)
		}
	}
	set(6 << 20)
	if err := l.Append(verdicts(1, 1, "t", "ann@a.test")); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if found := content(t, l); len(found) != 2 {
		t.Errorf("%d records", len(found))
	}
}

// TestErase removes a name: its records have only the number, the tree is as it was, and the name gets another number when it is used again.
func TestErase(t *testing.T) {
	l, _ := run(t, Config{Dir: "audit", FS: vfs.NewMem()})
	if err := l.Append(verdicts(0, 3, "t", "erase.me@a.test")); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(verdicts(3, 2, "t", "bob@a.test")); err != nil {
		t.Fatal(err)
	}
	before := l.Tree()
	name := audit.Name{Kind: audit.JIDName, Text: []byte("erase.me@a.test")}
	number, err := l.Erase(t.Context(), time.Unix(9, 0), name, "admin", "asked for it")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Erase(t.Context(), time.Unix(9, 0), name, "admin", "again"); !errors.Is(err, ErrUnknownName) {
		t.Errorf("erased twice: %v", err)
	}
	if after, err := tlog.TreeHash(before.N, l.Hashes()); err != nil || after != before.Hash {
		t.Errorf("the tree before has another hash: %v", err)
	}
	if tree := l.Tree(); tree.N != before.N+1 {
		t.Errorf("%d leaves after the mark, %d before", tree.N, before.N)
	}
	if err := l.Append(verdicts(9, 1, "t", "erase.me@a.test")); err != nil {
		t.Fatal(err)
	}
	if again, ok, err := l.Number(name); err != nil || !ok || again == number {
		t.Errorf("used again, it has number %d, %v, %v; it had %d", again, ok, err, number)
	}
	if _, err := l.Erase(t.Context(), time.Unix(9, 0), name, "admin", "and again"); err != nil {
		t.Fatal(err)
	}
	found := content(t, l)
	if want := fmt.Sprintf("t erased#%d u0@far.test", number); found[0] != want || found[3] != "t bob@a.test u3@far.test" {
		t.Errorf("records: %v, want %s", found, want)
	}
}

// TestCheckpoints: the log signs its tree after new entries, keeps a checkpoint an hour,
// and the last checkpoint of a run has all entries. Every checkpoint extends the ones
// before.
func TestCheckpoints(t *testing.T) {
	secret, public, err := note.GenerateKey(nil, "postern/acme/audit/n1/1")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := proof.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	known := note.VerifierList(verifier)
	fs := vfs.NewMem()
	var last tlog.Tree
	for round := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			l, err := Open(Config{Dir: "audit", FS: fs, Signer: signer, Origin: "postern/acme/audit/n1/1"})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- l.Run(ctx) }()
			for i := range uint64(3) {
				if err := l.Append(verdicts(100*round+10*i, 2, "t", "ann@a.test")); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				<-time.After(keepEach)
				synctest.Wait()
				c, ok := l.Checkpoint()
				if !ok || c.Tree != l.Tree() {
					t.Errorf("round %d: the checkpoint is %v, the tree %v", round, c.Tree, l.Tree())
				}
			}
			if err := l.Append(verdicts(100*round+99, 1, "t", "ann@a.test")); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			last = l.Tree()
			kept, err := l.Kept(known)
			if err != nil || len(kept) < 3 {
				t.Errorf("round %d: %d kept checkpoints, %v", round, len(kept), err)
			}
			for _, c := range kept {
				if err := proof.Extends(l.Hashes(), c.Tree, last); err != nil {
					t.Error(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
		f, err := fs.Open("audit/" + checkpointName)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if c, _, err := proof.Open(text, known); err != nil || c.Tree != last {
			t.Errorf("round %d: the last checkpoint is %v, %v, the tree %v", round, c.Tree, err, last)
		}
	}
}
