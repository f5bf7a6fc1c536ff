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
	// columnGap is the number of blanks between columns.
	columnGap = 2
	// minColumn is the smallest width of a column. On a terminal without room
	// for it, lines are longer than the terminal is wide.
	minColumn = 6
)

// A table prints rows in aligned columns. In a pipe every row is one line. On a
// terminal that is too narrow for the rows, cells are wrapped at blanks, and
// words that are too long for their column are broken.
type table struct {
	rows [][]string
	// inks gives the cells of a column their colour.
	inks map[int]func(cell string) ink
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// colour sets the function, such as inkOf, that gives the cells of a column
// their colours. The first column is 0.
func (t *table) colour(column int, of func(cell string) ink) {
	if t.inks == nil {
		t.inks = map[int]func(string) ink{}
	}
	t.inks[column] = of
}

// ruler measures the width of text on a terminal. Characters of ambiguous width
// count as narrow in every locale.
func ruler() *runewidth.Condition {
	return &runewidth.Condition{StrictEmojiNeutral: true}
}

// write writes the table without blanks at the ends of lines.
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
		blanks := 0 // to write before the next text
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

// fit returns the widths of the columns. Each is as wide as its widest cell, if
// the terminal has room for them. Otherwise the widest columns shrink first: down
// to their longest word, and further only if that is not enough.
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

// share cuts the widest columns down to one common width, so that all fit into
// room. No column gets narrower than its least, even if they do not fit then.
func share(widths, least []int, room int) []int {
	cut := slices.Clone(widths)
	for level := slices.Max(widths); level > 0 && sumOf(cut) > room; level-- {
		for c := range cut {
			cut[c] = max(min(widths[c], level), least[c])
		}
	}
	for c := range cut { // give back the columns that the last step cut too much, from the left
		for cut[c] < widths[c] && sumOf(cut) < room {
			cut[c]++
		}
	}
	return cut
}

// wrap breaks a text at blanks into lines of at most width columns. A longer word
// continues on the next line. It is not cut off, because two names that begin
// alike must not look the same.
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

// part returns the longest beginning of a word that fits into width, but at least
// one character. If its second half has a separator of names, such as . or @, the
// part ends after the last separator.
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

// hang writes an indented text. On a terminal it breaks the text into lines that
// fit, and indents all lines but the first a little more.
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
