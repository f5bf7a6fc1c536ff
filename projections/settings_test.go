package projections

import (
	"bufio"
	"bytes"
	"errors"
	"testing"

	"github.com/postern-im/postern/events"
)

// TestLaterSettings encodes and decodes the existing settings as if some of
// them had been added later.
func TestLaterSettings(t *testing.T) {
	for first := range uint64(firstSettings + 1) {
		for _, s := range []events.Settings{
			{},
			{PresenceWithoutMessages: events.PresenceRefuse},
			{AuditAddresses: events.AuditClass},
			{PresenceWithoutMessages: events.PresenceRefuse, AuditAddresses: events.AuditDomain},
		} {
			var b bytes.Buffer
			e := encoder{bufio.NewWriter(&b)}
			later := laterSettings(s, first)
			e.settings(s, first, later)
			e.w.Flush()
			if s == (events.Settings{}) && b.Len() != int(first) {
				t.Errorf("%d first: settings that are all 0 take %d bytes", first, b.Len())
			}
			got, err := settingsFrom(b.Bytes(), first, len(later) > 0)
			if err != nil || got != s {
				t.Errorf("%d first: %x is %+v, %v, want %+v", first, b.Bytes(), got, err, s)
			}
		}
	}
	for what, b := range map[string]string{
		"none":             "\x00",
		"a value of 0":     "\x01\x02\x00",
		"an unknown value": "\x01\x02\x03",
		"an unknown one":   "\x01\x63\x01",
		"a first one":      "\x01\x01\x01",
		"one twice":        "\x02\x02\x01\x02\x01",
		"cut":              "\x01\x02",
	} {
		if s, err := settingsFrom([]byte("\x01"+b), 1, true); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", what, s, err)
		}
	}
}

func settingsFrom(b []byte, first uint64, later bool) (events.Settings, error) {
	d := decoder{r: bufio.NewReader(bytes.NewReader(b)), view: New()}
	s := d.settings(first, later)
	if _, err := d.r.ReadByte(); d.err == nil && err == nil {
		return s, errors.New("further bytes after the end")
	}
	return s, d.err
}
