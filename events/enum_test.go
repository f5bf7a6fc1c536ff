package events_test

import (
	"slices"
	"testing"

	"github.com/postern-im/postern/events"
)

func TestEnums(t *testing.T) {
	testEnum[events.Security](t, "none", "starttls", "tls")
	testEnum[events.PresenceMode](t, "clamp", "refuse")
	testEnum[events.AuditAddresses](t, "full", "domain", "class")
	testEnum[events.TokenScope](t, "read", "write", "operator")
}

// testEnum checks that the names do not change, because policy files and programs
// use them.
func testEnum[E events.Enum](t *testing.T, names ...string) {
	if got := events.Names[E](); !slices.Equal(got, names) {
		t.Errorf("%T has the names %q, want %q", E(0), got, names)
	}
	for i, name := range names {
		if v, ok := events.Parse[E](name); !ok || v != E(i) || v.String() != name {
			t.Errorf("%q is %d, %v", name, v, ok)
		}
	}
	for _, name := range []string{"", "None", names[0] + " ", E(len(names)).String()} {
		if v, ok := events.Parse[E](name); ok || v != 0 {
			t.Errorf("%q is %d", name, v)
		}
	}
	for v := len(names); v < 256; v++ {
		if E(v).Valid() {
			t.Errorf("%T %d is valid", E(0), v)
		}
	}
}
