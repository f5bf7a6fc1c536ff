package server

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
)

var momentNow = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestParseMoment(t *testing.T) {
	for s, want := range map[string]string{
		"1":                         "position 1",
		"0042":                      "position 42",
		"9223372036854775807":       "position 9223372036854775807",
		"2026-03-01":                "2026-03-01T00:00:00Z",
		"2026-03-01 08:30":          "2026-03-01T08:30:00Z",
		"2026-03-01T08:30:05":       "2026-03-01T08:30:05Z",
		"2026-03-01T08:30:05Z":      "2026-03-01T08:30:05Z",
		"2026-03-01T08:30:05+02:00": "2026-03-01T06:30:05Z",
		"2h":                        "2026-03-02T10:00:00Z",
		"2h ago":                    "2026-03-02T10:00:00Z",
		"1d12h":                     "2026-03-01T00:00:00Z",
		"1w 1d":                     "is not a moment",
		"0s":                        "2026-03-02T12:00:00Z",
		"":                          "is not a moment",
		"ago":                       "is not a moment",
		"0":                         "there is no position 0",
		"9223372036854775808":       "is not a position",
		"-1":                        "is not a moment",
		"2h3d":                      "is not a moment",
		"99999999999w":              "is not a moment",
		"4294967295w":               "is not a moment",
		"2026-03-03":                "in the future",
		"1969-12-31":                "before the beginning",
		"60y":                       "is not a moment",
		"100w100w":                  "is not a moment",
		"3000w":                     "before the beginning",
		"2026-02-30":                "is not a moment",
		"yesterday\x1b[2J":          "is not a moment",
		strings.Repeat("1", 65):     "longer than",
		"２h":                        "is not a moment",
	} {
		m, err := parseMoment("at", s, momentNow)
		var got string
		switch e := new(api.Error); {
		case errors.As(err, &e):
			got = e.Text
			if e.Code != api.CodeBadRequest || !strings.HasPrefix(got, "at: ") || strings.ContainsRune(got, '\x1b') {
				t.Errorf("%q: %+v", s, e)
			}
		case err != nil:
			t.Errorf("%q: %v", s, err)
		case m.position != 0:
			got = "position " + strconv.FormatUint(uint64(m.position), 10)
		default:
			got = m.time.Format(time.RFC3339)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

// FuzzParseMoment checks that every accepted text gives either a position or a time
// in the past, and never both.
func FuzzParseMoment(f *testing.F) {
	for _, s := range []string{"1", "2h ago", "1w2d3h4m5s", "2026-03-01", "2026-03-01T08:30:05+02:00", "9999999w", "0", "agoago"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseMoment("at", s, momentNow)
		if err != nil {
			if m != (moment{}) {
				t.Fatalf("%q: %v and %v", s, m, err)
			}
			return
		}
		if (m.position == 0) == m.time.IsZero() || m.time.After(momentNow) || m.position == 0 && m.time.Unix() < 0 || int64(m.position) < 0 {
			t.Fatalf("%q: %+v", s, m)
		}
	})
}
