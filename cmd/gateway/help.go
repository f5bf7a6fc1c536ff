package main

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/postern-im/postern/internal/daemon"
)

// limitWords say what each setting of [limits] bounds. A test holds them to the
// settings there are.
var limitWords = map[string]string{
	"connections":                "connections in all",
	"per_address":                "connections from an IPv4 address or an IPv6 /64; 8 times that from an IPv6 /48",
	"unauthenticated":            "those of an address that have no session yet",
	"sessions_per_account":       "sessions of an account at this gateway",
	"login_failures":             "failed log-ins a minute of an account from an IPv4 address or an IPv6 /64; 8 times that from an IPv6 /48",
	"login_failures_per_address": "failed log-ins a minute from one of those",
	"rate":                       "bytes a second read of a session's client",
	"burst":                      "bytes at once",
	"stanzas":                    "stanzas a second read of a session's client",
	"stanza_burst":               "stanzas at once",
	"drain":                      "over how long the ends of sessions are spread when it stops",
}

// description is what --help says of the program.
func description() string {
	var b strings.Builder
	b.WriteString("Postern's gateway: XMPP clients connect to it, and it to their server. SIGHUP reloads certificates, SIGTERM stops it gracefully.\n\n" +
		"[limits] of the configuration file, with what holds where nothing is said:\n")
	limits := reflect.ValueOf(defaults().Limits)
	for i := range limits.NumField() {
		name := limits.Type().Field(i).Tag.Get("toml")
		value := limits.Field(i).Interface()
		if d, ok := value.(daemon.Duration); ok {
			value = time.Duration(d)
		}
		fmt.Fprintf(&b, "\n  %s = %v: %s", name, value, limitWords[name])
	}
	b.WriteString("\n\n[proxy] trusted lists the networks of proxies whose connections begin with a PROXY header; none where nothing is said.")
	return b.String()
}
