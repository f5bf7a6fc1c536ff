package policyfile

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// positions tells where each value stands, by its path, such as
// "role.2.inherits.0". A table's own path leads to its header.
type positions map[string]place

type place struct{ line, column int }

// locate walks a document that the decoder has accepted. What it cannot place
// stays without a position; nothing but the notes' line numbers depends on it.
func locate(data []byte) positions {
	at := positions{}
	w := walker{at: at, counts: map[string]int{}}
	w.parser.Reset(data)
	for w.parser.NextExpression() {
		w.expression(w.parser.Expression())
	}
	return at
}

type walker struct {
	parser unstable.Parser
	at     positions
	counts map[string]int // how many tables an array of tables has so far
	prefix string
}

func (w *walker) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.ArrayTable:
		name := w.key(n)
		w.prefix = fmt.Sprintf("%s.%d", name, w.counts[name])
		w.counts[name]++
		w.note(w.prefix, w.keyPlace(n))
	case unstable.Table:
		w.prefix = w.key(n)
		w.note(w.prefix, w.keyPlace(n))
	case unstable.KeyValue:
		path := join(w.prefix, w.key(n))
		w.note(path, w.keyPlace(n))
		w.value(path, n.Value())
	}
}

func (w *walker) value(path string, n *unstable.Node) {
	switch n.Kind {
	case unstable.Array:
		i := 0
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.Comment {
				continue
			}
			w.value(fmt.Sprintf("%s.%d", path, i), it.Node())
			i++
		}
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			kv := it.Node()
			if kv.Kind == unstable.KeyValue {
				inner := join(path, w.key(kv))
				if _, ok := w.at[path]; !ok {
					w.note(path, w.keyPlace(kv))
				}
				w.value(inner, kv.Value())
			}
		}
	default:
		start := w.parser.Shape(n.Raw).Start
		w.note(path, place{start.Line, start.Column})
	}
}

func (w *walker) key(n *unstable.Node) string {
	var parts []string
	for it := n.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, ".")
}

func (w *walker) keyPlace(n *unstable.Node) place {
	it := n.Key()
	if !it.Next() {
		return place{}
	}
	start := w.parser.Shape(it.Node().Raw).Start
	return place{start.Line, start.Column}
}

func (w *walker) note(path string, p place) {
	if p.line > 0 {
		w.at[path] = p
	}
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// of finds the place of a path, or of the nearest table around it.
func (at positions) of(path string) place {
	for path != "" {
		if p, ok := at[path]; ok {
			return p
		}
		i := strings.LastIndexByte(path, '.')
		if i < 0 {
			break
		}
		path = path[:i]
	}
	return place{}
}
