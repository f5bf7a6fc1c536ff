package session

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// effectsOf returns verdicts with the given effects, in a cycle.
func effectsOf(effects []byte) deciderFunc {
	next := 0
	return func(_ context.Context, qs []decision.Question, vs []decision.Verdict) error {
		for i := range qs {
			e := decision.Pass
			if len(effects) > 0 {
				e = decision.Pass + decision.Effect(effects[next%len(effects)])%decision.End
				next++
			}
			if e == decision.Clamp && qs[i].Desc.Kind != stanza.Presence {
				e = decision.Pass
			}
			vs[i] = decision.Verdict{Effect: e, Reason: decision.NoRequest, Permission: "xmpp:x", Freshness: justNow(), LogID: testLog}
		}
		return nil
	}
}

// FuzzSession checks that the backend receives whole elements that a strict
// framer accepts, followed by a closing tag, whatever the client sends, in
// whatever pieces, and whatever the verdicts are.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"<presence/> <message to='BOB@a.test'><body>a</body></message>\n<iq id='1' type='get'><a xmlns='b'/></iq></stream:stream>",
		"<presence to='X@Y'><priority>1</priority>a<priority/></presence><c:presence xmlns:c='jabber:client'/>",
		"<message type='error' to='a@b'><error/><x/></message><iq type='result' id='1'/>",
		"<message><a xmlns='b' c='&#10;'/><![CDATA[<x>]]></message><!-- -->",
		"<presence from='bob@a.test'/><active xmlns='urn:xmpp:csi:0'/><x/>",
	} {
		f.Add([]byte(s), []byte{0, 1, 2, 3, 4}, uint8(7))
		f.Add([]byte(s), []byte{}, uint8(255))
	}
	f.Fuzz(func(t *testing.T, input, effects []byte, piece uint8) {
		shared, err := NewShared(effectsOf(effects), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		client, ours := net.Pipe()
		theirs, backend := net.Pipe()
		shared.Clock = clock
		s, err := New(Config{Shared: shared, Client: ours, Backend: theirs, LogID: testLog, Who: decision.Session{
			Account: []byte("alice@a.test"), Resource: []byte("here"),
		}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(t.Context()) }()
		toBackend, toClient := collectStream(backend), collect(client)
		for b := input; len(b) > 0; {
			n := min(len(b), int(piece)+1)
			if _, err := client.Write(b[:n]); err != nil {
				break
			}
			b = b[n:]
		}
		_ = client.Close()
		if err := <-done; len(effects) == 0 && told(err) == "reset" {
			t.Fatalf("every verdict was Pass, but a verdict has ended the session: %v", err)
		}
		<-toClient
		checkStream(t, []byte(<-toBackend))
	})
}

// collectStream reads up to the closing tag, and then closes its own stream.
func collectStream(c net.Conn) <-chan string {
	got := make(chan string, 1)
	go func() {
		var all []byte
		buf := make([]byte, 4<<10)
		for {
			n, err := c.Read(buf)
			if all = append(all, buf[:n]...); err != nil {
				break
			}
			if bytes.HasSuffix(all, []byte("</stream:stream>")) {
				_ = c.Close()
			}
		}
		got <- string(all)
	}()
	return got
}

// checkStream checks that b consists of a stream's elements and its closing
// tag.
func checkStream(t *testing.T, b []byte) {
	t.Helper()
	framer := stream.NewFramer(stream.Config{Limits: stream.ClientLimits()})
	for rest := b; ; {
		kind, n, err := framer.Next(rest, false)
		switch {
		case err != nil, kind == stream.Incomplete, kind == stream.Header:
			t.Fatalf("%v, %v at %d of %q", kind, err, len(b)-len(rest), b)
		case kind == stream.Close:
			if n != len(rest) {
				t.Fatalf("after the closing tag: %q", rest[n:])
			}
			return
		}
		rest = rest[n:]
	}
}
