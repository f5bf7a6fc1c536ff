package events

import (
	"strconv"
	"strings"
	"time"
)

// Describe describes an event in one line, for logs and lists. Freely chosen texts
// are quoted unless they are plain, so that a name can neither break the
// line nor look like another part of the description.
func Describe(e Event) string { return e.describe() }

func byOperator(yes bool) string {
	if !yes {
		return ""
	}
	return "by the operator"
}

// line joins the parts that are not empty with spaces.
func line(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p != "" && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p)
	}
	return b.String()
}

// list returns a key and its values. It returns an empty string if there are no
// values.
func list(key string, values []string) string {
	if len(values) == 0 {
		return ""
	}
	parts := []string{key}
	for _, v := range values {
		parts = append(parts, plain(v))
	}
	return line(parts...)
}

func backends(list []Backend) string {
	if len(list) == 0 {
		return ""
	}
	parts := []string{"backends"}
	for _, b := range list {
		parts = append(parts, plain(b.Address), b.Security.String())
		if b.Proxy {
			parts = append(parts, "proxy")
		}
	}
	return line(parts...)
}

// unixTime formats a time in seconds as RFC 3339. After the year 9999 it returns
// the number of seconds.
func unixTime(s uint64) string {
	if s > maxTime/1_000_000 {
		return strconv.FormatUint(s, 10)
	}
	return time.Unix(int64(s), 0).UTC().Format(time.RFC3339)
}

func quoted(s string) string { return strconv.Quote(s) }

// plain returns s unchanged if it cannot be misread, or quoted otherwise.
func plain(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == '='
	}) {
		return quoted(s)
	}
	return s
}
