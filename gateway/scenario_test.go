package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/gateway"
)

var update = flag.Bool("update", false, "rewrite the expected lines of testdata/*.txt")

// TestScenarios runs each conversation in testdata against a whole gateway, in
// memory and on a fake clock. The first letter of a line gives its direction:
//
//	C: the client sends        S: the client receives
//	P: the backend sends       B: the backend receives
//
// The expected S and B lines contain everything received since the line before;
// "EOF" is the end of a connection. L lines are log lines and follow the
// directive "log". Other lines are directives, see script.directive. A goroutine
// that is left at the end fails the scenario.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, part := range splitScenarios(string(text)) {
			name, _, _ := strings.Cut(strings.TrimPrefix(part, "== "), "\n")
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					out := runScenario(t, part)
					got.WriteString(out)
					if !*update && out != part {
						t.Errorf("got:\n%s\nwant:\n%s", out, part)
					}
				})
			})
		}
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// splitScenarios splits a file before each "== title" line.
func splitScenarios(text string) (parts []string) {
	for at := 0; at < len(text); {
		next := strings.Index(text[at+1:], "\n== ")
		if next < 0 {
			return append(parts, text[at:])
		}
		parts = append(parts, text[at:at+next+2])
		at += next + 2
	}
	return parts
}

// A script is one running scenario.
type script struct {
	t       *testing.T
	policy  *table
	starts  *pipeListener
	direct  *pipeListener
	client  *end
	backend *end
	dialed  chan net.Conn
	down    bool
	from    string // the address the next client connects from
	out     strings.Builder
	log     bytes.Buffer
	logMu   sync.Mutex
	stop    context.CancelFunc
}

func (s *script) Write(b []byte) (int, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.Write(b)
}

func runScenario(t *testing.T, text string) string {
	s := &script{
		t: t, policy: newTable(), starts: newPipeListener(), direct: newPipeListener(),
		dialed: make(chan net.Conn, 4), from: "192.0.2.1:50000",
	}
	config := gateway.Config{
		STARTTLS:     []net.Listener{s.starts},
		DirectTLS:    []net.Listener{s.direct},
		Decider:      s.policy,
		Certificates: gateway.NewCertificates("", true),
		Dial:         s.dial,
		Logger:       slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics:      prometheus.NewRegistry(),
		ByteRate:     1 << 30, ByteBurst: 1 << 30, StanzaRate: 1 << 30, StanzaBurst: 1 << 30,
	}
	configure(t, text, &config)
	g, err := gateway.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s.policy.recheck = g.Recheck
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	served := make(chan error, 1)
	go func() { served <- g.Serve(ctx) }()
	synctest.Wait()

	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "S: ") || strings.HasPrefix(line, "B: ") || strings.HasPrefix(line, "L: ") {
			continue
		}
		fmt.Fprintln(&s.out, line)
		s.line(line)
		synctest.Wait()
		s.collect()
	}
	stop()
	s.drop()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if strings.Contains(s.log.String(), "panic") {
		t.Errorf("log:\n%s", s.log.String())
	}
	if t.Failed() {
		t.Logf("log:\n%s", s.log.String())
	}
	return s.out.String()
}

// configure applies the line "gateway KEY=VALUE …" of a scenario, if it has one.
func configure(t *testing.T, text string, c *gateway.Config) {
	_, line, ok := strings.Cut(text, "\ngateway ")
	if !ok {
		return
	}
	line, _, _ = strings.Cut(line, "\n")
	for setting := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(setting, "=")
		if key == "trusted" {
			c.Proxies = append(c.Proxies, netip.MustParsePrefix(value))
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		*map[string]*int{
			"connections": &c.MaxConnections, "per_address": &c.MaxPerAddress, "unauthenticated": &c.MaxUnauthenticated,
			"sessions_per_account": &c.MaxSessionsPerAccount,
		}[key] = n
	}
}

// drop closes the connections that are still open.
func (s *script) drop() {
	for _, e := range []*end{s.client, s.backend} {
		if e != nil {
			e.close()
		}
	}
	select {
	case c := <-s.dialed:
		c.Close()
	default:
	}
}

func (s *script) line(line string) {
	who, what, _ := strings.Cut(line, ": ")
	what = shorthands.Replace(what)
	switch {
	case line == "", strings.HasPrefix(line, "#"), strings.HasPrefix(line, "=="):
	case who == "C":
		s.client.send(what)
	case who == "P":
		s.meetBackend()
		s.backend.send(what)
	default:
		s.directive(strings.Fields(line))
	}
}

// directive runs one of:
//
//	connect [direct [ALPN [SNI]]]  a client connects
//	connect bare                   a client connects to direct TLS and does not begin TLS
//	tls [direct]                   the client begins TLS
//	secured                        alice connects, up to the backend's SASL mechanisms
//	authenticated                  as secured, and further up to binding
//	login                          as authenticated, and further up to the session alice@a.test/here
//	gateway KEY=VALUE …            configures the gateway, see configure
//	limit N                        the tenant may have N sessions from now on
//	from ADDRESS                   clients connect from this address from now on
//	wrong password                 alice fails to log in
//	log                            writes the log lines since the last time, see logged
//	verdict ID EFFECT [REASON] [PERMISSION]  the verdict on stanzas with this id
//	verdict ID joined              these stanzas pass only from a room, or other peer, that the session joined
//	policy down, policy up, backend down
//	wait DURATION
//	hang up client, hang up backend
//	revoke ACCOUNT [opening]       the account's sessions are revoked, now or
//	                               while the next one is being opened
//	stop                           the gateway is told to stop
func (s *script) directive(f []string) {
	switch strings.Join(f[:min(2, len(f))], " ") {
	case "tls":
		s.client.startTLS("", "")
	case "tls direct":
		s.client.startTLS("xmpp-client", "a.test")
	case "secured":
		s.play(untilSecured)
	case "authenticated":
		s.play(untilSecured)
		s.play(untilAuthenticated)
	case "login":
		s.play(untilSecured)
		s.play(untilAuthenticated)
		s.play(untilBound)
	case "wrong password":
		s.play([]string{auth, refused})
	case "log":
		s.logged()
	case "policy down":
		s.policy.set(true)
	case "policy up":
		s.policy.set(false)
	case "backend down":
		s.down = true
	case "hang up":
		map[string]*end{"client": s.client, "backend": s.backend}[f[2]].close()
	case "stop":
		s.stop()
	default:
		switch f[0] {
		case "connect":
			s.connect(f[1:])
		case "from":
			s.from = f[1]
		case "limit":
			n, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			s.policy.most.Store(n)
		case "gateway": // see configure
		case "verdict":
			s.policy.rule(s.t, f[1:])
		case "revoke":
			if len(f) > 2 {
				s.policy.atOpen = f[1]
			} else {
				s.policy.end(f[1])
			}
		case "wait":
			d, err := time.ParseDuration(f[1])
			if err != nil {
				s.t.Fatal(err)
			}
			<-time.After(d) // the bubble's clock
		default:
			s.t.Fatalf("unknown directive %q", f)
		}
	}
}

func (s *script) connect(f []string) {
	l := s.starts
	if len(f) > 0 {
		l = s.direct
	}
	ours, theirs := net.Pipe()
	l.conns <- addressed{theirs, s.from}
	s.client = newEnd(ours)
	s.backend = nil
	if len(f) == 0 || f[0] == "bare" {
		return
	}
	alpn, sni := "xmpp-client", "a.test"
	if len(f) > 1 {
		alpn = f[1]
	}
	if len(f) > 2 {
		sni = f[2]
	}
	s.client.startTLS(alpn, sni)
}

// An addressed connection reports from as its remote address.
type addressed struct {
	net.Conn
	from string
}

func (c addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}

func (c addressed) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.1:5222"))
}

// logged writes the log lines that operators' programs match, from their level
// on.
func (s *script) logged() {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	for line := range strings.Lines(s.log.String()) {
		_, line, _ = strings.Cut(line, " level=")
		for _, message := range []string{`msg="log-in failed"`, `msg="connection not bound"`, `msg="limit reached"`, "PROXY header", `msg="session bound"`} {
			if strings.Contains(line, message) {
				fmt.Fprint(&s.out, "L: ", randomName.ReplaceAllString(line, "session=…"))
			}
		}
	}
	s.log.Reset()
}

func (s *script) dial(_ context.Context, _, address string) (net.Conn, error) {
	if s.down {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	s.dialed <- ours
	return theirs, nil
}

func (s *script) meetBackend() {
	synctest.Wait()
	select {
	case c := <-s.dialed:
		s.backend = newEnd(c)
	default:
	}
	if s.backend == nil {
		s.t.Fatal("the backend has not been dialed")
	}
}

// Texts that scenarios abbreviate. The last four are texts that the gateway
// sends; collect abbreviates them only where they match exactly.
const (
	header       = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='a.test'>"
	ofServer     = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='a.test' id='1'>"
	offers       = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>SCRAM-SHA-1-PLUS</mechanism></mechanisms></stream:features>"
	binding      = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"
	auth         = "C: <auth xmlns='SASL' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>"
	refused      = "P: <failure xmlns='SASL'><not-authorized/></failure>"
	startTLS     = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	openClient   = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='a.test' id='…' version='1.0' xml:lang='en'>"
	openServer   = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a.test' version='1.0'>"
	limitsBefore = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>8192</max-bytes><idle-seconds>15</idle-seconds></limits>"
	limitsAfter  = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>262144</max-bytes><idle-seconds>900</idle-seconds></limits>"
)

var (
	shorthands = strings.NewReplacer("$HEADER", header, "$SERVER", ofServer, "$OFFERS", offers, "$BINDING", binding,
		"$STARTTLS", startTLS, "SASL", "urn:ietf:params:xml:ns:xmpp-sasl", "BIND", "urn:ietf:params:xml:ns:xmpp-bind")
	shortened = strings.NewReplacer(openClient, "$OPEN", openServer, "$OPEN",
		limitsBefore, "$BEFORE", limitsAfter, "$AFTER",
		"urn:ietf:params:xml:ns:xmpp-sasl", "SASL", "urn:ietf:params:xml:ns:xmpp-bind", "BIND",
		"urn:ietf:params:xml:ns:xmpp-streams", "STREAMS", "urn:ietf:params:xml:ns:xmpp-stanzas", "STANZAS")
	untilSecured = []string{
		"connect", "C: $HEADER", "C: $STARTTLS", "tls", "C: $HEADER", "P: $SERVER$OFFERS",
	}
	untilAuthenticated = []string{
		auth,
		"P: <success xmlns='SASL'/>",
		"C: $HEADER", "P: $SERVER$BINDING",
	}
	untilBound = []string{
		"C: <iq type='set' id='b'><bind xmlns='BIND'><resource>here</resource></bind></iq>",
		"P: <iq type='result' id='bind'><bind xmlns='BIND'><jid>alice@a.test/here</jid></bind></iq>",
	}
)

// play runs lines and discards their output, which other scenarios test.
func (s *script) play(lines []string) {
	for _, line := range lines {
		s.line(line)
		synctest.Wait()
	}
	s.client.take()
	s.backend.take()
}

var randomName = regexp.MustCompile(`session=[A-Z2-7]{26}`)

var randomID = regexp.MustCompile(`id='[A-Z2-7]{26}'`)

// collect writes the bytes that both sides have received since the last time.
func (s *script) collect() {
	s.met()
	for _, c := range []struct {
		tag string
		e   *end
	}{{"S", s.client}, {"B", s.backend}} {
		if c.e == nil {
			continue
		}
		got, eof := c.e.take()
		if got != "" {
			fmt.Fprintf(&s.out, "%s: %s\n", c.tag, shorten(got))
		}
		if eof {
			fmt.Fprintf(&s.out, "%s: EOF\n", c.tag)
		}
	}
}

func shorten(s string) string {
	return shortened.Replace(randomID.ReplaceAllString(s, "id='…'"))
}

func (s *script) met() {
	select {
	case c := <-s.dialed:
		s.backend = newEnd(c)
		synctest.Wait()
	default:
	}
}
