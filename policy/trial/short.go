package trial

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-im/postern/decision"
)

// ShortForm is the grammar of the short form of a stanza.
const ShortForm = `message [TYPE] [WORD VALUE]…
presence [TYPE] [priority N] [WORD VALUE]…
iq get|set [ELEMENT] NAMESPACE [node NODE] [WORD VALUE]…`

// shortTypes are the types that may follow each kind.
var shortTypes = map[string]string{
	"message":  "chat normal groupchat headline error",
	"presence": "unavailable subscribe subscribed unsubscribe unsubscribed probe error",
	"iq":       "get set",
}

// IsShort reports whether a stanza is written in the short form, not as XML.
func IsShort(text string) bool {
	text = strings.TrimSpace(text)
	return text != "" && text[0] != '<'
}

// Expand turns the short form into XML and returns the direction of the stanza:
// incoming if the stanza has a from, otherwise outgoing. self is the full
// address of the session. An incoming stanza without a to is addressed to self.
// A message has a fixed body.
func Expand(short, self string) (xml string, dir decision.Direction, err error) {
	w := strings.Fields(short)
	if len(w) == 0 {
		return "", 0, fmt.Errorf("the stanza is empty")
	}
	kind := w[0]
	types, ok := shortTypes[kind]
	if !ok {
		return "", 0, fmt.Errorf("%q is not a kind of stanza: write message, presence or iq, or the stanza as XML", kind)
	}
	w = w[1:]
	typ := ""
	if len(w) > 0 && slices.Contains(strings.Fields(types), w[0]) {
		typ, w = w[0], w[1:]
	}
	s := shortStanza{kind: kind, typ: typ, words: map[string]string{}}
	if kind == "iq" {
		if w, err = s.payload(w); err != nil {
			return "", 0, err
		}
	}
	if err := s.pairs(w); err != nil {
		return "", 0, err
	}
	dir = decision.Out
	if s.words["from"] != "" {
		dir = decision.In
		if s.words["to"] == "" {
			s.words["to"] = self
		}
	}
	return s.xml(), dir, nil
}

// A shortStanza is a parsed short form.
type shortStanza struct {
	kind, typ          string
	element, namespace string
	words              map[string]string
}

// payload parses the [ELEMENT] NAMESPACE of an iq and returns the rest of the
// words.
func (s *shortStanza) payload(w []string) ([]string, error) {
	if s.typ == "" {
		return nil, fmt.Errorf("an iq needs a type, get or set: write iq get NAMESPACE")
	}
	var names []string
	for len(w) > 0 && len(names) < 2 && !slices.Contains(s.known(), w[0]) {
		names, w = append(names, w[0]), w[1:]
	}
	switch len(names) {
	case 0:
		return nil, fmt.Errorf("iq %s: the namespace of the payload is missing; write it, such as iq get jabber:iq:roster", s.typ)
	case 1:
		s.element, s.namespace = s.usualElement(names[0]), names[0]
	case 2:
		s.element, s.namespace = names[0], names[1]
		if strings.ContainsFunc(s.element, func(r rune) bool { return !isNameRune(r) }) {
			return nil, fmt.Errorf("%q is not an element name: write iq %s [ELEMENT] NAMESPACE", s.element, s.typ)
		}
	}
	return w, nil
}

func isNameRune(r rune) bool {
	return r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// usualElement returns the name of the payload of most requests in a namespace.
func (s *shortStanza) usualElement(namespace string) string {
	switch namespace {
	case "vcard-temp":
		return "vCard"
	case "urn:ietf:params:xml:ns:vcard-4.0":
		return "vcard"
	case "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/pubsub#owner":
		return "pubsub"
	case "urn:xmpp:ping":
		return "ping"
	case "urn:xmpp:push:0", "urn:xmpp:carbons:2":
		return "enable"
	case "urn:xmpp:blocking":
		if s.typ == "get" {
			return "blocklist"
		}
		return "block"
	case "urn:xmpp:http:upload:0":
		return "request"
	case "http://jabber.org/protocol/commands":
		return "command"
	}
	return "query"
}

// known returns the words that are followed by a value.
func (s *shortStanza) known() []string {
	switch s.kind {
	case "message":
		return []string{"to", "from", "event"}
	case "presence":
		return []string{"to", "from", "priority"}
	}
	return []string{"to", "from", "node"}
}

func (s *shortStanza) pairs(w []string) error {
	for ; len(w) > 0; w = w[min(2, len(w)):] {
		switch known := s.known(); {
		case !slices.Contains(known, w[0]):
			return fmt.Errorf("%q is not understood in the short form of %s: it has types (%s) and %s", w[0], s.kind, shortTypes[s.kind], strings.Join(known, ", "))
		case len(w) == 1:
			return fmt.Errorf("%s: a value is missing", w[0])
		case s.words[w[0]] != "":
			return fmt.Errorf("%s is given twice", w[0])
		}
		s.words[w[0]] = w[1]
	}
	if p := s.words["priority"]; p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < -128 || n > 127 {
			return fmt.Errorf("priority %q: want -128 to 127", p)
		}
	}
	return nil
}

func (s *shortStanza) xml() string {
	var b strings.Builder
	b.WriteString("<" + s.kind)
	attr := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s='%s'", name, attrEscaper().Replace(value))
		}
	}
	typ := s.typ
	if s.kind == "message" && typ == "" {
		typ = "chat"
		if s.words["event"] != "" {
			typ = "headline"
		}
	}
	attr("type", typ)
	if s.kind == "iq" {
		attr("id", "t1")
	}
	attr("to", s.words["to"])
	attr("from", s.words["from"])
	b.WriteString(">")
	switch {
	case s.kind == "iq":
		s.writePayload(&b, attr)
	case s.words["event"] != "":
		b.WriteString("<event xmlns='http://jabber.org/protocol/pubsub#event'><items")
		attr("node", s.words["event"])
		b.WriteString("/></event>")
	case s.kind == "message":
		b.WriteString("<body>text</body>")
	case s.words["priority"] != "":
		b.WriteString("<priority>" + s.words["priority"] + "</priority>")
	}
	b.WriteString("</" + s.kind + ">")
	return b.String()
}

func (s *shortStanza) writePayload(b *strings.Builder, attr func(name, value string)) {
	b.WriteString("<" + s.element)
	attr("xmlns", s.namespace)
	switch node := s.words["node"]; {
	case s.element == "pubsub" && node != "":
		child := "items"
		if s.typ == "set" {
			child = "publish"
		}
		b.WriteString("><" + child)
		attr("node", node)
		b.WriteString("/></pubsub>")
	default:
		attr("node", node)
		b.WriteString("/>")
	}
}

func attrEscaper() *strings.Replacer {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;")
}
