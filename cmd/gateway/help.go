package main

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/postern-im/postern/internal/daemon"
)

// limitWords describe each setting of [limits]. A test checks that they describe
// every setting.
var limitWords = map[string]string{
	"connections":                "all connections",
	"per_address":                "connections from an IPv4 address or an IPv6 /64; 8 times as many from an IPv6 /48",
	"unauthenticated":            "connections from an address (as above) that have no session yet",
	"sessions_per_account":       "sessions of an account at this gateway",
	"login_failures":             "failed log-ins per minute to an account from an IPv4 address or an IPv6 /64; 8 times as many from an IPv6 /48",
	"login_failures_per_address": "failed log-ins per minute to all accounts from an address (as above)",
	"rate":                       "bytes per second read from a session's client",
	"burst":                      "bytes read at once",
	"stanzas":                    "stanzas per second read from a session's client",
	"stanza_burst":               "stanzas read at once",
	"drain":                      "maximum time over which a stopping gateway ends its sessions",
}

// description returns the description of the program for --help.
func description() string {
	var b strings.Builder
	b.WriteString("Postern's gateway: XMPP clients connect to it, and it connects to their server. SIGHUP reloads the certificates, SIGTERM stops it gracefully.\n\n" +
		"Settings in [limits] of the configuration file, with their default values:\n")
	limits := reflect.ValueOf(defaults().Limits)
	for i := range limits.NumField() {
		name := limits.Type().Field(i).Tag.Get("toml")
		value := limits.Field(i).Interface()
		if d, ok := value.(daemon.Duration); ok {
			value = time.Duration(d)
		}
		fmt.Fprintf(&b, "\n  %s = %v: %s", name, value, limitWords[name])
	}
	b.WriteString("\n\n[proxy] trusted lists the networks of proxies whose connections begin with a PROXY header; the default is none.")
	return b.String()
}
