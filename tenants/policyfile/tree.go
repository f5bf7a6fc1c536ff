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
	// at is where it stands: the value itself, for a table its header's last
	// key, for a list the key it is given to.
	at    int
	text  string
	items []*value
	// repeated is set in a list made of [[headers]], which may grow.
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

// A builder reads a document into a tree. Policy files are flat: their only
// tables stand in lists, so dotted keys and [single] headers are refused as
// such, and with them every way of TOML to define a thing twice in parts.
type builder struct {
	parser unstable.Parser
	// what names the kind of file, tables the tables it has, for what is said
	// of others.
	what, tables string
	// errorf takes what is wrong.
	errorf func(at int, format string, args ...any)
}

// tree reads a document as far as its syntax is right.
func (b *builder) tree(data []byte) *value {
	root := newTable(0)
	b.parser.Reset(data)
	current := root
	for b.parser.NextExpression() {
		switch n := b.parser.Expression(); n.Kind {
		case unstable.Table:
			key := keyOf(n)
			b.errorf(key[0].at, "[%s] is no table of a %s; its tables are %s", dotted(key), b.what, b.tables)
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

// set gives a table a key it must not have yet.
func (b *builder) set(t *value, e entry, child *value) {
	if t.table[e.name] != nil {
		b.errorf(e.at, "key %s is given twice", short(e.name))
		return
	}
	t.keys = append(t.keys, e)
	t.table[e.name] = child
}

// keyOf reads a key, dotted or not; it has one part at least.
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

// header opens the table of a [[header]]. In one of several parts, each but
// the last leads to the last table of its name so far.
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
	line = l.line(at)
	start := l.starts[line-1]
	return line, 1 + utf8.RuneCount(l.data[start:at])
}

// line is the line, from 1, of an offset.
func (l lines) line(at int) int { return sort.SearchInts(l.starts, at+1) }

// has reports whether a key is one of the known.
func has(known []string, name string) bool { return slices.Contains(known, name) }
