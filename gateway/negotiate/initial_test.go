package negotiate

import (
	"bytes"
	"strings"
	"testing"

	"github.com/postern-im/postern/xmpp/jid"
)

func TestInitial(t *testing.T) {
	for _, c := range []struct {
		mechanism, message string
		user, relay        string // relay is the message if empty
		failure            string
	}{
		{"PLAIN", "\x00alice\x00secret", "alice@a.test", "", ""},
		{"PLAIN", "\x00ALICE\x00secret", "alice@a.test", "", ""},
		{"PLAIN", "\x00stra\u00dfe\x00secret", "", "", notAuthorized}, // read differently by different servers
		{"PLAIN", "alice@a.test\x00alice\x00s", "alice@a.test", "\x00alice\x00s", ""},
		{"PLAIN", "ALICE@a.test.\x00alice\x00s", "alice@a.test", "\x00alice\x00s", ""},
		{"PLAIN", "alice\x00alice\x00s", "", "", invalidAuthzid},
		{"PLAIN", "alice@b.test\x00alice\x00s", "", "", invalidAuthzid},
		{"PLAIN", "alice@a.test/x\x00alice\x00s", "", "", invalidAuthzid},
		{"PLAIN", "bob\x00alice\x00s", "", "", invalidAuthzid},
		{"PLAIN", " \x00alice\x00s", "", "", invalidAuthzid},
		{"PLAIN", "", "", "", malformedRequest},
		{"PLAIN", "alice", "", "", malformedRequest},
		{"PLAIN", "\x00alice", "", "", malformedRequest},
		{"PLAIN", "\x00\x00secret", "", "", malformedRequest},
		{"PLAIN", "\x00alice\x00", "", "", malformedRequest},
		{"PLAIN", "\x00alice\x00secret\x00", "", "", malformedRequest},
		{"PLAIN", "\x00alice\x00secret\x00bob", "", "", malformedRequest},
		{"PLAIN", "\x00alice@a.test\x00s", "", "", notAuthorized},
		{"PLAIN", "\x00alice/x\x00s", "", "", notAuthorized},
		{"PLAIN", "\x00al\xffice\x00s", "", "", notAuthorized},
		{"PLAIN", "\x00" + strings.Repeat("a", maxName+1) + "\x00s", "", "", malformedRequest},

		{"SCRAM-SHA-1", "n,,n=alice,r=x", "alice@a.test", "", ""},
		{"SCRAM-SHA-1", "y,,n=alice,r=x", "alice@a.test", "", ""},
		{"SCRAM-SHA-1", "n,,n=alice,r=x,a=b", "alice@a.test", "", ""}, // with an extension
		{"SCRAM-SHA-1", "n,a=alice@a.test,n=alice,r=x", "alice@a.test", "", ""},
		{"SCRAM-SHA-1", "n,a=bob,n=alice,r=x", "", "", invalidAuthzid},
		{"SCRAM-SHA-1", "n,a=bob=40a.test,n=alice,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,a=,n=alice,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,bob,n=alice,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "p=tls-unique,,n=alice,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "N,,n=alice,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", ",,n=alice,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,,m=x,n=alice,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,,n=alice", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,,n=,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,,r=x,n=alice", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,,n=alice=2Cbob,r=x", "alice,bob@a.test", "", ""},
		{"SCRAM-SHA-1", "n,,n=alice=3Dbob,r=x", "alice=bob@a.test", "", ""},
		{"SCRAM-SHA-1", "n,,n=alice=2c,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,,n=alice=,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,,n=alice=40b.test,r=x", "", "", malformedRequest},
		{"SCRAM-SHA-1", "n,,n=alice\x00bob,r=x", "", "", notAuthorized},
		{"SCRAM-SHA-1", "n", "", "", malformedRequest},
	} {
		user, relay, failure := initial(c.mechanism, []byte(c.message), "a.test")
		if c.relay == "" && c.failure == "" {
			c.relay = c.message
		}
		if user.String() != c.user || string(relay) != c.relay || failure != c.failure {
			t.Errorf("%s %q: user %q, relay %q, failure %q; want %q, %q, %q",
				c.mechanism, c.message, user, relay, failure, c.user, c.relay, c.failure)
		}
	}
}

func TestDecode64(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{"=", "", true}, {"YQ==", "a", true}, {"YWI=", "ab", true}, {"YWJj", "abc", true},
		{"", "", false}, {"YQ", "", false}, {"YQ=", "", false}, {"YR==", "", false}, {"YQ==YQ==", "", false},
		{"YQ\n==", "", false}, {"YWJj\r\n", "", false}, {" YWJj", "", false}, {"YW Jj", "", false},
		{"YW_-", "", false}, {"====", "", false}, {"YWJj=", "", false},
	} {
		got, ok := decode64([]byte(c.text))
		if ok != c.ok || ok && string(got) != c.want {
			t.Errorf("%q: %q, %t", c.text, got, ok)
		}
	}
}

// FuzzInitial checks that no first message authenticates a user other than the
// one it names, whatever its authzid is, and that the message relayed for PLAIN
// names no other user.
func FuzzInitial(f *testing.F) {
	for _, s := range []string{
		"\x00alice\x00secret", "bob\x00alice\x00secret", "n,,n=alice,r=x", "y,a=alice@a.test,n=alice,r=x",
		"n,a=bob,n=alice,r=x", "n,,n==2C=3D,r=x", "p=x,,n=a,r=b",
	} {
		f.Add("PLAIN", []byte(s))
		f.Add("SCRAM-SHA-1", []byte(s))
	}
	f.Fuzz(func(t *testing.T, mechanism string, message []byte) {
		user, relay, failure := initial(mechanism, message, "a.test")
		if failure != "" {
			if !user.IsZero() || relay != nil {
				t.Fatal("a refused message has a user, or is relayed")
			}
			return
		}
		if !user.HasLocal() || user.HasResource() || string(user.Domain()) != "a.test" {
			t.Fatalf("user %q", user)
		}
		if mechanism != "PLAIN" {
			if !bytes.Equal(relay, message) {
				t.Fatalf("relayed %q", relay)
			}
			return
		}
		parts := bytes.Split(relay, []byte{0})
		if len(parts) != 3 || len(parts[0]) != 0 {
			t.Fatalf("relayed %q", relay)
		}
		if named, err := jid.Join(string(parts[1]), "a.test", ""); err != nil || !named.Equal(user) {
			t.Fatalf("relayed %q for %q", relay, user)
		}
	})
}
