package stream_test

import (
	"fmt"

	"github.com/postern-im/postern/xmpp/stream"
)

// A session buffers the bytes it has read, takes one token after another from
// the front of the buffer, and reads more when the Framer needs it.
func ExampleFramer() {
	f := stream.NewFramer(stream.Config{Limits: stream.PreAuthLimits()})
	buf := []byte("<?xml version='1.0'?><stream:stream to='a.test' version='1.0'" +
		" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\n" +
		"<message to='b@a.test'><body>fine</body></message><presence><!-- no --></presence>")
	expectHeader := true
	for {
		kind, n, err := f.Next(buf, expectHeader)
		if err != nil {
			fmt.Printf("%s</stream:stream>\n", (&stream.Error{Condition: "restricted-xml", Text: err.Error()}).AppendTo(nil))
			return
		}
		switch kind {
		case stream.Incomplete: // read more into buf
			return
		case stream.Header:
			expectHeader = false
			o, err := stream.ParseOpen(f.Element())
			fmt.Println("header to", o.To, err)
		case stream.Stanza:
			e := f.Element()
			to, _ := e.Attr("to")
			fmt.Printf("%s to %s: %s\n", e.Local(), to, buf[:n])
		case stream.Space, stream.Close:
			fmt.Println(kind)
		}
		buf = buf[n:]
	}
	// Output:
	// header to a.test <nil>
	// space
	// message to b@a.test: <message to='b@a.test'><body>fine</body></message>
	// <stream:error><restricted-xml xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>restricted-xml: comment</text></stream:error></stream:stream>
}
