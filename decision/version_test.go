package decision

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.txt")

// messages returns one message of each type and version.
func messages(t testing.TB) []struct {
	name string
	msg  []byte
} {
	at := Mark{LogID: "0123456789abcdef", Position: 900}
	q, s := chat(t), session()
	one := BatchHead{Gateway: "gw1", ID: 12, AtLeast: at}
	two := one
	two.Wire, two.Challenge = Wire2, 1<<61+77
	first := reply()
	second := reply()
	second.Wire, second.Proven = Wire2, 1<<61+70
	busy := Reply{ReplyHead: ReplyHead{ID: 6, Status: StatusBusy, Node: "n1", At: at, Wire: Wire2}}
	busyToOne := busy
	busyToOne.Wire = Wire1
	state := Announcement{Node: "n1", Boot: 99, Load: 250, Ready: true, At: at, Wire: Wire2, Level: 29}
	return []struct {
		name string
		msg  []byte
	}{
		{"batch 1", AppendOpen(AppendAdmit(AppendQuestion(AppendBatch(nil, &one, 3), &q), "alpha.test"), &s)},
		{"batch 2", AppendOpen(AppendAdmit(AppendQuestion(AppendBatch(nil, &two, 3), &q), "alpha.test"), &s)},
		{"ping 2", AppendBatch(nil, &two, 0)},
		{"reply 1", AppendReply(nil, &first)},
		{"reply 2", AppendReply(nil, &second)},
		{"busy 1", AppendReply(nil, &busyToOne)},
		{"busy 2", AppendReply(nil, &busy)},
		{"announcement 1", AppendAnnouncement(nil, &state)},
		{"announcement 2", AppendExtended(nil, &state)},
		{"challenge", AppendChallenge(nil, 1<<61+77)},
	}
}

// TestMessagesGolden checks that the bytes of every message stay the same, because
// gateways and nodes of different versions exchange them.
func TestMessagesGolden(t *testing.T) {
	const file = "testdata/messages.txt"
	var got strings.Builder
	for _, m := range messages(t) {
		fmt.Fprintf(&got, "%s: %x\n", m.name, m.msg)
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestWire2RoundTrip(t *testing.T) {
	at := Mark{LogID: "0123456789abcdef", Position: 900}
	head := BatchHead{Gateway: "gw1", ID: 12, AtLeast: at, Wire: Wire2, Challenge: 1<<61 + 77}
	msg := AppendAdmit(AppendBatch(nil, &head, 1), "alpha.test")
	var b Batch
	if err := DecodeBatch(msg, &b); err != nil || b.BatchHead != head || len(b.Requests) != 1 {
		t.Errorf("batch: %+v, %v", b, err)
	}
	everyPrefixFails(t, "batch", msg, func(m []byte) error { return DecodeBatch(m, &b) })

	want := reply()
	want.Wire, want.Proven = Wire2, 1<<61+70
	msg = AppendReply(nil, &want)
	var got Reply
	if err := DecodeReply(msg, &got); err != nil || !reflect.DeepEqual(clear(got), want) {
		t.Errorf("reply:\n got %+v, %v\nwant %+v", got, err, want)
	}
	everyPrefixFails(t, "reply", msg, func(m []byte) error { return DecodeReply(m, &got) })
	for status := StatusBehind; status < numStatuses; status++ {
		r := Reply{ReplyHead: ReplyHead{ID: 6, Status: status, Node: "n1", At: at, Wire: Wire2, Proven: 5}}
		err := DecodeReply(AppendReply(nil, &r), &got)
		r.Proven = NoChallenge // a refusal proves nothing
		if err != nil || got.ReplyHead != r.ReplyHead || len(got.Results) != 0 {
			t.Errorf("a reply with status %d: %+v, %v", status, got, err)
		}
	}

	a := Announcement{Node: "n1", Boot: 99, Load: 250, Ready: true, At: at, Wire: Wire2, Level: 29}
	msg = AppendExtended(nil, &a)
	var gotA Announcement
	if err := DecodeExtended(msg, &gotA); err != nil || gotA != a {
		t.Errorf("announcement: %+v, %v", gotA, err)
	}
	everyPrefixFails(t, "announcement", msg, func(m []byte) error { return DecodeExtended(m, &gotA) })
	msg = AppendChallenge(nil, head.Challenge)
	if c, err := DecodeChallenge(msg); err != nil || c != head.Challenge {
		t.Errorf("challenge: %d, %v", c, err)
	}
	everyPrefixFails(t, "challenge", msg, func(m []byte) error { _, err := DecodeChallenge(m); return err })
}

// TestWireRefused checks that fields which only Wire2 has are refused where they
// are absent, zero, or of the other version.
func TestWireRefused(t *testing.T) {
	none := reply()
	none.Wire = Wire2
	early := Announcement{Node: "n1", Wire: Wire1}
	ok := Announcement{Node: "n1", Wire: Wire2}
	busy := AppendReply(nil, &Reply{ReplyHead: ReplyHead{Status: StatusBusy, Node: "n1", Wire: Wire2}})
	busy[0] = byte(tagReply)
	for _, tt := range []struct {
		field string
		err   error
	}{
		{"challenge", DecodeBatch(AppendBatch(nil, &BatchHead{Gateway: "g", Wire: Wire2}, 0), new(Batch))},
		{"proven", DecodeReply(AppendReply(nil, &none), new(Reply))},
		{"status", DecodeReply(busy, new(Reply))},
		{"wire", DecodeExtended(AppendExtended(nil, &early), new(Announcement))},
		{"announcement", DecodeExtended(AppendAnnouncement(nil, &ok), new(Announcement))},
		{"announcement", DecodeAnnouncement(AppendExtended(nil, &ok), new(Announcement))},
		{"challenge", func() error { _, err := DecodeChallenge(AppendChallenge(nil, NoChallenge)); return err }()},
		{"batch", DecodeBatch(AppendChallenge(nil, 7), new(Batch))},
		{"batch", DecodeBatch([]byte{0x40}, new(Batch))},
	} {
		bad, is := errors.AsType[*MalformedError](tt.err)
		if !is || bad.Field != tt.field {
			t.Errorf("want %q refused, got %v", tt.field, tt.err)
		}
	}
}

// TestStatusOfWire1 checks that a gateway of Wire1 gets a status that it knows.
func TestStatusOfWire1(t *testing.T) {
	for _, status := range []Status{StatusVersion, StatusBusy} {
		var got Reply
		msg := AppendReply(nil, &Reply{ReplyHead: ReplyHead{ID: 3, Status: status, Node: "n1"}})
		if err := DecodeReply(msg, &got); err != nil || got.Status != StatusNotFresh || got.Wire != Wire1 {
			t.Errorf("status %d reads as %+v, %v", status, got.ReplyHead, err)
		}
	}
}

// TestNewerBatch checks that a node can name the batch of a version that it does
// not know when it answers StatusVersion.
func TestNewerBatch(t *testing.T) {
	newer := append(appendText([]byte{byte(lastMessage) + 1}, "gw1"), 12, 0xff, 0xff)
	b := Batch{Requests: make([]Request, 3)}
	if err := DecodeBatch(newer, &b); !errors.Is(err, ErrVersion) || b.Gateway != "gw1" || b.ID != 12 || b.Wire != NewestWire || len(b.Requests) != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	if err := DecodeBatch(newer[:3], &b); err == nil || errors.Is(err, ErrVersion) {
		t.Errorf("a batch without a gateway: %v", err)
	}
}

func TestChallenges(t *testing.T) {
	const start = 100 * time.Second
	for _, random := range []uint64{0, 1, 1 << 50, 1<<64 - 1} {
		c := NewChallenges(random, start)
		now := start + 90*time.Second + 999*time.Microsecond
		x := c.At(now)
		if x == NoChallenge {
			t.Errorf("random %d: the challenge is NoChallenge", random)
		}
		if at, ok := c.Instant(x, now); !ok || at != start+90*time.Second {
			t.Errorf("random %d: the challenge of %v stands for %v, %v", random, now, at, ok)
		}
		if !SameRun(x, c.At(start)) || !SameRun(c.At(start), x) || c.At(start) >= x {
			t.Errorf("random %d: two challenges of a run are not recognized", random)
		}
		for what, y := range map[string]uint64{
			"of the future": x + 1, "of before the run": c.At(start) - 1, "of nobody": NoChallenge, "of another run": x ^ 1<<61,
		} {
			if at, ok := c.Instant(y, now); ok {
				t.Errorf("random %d: a challenge %s stands for %v", random, what, at)
			}
		}
		if c.At(start-time.Hour) != c.At(start) {
			t.Errorf("random %d: a clock before the start changes the challenge", random)
		}
	}
	a, b := NewChallenges(1<<60, start), NewChallenges(1<<62, start)
	if SameRun(a.At(start), b.At(start)) || SameRun(NoChallenge, NoChallenge) || SameRun(NoChallenge, 5) {
		t.Error("challenges of different runs count as one run's")
	}
}

// BenchmarkWire encodes and decodes a batch with one question, and its reply. Wire1
// is the base that Wire2 is compared with in the same run.
func BenchmarkWire(b *testing.B) {
	for _, wire := range []Wire{Wire1, Wire2} {
		b.Run(fmt.Sprintf("wire=%d", wire), func(b *testing.B) {
			q := chat(b)
			head := BatchHead{Gateway: "gw1", ID: 1 << 20, AtLeast: Mark{LogID: "0123456789abcdef", Position: 900}, Wire: wire, Challenge: 1<<61 + 77}
			reply := Reply{
				ReplyHead: ReplyHead{ID: 1 << 20, Node: "n1", At: head.AtLeast, Wire: wire, Proven: 1<<61 + 70},
				Results:   []Result{{Kind: Ask, Verdict: Verdict{Effect: Pass, Position: 900}}},
			}
			var batch Batch
			var got Reply
			var there, back []byte
			b.ReportAllocs()
			for b.Loop() {
				there = AppendQuestion(AppendBatch(there[:0], &head, 1), &q)
				if err := DecodeBatch(there, &batch); err != nil {
					b.Fatal(err)
				}
				back = AppendReply(back[:0], &reply)
				if err := DecodeReply(back, &got); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(there)+len(back)), "wire-B")
		})
	}
}
