package stream_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample is an input to mutate. header reports that it begins with a stream
// header.
type sample struct {
	name   string
	in     []byte
	header bool
}

// corpus returns the realistic stanzas under testdata/corpus, several times
// each, and the inputs of all scenarios. Most of these inputs are refused.
func corpus(t testing.TB) (all []sample) {
	paths, err := filepath.Glob("testdata/corpus/*.xml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		in, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		realistic := sample{name, bytes.TrimSuffix(in, []byte("\n")), strings.HasPrefix(name, "header")}
		all = append(all, slices.Repeat([]sample{realistic}, 20)...)
	}
	for _, s := range allScenarios(t) {
		_, header := s.config(t)
		all = append(all, sample{s.name, s.input(t), header})
	}
	return all
}

// bits are the fragments that mutants are made with: everything that may
// confuse a parser.
var bits = []string{
	"<", ">", "/", "/>", "</", "<!", "<?", "&", ";", "'", "\"", "=", " ", "\t", "\n", "\r", "\r\n", ":", "]", "]]>", "<![CDATA[", "<![CDATA[]]>",
	"<!-- c -->", "<?p i?>", "<?xml version='1.0'?>", "<!DOCTYPE x>", "<!ENTITY a 'b'>", "\x00", "\x01", "\x7f", "\x80", "\xbf", "\xc0\x80",
	"\xc2\x85", "\xc3\xa9", "\xe0\x80\xbc", "\xe2\x80\xa8", "\xed\xa0\x80", "\xef\xbb\xbf", "\xef\xbf\xbe", "\xef\xbf\xbf", "\xef\xbf\xbd",
	"\xf0\x9f\x98\x80", "\xf0\x9f\x98", "\xf4\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xff", "\xfe",
	"&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#9;", "&#10;", "&#13;", "&#32;", "&#65;", "&#x41;", "&#0;", "&#1;", "&#xD800;", "&#xFFFE;",
	"&#xFFFF;", "&#x10FFFF;", "&#x110000;", "&#x000000041;", "&nbsp;", "&#;", "&#x;", "&lt", "&AMP;",
	" xmlns='u:x'", " xmlns=''", " xmlns:p='u:p'", " xmlns:p=''", " xmlns:q='u:p'", " p:a='1'", " q:a='2'", " a='1'", " to='x@y'", " p:to='x@y'",
	" xmlns='jabber:client'", " xmlns='jabber:server'", " xmlns:c='jabber:client'", " c:to='x@y'", " xmlns:xml='http://www.w3.org/XML/1998/namespace'",
	" xmlns:xml='u:x'", " xmlns:xmlns='u:x'", " xmlns:x='http://www.w3.org/2000/xmlns/'", " xmlns:x='http://www.w3.org/XML/1998/namespace'",
	" xmlns:stream='http://etherx.jabber.org/streams'", " xmlns:stream='u:x'", " xmlns='http://etherx.jabber.org/streams'",
	" xmlns:s='http://etherx.jabber.org/streams'", " stream:to='x'", " xml:lang='en'", " xml:space='preserve'", " xmlns='u:&#120;'", " xmlns='u:\n'",
	" xmlns='u:&#10;x'", " xmlns='u: x'", " xmlns='u:\xc3\xa9'", "p:", "c:", "s:", "stream:", "xml:", "xmlns:", "xmlns", "x:y:",
	"<a/>", "<a>", "</a>", "<p:a/>", "<p:a xmlns:p='u:p'/>", "<stream:stream>", "</stream:stream>", "<stream:error/>", "<stream:features/>",
	"<message/>", "<message>", "</message>", "<presence/>", "<body>", "</body>", "<error xmlns='http://etherx.jabber.org/streams'/>",
	"<:a/>", "<a:/>", "<1/>", "<-/>", "<_/>", "<\xc3\xa9/>", "<>", "< a/>", "</ a>",
}

// mutant changes a sample in one to four places.
func mutant(r *rand.Rand, all []sample) sample {
	s := all[r.IntN(len(all))]
	in := bytes.Clone(s.in)
	for changes := 1 + r.IntN(1+r.IntN(4)); changes > 0 && len(in) > 0; changes-- {
		if r.IntN(2) == 0 {
			bit := bits[r.IntN(len(bits))]
			in = slices.Insert(in, fitting(r, in, bit), []byte(bit)...)
			continue
		}
		at := place(r, in)
		end := min(len(in), at+1+r.IntN(12))
		switch r.IntN(9) {
		case 0: // remove bytes
			in = append(in[:at:at], in[end:]...)
		case 1: // repeat bytes
			in = append(in[:end:end], in[at:]...)
		case 2, 3, 4: // insert a fragment
			in = append(in[:at:at], append([]byte(bits[r.IntN(len(bits))]), in[at:]...)...)
		case 5: // replace a byte by a fragment
			in = append(in[:at:at], append([]byte(bits[r.IntN(len(bits))]), in[min(at+1, len(in)):]...)...)
		case 6: // set a random byte
			in[at] = byte(r.IntN(256))
		case 7: // insert a piece of another sample
			o := all[r.IntN(len(all))].in
			if len(o) > 0 {
				from := place(r, o)
				piece := o[from:min(len(o), from+1+r.IntN(60))]
				in = append(in[:at:at], append(bytes.Clone(piece), in[at:]...)...)
			}
		case 8: // insert a copied piece of itself
			from := place(r, in)
			piece := bytes.Clone(in[from:min(len(in), from+1+r.IntN(60))])
			in = append(in[:at:at], append(piece, in[at:]...)...)
		}
	}
	return sample{s.name, in, s.header}
}

// fitting picks an offset where the fragment is likely to be legal: the end of
// a tag for an attribute, between tags for an element, in text or in a value
// for anything else.
func fitting(r *rand.Rand, in []byte, bit string) int {
	from := r.IntN(len(in))
	find, behind := "<>'\"", 1
	if strings.HasPrefix(bit, " ") {
		find, behind = ">/", 0
	} else if strings.HasPrefix(bit, "<") {
		find = ">"
	}
	at := bytes.IndexAny(in[from:], find)
	if at < 0 {
		return from
	}
	return from + at + behind
}

// place picks an offset, in two of three cases next to markup.
func place(r *rand.Rand, in []byte) int {
	at := r.IntN(len(in))
	if r.IntN(3) == 0 {
		return at
	}
	if next := bytes.IndexAny(in[at:], "<>/='\" &:;"); next >= 0 {
		at += next + r.IntN(2)
	}
	return min(at, len(in)-1)
}
