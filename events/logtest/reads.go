package logtest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/postern-im/postern/events"
)

func testRead(t *testing.T, place Place) {
	l := open(t, place)
	a := newAuthor(9)
	var want []events.Commit
	for len(want) < 20 {
		batch := a.batch()
		mustAppend(t, l, batch...)
		want = appendAll(want, batch)
	}
	head := events.Position(len(want))
	for from := range head + 2 {
		same(t, contents(t, l, from), want[min(max(from, 1)-1, head):])
	}
	for _, from := range []events.Position{head + 2, 1 << 63, 1<<64 - 1} {
		if err := l.Read(t.Context(), from, nil); !errors.Is(err, events.ErrNoSuchPosition) {
			t.Errorf("read from %d: %v", from, err)
		}
	}
	mine, calls := errors.New("mine"), 0
	err := l.Read(t.Context(), 1, func(*events.Commit) error {
		if calls++; calls == 3 {
			return mine
		}
		return nil
	})
	if err != mine || calls != 3 {
		t.Errorf("an error after 3: %v after %d", err, calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls = 0
	err = l.Read(ctx, 1, func(*events.Commit) error { calls++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("called off: %v after %d", err, calls)
	}
	// A reader may append; the read ends at the head of its beginning.
	calls = 0
	err = l.Read(t.Context(), head-1, func(*events.Commit) error {
		calls++
		c := a.commit("acme")
		mustAppend(t, l, c)
		want = append(want, *c)
		return nil
	})
	if err != nil || calls != 2 {
		t.Errorf("appending meanwhile: %v after %d", err, calls)
	}
	checkHolds(t, l, want)
}

// testReadWhileAppending runs followers that wait and read while a writer
// appends. Each must see each commit once and in order.
func testReadWhileAppending(t *testing.T, place Place) {
	const followers, total = 3, 200
	l := open(t, place)
	a := newAuthor(10)
	seen := make([][]events.Commit, followers)
	var all sync.WaitGroup
	for i := range followers {
		all.Go(func() {
			for at := events.Position(0); at < total; {
				head, err := l.Wait(t.Context(), at)
				if err != nil || head <= at {
					t.Errorf("wait past %d: %d, %v", at, head, err)
					return
				}
				err = l.Read(t.Context(), at+1, func(c *events.Commit) error {
					seen[i] = append(seen[i], c.Clone())
					at = c.Position
					return nil
				})
				if err != nil || at < head {
					t.Errorf("read to %d, the head was %d: %v", at, head, err)
					return
				}
			}
		})
	}
	var want []events.Commit
	for range total {
		c := a.commit("acme")
		mustAppend(t, l, c)
		want = append(want, *c)
	}
	all.Wait()
	for _, got := range seen {
		same(t, got, want)
	}
}

func testWait(t *testing.T, place Place) {
	l := open(t, place)
	a := newAuthor(11)
	type answer struct {
		head events.Position
		err  error
	}
	answers := make(chan answer, 3)
	for range 3 {
		go func() {
			head, err := l.Wait(t.Context(), 0)
			answers <- answer{head, err}
		}()
	}
	mustAppend(t, l, a.commit("acme"))
	for range 3 {
		if got := <-answers; got.head != 1 || got.err != nil {
			t.Errorf("wait: %+v", got)
		}
	}
	if head, err := l.Wait(t.Context(), 0); head != 1 || err != nil {
		t.Errorf("no need to wait: %d, %v", head, err)
	}
	if _, err := l.Wait(t.Context(), 2); !errors.Is(err, events.ErrNoSuchPosition) {
		t.Errorf("a follower of another history: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		head, err := l.Wait(ctx, 1)
		answers <- answer{head, err}
	}()
	cancel()
	if got := <-answers; !errors.Is(got.err, context.Canceled) {
		t.Errorf("called off: %+v", got)
	}
}
