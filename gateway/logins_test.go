package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/gateway/negotiate"
	"github.com/postern-im/postern/gateway/session"
)

func newTestLogins(t *testing.T, log slog.Handler) *logins {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry(), new(session.Shared))
	if err != nil {
		t.Fatal(err)
	}
	return newLogins(&Config{Logger: slog.New(log), LoginFailures: 10, LoginFailuresPerAddress: 60}, m)
}

// counted returns the values of the counters by label.
func counted(t *testing.T, c *prometheus.CounterVec) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			by[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return by
}

func loginFrom(address, account, condition string) negotiate.Login {
	return negotiate.Login{
		Remote: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 4711)), Account: account,
		Domain: "a.test", Tenant: "acme", Mechanism: "PLAIN", Condition: condition,
	}
}

// A source that guesses passwords of one account or many is limited. Other
// sources are not.
func TestLoginLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTestLogins(t, slog.DiscardHandler)
		fail := func(address, account, condition string) { l.Failed(loginFrom(address, account, condition)) }
		limited := func(address, account string) string { return l.Limited(loginFrom(address, account, "")) }
		for i := range 10 {
			if got := limited("2001:db8::1", "alice@a.test"); got != "" {
				t.Fatalf("limited by %s after %d", got, i)
			}
			fail("2001:db8::1", "alice@a.test", "not-authorized")
		}
		if got := limited("2001:db8::2", "alice@a.test"); got != "account" { // the same /64
			t.Errorf("limited by %q", got)
		}
		if got := limited("2001:db8::1", "bob@a.test"); got != "" {
			t.Errorf("another account: limited by %s", got)
		}
		if got := limited("2001:db8:0:1::1", "alice@a.test"); got != "" {
			t.Errorf("another source: limited by %s", got)
		}
		for i := range 60 {
			if got := limited("192.0.2.1", fmt.Sprintf("user%d@a.test", i)); got != "" {
				t.Fatalf("limited by %s after %d", got, i)
			}
			fail("192.0.2.1", fmt.Sprintf("user%d@a.test", i), "not-authorized")
		}
		if got := limited("192.0.2.1", "carol@a.test"); got != "address" {
			t.Errorf("limited by %q", got)
		}
		<-time.After(time.Second) // the bubble's clock
		if got := limited("192.0.2.1", "carol@a.test"); got != "" {
			t.Errorf("limited by %q a second later", got)
		}
		// The holder of an IPv6 /48 network has all its /64 networks.
		tried := 0
		for i := range 1000 {
			if from := fmt.Sprintf("2001:db8:7:%x::1", i); limited(from, "alice@a.test") == "" {
				fail(from, "alice@a.test", "not-authorized")
				tried++
			}
		}
		if tried != siteShare*10 {
			t.Errorf("an account was tried %d times from a /48", tried)
		}
		for i := range 1000 {
			from, account := fmt.Sprintf("2001:db8:8:%x::1", i), fmt.Sprintf("user%d@a.test", i)
			if limited(from, account) == "" {
				fail(from, account, "not-authorized")
				tried++
			}
		}
		if tried != siteShare*10+siteShare*60 {
			t.Errorf("accounts were tried %d times from a /48", tried-siteShare*10)
		}
		// If a client gives up or a server cannot answer, that is no failed
		// guess.
		for range 100 {
			fail("192.0.2.2", "alice@a.test", "aborted")
			fail("192.0.2.2", "alice@a.test", "temporary-auth-failure")
		}
		if got := limited("192.0.2.2", "alice@a.test"); got != "" {
			t.Errorf("limited by %q", got)
		}
		if got := counted(t, l.metrics.loginFailures); got["not-authorized"] != 70+siteShare*70 || len(got) != 3 {
			t.Errorf("counted %v", got)
		}
	})
}

// A source that keeps trying after it has reached a limit cannot fill the disk:
// its first attempt is logged at once, and the number of further attempts later.
func TestLimitedLoginsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newTestLogins(t, slog.NewTextHandler(&out, nil))
		login := loginFrom("192.0.2.1", "alice@a.test", "temporary-auth-failure")
		login.Limit = "account"
		for range 1000 {
			l.Failed(login)
		}
		<-time.After(limitedEvery)
		l.Failed(login)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[1], `msg="log-in failed" source=192.0.2.1 condition=temporary-auth-failure limit=account `) || !strings.Contains(lines[1], " count=1000 ") {
			t.Errorf("logged:\n%s", out.String())
		}
		if got := counted(t, l.metrics.loginsLimited); got["account"] != 1001 {
			t.Errorf("counted %v", got)
		}
	})
}

// filter reads the regular expressions of the Fail2Ban filter and translates
// them to Go's syntax.
func filter(t *testing.T) (lines []*regexp.Regexp, date *regexp.Regexp) {
	t.Helper()
	text, err := os.ReadFile("../packaging/fail2ban/postern-gateway.conf")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	last := ""
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(line, " =")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " "):
			settings[last] += "\n" + strings.TrimSpace(line)
		case ok:
			last = name
			settings[name] = strings.TrimSpace(value)
		}
	}
	translate := strings.NewReplacer("%(prefix)s", settings["prefix"], "%(guess)s", settings["guess"], "<ADDR>", "([0-9a-f.:]+)",
		"%%Y", `\d{4}`, "%%m", `\d\d`, "%%d", `\d\d`, "%%H", `\d\d`, "%%M", `\d\d`, "%%S", `\d\d`, "%%z", `(?:Z|[+-]\d\d:\d\d)`)
	for line := range strings.Lines(settings["failregex"]) {
		lines = append(lines, regexp.MustCompile(translate.Replace(strings.TrimSpace(line))))
	}
	if len(lines) != 2 {
		t.Fatalf("%d expressions", len(lines))
	}
	return lines, regexp.MustCompile(translate.Replace(settings["datepattern"]))
}

// The Fail2Ban filter in packaging finds the source in the log lines, in both log
// formats and with any account name that a client sends.
func TestFail2BanFilter(t *testing.T) {
	lines, date := filter(t)
	formats := map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	}
	for name, format := range formats {
		for _, c := range []struct {
			address, account, condition, limit, want string
		}{
			{"192.0.2.1", "alice@a.test", "not-authorized", "", "192.0.2.1"},
			{"2001:db8::7", "alice@a.test", "not-authorized", "", "2001:db8::7"},
			{"::ffff:192.0.2.1", "", "account-disabled", "", "192.0.2.1"},
			{"192.0.2.1", "alice@a.test", "temporary-auth-failure", "address", "192.0.2.1"},
			{"192.0.2.1", "alice@a.test", "temporary-auth-failure", "", ""}, // the server's
			{"192.0.2.1", "alice@a.test", "aborted", "", ""},
			{"192.0.2.1", "source=198.51.100.9@a.test", "not-authorized", "", "192.0.2.1"},
			{"192.0.2.1", "source=198.51.100.9\ncondition=not-authorized@a.test", "aborted", "", ""},
			{"192.0.2.1", "\"\ntime=2026-01-01T00:00:00Z level=WARN msg=\"log-in failed\" source=198.51.100.9 condition=not-authorized ", "aborted", "", ""},
		} {
			var out bytes.Buffer
			login := loginFrom(c.address, c.account, c.condition)
			login.Limit = c.limit
			newTestLogins(t, format(&out)).Failed(login)
			if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
				t.Errorf("%s: %d lines: %s", name, n, out.String())
			}
			for _, prefix := range []string{"", "host gateway[12]: ", "Nov 28 07:39:12 host postern-gateway[12]: "} {
				line := strings.TrimSpace(out.String())
				if at := date.FindStringIndex(line); at == nil {
					t.Fatalf("no date: %s", line)
				} else { // Fail2Ban removes the date before it matches the line
					line = prefix + line[:at[0]] + line[at[1]:]
				}
				got := ""
				for _, expression := range lines {
					if m := expression.FindStringSubmatch(line); m != nil {
						got += m[1]
					}
				}
				if got != c.want {
					t.Errorf("%s: got %q, want %q: %s", name, got, c.want, line)
				}
			}
		}
	}
}
