package events_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/postern-im/postern/events"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestGolden compares the description and the bytes of each event with the golden
// file. A change of the bytes would make existing logs unreadable.
func TestGolden(t *testing.T) {
	var b strings.Builder
	for _, e := range everyEvent() {
		c := sampleCommit(e)
		c.CommandHash = events.CommandHash{}
		record := events.AppendCommit(nil, &c)
		// The event is the last field. The fields before it are always the same.
		rest := sampleCommit()
		rest.CommandHash = c.CommandHash
		fmt.Fprintf(&b, "%s\n\t%x\n", events.Describe(e), record[len(events.AppendCommit(nil, &rest)):])
	}
	whole := sampleCommit(events.TenantSuspended{})
	record := events.AppendCommit(nil, &whole)
	fmt.Fprintf(&b, "a whole commit\n\t%x\n\tits hash %x\n", record, events.Hash(record))
	whole.CommandHash = events.CommandHash{}
	record = events.AppendCommit(nil, &whole)
	fmt.Fprintf(&b, "one from before the command's hash\n\t%x\n\tits hash %x\n", record, events.Hash(record))

	const file = "testdata/events.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestDescribe checks that no description breaks its line.
func TestDescribe(t *testing.T) {
	for _, e := range everyEvent() {
		s := events.Describe(e)
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '\u202e' }) {
			t.Errorf("%T: %q", e, s)
		}
	}
}

// field returns one encoded field, of any wire type.
func field(n protowire.Number, t protowire.Type, value []byte) []byte {
	return append(protowire.AppendTag(nil, n, t), value...)
}

func bytesField(n protowire.Number, value string) []byte {
	return field(n, protowire.BytesType, protowire.AppendString(nil, value))
}

func varintField(n protowire.Number, v uint64) []byte {
	return field(n, protowire.VarintType, protowire.AppendVarint(nil, v))
}

// TestDecodeRefuses damages single fields of a good record. Other protobuf
// decoders would accept most of these records.
func TestDecodeRefuses(t *testing.T) {
	event := string(bytesField(3, ""))
	good := [][]byte{
		1: varintField(1, 300), 2: bytesField(2, "acme"), 3: varintField(3, 7), 4: varintField(4, 1763890200000000),
		5: bytesField(5, "operator:root"), 6: bytesField(6, "id"), 7: bytesField(7, "why"),
		8: bytesField(8, strings.Repeat("h", 32)), 9: bytesField(9, event),
	}
	with := func(i int, replacement ...[]byte) []byte {
		fields := append([][]byte{}, good...)
		fields[i] = bytes.Join(replacement, nil)
		return bytes.Join(fields, nil)
	}
	events1 := func(e []byte) []byte { return with(9, bytesField(9, string(e))) }
	if _, err := events.DecodeCommit(bytes.Join(good, nil)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		record []byte
		want   error
	}{
		{"nothing", nil, events.ErrMissing},
		{"position zero, written", with(1, varintField(1, 0)), events.ErrMalformed},
		{"position as a longer varint", with(1, []byte{1 << 3, 0x85, 0x00}), events.ErrMalformed},
		{"position of eleven bytes", with(1, append([]byte{1 << 3}, bytes.Repeat([]byte{0xff}, 11)...)), events.ErrMalformed},
		{"position as fixed64", with(1, field(1, protowire.Fixed64Type, make([]byte, 8))), events.ErrMissing},
		{"position's tag as a longer varint", with(1, []byte{0x88, 0x00, 0x05}), events.ErrMissing},
		{"position twice", with(1, good[1], good[1]), events.ErrMissing},
		{"tenant empty, written", with(2, bytesField(2, "")), events.ErrMalformed},
		{"tenant before position", bytes.Join([][]byte{good[2], good[1], bytes.Join(good[3:], nil)}, nil), events.ErrMissing},
		{"tenant not UTF-8", with(2, bytesField(2, "a\xff")), events.ErrMalformed},
		{"tenant a surrogate", with(2, bytesField(2, "\xed\xa0\x80")), events.ErrMalformed},
		{"tenant too long", with(2, bytesField(2, strings.Repeat("a", events.MaxID+1))), events.ErrTooLarge},
		{"tenant's length as a longer varint", with(2, []byte{2<<3 | 2, 0x81, 0x00, 'a'}), events.ErrMalformed},
		{"tenant longer than the record", with(2, []byte{2<<3 | 2, 0x7f}, []byte("a"))[:12], events.ErrMalformed},
		{"time negative", with(4, varintField(4, 1<<63)), events.ErrMalformed},
		{"time after the year 9999", with(4, varintField(4, 253402300800000000)), events.ErrMalformed},
		{"command id missing", with(6), events.ErrMissing},
		{"command id too long", with(6, bytesField(6, strings.Repeat("a", events.MaxID+1))), events.ErrTooLarge},
		{"reason twice", with(7, good[7], good[7]), events.ErrMissing},
		{"previous of 31 bytes", with(8, bytesField(8, strings.Repeat("h", 31))), events.ErrMalformed},
		{"previous of 33 bytes", with(8, bytesField(8, strings.Repeat("h", 33))), events.ErrMalformed},
		{"no event", with(9), events.ErrMissing},
		{"an event of nothing", events1(nil), events.ErrMalformed},
		{"an event that is a number", events1(varintField(3, 1)), events.ErrMalformed},
		{"an event unknown", events1(bytesField(31, "")), events.ErrUnknownEvent},
		{"an event unknown, far off", events1(bytesField(protowire.MaxValidNumber, "")), events.ErrUnknownEvent},
		{"an event's tag as a longer varint", events1([]byte{0x9a, 0x00, 0x00}), events.ErrMalformed},
		{"an event's tag of two bytes as three", events1([]byte("\x82\x81\x00\x03\x0a\x01r")), events.ErrMalformed},
		{"two events in one", events1(bytes.Repeat([]byte(event), 2)), events.ErrMalformed},
		{"another event in one", events1([]byte(event + string(bytesField(4, "")))), events.ErrUnknownField},
		{"an event with a field too many", events1(bytesField(3, "\x08\x01")), events.ErrUnknownField},
		{"an event with a group", events1(bytesField(3, "\x0b\x0c")), events.ErrUnknownField},
		{"an event with tag zero", events1(bytesField(3, "\x00")), events.ErrMalformed},
		{"a list with an empty name", events1(bytesField(7, string(bytesField(1, "")))), events.ErrMalformed},
		{"an enum zero, written", events1(bytesField(6, string(varintField(1, 0)))), events.ErrMalformed},
		{"an enum value of 256", events1(bytesField(6, string(varintField(1, 256)))), events.ErrUnknownValue},
		{"a flag of false, written", events1(bytesField(11, string(bytesField(1, "d"))+string(varintField(2, 0)))), events.ErrMalformed},
		{"a flag of two", events1(bytesField(11, string(bytesField(1, "d"))+string(varintField(2, 2)))), events.ErrMalformed},
		{"a backend without address", events1(bytesField(9, string(bytesField(1, "d"))+string(bytesField(2, "")))), events.ErrMissing},
		{"a field after the events", with(9, good[9], varintField(11, 1)), events.ErrUnknownField},
		{"a command's hash of 15 bytes", with(9, good[9], bytesField(10, strings.Repeat("h", 15))), events.ErrMalformed},
		{"a command's hash of 17 bytes", with(9, good[9], bytesField(10, strings.Repeat("h", 17))), events.ErrMalformed},
		{"a command's hash of zeros", with(9, good[9], bytesField(10, strings.Repeat("\x00", 16))), events.ErrMalformed},
		{"a command's hash before the events", with(8, good[8], bytesField(10, strings.Repeat("h", 16))), events.ErrMissing},
		{"a command's hash twice", with(9, good[9], bytes.Repeat(bytesField(10, strings.Repeat("h", 16)), 2)), events.ErrMalformed},
		{"a field again after the events", with(9, good[9], good[7]), events.ErrMalformed},
		{"a byte left over", append(with(9, good[9]), 0), events.ErrMalformed},
		{"too large", with(7, bytesField(7, strings.Repeat("a", events.MaxSize))), events.ErrTooLarge},
	} {
		if got, err := events.DecodeCommit(c.record); !errors.Is(err, c.want) || !reflect.ValueOf(got).IsZero() {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestDecodeDamaged cuts a record at every byte and flips each of its bits. The
// decoder may accept the result only if it is the encoding of another commit.
func TestDecodeDamaged(t *testing.T) {
	c := sampleCommit(everyEvent()...)
	record := events.AppendCommit(nil, &c)
	for i := range record {
		// A cut between two events leaves a complete commit with fewer events. A cut
		// before the command hash leaves a complete commit without one.
		if cut, err := events.DecodeCommit(record[:i]); err == nil && len(cut.Events) >= len(c.Events) && cut.CommandHash == c.CommandHash {
			t.Errorf("cut to %d bytes: accepted", i)
		}
		checkCanonical(t, record[:i])
		for bit := range 8 {
			damaged := bytes.Clone(record)
			damaged[i] ^= 1 << bit
			if events.Hash(damaged) == events.Hash(record) {
				t.Fatalf("bit %d of byte %d does not change the hash", bit, i)
			}
			checkCanonical(t, damaged)
		}
	}
}

// checkCanonical checks that an accepted record encodes to the same bytes.
func checkCanonical(t *testing.T, record []byte) {
	t.Helper()
	c, err := events.DecodeCommit(record)
	if err != nil {
		return
	}
	if again := events.AppendCommit(nil, c); !bytes.Equal(again, record) {
		t.Fatalf("accepted a second encoding\n%x\nof\n%x", record, again)
	}
}

func TestAppendCommit(t *testing.T) {
	c := sampleCommit(everyEvent()...)
	alone := events.AppendCommit(nil, &c)
	if got := events.AppendCommit([]byte("before"), &c); string(got) != "before"+string(alone) {
		t.Error("dst is not kept")
	}
	local := c
	local.Time = c.Time.In(time.FixedZone("", 3600)).Add(999 * time.Nanosecond)
	if !bytes.Equal(events.AppendCommit(nil, &local), alone) {
		t.Error("zone and nanoseconds are in the record")
	}
	for _, e := range []events.Event{nil, &events.TenantSuspended{}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%T: no panic", e)
				}
			}()
			bad := sampleCommit(e)
			events.AppendCommit(nil, &bad)
		}()
	}
}

// TestDecodeShares checks that a commit shares no memory with the bytes it was
// decoded from.
func TestDecodeShares(t *testing.T) {
	c := sampleCommit(everyEvent()...)
	record := events.AppendCommit(nil, &c)
	got, err := events.DecodeCommit(record)
	if err != nil {
		t.Fatal(err)
	}
	clear(record)
	if !reflect.DeepEqual(*got, c) {
		t.Error("the commit changed with the record")
	}
}

// used is a commit with old contents, into which checkReuse decodes.
func used() (c, kept events.Commit) {
	c = sampleCommit(everyEvent()...)
	return c, c.Clone()
}

// checkReuse checks that decoding into a used commit gives the same commit as
// decoding into a new commit, or that both fail. It also checks that a clone does
// not change when Decode overwrites its original.
func checkReuse(t *testing.T, record []byte) {
	t.Helper()
	reused, kept := used()
	fresh, err := events.DecodeCommit(record)
	if again := reused.Decode(record); fmt.Sprint(again) != fmt.Sprint(err) {
		t.Fatalf("afresh: %v, into one that was used: %v", err, again)
	}
	if err == nil && !reflect.DeepEqual(reused, *fresh) {
		t.Fatalf("into one that was used\n%+v, want\n%+v", reused, *fresh)
	}
	if want, _ := used(); !reflect.DeepEqual(kept, want) {
		t.Fatal("the clone has changed")
	}
}

func TestDecodeReuse(t *testing.T) {
	for _, e := range everyEvent() {
		c := sampleCommit(e)
		for _, bare := range []bool{false, true} {
			if bare { // absent fields must not keep their old values
				c.Tenant, c.Reason, c.CommandHash = "", "", events.CommandHash{}
			}
			record := events.AppendCommit(nil, &c)
			checkReuse(t, record)
			checkReuse(t, record[:len(record)-1])
		}
	}
}

// FuzzDecodeCommit checks that no bytes make the decoder panic, that it accepts
// only one encoding of a commit, also when it decodes into a used commit, and that
// a decoder generated from the schema reads the same fields.
func FuzzDecodeCommit(f *testing.F) {
	d := schema(f).Messages().ByName("Commit")
	for _, e := range everyEvent() {
		c := sampleCommit(e, events.TenantResumed{})
		f.Add(events.AppendCommit(nil, &c))
	}
	all := sampleCommit(everyEvent()...)
	f.Add(events.AppendCommit(nil, &all))
	f.Fuzz(func(t *testing.T, record []byte) {
		checkReuse(t, record)
		c, err := events.DecodeCommit(record)
		if err != nil {
			return
		}
		checkCanonical(t, record)
		bySchema := dynamicpb.NewMessage(d)
		if err := proto.Unmarshal(record, bySchema); err != nil {
			t.Fatalf("accepted what the schema refuses: %v", err)
		}
		if want := toSchema(t, reflect.ValueOf(*c), d); !proto.Equal(bySchema, want) {
			t.Fatalf("read\n%v\nthe schema reads\n%v", want, bySchema)
		}
		for _, e := range c.Events {
			if strings.ContainsFunc(events.Describe(e), func(r rune) bool { return r < ' ' }) {
				t.Fatalf("%q breaks the line", events.Describe(e))
			}
		}
	})
}

func benchCommit() []byte {
	c := sampleCommit(events.MemberRolesSet{JID: "someone@alpha.test", Role: "lab:kiosk", Secondary: []string{"prosody:member"}})
	return events.AppendCommit(nil, &c)
}

func BenchmarkDecodeCommit(b *testing.B) {
	record := benchCommit()
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.DecodeCommit(record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendCommit(b *testing.B) {
	c, err := events.DecodeCommit(benchCommit())
	if err != nil {
		b.Fatal(err)
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = events.AppendCommit(dst[:0], c)
	}
}

func BenchmarkHash(b *testing.B) {
	record := benchCommit()
	b.SetBytes(int64(len(record)))
	for b.Loop() {
		events.Hash(record)
	}
}
