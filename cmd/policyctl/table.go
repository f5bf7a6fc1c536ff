package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

const (
	// columnGap is what stands between columns.
	columnGap = 2
	// minColumn is how narrow a column may get. On a terminal that has no
	// room for that the lines are longer than it.
	minColumn = 6
)

// A table is rows in aligned columns. In a pipe every row is one line and
// every cell whole. On a terminal too narrow for that, cells are wrapped at
// blanks, and words too long for their column within.
type table struct {
	rows [][]string
	// inks gives the cells of a column their colour.
	inks map[int]func(cell string) ink
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// colour gives the cells of a column, from 0, colours, such as inkOf.
func (t *table) colour(column int, of func(cell string) ink) {
	if t.inks == nil {
		t.inks = map[int]func(string) ink{}
	}
	t.inks[column] = of
}

// ruler measures text as a terminal shows it. What is ambiguous is narrow,
// whatever the locale says.
func ruler() *runewidth.Condition {
	return &runewidth.Condition{StrictEmojiNeutral: true}
}

// write writes the table, no blanks at the ends of lines.
func (t *table) write(w io.Writer) {
	l, r := lookOf(w), ruler()
	rows := make([][]string, len(t.rows))
	for i, row := range t.rows {
		for _, cell := range row {
			rows[i] = append(rows[i], strings.ReplaceAll(clean(cell), "\n", " "))
		}
	}
	widths := fit(r, rows, l.width)
	for i, row := range rows {
		t.writeRow(w, r, row, widths, l, t.rows[i])
	}
}

// writeRow writes one row, in as many lines as its longest cell needs.
func (t *table) writeRow(w io.Writer, r *runewidth.Condition, row []string, widths []int, l look, source []string) {
	cells := make([][]string, len(row))
	height := 1
	for c, cell := range row {
		cells[c] = wrap(r, cell, widths[c])
		height = max(height, len(cells[c]))
	}
	for y := range height {
		var b strings.Builder
		blanks := 0 // owed before the next text
		for c := range row {
			text := ""
			if y < len(cells[c]) {
				text = cells[c][y]
			}
			if text != "" {
				b.WriteString(strings.Repeat(" ", blanks))
				blanks = 0
				colour := inkNone
				if of := t.inks[c]; of != nil {
					colour = of(source[c])
				}
				b.WriteString(l.ink(colour, text))
			}
			blanks += widths[c] - r.StringWidth(text) + columnGap
		}
		fmt.Fprintln(w, b.String())
	}
}

// fit gives the columns' widths: as wide as their cells, unless that is wider
// than the terminal. Then the widest give way first: down to their longest
// words, and if that is not enough, below.
func fit(r *runewidth.Condition, rows [][]string, width int) []int {
	var natural, words []int
	for _, row := range rows {
		for c, cell := range row {
			if c == len(natural) {
				natural, words = append(natural, 0), append(words, 0)
			}
			natural[c] = max(natural[c], r.StringWidth(cell))
			for word := range strings.FieldsSeq(cell) {
				words[c] = max(words[c], r.StringWidth(word))
			}
		}
	}
	room := width - columnGap*(len(natural)-1)
	if width == 0 || sumOf(natural) <= room {
		return natural
	}
	if sumOf(words) <= room {
		return share(natural, words, room)
	}
	least := make([]int, len(words))
	for c := range words {
		least[c] = min(words[c], minColumn)
	}
	return share(words, least, room)
}

func sumOf(list []int) (n int) {
	for _, x := range list {
		n += x
	}
	return n
}

// share cuts the widest down to one common width, none below its least, so
// that all fit into room if they can.
func share(widths, least []int, room int) []int {
	cut := slices.Clone(widths)
	for level := slices.Max(widths); level > 0 && sumOf(cut) > room; level-- {
		for c := range cut {
			cut[c] = max(min(widths[c], level), least[c])
		}
	}
	for c := range cut { // what the last step cut too much goes back, from the left
		for cut[c] < widths[c] && sumOf(cut) < room {
			cut[c]++
		}
	}
	return cut
}

// wrap breaks a text into lines of at most so many columns, at blanks. A word
// that is longer goes on in the next line: two names that begin alike must
// not look the same.
func wrap(r *runewidth.Condition, s string, width int) []string {
	if r.StringWidth(s) <= width {
		return []string{s}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && r.StringWidth(line)+1+r.StringWidth(word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for r.StringWidth(word) > width {
			head := part(r, word, width)
			lines = append(lines, head)
			word = word[len(head):]
		}
		line = word
	}
	return append(lines, line)
}

// part is the beginning of a word, as much as fits: behind one of the signs
// names are made of if there is one in its second half, and a character at
// least.
func part(r *runewidth.Condition, word string, width int) string {
	head := r.Truncate(word, width, "")
	if head == "" {
		_, n := utf8.DecodeRuneInString(word)
		return word[:n]
	}
	if i := strings.LastIndexAny(head, ".@:/-,"); i >= len(head)/2 {
		return head[:i+1]
	}
	return head
}

// hang writes a text that begins with the indent given, on a terminal in lines
// that fit, those after the first indented a little more.
func hang(w io.Writer, indent, text string) {
	width := lookOf(w).width - len(indent) - columnGap
	if width < minColumn {
		fmt.Fprintf(w, "%s%s\n", indent, text)
		return
	}
	for i, line := range wrap(ruler(), text, width) {
		if i > 0 {
			line = strings.Repeat(" ", columnGap) + line
		}
		fmt.Fprintf(w, "%s%s\n", indent, line)
	}
}
