package client

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrFooter means that the server closed its stream in order.
var ErrFooter = errors.New("the server has ended the stream")

// An Element is a received element, as a tree and as its bytes. The zero
// Element stands for an absent one: it has no children, no attributes and no
// text.
type Element struct {
	Name     xml.Name
	Attrs    []xml.Attr // without namespace declarations
	Children []Element
	Text     string // its own character data, without its children's
	Raw      string // only set on top-level elements
}

// Is reports whether the element has this name.
func (e Element) Is(space, local string) bool {
	return e.Name.Space == space && e.Name.Local == local
}

// Stanza reports whether the element is this stanza: message, presence or iq.
func (e Element) Stanza(local string) bool { return e.Is(NSClient, local) }

// Attr returns the attribute with this name and no namespace.
func (e Element) Attr(local string) string {
	for _, a := range e.Attrs {
		if a.Name.Space == "" && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// Child returns the first child with this name. An empty space or local name
// matches any.
func (e Element) Child(space, local string) Element {
	for _, c := range e.Children {
		if (space == "" || c.Name.Space == space) && (local == "" || c.Name.Local == local) {
			return c
		}
	}
	return Element{}
}

// Find returns the first descendant with this name, depth first.
func (e Element) Find(space, local string) Element {
	for _, c := range e.Children {
		if c.Is(space, local) {
			return c
		}
		if found := c.Find(space, local); found.Exists() {
			return found
		}
	}
	return Element{}
}

// Exists reports whether the element is not the zero Element.
func (e Element) Exists() bool { return e.Name.Local != "" }

// Body is the text of a message's body.
func (e Element) Body() string { return e.Child(NSClient, "body").Text }

// Condition is the defined condition of a stanza error, a stream error or a
// SASL failure, "" for any other element.
func (e Element) Condition() string {
	where, space := e.Child(NSClient, "error"), NSStanza
	switch {
	case e.Is(NSStreams, "error"):
		where, space = e, NSStream
	case e.Is(NSSASL, "failure"):
		where, space = e, NSSASL
	}
	for _, c := range where.Children {
		if c.Name.Space == space && c.Name.Local != "text" {
			return c.Name.Local
		}
	}
	return ""
}

// String returns the element as it was received, or only the name for an
// element inside another.
func (e Element) String() string {
	if e.Raw != "" {
		return e.Raw
	}
	return "{" + e.Name.Space + "}" + e.Name.Local
}

// IsAnswer returns a match for the answer to the iq with this id.
func IsAnswer(id string) func(Element) bool {
	return func(e Element) bool {
		kind := e.Attr("type")
		return e.Stanza("iq") && e.Attr("id") == id && (kind == "result" || kind == "error")
	}
}

// HasBody returns a match for a message with this body.
func HasBody(body string) func(Element) bool {
	return func(e Element) bool { return e.Stanza("message") && e.Body() == body }
}

// IsStreamError reports whether an element is a stream error.
func IsStreamError(e Element) bool { return e.Is(NSStreams, "error") }

// Escape escapes text for character data and quoted attributes.
func Escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;").Replace(text)
}

// Parse reads one element as if it came from a stream.
func Parse(raw string) (Element, error) {
	in := newReader(strings.NewReader("<stream:stream xmlns='" + NSClient + "' xmlns:stream='" + NSStreams + "'>" + raw))
	return in.next()
}

// reader splits one XML document into a header, elements, and a footer.
type reader struct {
	decoder *xml.Decoder
	seen    *recorder
	header  *xml.StartElement // nil until read
}

func newReader(r io.Reader) *reader {
	seen := &recorder{from: r}
	return &reader{decoder: xml.NewDecoder(seen), seen: seen}
}

// recorder keeps the bytes that the decoder has read and that belong to no
// returned element.
type recorder struct {
	from  io.Reader
	bytes bytes.Buffer
	start int64 // offset in the document of the first kept byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.bytes.Write(p[:n])
	return n, err
}

// take returns the bytes between two offsets and discards all bytes up to the
// second.
func (r *recorder) take(from, to int64) string {
	r.bytes.Next(int(from - r.start))
	r.start = to
	return string(r.bytes.Next(int(to - from)))
}

// next reads to the end of the next element.
func (r *reader) next() (Element, error) {
	for {
		from := r.decoder.InputOffset()
		token, err := r.decoder.Token()
		if err != nil {
			return Element{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if r.header == nil {
				if token.Name != (xml.Name{Space: NSStreams, Local: "stream"}) {
					return Element{}, fmt.Errorf("not a stream header: %q", token.Name)
				}
				header := token.Copy()
				r.header = &header
				continue
			}
			e, err := r.element(token.Copy())
			if err != nil {
				return Element{}, err
			}
			e.Raw = r.seen.take(from, r.decoder.InputOffset())
			return e, nil
		case xml.EndElement:
			return Element{}, ErrFooter
		}
		// Any other token between elements is a prolog or white space that
		// keeps the connection alive.
	}
}

// element reads the rest of an element after its start tag.
func (r *reader) element(start xml.StartElement) (Element, error) {
	e := Element{Name: start.Name}
	for _, a := range start.Attr {
		if a.Name.Space != "xmlns" && a.Name != (xml.Name{Local: "xmlns"}) {
			e.Attrs = append(e.Attrs, a)
		}
	}
	for {
		token, err := r.decoder.Token()
		if err != nil {
			return Element{}, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			child, err := r.element(token.Copy())
			if err != nil {
				return Element{}, err
			}
			e.Children = append(e.Children, child)
		case xml.CharData:
			e.Text += string(token)
		case xml.EndElement:
			return e, nil
		default:
			return Element{}, fmt.Errorf("%T inside an element: RFC 6120 section 11.1 forbids it", token)
		}
	}
}
