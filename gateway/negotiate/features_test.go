package negotiate

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/xmpp/stream"
)

// parseFeatures frames a server's features.
func parseFeatures(t *testing.T, text string) stream.Element {
	t.Helper()
	f := stream.NewFramer(stream.Config{Limits: backendLimits(), Lenient: true})
	in := []byte(testHeader + text)
	_, n, err := f.Next(in, true)
	if err != nil {
		t.Fatal(err)
	}
	if kind, _, err := f.Next(in[n:], false); err != nil || kind != stream.Stanza {
		t.Fatal(kind, err)
	}
	return f.Element()
}

func mechanismsOf(names ...string) string {
	list := "<stream:features><mechanisms xmlns='" + nsSASL + "'>"
	for _, m := range names {
		list += "<mechanism>" + m + "</mechanism>"
	}
	return list + "</mechanisms></stream:features>"
}

// listHash returns XEP-0474's hash of a list of mechanisms without channel
// bindings.
func listHash(names []string) string {
	sum := sha1.Sum([]byte(strings.Join(slices.Sorted(slices.Values(names)), "\x1e")))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// shownTo returns the mechanisms that a client reads in the gateway's features.
func shownTo(t *testing.T, f *features) (names []string) {
	t.Helper()
	el := parseFeatures(t, string(f.appendMechanisms(nil, streamLimits{}))).FirstChild()
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		names = append(names, string(c.Text(nil)))
	}
	return names
}

// TestMechanismsShown checks that a client which verifies the server's list
// (XEP-0474) sees the whole list wherever that does no harm, and that the
// relayed mechanisms do not change.
func TestMechanismsShown(t *testing.T) {
	for _, c := range []struct {
		offered  string
		relayed  string
		withheld string // empty: the list is complete
	}{
		{"PLAIN SCRAM-SHA-1 X-OAUTH2", "SCRAM-SHA-1 PLAIN", ""},
		{"SCRAM-SHA-1 PLAIN", "SCRAM-SHA-1 PLAIN", ""},
		{"SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 DIGEST-MD5 PLAIN ANONYMOUS OAUTHBEARER", "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN", ""},
		{"SCRAM-SHA-1 X-OAUTH2 X-OAUTH2", "SCRAM-SHA-1", ""},
		{"SCRAM-SHA-1 SCRAM-SHA-1-PLUS PLAIN X-OAUTH2", "SCRAM-SHA-1 PLAIN", "SCRAM-SHA-1-PLUS X-OAUTH2"},
		{"SCRAM-SHA-1 EXTERNAL", "SCRAM-SHA-1", "EXTERNAL"},
		{"SCRAM-SHA-1 GSSAPI PLAIN", "SCRAM-SHA-1 PLAIN", "GSSAPI"},
		{"SCRAM-SHA-1 &lt;x/&gt;", "SCRAM-SHA-1", "<x/>"},
		{"PLAIN X-OAUTH2 DIGEST-MD5", "PLAIN", "X-OAUTH2 DIGEST-MD5"}, // no SCRAM to verify the list, and clients may prefer the others
		{"X-OAUTH2 ANONYMOUS", "", "X-OAUTH2 ANONYMOUS"},
	} {
		offered := strings.Fields(c.offered)
		f := readFeatures(parseFeatures(t, mechanismsOf(offered...)))
		got := shownTo(t, &f)
		if strings.Join(f.mechanisms, " ") != c.relayed || strings.Join(f.withheld, " ") != c.withheld {
			t.Errorf("%s: relayed %v, withheld %v", c.offered, f.mechanisms, f.withheld)
		}
		if !slices.Equal(got[:min(len(got), len(f.mechanisms))], f.mechanisms) {
			t.Errorf("%s: shown %v, those that are relayed are not the first", c.offered, got)
		}
		if whole := listHash(got) == listHash(offered); whole != (c.withheld == "") {
			t.Errorf("%s: shown %v, whole: %t", c.offered, got, whole)
		}
		if c.withheld != "" && !slices.Equal(got, f.mechanisms) {
			t.Errorf("%s: shown %v", c.offered, got)
		}
	}
}

// TestCheckList checks that a challenge is reported if and only if a client that
// verifies the list must give up on it.
func TestCheckList(t *testing.T) {
	for _, c := range []struct {
		mechanism, name, data string
		withheld              []string
		want                  bool
	}{
		{"SCRAM-SHA-1", "challenge", "r=x,s=c2FsdA==,i=4096,h=abc=", []string{"EXTERNAL"}, true},
		{"SCRAM-SHA-256", "challenge", "r=x,s=c2FsdA==,i=4096,d=abc=", []string{"EXTERNAL"}, true},
		{"SCRAM-SHA-1", "challenge", "r=x,s=c2FsdA==,i=4096", []string{"EXTERNAL"}, false},
		{"SCRAM-SHA-1", "challenge", "r=xh=,s=h=,i=4096", []string{"EXTERNAL"}, false},
		{"SCRAM-SHA-1", "challenge", "r=x,s=c2FsdA==,i=4096,h=abc=", nil, false},
		{"SCRAM-SHA-1", "success", "v=x,h=abc=", []string{"EXTERNAL"}, false},
		{"PLAIN", "challenge", "r=x,h=abc=", []string{"EXTERNAL"}, false},
	} {
		told := false
		x := &negotiation{
			Negotiator: &Negotiator{withheld: func(domain string, withheld []string) {
				told = domain == "a.test" && slices.Equal(withheld, c.withheld)
			}},
			domain: "a.test", mechanism: c.mechanism, offered: features{withheld: c.withheld},
		}
		x.checkList(c.name, []byte(c.data))
		if told != c.want {
			t.Errorf("%s %s %q: told %t", c.mechanism, c.name, c.data, told)
		}
	}
}
