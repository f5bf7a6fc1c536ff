package negotiate

import (
	"testing"
	"time"
)

// TestLimits checks that a client gets the lower of the gateway's and the
// backend's limits (XEP-0478), and that invalid limits of a backend are
// ignored.
func TestLimits(t *testing.T) {
	own := streamLimits{bytes: 262144, idle: 15 * time.Minute}
	for _, c := range []struct{ backend, want string }{
		{"", "<max-bytes>262144</max-bytes><idle-seconds>900</idle-seconds>"},
		{"<max-bytes>300000</max-bytes><idle-seconds>840</idle-seconds>", "<max-bytes>262144</max-bytes><idle-seconds>840</idle-seconds>"},
		{"<max-bytes>10000</max-bytes>", "<max-bytes>10000</max-bytes><idle-seconds>900</idle-seconds>"},
		{"<idle-seconds>1</idle-seconds><other>5</other>", "<max-bytes>262144</max-bytes><idle-seconds>1</idle-seconds>"},
		{"<max-bytes>0</max-bytes><idle-seconds>-1</idle-seconds>", "<max-bytes>262144</max-bytes><idle-seconds>900</idle-seconds>"},
		{"<max-bytes/><idle-seconds> 5</idle-seconds>", "<max-bytes>262144</max-bytes><idle-seconds>900</idle-seconds>"},
		{"<max-bytes>99999999999999999999</max-bytes><idle-seconds>4294967295</idle-seconds>", "<max-bytes>262144</max-bytes><idle-seconds>900</idle-seconds>"},
		{"<max-bytes xmlns='other'>5</max-bytes>", "<max-bytes>262144</max-bytes><idle-seconds>900</idle-seconds>"},
	} {
		f := readFeatures(parseFeatures(t, "<stream:features><limits xmlns='"+nsLimits+"'>"+c.backend+"</limits></stream:features>"))
		want := "<limits xmlns='" + nsLimits + "'>" + c.want + "</limits>"
		if got := string(own.and(f.limits).append(nil)); got != want {
			t.Errorf("%q: %s, want %s", c.backend, got, want)
		}
	}
	if got := (streamLimits{}).and(streamLimits{bytes: 5}).append(nil); string(got) != "<limits xmlns='"+nsLimits+"'><max-bytes>5</max-bytes></limits>" {
		t.Errorf("none of our own: %s", got)
	}
	if got := (streamLimits{}).append(nil); len(got) > 0 {
		t.Errorf("none at all: %s", got)
	}
}
