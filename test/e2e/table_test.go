//go:build e2e

package e2e

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
)

// TestTable tests every row of both permission tables through the gateway at
// both servers, with an account that has the row's permissions and one that
// lacks them.
func TestTable(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, kind)
			t.Run("out", func(t *testing.T) {
				t.Parallel()
				testOutgoing(t, s)
			})
			t.Run("in", func(t *testing.T) {
				t.Parallel()
				testIncoming(t, s)
			})
			t.Run("presence", func(t *testing.T) {
				t.Parallel()
				testPresence(t, s)
			})
			t.Run("memory", func(t *testing.T) {
				t.Parallel()
				testMemory(t, s)
			})
		})
	}
}

// A cast maps the addresses of a scenario to accounts on one server.
type cast struct {
	bob, dave, carol *peer // of alpha.test, beta.test and another tenant's gamma.test
	room             string
	names            *strings.Replacer // scenario's addresses to these accounts
	written          *strings.Replacer // placeholders to other written forms of bob's address
	prepare          *strings.Replacer // other written forms of addresses to their prepared form

	mu      sync.Mutex
	refused []string // ids of refused stanzas; guarded by mu
}

func newCast(ctx context.Context, t *testing.T, s *site) *cast {
	t.Helper()
	c := &cast{
		bob:   s.peer(ctx, t, "bob", "alpha.test"),
		dave:  s.peer(ctx, t, "dave", "beta.test"),
		carol: s.peer(ctx, t, "carol", "gamma.test"),
		room:  unique("room") + "@muc.alpha.test",
	}
	c.bob.send(ctx, t, "<presence to='"+c.room+"/bob'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	if _, err := c.bob.await(ctx, func(e client.Element) bool {
		return e.Stanza("presence") && e.Attr("from") == c.room+"/bob"
	}); err != nil {
		t.Fatal(err)
	}
	c.names = strings.NewReplacer("bob@alpha.test", c.bob.jid, "x@beta.test", c.dave.jid, "carol@gamma.test", c.carol.jid,
		"room@muc.alpha.test", c.room, "room@muc.gamma.test", unique("room")+"@muc.gamma.test")
	user, domain := split(c.bob.jid)
	shouted, dotted := strings.ToUpper(c.bob.jid), c.bob.jid+"."
	wide := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + '\uFF41' // full width, which PRECIS maps (RFC 8265 section 3.3.2)
		}
		return r
	}, user) + "@" + domain
	c.written = strings.NewReplacer("SHOUTED", shouted, "DOTTED", dotted, "WIDE", wide)
	c.prepare = strings.NewReplacer(shouted, c.bob.jid, dotted, c.bob.jid, wide, c.bob.jid, "&#x212A;elvin", "kelvin", "\u212Aelvin", "kelvin")
	return c
}

// write turns a scenario's stanza into one of a session: it fills in the
// addresses, and an id that nothing else has. An iq without an id stays without
// one.
func (c *cast) write(stanza, me, id string) string {
	raw := strings.ReplaceAll(c.names.Replace(c.written.Replace(stanza)), "ME", me)
	raw = strings.Replace(raw, " id='1'", " id='"+id+"'", 1)
	tag := raw[:strings.IndexAny(raw, " />")]
	switch tag[max(strings.IndexByte(tag, ':'), 0)+1:] {
	case "message", "presence":
		raw = tag + " id='" + id + "'" + raw[len(tag):]
	}
	return raw
}

// peerOf returns the peer with an address, nil if there is none.
func (c *cast) peerOf(to string) *peer {
	for _, p := range []*peer{c.bob, c.dave, c.carol} {
		if to == p.jid || to == p.jid+"/"+peerResource {
			return p
		}
	}
	return nil
}

// testOutgoing tests stanzas that a client sends.
func testOutgoing(t *testing.T, s *site) {
	ctx := waiting(t)
	lines := append(readScenario(t, outgoingScenario), readScenario(t, "testdata/outgoing.txt")...)
	tooMuch := line{
		where: "generated", row: "a stanza that cannot be described completely",
		stanza: "<message to='bob@alpha.test'>" + strings.Repeat("<x xmlns='lab:x'/>", 100) + "</message>",
	}
	much := parseVerdict("refuse modify/not-acceptable: The stanza has more parts than can be checked")
	tooMuch.verdicts = map[string]verdict{"all": much, "none": much}
	lines = append(lines, tooMuch)

	table, _ := policy.Table()
	driven := map[string]bool{}
	lacking := map[string]bool{}
	for _, l := range lines {
		driven[l.row] = true
		if beside := besideRow(l); beside != "" {
			driven[beside] = true
		}
		for _, p := range l.asks {
			lacking[p] = true
		}
	}
	wantRows(t, table, driven)

	c := newCast(ctx, t, s)
	s.allBut(ctx, t, "lab:all")
	s.only(ctx, t, "lab:none")
	t.Run("accounts", func(t *testing.T) {
		t.Run("all", func(t *testing.T) {
			t.Parallel()
			driveOut(ctx, t, s, c, "all", "lab:all", lines)
		})
		t.Run("none", func(t *testing.T) {
			t.Parallel()
			driveOut(ctx, t, s, c, "none", "lab:none", lines)
		})
		for _, p := range everything() {
			if !lacking[p] {
				t.Errorf("no stanza asks for %s", p)
			}
			t.Run(strings.ReplaceAll(p, ":", "-"), func(t *testing.T) {
				t.Parallel()
				role := "lab:no-" + p
				s.allBut(ctx, t, role, p)
				driveOut(ctx, t, s, c, p, role, slices.DeleteFunc(slices.Clone(lines), func(l line) bool {
					return !slices.Contains(l.asks, p)
				}))
			})
		}
	})
	for _, p := range []*peer{c.bob, c.dave, c.carol} {
		p.fence(ctx, t)
		for _, id := range c.refused {
			if p.has(func(e client.Element) bool { return e.Attr("id") == id }) {
				t.Errorf("%s got %s, which was refused", p.jid, id)
			}
		}
	}
}

// besideRow returns the row that asks for further permissions of a request to
// another address, in addition to the row that names it; "" if there is none.
func besideRow(l line) string {
	to, set := parseAttr(l.stanza, "to"), parseAttr(l.stanza, "type") == "set"
	service := strings.HasPrefix(to, "muc.") || strings.Contains(to, "@muc.")
	switch {
	case l.row != "any other iq":
		return ""
	case service && slices.Contains(l.asks, "xmpp:federate"):
		return "iq set with a jid attribute that is remote (outside the contents of pubsub items)"
	case service || len(l.asks) < 2:
		return ""
	case set && slices.Contains(l.asks, "xmpp:account:write") && strings.Contains(l.stanza, "urn:xmpp:jingle:1"):
		return "iq set: any other namespace"
	case slices.ContainsFunc(l.asks, func(p string) bool { return strings.HasPrefix(p, "xmpp:account:") }):
		return "a namespace that a row for the own account names"
	}
	return ""
}

// parseAttr returns the value of an attribute of a scenario's stanza.
func parseAttr(stanza, name string) string {
	_, value, _ := strings.Cut(stanza, " "+name+"='")
	value, _, _ = strings.Cut(value, "'")
	return value
}

// driveOut sends the stanzas of the lines as an account with a role.
func driveOut(ctx context.Context, t *testing.T, s *site, c *cast, who, role string, lines []line) {
	a := s.member(ctx, t, "subject", role)
	var me *subject
	for _, l := range lines {
		want := l.of(who)
		if me == nil {
			me = s.subject(ctx, t, a)
		}
		o := outgoing{s: s, line: l, want: want, cast: c, me: me, id: unique("id")}
		t.Run(l.where, func(t *testing.T) { o.drive(ctx, t) })
		if want.effect == "end" || strings.Contains(l.stanza, "<remove/>") && want.effect == "pass" {
			// The account may be removed: the next line gets a new one.
			a, me = s.member(ctx, t, "subject", role), nil
		}
	}
}

// outgoing is one stanza that a session sends.
type outgoing struct {
	s    *site
	line line
	want verdict
	cast *cast
	me   *subject
	id   string
}

func (o *outgoing) drive(ctx context.Context, t *testing.T) {
	if o.line.is("outstanding") {
		o.ask(ctx, t)
	}
	raw := o.cast.write(o.line.stanza, o.me.account.jid, o.id)
	before := o.me.leg.passed()
	send(ctx, t, o.me.Client, raw)
	if o.want.effect == "end" {
		o.ended(ctx, t)
		wantForwarded(t, o.me.leg.upSince(before))
		return
	}
	forwarded := raw
	switch o.want.effect {
	case "pass":
		forwarded = o.cast.prepare.Replace(raw)
		o.passed(ctx, t, raw)
		if strings.Contains(raw, "<remove/>") {
			return // the account is removed and its session has ended
		}
	case "clamp", "strip":
	case "refuse", "drop":
		forwarded = ""
		if !o.line.is("outstanding") { // an answer has the id of the peer's request
			o.cast.mu.Lock()
			o.cast.refused = append(o.cast.refused, o.id)
			o.cast.mu.Unlock()
		}
	default:
		t.Fatalf("the scenario has no verdict for the stanza: %+v", o.want)
	}
	var came []client.Element
	if o.want.effect == "refuse" { // the refusal may come after the fence, if the gateway read both at once
		e, err := o.me.Expect(ctx, o.isError)
		if err != nil {
			t.Fatal(err)
		}
		came = append(came, e)
	}
	came = append(came, o.me.fence(ctx, t)...)
	up := o.me.leg.upSince(before)
	switch o.want.effect {
	case "clamp":
		wantClamped(t, raw, up)
	case "strip":
		wantStripped(t, raw, up)
	default:
		if forwarded != raw { // the replaced attribute is written in another form
			up, forwarded = strings.ReplaceAll(up, "  ", " "), strings.ReplaceAll(forwarded, `"`, "'")
		}
		wantForwarded(t, up, forwarded)
	}
	o.answered(t, came)
}

// unansweredByProsody matches requests that make Prosody's PEP module fail
// without an answer: it expects an item, and a form.
var unansweredByProsody = regexp.MustCompile(`<publish node='[^']*'/>|<subscribe [^>]*/><options/>`)

// ask lets the addressee of the stanza send the session a request, so that the
// stanza is an answer.
func (o *outgoing) ask(ctx context.Context, t *testing.T) {
	for _, p := range []*peer{o.cast.bob, o.cast.carol} {
		if !strings.Contains(o.cast.names.Replace(o.line.stanza), p.jid) {
			continue
		}
		p.send(ctx, t, "<iq type='get' id='"+o.id+"' to='"+o.me.JID+"'><ping xmlns='urn:xmpp:ping'/></iq>")
		if err := o.me.leg.sent(ctx, o.id); err != nil {
			t.Fatal(err)
		}
	}
	o.me.fence(ctx, t)
}

// passed checks that a stanza was let through: the server answers a request,
// and the other user gets a stanza to it.
func (o *outgoing) passed(ctx context.Context, t *testing.T, raw string) {
	sent := parse(t, raw)
	kind, to := sent.Attr("type"), o.cast.prepare.Replace(sent.Attr("to"))
	p := o.cast.peerOf(to)
	request := sent.Stanza("iq") && (kind == "get" || kind == "set")
	switch toClient := p != nil && to == p.c.JID; {
	case request && to == o.me.JID:
		if err := o.me.leg.sent(ctx, o.id); err != nil { // the session itself gets it
			t.Error(err)
		}
	case request && o.s.server.Kind() == backend.Prosody && unansweredByProsody.MatchString(raw):
		if err := o.me.leg.took(ctx, o.id); err != nil {
			t.Error(err)
		}
	case request && !toClient:
		answer, err := o.me.Answer(ctx, o.id)
		if err != nil {
			t.Fatalf("%v; the server has sent %q", err, o.me.leg.downSince(0))
		}
		if err := o.me.leg.sent(ctx, o.id); err != nil {
			t.Errorf("the answer does not come from the server: %s", answer)
		}
	}
	switch {
	case p == nil || kind == "error":
		return
	case sent.Stanza("message"), sent.Stanza("presence") && kind == "", kind == "result", request && to == p.c.JID:
	default:
		return
	}
	e, err := p.await(ctx, func(e client.Element) bool { return e.Attr("id") == o.id })
	if err != nil {
		t.Fatalf("%s does not get %s: %v", p.jid, raw, err)
	}
	if from := e.Attr("from"); from != o.me.JID && from != o.me.Bare() {
		t.Errorf("delivered from %s", from)
	}
}

// isError reports whether e is an error that answers the stanza.
func (o *outgoing) isError(e client.Element) bool {
	return e.Attr("type") == "error" && (e.Attr("id") == o.id || e.Attr("id") == "")
}

// answered expects one refusal if the stanza is to be refused, and none
// otherwise.
func (o *outgoing) answered(t *testing.T, came []client.Element) {
	t.Helper()
	var refusals []client.Element
	for _, e := range came {
		if o.isError(e) {
			refusals = append(refusals, e)
		}
	}
	if o.want.effect != "refuse" {
		for _, e := range refusals {
			if e.Find("urn:postern:denied:0", "denied").Exists() || o.want.effect == "drop" {
				t.Errorf("answered %s", e)
			}
		}
		return
	}
	if len(refusals) != 1 {
		t.Fatalf("answered %d errors: %v", len(refusals), came)
	}
	o.wantRefusal(t, refusals[0])
}

// wantRefusal checks every part of a refusal.
func (o *outgoing) wantRefusal(t *testing.T, e client.Element) {
	t.Helper()
	sent := parse(t, o.cast.write(o.line.stanza, o.me.account.jid, o.id))
	failure := e.Child(client.NSClient, "error")
	got := verdict{"refuse", failure.Attr("type"), e.Condition(), failure.Child(client.NSStanza, "text").Text}
	if got != o.want {
		t.Errorf("refused with %+v, want %+v", got, o.want)
	}
	if e.Name.Local != sent.Name.Local || e.Attr("id") != sent.Attr("id") || len(e.Children) != 1 {
		t.Errorf("the answer has another name or id, or more content than the error: %s", e)
	}
	from := sent.Attr("to")
	if !sent.Stanza("presence") { // for presence it is the form that the client wrote
		from = o.cast.prepare.Replace(from)
	}
	if from == o.me.account.jid {
		from = ""
	}
	if e.Attr("from") != from {
		t.Errorf("the answer is from %q: %s", e.Attr("from"), e)
	}
	denied := failure.Child("urn:postern:denied:0", "denied")
	if want := o.want.permission(); denied.Exists() != (want != "") || denied.Attr("permission") != want {
		t.Errorf("denied is %v, want permission %q", e, want)
	}
	if position, err := strconv.ParseUint(denied.Attr("position"), 10, 64); denied.Exists() && (err != nil || position == 0) {
		t.Errorf("denied at position %q", denied.Attr("position"))
	}
}

// ended expects the stream to end with the error.
func (o *outgoing) ended(ctx context.Context, t *testing.T) {
	t.Helper()
	e, err := o.me.Expect(ctx, client.IsStreamError)
	if err != nil {
		t.Fatal(err)
	}
	if text := e.Child(client.NSStream, "text").Text; e.Condition() != o.want.condition || text != o.want.text {
		t.Errorf("ended with %s, want %+v", e, o.want)
	}
	if _, err := o.me.Next(ctx); !errors.Is(err, client.ErrFooter) && !errors.Is(err, io.EOF) {
		t.Errorf("after the stream error: %v", err)
	}
}

// parse reads one element.
func parse(t *testing.T, raw string) client.Element {
	t.Helper()
	e, err := client.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// isFence reports whether an element is a fence's ping.
func isFence(raw string) bool { return strings.HasPrefix(raw, "<iq type='get' id='query-") }

// forwarded returns the elements that the gateway has sent the server, except
// fences.
func forwarded(t *testing.T, up string) []string {
	t.Helper()
	all, err := elements(strings.TrimSuffix(up, "</stream:stream>"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, isFence)
}

// wantForwarded expects that the gateway has sent the server exactly these
// elements, byte for byte.
func wantForwarded(t *testing.T, up string, want ...string) {
	t.Helper()
	want = slices.DeleteFunc(want, func(s string) bool { return s == "" })
	if got := forwarded(t, up); !slices.Equal(got, want) {
		t.Errorf("the server was sent\n%q, want\n%q", got, want)
	}
}

// wantClamped expects that the presence reached the server with exactly one
// priority, -1, and with its name and attributes unchanged.
func wantClamped(t *testing.T, raw, up string) {
	t.Helper()
	got := forwarded(t, up)
	if len(got) != 1 {
		t.Fatalf("the server was sent %q", got)
	}
	sent, clamped := parse(t, raw), parse(t, got[0])
	var priorities []client.Element
	for _, child := range clamped.Children {
		if child.Name.Local == "priority" {
			priorities = append(priorities, child)
		}
	}
	if len(priorities) != 1 || !priorities[0].Is(client.NSClient, "priority") || priorities[0].Text != "-1" || len(priorities[0].Children) > 0 {
		t.Errorf("clamped to %s", got[0])
	}
	if !slices.Equal(clamped.Attrs, sent.Attrs) || clamped.Name != sent.Name {
		t.Errorf("clamped %s to %s", raw, got[0])
	}
}

// sameAttrs reports whether two elements have the same attributes, in any
// order.
func sameAttrs(a, b client.Element) bool {
	return len(a.Attrs) == len(b.Attrs) && !slices.ContainsFunc(a.Attrs, func(attr xml.Attr) bool { return !slices.Contains(b.Attrs, attr) })
}

// wantStripped expects that the stanza reached the server with its attributes
// and its error only.
func wantStripped(t *testing.T, raw, up string) {
	t.Helper()
	got := forwarded(t, up)
	if len(got) != 1 {
		t.Fatalf("the server was sent %q", got)
	}
	sent, stripped := parse(t, raw), parse(t, got[0])
	if !sameAttrs(stripped, sent) || len(stripped.Children) != 1 || !stripped.Children[0].Is(client.NSClient, "error") || stripped.Text != "" {
		t.Errorf("stripped %s to %s", raw, got[0])
	}
}
