package policyfile

import (
	"bytes"
	"slices"
	"sort"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A value is one value of a TOML document with its place.
type value struct {
	kind kind
	// at is where it stands: the value itself, for a table its header's last
	// key, for a list the key it is given to.
	at    int
	text  string
	items []*value
	keys  []entry
	table map[string]*value
}

type entry struct {
	name string
	at   int
}

type kind uint8

const (
	other kind = iota // number, boolean, date
	text
	list
	table
)

var kindNames = [...]string{other: "a number, boolean or date", text: "a string", list: "a list", table: "a table"}

// tree reads a document that is known to be valid TOML.
func tree(data []byte) *value {
	root := newTable(0)
	b := builder{}
	b.parser.Reset(data)
	current := root
	for b.parser.NextExpression() {
		switch n := b.parser.Expression(); n.Kind {
		case unstable.Table:
			current = b.header(root, n, false)
		case unstable.ArrayTable:
			current = b.header(root, n, true)
		case unstable.KeyValue:
			b.assign(current, n)
		}
	}
	return root
}

type builder struct{ parser unstable.Parser }

func newTable(at int) *value {
	return &value{kind: table, at: at, table: map[string]*value{}}
}

func (v *value) set(e entry, child *value) {
	v.keys = append(v.keys, e)
	v.table[e.name] = child
}

// keyOf reads a dotted key.
func keyOf(n *unstable.Node) []entry {
	var key []entry
	for it := n.Key(); it.Next(); {
		part := it.Node()
		key = append(key, entry{string(part.Data), int(part.Raw.Offset)})
	}
	return key
}

// within finds the table a key leads to, made where it is not there yet. An
// array of tables stands for its last table.
func within(v *value, key []entry) *value {
	for _, e := range key {
		next := v.table[e.name]
		if next == nil {
			next = newTable(e.at)
			v.set(e, next)
		}
		if next.kind == list && len(next.items) > 0 {
			next = next.items[len(next.items)-1]
		}
		if next.kind != table {
			return newTable(e.at) // not valid TOML; the decoder has said so
		}
		v = next
	}
	return v
}

// header opens the table of a [header] or [[header]].
func (b *builder) header(root *value, n *unstable.Node, repeated bool) *value {
	key := keyOf(n)
	if !repeated {
		return within(root, key)
	}
	last := key[len(key)-1]
	parent := within(root, key[:len(key)-1])
	tables := parent.table[last.name]
	if tables == nil {
		tables = &value{kind: list, at: last.at}
		parent.set(last, tables)
	}
	t := newTable(last.at)
	tables.items = append(tables.items, t)
	return t
}

func (b *builder) assign(v *value, n *unstable.Node) {
	key := keyOf(n)
	last := key[len(key)-1]
	within(v, key[:len(key)-1]).set(last, b.value(n.Value(), last.at))
}

func (b *builder) value(n *unstable.Node, keyAt int) *value {
	switch n.Kind {
	case unstable.String:
		return &value{kind: text, at: int(n.Raw.Offset), text: string(n.Data)}
	case unstable.Array:
		v := &value{kind: list, at: keyAt}
		for it := n.Children(); it.Next(); {
			v.items = append(v.items, b.value(it.Node(), keyAt))
		}
		return v
	case unstable.InlineTable:
		v := newTable(int(n.Raw.Offset))
		for it := n.Children(); it.Next(); {
			b.assign(v, it.Node())
		}
		return v
	}
	at := int(n.Raw.Offset)
	if n.Raw.Length == 0 {
		at = keyAt
	}
	return &value{kind: other, at: at}
}

// lines turns offsets into lines and columns.
type lines struct {
	data   []byte
	starts []int // where each line begins
}

func newLines(data []byte) lines {
	l := lines{data, []int{0}}
	for at := 0; ; {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			return l
		}
		at += i + 1
		l.starts = append(l.starts, at)
	}
}

// place is the line and column, both from 1, of an offset.
func (l lines) place(at int) (line, column int) {
	line = sort.SearchInts(l.starts, at+1)
	start := l.starts[line-1]
	return line, 1 + utf8.RuneCount(l.data[start:at])
}

// offset undoes what the decoder does to an offset: a line and a column in
// bytes.
func (l lines) offset(line, column int) int {
	if line < 1 || line > len(l.starts) {
		return 0
	}
	return min(l.starts[line-1]+max(column-1, 0), len(l.data))
}

// has reports whether a key is one of the known.
func has(known []string, name string) bool { return slices.Contains(known, name) }
