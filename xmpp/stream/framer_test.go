package stream

import "testing"

func TestSmoke(t *testing.T) {
	f := NewFramer(Config{})
	in := "<?xml version='1.0'?><stream:stream to='a.test' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>" +
		" <message to='b@a.test' id='1'><body>hi &amp; ho<![CDATA[<x>]]></body><x xmlns='urn:x' a='1&#9;2'/></message></stream:stream>"
	b := []byte(in)
	k, n, err := f.Next(b, true)
	t.Log(k, n, err)
	o, err := ParseOpen(f.Element())
	t.Log(o, err)
	b = b[n:]
	k, n, err = f.Next(b, false)
	t.Log(k, n, err)
	b = b[n:]
	k, n, err = f.Next(b, false)
	t.Log(k, n, err)
	e := f.Element()
	t.Logf("%s %s %d", e.Space(), e.Local(), e.NumChildren())
	for c := e.FirstChild(); c.Valid(); c = c.NextSibling() {
		t.Logf("%s %s %q %v", c.Space(), c.Local(), c.Text(nil), c.HasText())
		for i := range c.NumAttrs() {
			s, l, v := c.AttrAt(i)
			t.Logf("%s %s %q", s, l, v)
		}
	}
	b = b[n:]
	k, n, err = f.Next(b, false)
	t.Log(k, n, err)
}
