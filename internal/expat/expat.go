//go:build cgo

// Package expat parses a document with libexpat, the XML parser of Prosody and
// ejabberd. It gives tests a second opinion on the input that xmpp/stream
// accepts; only tests import it. It returns everything that expat reports about
// elements, attributes and character data. It is not made for speed or for
// input from the network. It needs Debian's libexpat1-dev.
package expat

/*
#cgo LDFLAGS: -lexpat
#include <expat.h>
#include <stdlib.h>
#include <string.h>

// The events that expat reports, in a row:
// 'S' name NUL, 'A' name NUL value NUL for each attribute, 'T' length bytes, 'E'.
typedef struct {
	char *at;
	size_t len, cap;
	int failed;
} notes;

static void note(notes *n, const void *at, size_t len) {
	if (n->failed)
		return;
	if (n->len + len > n->cap) {
		size_t cap = 2 * (n->len + len) + 256;
		char *grown = realloc(n->at, cap);
		if (!grown) {
			n->failed = 1;
			return;
		}
		n->at = grown;
		n->cap = cap;
	}
	memcpy(n->at + n->len, at, len);
	n->len += len;
}

static void on_start(void *user, const XML_Char *name, const XML_Char **attrs) {
	note(user, "S", 1);
	note(user, name, strlen(name) + 1);
	for (; *attrs; attrs += 2) {
		note(user, "A", 1);
		note(user, attrs[0], strlen(attrs[0]) + 1);
		note(user, attrs[1], strlen(attrs[1]) + 1);
	}
}

static void on_end(void *user, const XML_Char *name) {
	note(user, "E", 1);
}

static void on_text(void *user, const XML_Char *text, int len) {
	note(user, "T", 1);
	note(user, &len, sizeof len);
	note(user, text, len);
}

// read_document returns 0 or expat's error code; -1 means out of memory.
static int read_document(notes *n, char separator,
		const char *head, int head_len, const char *body, int body_len,
		const char *tail, int tail_len) {
	int code = 0;
	XML_Parser p = separator ? XML_ParserCreateNS("UTF-8", separator) : XML_ParserCreate("UTF-8");
	if (!p)
		return -1;
	XML_SetUserData(p, n);
	XML_SetElementHandler(p, on_start, on_end);
	XML_SetCharacterDataHandler(p, on_text);
	if (XML_Parse(p, head, head_len, 0) != XML_STATUS_OK ||
	    XML_Parse(p, body, body_len, 0) != XML_STATUS_OK ||
	    XML_Parse(p, tail, tail_len, 1) != XML_STATUS_OK)
		code = XML_GetErrorCode(p);
	XML_ParserFree(p);
	return n->failed ? -1 : code;
}

static const char *describe(int code) {
	return code < 0 ? "no memory" : XML_ErrorString(code);
}
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// Element is an element as expat reports it. Text is all character data
// directly inside it.
type Element struct {
	Space, Local string
	Attrs        []Attr
	Text         string
	Children     []*Element
}

// Attr is an attribute. Namespace declarations are not reported as attributes.
type Attr struct{ Space, Local, Value string }

// Raw is the separator that disables namespace processing.
const Raw byte = 0

// Version returns the version of the library in use.
func Version() string { return C.GoString(C.XML_ExpatVersion()) }

// Parse parses the document head + body + tail and returns its root. separator
// is the byte that expat puts between namespace and local name: Prosody uses
// \x01, ejabberd \n. Raw disables namespaces.
func Parse(separator byte, head, body, tail string) (*Element, error) {
	var n C.notes
	defer func() { C.free(unsafe.Pointer(n.at)) }()
	code := C.read_document(&n, C.char(separator),
		(*C.char)(unsafe.Pointer(unsafe.StringData(head))), C.int(len(head)),
		(*C.char)(unsafe.Pointer(unsafe.StringData(body))), C.int(len(body)),
		(*C.char)(unsafe.Pointer(unsafe.StringData(tail))), C.int(len(tail)))
	if code != 0 {
		return nil, fmt.Errorf("expat: %s", C.GoString(C.describe(code)))
	}
	return build(C.GoBytes(unsafe.Pointer(n.at), C.int(n.len)), separator)
}

// build makes the tree from the recorded events.
func build(notes []byte, separator byte) (*Element, error) {
	word := func() string {
		w, rest, _ := bytes.Cut(notes, []byte{0})
		notes = rest
		return string(w)
	}
	top := &Element{}
	open := []*Element{top}
	for len(notes) > 0 {
		kind := notes[0]
		notes = notes[1:]
		in := open[len(open)-1]
		switch kind {
		case 'S':
			e := &Element{}
			e.Space, e.Local = split(word(), separator)
			in.Children = append(in.Children, e)
			open = append(open, e)
		case 'A':
			space, local := split(word(), separator)
			in.Attrs = append(in.Attrs, Attr{space, local, word()})
		case 'T':
			size := int(binary.NativeEndian.Uint32(notes))
			in.Text += string(notes[4 : 4+size])
			notes = notes[4+size:]
		case 'E':
			open = open[:len(open)-1]
		}
	}
	if len(open) != 1 || len(top.Children) != 1 {
		return nil, errors.New("expat: events do not nest")
	}
	return top.Children[0], nil
}

// split splits a name from expat at the first separator, as the servers do.
func split(name string, separator byte) (space, local string) {
	space, local, ok := strings.Cut(name, string(rune(separator)))
	if !ok {
		return "", space
	}
	return space, local
}
