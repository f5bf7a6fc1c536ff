package stream_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/postern-im/postern/xmpp/stream"
)

// outcome feeds in to a Framer as a session does, step(rest) more bytes at a
// time, and returns a text of the results. Each step moves the bytes to a new
// buffer and overwrites the old buffer. This detects a Framer that keeps a slice
// of the old buffer.
func outcome(f *stream.Framer, header bool, in []byte, step func(rest int) int) string {
	var out strings.Builder
	var buf []byte
	white, fed := 0, 0
	flush := func() {
		if white > 0 {
			fmt.Fprintf(&out, "space %d\n", white)
		}
		white = 0
	}
	for {
		kind, n, err := f.Next(buf, header)
		if kind == stream.Space {
			white += n
			buf = buf[n:]
			continue
		}
		if err == nil && kind == stream.Incomplete && fed < len(in) {
			m := min(max(step(len(in)-fed), 1), len(in)-fed)
			moved := append(bytes.Clone(buf), in[fed:fed+m]...)
			for i := range buf {
				buf[i] = '<'
			}
			buf = moved
			fed += m
			continue
		}
		flush()
		switch {
		case err != nil:
			fmt.Fprintf(&out, "error %v\n", err)
			return out.String()
		case kind == stream.Incomplete:
			if len(buf) > 0 {
				out.WriteString("incomplete\n")
			}
			return out.String()
		case kind == stream.Close:
			fmt.Fprintf(&out, "close %d\n", n)
			return out.String()
		case kind == stream.Header:
			header = false
		}
		fmt.Fprintf(&out, "%v %d\n", kind, n)
		dump(&out, f.Element(), 1)
		buf = buf[n:]
	}
}

// dump writes everything that an Element reports.
func dump(out *strings.Builder, e stream.Element, depth int) {
	fmt.Fprintf(out, "%s{%s}%s", strings.Repeat("  ", depth), e.Space(), e.Local())
	for i := range e.NumAttrs() {
		space, local, value := e.AttrAt(i)
		if len(space) > 0 {
			fmt.Fprintf(out, " {%s}%s=%q", space, local, value)
		} else {
			fmt.Fprintf(out, " %s=%q", local, value)
		}
	}
	if text := e.Text(nil); len(text) > 0 {
		fmt.Fprintf(out, " text=%q", text)
	}
	if e.HasText() {
		out.WriteString(" hastext")
	}
	if depth == 1 && e.Truncated() {
		out.WriteString(" truncated")
	}
	if depth == 1 && e.Fault() != nil {
		fmt.Fprintf(out, " fault %v", e.Fault())
	}
	out.WriteString("\n")
	children := 0
	for c := e.FirstChild(); c.Valid(); c = c.NextSibling() {
		children++
		dump(out, c, depth+1)
	}
	if children != e.NumChildren() {
		fmt.Fprintf(out, "%s(%d of %d children)\n", strings.Repeat("  ", depth+1), children, e.NumChildren())
	}
}

func whole(rest int) int { return rest }
func single(int) int     { return 1 }

// disagreement feeds in whole, byte by byte, and cut once at every offset. It
// returns the outcomes that differ, or "".
func disagreement(c stream.Config, header bool, in []byte) string {
	want := outcome(stream.NewFramer(c), header, in, whole)
	if got := outcome(stream.NewFramer(c), header, in, single); got != want {
		return "byte by byte:\n" + got + "whole:\n" + want
	}
	f := stream.NewFramer(c)
	for at := 1; at < len(in); at++ {
		first := true
		f.Reset()
		got := outcome(f, header, in, func(rest int) int {
			if first {
				first = false
				return at
			}
			return rest
		})
		if got != want {
			return "cut at " + strconv.Itoa(at) + ":\n" + got + "whole:\n" + want
		}
	}
	return ""
}
