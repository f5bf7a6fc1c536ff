package projections

import (
	"bytes"
	"reflect"
	"testing"
	"unsafe"

	"github.com/postern-im/postern/events"
)

// A lender makes copies of commits whose strings it can overwrite later.
type lender struct{ lent [][]byte }

// commit returns a copy of c. The memory of its strings is overwritten by take.
func (l *lender) commit(c *events.Commit) *events.Commit {
	own := *c
	l.strings(reflect.ValueOf(&own).Elem())
	return &own
}

// strings replaces every string in a value that can be set.
func (l *lender) strings(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if b := []byte(v.String()); len(b) > 0 {
			l.lent = append(l.lent, b)
			v.SetString(unsafe.String(&b[0], len(b)))
		}
	case reflect.Slice:
		own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			own.Index(i).Set(v.Index(i))
			l.strings(own.Index(i))
		}
		if !v.IsNil() {
			v.Set(own)
		}
	case reflect.Interface:
		own := reflect.New(v.Elem().Type()).Elem()
		own.Set(v.Elem())
		l.strings(own)
		v.Set(own)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				l.strings(v.Field(i))
			}
		}
	}
}

// take overwrites the strings of all commits made so far.
func (l *lender) take() {
	for _, b := range l.lent {
		for i := range b {
			b[i] = '!'
		}
	}
	l.lent = nil
}

// TestKeepsNothing checks that a View keeps no string of a commit, since one
// string would keep the whole encoded commit in memory. It overwrites the
// strings of each commit as soon as the commit has been folded.
func TestKeepsNothing(t *testing.T) {
	for seed := range uint64(rounds(4)) {
		log := randomLog(t, seed, 400)
		want := encoded(t, fold(t, NewBuilder(), log))
		var l lender
		b, v := NewBuilder(), New()
		for _, c := range log {
			lent := l.commit(c)
			if err := b.Apply(lent); err != nil {
				t.Fatal(err)
			}
			next, err := v.Apply(lent)
			if err != nil {
				t.Fatal(err)
			}
			v = next
			l.take()
		}
		for what, v := range map[string]*View{"a Builder": b.View(), "Apply": v} {
			if !bytes.Equal(encoded(t, v), want) {
				t.Errorf("seed %d: %s has kept a commit's strings", seed, what)
			}
		}
	}
}

// TestTrimmed checks that the leaves of a built or decoded View have no spare
// capacity, and that trimming them does not change a View that shares leaves.
func TestTrimmed(t *testing.T) {
	for seed := range uint64(rounds(4)) {
		log := randomLog(t, seed, 400)
		first := fold(t, NewBuilder(), log[:300])
		before := encoded(t, first)
		whole := fold(t, BuilderFrom(first), log[300:])
		for what, v := range map[string]*View{"built": first, "built on": whole, "decoded": decoded(t, encoded(t, whole))} {
			room := 0
			for _, tn := range v.tenants.all() {
				for _, p := range tn.hosts.all() {
					p.members.root.leaves(func(leaf packed) bool {
						room += max(0, cap(leaf.bytes)-cap(bytes.Clone(leaf.bytes)))
						return true
					})
				}
			}
			if room != 0 {
				t.Errorf("seed %d: %s: %d bytes of spare capacity", seed, what, room)
			}
		}
		if !bytes.Equal(encoded(t, first), before) {
			t.Errorf("seed %d: building on a View changed it", seed)
		}
	}
}
