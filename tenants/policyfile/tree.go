package policyfile

import (
	"bytes"
	"errors"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A value is one value of a TOML document with its place.
type value struct {
	kind kind
	// at is the offset of the value in the file. For a list and a boolean, it is
	// the offset of the key; for a table with a header, of the header's last key.
	at    int
	text  string
	items []*value
	// repeated is set in a list made by [[headers]]: further headers add to it.
	repeated bool
	keys     []entry
	table    map[string]*value
}

type entry struct {
	name string
	at   int
}

type kind uint8

const (
	other kind = iota // a float or a date
	text
	list
	table
	boolean
	number // an integer
)

var kindNames = [...]string{other: "a float or a date", text: "a string", list: "a list", table: "a table", boolean: "true or false", number: "a whole number"}

// A builder reads a document into a tree. Policy files are flat: all their
// tables are in lists. So the builder refuses dotted keys and [single] headers.
// Without these, TOML cannot define one thing in several places.
type builder struct {
	parser unstable.Parser
	// what names the kind of file, and tables the tables that it can have, for
	// errors about other tables.
	what, tables string
	// errorf reports an error at an offset.
	errorf func(at int, format string, args ...any)
}

// tree reads a document, up to the first syntax error.
func (b *builder) tree(data []byte) *value {
	root := newTable(0)
	b.parser.Reset(data)
	current := root
	for b.parser.NextExpression() {
		switch n := b.parser.Expression(); n.Kind {
		case unstable.Table:
			key := keyOf(n)
			b.errorf(key[0].at, "a %s has no table [%s]; its tables are %s", b.what, dotted(key), b.tables)
			current = newTable(key[0].at)
		case unstable.ArrayTable:
			current = b.header(root, keyOf(n))
		case unstable.KeyValue:
			b.assign(current, n)
		}
	}
	var syntax *unstable.ParserError
	if err := b.parser.Error(); errors.As(err, &syntax) {
		b.errorf(int(b.parser.Range(syntax.Highlight).Offset), "%s", syntax.Message)
	} else if err != nil {
		b.errorf(-1, "%v", err)
	}
	return root
}

func newTable(at int) *value {
	return &value{kind: table, at: at, table: map[string]*value{}}
}

// set adds a key to a table, which must not have it yet.
func (b *builder) set(t *value, e entry, child *value) {
	if t.table[e.name] != nil {
		b.errorf(e.at, "key %s is given twice", short(e.name))
		return
	}
	t.keys = append(t.keys, e)
	t.table[e.name] = child
}

// keyOf returns the parts of a key, at least one; a dotted key has several.
func keyOf(n *unstable.Node) []entry {
	var key []entry
	for it := n.Key(); it.Next(); {
		part := it.Node()
		key = append(key, entry{string(part.Data), int(part.Raw.Offset)})
	}
	return key
}

func dotted(key []entry) string {
	var parts []string
	for _, e := range key[:min(len(key), 4)] {
		parts = append(parts, strings.Trim(short(e.name), `"`))
	}
	return strings.Join(parts, ".")
}

// header adds the table of a [[header]]. If the header has several parts, such
// as [[domain.backend]], the table belongs to the last [[domain]] so far.
func (b *builder) header(root *value, key []entry) *value {
	last := key[len(key)-1]
	t := newTable(last.at)
	parent := root
	for _, e := range key[:len(key)-1] {
		tables := parent.table[e.name]
		if tables == nil || !tables.repeated {
			b.errorf(e.at, "[[%s]] is outside of a [[%s]]", dotted(key), strings.Trim(short(e.name), `"`))
			return t
		}
		parent = tables.items[len(tables.items)-1]
	}
	tables := parent.table[last.name]
	switch {
	case tables == nil:
		tables = &value{kind: list, at: last.at, repeated: true}
		b.set(parent, last, tables)
	case !tables.repeated:
		b.errorf(last.at, "key %s is given twice", short(last.name))
		return t
	}
	tables.items = append(tables.items, t)
	return t
}

func (b *builder) assign(t *value, n *unstable.Node) {
	key := keyOf(n)
	if len(key) > 1 {
		b.errorf(key[0].at, "unknown key %s: a %s has no dotted keys", dotted(key), b.what)
		return
	}
	b.set(t, key[0], b.value(n.Value(), key[0].at))
}

func (b *builder) value(n *unstable.Node, keyAt int) *value {
	switch n.Kind {
	case unstable.String:
		return &value{kind: text, at: int(n.Raw.Offset), text: string(n.Data)}
	case unstable.Bool:
		return &value{kind: boolean, at: keyAt, text: string(n.Data)}
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
	v := &value{kind: other, at: int(n.Raw.Offset)}
	if n.Raw.Length == 0 {
		v.at = keyAt
	}
	if n.Kind == unstable.Integer {
		v.kind, v.text = number, string(n.Data)
	}
	return v
}

// lines converts offsets into lines and columns.
type lines struct {
	data   []byte
	starts []int // the offset at which each line begins
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

// place returns the line and column of an offset, both from 1.
func (l lines) place(at int) (line, column int) {
	line = l.line(at)
	start := l.starts[line-1]
	return line, 1 + utf8.RuneCount(l.data[start:at])
}

// line returns the line of an offset, from 1.
func (l lines) line(at int) int { return sort.SearchInts(l.starts, at+1) }

// has reports whether a key is in known.
func has(known []string, name string) bool { return slices.Contains(known, name) }
