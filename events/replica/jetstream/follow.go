package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/events/replica"
)

const (
	// waitingMessages and waitingBytes bound the entries that were received and not
	// handed over yet. Entries beyond are dropped, and fetched again later.
	waitingMessages = 8192
	waitingBytes    = 64 << 20
	// groupEntries and groupBytes bound the entries that are handed over at once.
	groupEntries = 1000
	groupBytes   = 8 << 20
	// idle is the time without an entry after which the stream's last number is
	// compared with the follower's.
	idle = 250 * time.Millisecond
	// shortFor is the time for which the leader must say that the stream ends
	// earlier than what was followed. A leader just elected may not have counted all
	// of its entries yet.
	shortFor = 15 * time.Second
	// shortPolls is the number of polls that must say so. Time alone does not suffice:
	// a machine that was suspended between two polls would conclude from these two.
	// Polls come once a second, so that an answer may be missing now and then.
	shortPolls = 10
)

// A follower hands over the entries of the stream in order.
type follower struct {
	stream *Stream
	fn     func([]replica.Entry) error
	next   uint64          // the number of the next entry; entries before it are handed over
	group  []replica.Entry // to be handed over, in order
	bytes  int             // in group
	looked time.Time       // the poll of the last number that was compared
	before uint64          // next, when that poll was compared
	short  time.Time       // since when the stream ends too early; zero: it does not
	polls  int             // the polls since short that said so
}

// Follow implements replica.Sequencer. It waits until the stream exists.
func (s *Stream) Follow(ctx context.Context, after uint64, fn func([]replica.Entry) error) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	sub, err := s.cfg.Conn.SubscribeSync(toldSubjects)
	if err != nil {
		return fmt.Errorf("follow the stream: %w", err)
	}
	defer sub.Unsubscribe()
	if err := sub.SetPendingLimits(waitingMessages, waitingBytes); err != nil {
		return fmt.Errorf("follow the stream: %w", err)
	}
	f := &follower{stream: s, fn: fn, next: after + 1}
	if err := f.catchUp(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := f.step(ctx, sub); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// step waits for entries and hands over those that have come.
func (f *follower) step(ctx context.Context, sub *nats.Subscription) error {
	m, err := next(ctx, sub, idle)
	for more := true; more; {
		switch {
		case err == nil:
			if err := f.received(ctx, m); err != nil {
				return err
			}
		case errors.Is(err, nats.ErrSlowConsumer):
			// Entries were dropped; the next one shows the gap.
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return f.compare(ctx)
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			return fmt.Errorf("follow the stream: %w", err)
		}
		if waiting, _, err := sub.Pending(); err != nil || waiting == 0 {
			break
		}
		m, err = sub.NextMsg(idle)
	}
	return f.hand()
}

// received takes one entry. If entries before it are missing, it fetches them.
func (f *follower) received(ctx context.Context, m *nats.Msg) error {
	e, err := entryOf(m)
	if err != nil {
		return fmt.Errorf("follow the stream: %w", err)
	}
	for f.next < e.Seq {
		if err := f.hand(); err != nil {
			return err
		}
		got, err := f.fetch(ctx)
		if err != nil {
			return err
		}
		if got == 0 && !pause(ctx, idle) {
			return ctx.Err()
		}
	}
	return f.take(e)
}

// take adds an entry to the group, unless it was taken before.
func (f *follower) take(e replica.Entry) error {
	if e.Seq < f.next {
		return nil
	}
	f.group = append(f.group, e)
	f.bytes += len(e.Data)
	f.next = e.Seq + 1
	if len(f.group) >= groupEntries || f.bytes >= groupBytes {
		return f.hand()
	}
	return nil
}

// hand hands over the group.
func (f *follower) hand() error {
	if len(f.group) == 0 {
		return nil
	}
	err := f.fn(f.group)
	clear(f.group)
	f.group, f.bytes = f.group[:0], 0
	return err
}

// fetch asks once for the entries from next on, hands over those that come, and
// returns their number.
func (f *follower) fetch(ctx context.Context) (int, error) {
	asked, err := ask(f.stream.cfg.Conn, f.next)
	if err != nil {
		return 0, fmt.Errorf("follow the stream: %w", err)
	}
	defer asked.end()
	entries := f.receive(ctx, asked)
	return len(entries), f.takeAll(ctx, entries)
}

// receive returns the entries of an answer. It asks the leader if the server that
// should answer has none of them yet, or hangs.
func (f *follower) receive(ctx context.Context, asked *fetch) []replica.Entry {
	entries, err := asked.receive(ctx)
	if len(entries) == 0 {
		entries, err = fromLeader(ctx, f.stream.cfg.Conn, f.next)
	}
	if err != nil {
		f.stream.cfg.Logger.Debug("cluster: fetch missing entries", "from", f.next, "error", err)
	}
	return entries
}

// takeAll takes the entries of an answer, and hands them over.
func (f *follower) takeAll(ctx context.Context, entries []replica.Entry) error {
	if err := f.checkGap(ctx, entries); err != nil {
		return err
	}
	for _, e := range entries {
		if err := f.take(e); err != nil {
			return err
		}
	}
	return cmp.Or(f.hand(), ctx.Err())
}

// checkGap returns replica.ErrGap if a batch is missing in a gap of an answer. Ticks expire,
// so gaps are usual, but a damaged server can have lost a batch. The leader knows.
func (f *follower) checkGap(ctx context.Context, entries []replica.Entry) error {
	from, to := gapOf(f.next, entries)
	if from == to {
		return nil
	}
	e, err := leaderNext(ctx, f.stream.cfg.Conn, from, kinds[kindBatch])
	switch {
	case err != nil:
		return fmt.Errorf("ask the leader whether only ticks are missing from entry %d to %d: %w", from, to-1, err)
	case e.Seq != 0 && e.Seq < to:
		return fmt.Errorf("the log server that this node reads from has lost the batch of entry %d, which the leader has: check its disk: %w", e.Seq, replica.ErrGap)
	}
	return nil
}

// gapOf returns the first missing entry and the one after the last, of the gaps behind the
// last batch of an answer. Gaps before a batch need no look, because the positions of the
// commits show a missing batch. Equal numbers mean that there is no gap.
func gapOf(next uint64, entries []replica.Entry) (from, to uint64) {
	for _, e := range entries {
		switch {
		case isBatch(e.Data):
			from, to = 0, 0
		case e.Seq > next && from == to:
			from, to = next, e.Seq
		case e.Seq > next:
			to = e.Seq
		}
		next = max(next, e.Seq+1)
	}
	return from, to
}

// catchUp fetches entries until there are no more. It asks for the next entries
// before it hands over those of an answer, so that the servers read while the
// replica writes.
func (f *follower) catchUp(ctx context.Context) error {
	asked, err := ask(f.stream.cfg.Conn, f.next)
	if err != nil {
		return fmt.Errorf("follow the stream: %w", err)
	}
	for {
		entries := f.receive(ctx, asked)
		asked.end()
		if len(entries) == 0 {
			return ctx.Err()
		}
		after := entries[len(entries)-1].Seq
		// The last answer has fewer entries than fit, but others may have too.
		if last, _ := f.stream.last(); len(entries) < fetchEntries && after >= last {
			return f.takeAll(ctx, entries)
		}
		if asked, err = ask(f.stream.cfg.Conn, after+1); err != nil {
			return fmt.Errorf("follow the stream: %w", err)
		}
		if err := f.takeAll(ctx, entries); err != nil {
			asked.end()
			return err
		}
	}
}

// compare compares the stream's last number with the follower's, once for each
// poll. If the stream has more, published entries were lost, and it fetches them.
// If the stream has had less for long and in many polls, it has lost entries. Entries that came since
// the poll began say nothing: only those that were read at the look before count. A
// leader that no majority follows says nothing either: it was cut off, and this node
// may have read more from its successor.
func (f *follower) compare(ctx context.Context) error {
	last, polled := f.stream.last()
	if polled.Equal(f.looked) {
		return nil
	}
	before := f.before
	f.looked, f.before = polled, f.next
	switch {
	case last >= f.next:
		f.short = time.Time{}
		return f.catchUp(ctx)
	case last+1 >= before || !f.stream.followed():
		f.short = time.Time{}
	case f.short.IsZero():
		f.short, f.polls = polled, 1
	default:
		if f.polls++; f.polls < shortPolls || polled.Sub(f.short) < shortFor {
			return nil
		}
		return fmt.Errorf("the stream ends at %d, after which this node has read up to %d: %w", last, before-1, replica.ErrShort)
	}
	return nil
}
