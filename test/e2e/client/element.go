package client

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrFooter means that the server ended its stream in good order.
var ErrFooter = errors.New("the server has ended the stream")

// An Element is what was received, as a tree and as the bytes it came in. The
// zero Element stands for one that is absent: it has no children, no attributes
// and no text.
type Element struct {
	Name     xml.Name
	Attrs    []xml.Attr // without namespace declarations
	Children []Element
	Text     string // its own character data, children's left out
	Raw      string // set on whole stream elements only
}

// Is tells whether the element has this name.
func (e Element) Is(space, local string) bool {
	return e.Name.Space == space && e.Name.Local == local
}

// Stanza tells whether the element is the named stanza: message, presence or iq.
func (e Element) Stanza(local string) bool { return e.Is(NSClient, local) }

// Attr returns the attribute of no namespace with this name.
func (e Element) Attr(local string) string {
	for _, a := range e.Attrs {
		if a.Name.Space == "" && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// Child returns the first child with this name; an empty space or local name
// stands for any.
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

// Exists is false for the zero Element.
func (e Element) Exists() bool { return e.Name.Local != "" }

// Body is the text of a message's body.
func (e Element) Body() string { return e.Child(NSClient, "body").Text }

// Condition is the defined condition of a stanza error, a stream error or a SASL
// failure, "" if the element is none of these.
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

// String is the element as it was received, or for a part of it its name.
func (e Element) String() string {
	if e.Raw != "" {
		return e.Raw
	}
	return "{" + e.Name.Space + "}" + e.Name.Local
}

// IsAnswer matches the answer to the iq with this id.
func IsAnswer(id string) func(Element) bool {
	return func(e Element) bool {
		kind := e.Attr("type")
		return e.Stanza("iq") && e.Attr("id") == id && (kind == "result" || kind == "error")
	}
}

// HasBody matches a message with this body.
func HasBody(body string) func(Element) bool {
	return func(e Element) bool { return e.Stanza("message") && e.Body() == body }
}

// IsStreamError matches any stream error.
func IsStreamError(e Element) bool { return e.Is(NSStreams, "error") }

// Escape makes text fit for character data and for quoted attributes.
func Escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;").Replace(text)
}

// Parse reads one element as it would be read from a stream.
func Parse(raw string) (Element, error) {
	in := newReader(strings.NewReader("<stream:stream xmlns='" + NSClient + "' xmlns:stream='" + NSStreams + "'>" + raw))
	return in.next()
}

// reader takes one XML document apart: a header, elements, a footer.
type reader struct {
	decoder *xml.Decoder
	seen    *recorder
	header  *xml.StartElement // nil until read
}

func newReader(r io.Reader) *reader {
	seen := &recorder{from: r}
	return &reader{decoder: xml.NewDecoder(seen), seen: seen}
}

// recorder keeps what the decoder has read and no element has taken yet.
type recorder struct {
	from  io.Reader
	bytes bytes.Buffer
	start int64 // offset in the document of the first byte kept
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.bytes.Write(p[:n])
	return n, err
}

// take returns the bytes from one offset to another and forgets all up to there.
func (r *recorder) take(from, to int64) string {
	r.bytes.Next(int(from - r.start))
	r.start = to
	return string(r.bytes.Next(int(to - from)))
}

// next reads up to the end of the next element.
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
		// The rest, between elements, is a prolog or white space that keeps the
		// connection alive.
	}
}

// element reads what follows a start tag up to its end tag.
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
