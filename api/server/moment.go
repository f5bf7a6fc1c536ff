package server

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
)

// maxMoment bounds the text of a moment, in bytes.
const maxMoment = 64

// momentDoc describes the form of a moment.
const momentDoc = "a position, or a time: RFC 3339, a date or a date and time (UTC), or how long ago, such as 90m, 2h ago, 3d"

// A moment is a point in the log, given by a client as a position or as a time.
type moment struct {
	position events.Position // zero if the moment is a time
	time     time.Time       // zero if the moment is a position
}

// momentForms are the forms of a time without a zone, which is read as UTC.
var momentForms = []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02T15:04:05", time.DateTime}

// momentUnits are the units of a time ago, longest first.
var momentUnits = []struct {
	suffix string
	unit   time.Duration
}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

// parseMoment parses the moment in the query parameter name. A time must not be in
// the future, because the state then is unknown. It must not be before 1970, because
// no log is that old.
func parseMoment(name, s string, now time.Time) (moment, error) {
	bad := func(format string, args ...any) (moment, error) {
		return moment{}, &api.Error{Code: api.CodeBadRequest, Text: name + ": " + fmt.Sprintf(format, args...)}
	}
	if len(s) > maxMoment {
		return bad("longer than %d bytes; give %s", maxMoment, momentDoc)
	}
	if s != "" && strings.Trim(s, "0123456789") == "" {
		switch n, err := strconv.ParseUint(s, 10, 63); {
		case err != nil:
			return bad("%s is not a position: it is too large", s)
		case n == 0:
			return bad("there is no position 0: the first is 1")
		default:
			return moment{position: events.Position(n)}, nil
		}
	}
	t, ok := parseTime(s, now)
	switch {
	case !ok:
		return bad("%q is not a moment: give %s", s, momentDoc)
	case t.After(now):
		return bad("%s is in the future: the node's time is %s", t.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case t.Unix() < 0:
		return bad("%s is before the beginning of every log", t.UTC().Format(time.RFC3339))
	}
	return moment{time: t.UTC()}, nil
}

// parseTime parses a time in one of the forms of momentDoc.
func parseTime(s string, now time.Time) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	for _, form := range momentForms {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	ago, ok := parseAgo(strings.TrimSpace(strings.TrimSuffix(s, "ago")))
	return now.Add(-ago), ok
}

// maxAgo bounds a time ago, so that a Duration can hold it.
const maxAgo = 200 * 365 * 24 * time.Hour

// parseAgo parses a duration such as 2h, 1d12h or 3w. Longer units must come before
// shorter ones.
func parseAgo(s string) (time.Duration, bool) {
	var sum time.Duration
	rest := s
	for _, u := range momentUnits {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || !strings.HasPrefix(rest[digits:], u.suffix) {
			continue
		}
		n, err := strconv.ParseUint(rest[:digits], 10, 32)
		if err != nil || time.Duration(n) > maxAgo/u.unit {
			return 0, false
		}
		if sum += time.Duration(n) * u.unit; sum > maxAgo {
			return 0, false
		}
		rest = rest[digits+len(u.suffix):]
	}
	return sum, s != "" && rest == ""
}
