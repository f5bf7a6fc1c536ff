package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway"
)

// A sink is a backend on a socket that accepts every log-in. It answers an iq
// get with an empty result, and does not answer other stanzas.
type sink struct {
	listener net.Listener
	work     sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
	received func(n int) // called with each read of a bound session; may be nil
}

func startSink(tb testing.TB) *sink {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &sink{listener: l}
	s.work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.work.Go(func() {
				defer conn.Close()
				s.serve(conn)
			})
		}
	})
	return s
}

func (s *sink) stop() {
	_ = s.listener.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *sink) serve(conn net.Conn) {
	r := bufio.NewReaderSize(conn, 512)
	say := func(text string) { _, _ = io.WriteString(conn, shorthands.Replace(text)) }
	for _, step := range []struct{ hear, say string }{
		{"'>", "$SERVER$OFFERS"},
		{"</auth>", "<success xmlns='SASL'/>"},
		{"'>", "$SERVER$BINDING"},
	} {
		if _, ok := readUntil(r, step.hear); !ok {
			return
		}
		say(step.say)
	}
	bind, ok := readUntil(r, "</iq>")
	if !ok {
		return
	}
	resource := "x"
	if _, rest, ok := strings.Cut(bind, "<resource>"); ok {
		resource, _, _ = strings.Cut(rest, "<")
	}
	say("<iq type='result' id='bind'><bind xmlns='BIND'><jid>alice@a.test/" + resource + "</jid></bind></iq>")
	if s.received == nil {
		_, _ = readUntil(r, "</stream:stream>")
		say("</stream:stream>")
		return
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		s.received(n)
	}
}

func readUntil(r *bufio.Reader, end string) (string, bool) {
	var got strings.Builder
	for !strings.HasSuffix(got.String(), end) {
		c, err := r.ReadByte()
		if err != nil {
			return got.String(), false
		}
		got.WriteByte(c)
	}
	return got.String(), true
}

// A served gateway serves clients on sockets.
type served struct {
	starttls, direct string
	gateway          *gateway.Gateway
	registry         *prometheus.Registry
	stop             context.CancelFunc
	done             chan error
}

func serveGateway(tb testing.TB, policy gateway.Decider, backend string, change func(*gateway.Config)) *served {
	tb.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		return l
	}
	s := &served{registry: prometheus.NewRegistry(), done: make(chan error, 1)}
	a, b := listen(), listen()
	s.starttls, s.direct = a.Addr().String(), b.Addr().String()
	c := gateway.Config{
		STARTTLS: []net.Listener{a}, DirectTLS: []net.Listener{b}, Decider: policy,
		Certificates: gateway.NewCertificates("", true),
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, backend)
		},
		Logger: slog.New(slog.DiscardHandler), Metrics: s.registry,
		MaxUnauthenticated: 1000, MaxSessionsPerAccount: 10_000, // every client is alice, from one address
		ByteRate: 1 << 30, ByteBurst: 1 << 30, StanzaRate: 1 << 30, StanzaBurst: 1 << 30,
	}
	if change != nil {
		change(&c)
	}
	var err error
	if s.gateway, err = gateway.New(c); err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.done <- s.gateway.Serve(ctx) }()
	return s
}

// dialDirect logs in over direct TLS.
func dialDirect(address, resource string) (*tls.Conn, *bufio.Reader, error) {
	raw, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, nil, err
	}
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", NextProtos: []string{"xmpp-client"}})
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReaderSize(conn, 1024)
	for _, step := range []struct{ say, hear string }{
		{"$HEADER", "</stream:features>"},
		{"<auth xmlns='SASL' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"},
		{"$HEADER", "</stream:features>"},
		{"<iq type='set' id='b'><bind xmlns='BIND'><resource>" + resource + "</resource></bind></iq>", "</iq>"},
	} {
		if _, err := io.WriteString(conn, shorthands.Replace(step.say)); err != nil {
			return nil, nil, errors.Join(err, raw.Close())
		}
		if got, ok := readUntil(r, step.hear); !ok {
			return nil, nil, errors.Join(fmt.Errorf("instead of %s: %q", step.hear, got), raw.Close())
		}
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, r, nil
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestNothingIsLeft: once the gateway has stopped, none of its goroutines and
// file descriptors are left, whichever way its connections have ended.
func TestNothingIsLeft(t *testing.T) {
	defer goleak.VerifyNone(t)
	before := descriptors(t)
	b := startSink(t)
	g := serveGateway(t, newTable(), b.listener.Addr().String(), nil)
	var clients, busy sync.WaitGroup
	busy.Add(20)
	for i := range 20 {
		clients.Go(func() {
			conn, r, err := dialDirect(g.direct, fmt.Sprint("r", i))
			if i%5 == 4 {
				busy.Done()
			} else {
				defer busy.Done()
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			switch i % 5 {
			case 0: // closes the stream
				_, _ = io.WriteString(conn, "<presence/></stream:stream>")
				_, _ = io.ReadAll(r)
			case 1: // vanishes
			case 2: // sends a forbidden stream
				_, _ = io.WriteString(conn, "<presence><!-- --></presence>")
				if got, _ := io.ReadAll(r); !strings.Contains(string(got), "restricted-xml") {
					t.Errorf("got %q", got)
				}
			case 3: // sends far more than is read, and still gets the stream error
				_, _ = io.WriteString(conn, "<message>"+strings.Repeat("<a/>", 100_000))
				if got, _ := io.ReadAll(r); !strings.Contains(string(got), "policy-violation") {
					t.Errorf("got %q", got)
				}
			case 4: // stays until the gateway stops
				busy.Wait()
				g.stop()
				if got, _ := io.ReadAll(r); !strings.Contains(string(got), "system-shutdown") {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	clients.Go(func() { // never sends anything
		if conn, err := net.Dial("tcp", g.starttls); err == nil {
			_, _ = io.ReadAll(conn)
			_ = conn.Close()
		}
	})
	clients.Wait()
	g.stop()
	if err := <-g.done; err != nil {
		t.Error(err)
	}
	b.stop()
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestLimitPerAddress(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := startSink(t)
	defer b.stop()
	g := serveGateway(t, newTable(), b.listener.Addr().String(), func(c *gateway.Config) { c.MaxPerAddress = 3 })
	for range 10 { // in turn: each makes room for the next
		conn, r, err := dialDirect(g.direct, "x")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "</stream:stream>")
		_, _ = io.ReadAll(r)
		_ = conn.Close()
	}
	refused := func() bool {
		conn, err := net.Dial("tcp", g.starttls)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_, _ = io.WriteString(conn, header)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		answer, ok := readUntil(bufio.NewReader(conn), "</stream:features>")
		if !ok && !strings.Contains(answer, "too many connections from your address: 3 may be open") {
			t.Errorf("refused without a stream error: %q", answer)
		}
		return !ok
	}
	// The gateway gives back the place of the last of these connections soon, but
	// perhaps only after its client has seen the end.
	late := time.Now().Add(10 * time.Second)
	for i := range 3 {
		for refused() {
			if time.Now().After(late) {
				t.Fatalf("connection %d refused", i)
			}
		}
	}
	before := g.counter(t, "postern_gateway_connections_refused_total")
	if !refused() {
		t.Error("a connection over the limit was accepted")
	}
	g.stop()
	if err := <-g.done; err != nil {
		t.Error(err)
	}
	if n := g.counter(t, "postern_gateway_connections_refused_total"); n != before+1 {
		t.Errorf("%v refused, %v before", n, before)
	}
}

// counter returns the sum of a counter over its labels.
func (s *served) counter(tb testing.TB, name string) (sum float64) {
	tb.Helper()
	return s.gathered(tb, name, "")
}

// TestAPanicCostsOneConnection: a panic while the gateway serves one client does
// not affect another client.
func TestAPanicCostsOneConnection(t *testing.T) {
	defer goleak.VerifyNone(t)
	b := startSink(t)
	defer b.stop()
	p := &panicky{table: newTable()}
	g := serveGateway(t, p, b.listener.Addr().String(), nil)
	good, r, err := dialDirect(g.direct, "good")
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	if _, _, err := dialDirect(g.direct, "panic"); err == nil {
		t.Error("a session was bound though Open panicked")
	}
	bad, br, err := dialDirect(g.direct, "bad")
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	_, _ = io.WriteString(bad, "<message id='panic' to='bob@a.test'/>")
	if got, _ := io.ReadAll(br); !strings.Contains(string(got), "internal-server-error") {
		t.Errorf("got %q", got)
	}
	_, _ = io.WriteString(good, "<iq type='get' id='1' to='bob@a.test/'><a xmlns='b'/></iq>")
	if got, ok := readUntil(r, "</iq>"); !ok {
		t.Errorf("the session of another client has ended: %q", got)
	}
	g.stop()
	_, _ = io.ReadAll(r)
	if err := <-g.done; err != nil {
		t.Error(err)
	}
}

// TestEndedWhileNegotiating: a revocation can come after the domain was admitted
// and before the session is bound. It then ends the session, even if the client
// had authenticated before, and without any stanza being sent.
func TestEndedWhileNegotiating(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, notice := range map[string]decision.Revocation{
		"a revocation":                {Tenant: "acme", Position: 8, LogID: "log"},
		"a revocation of another log": {Tenant: "acme", Position: 5, LogID: "other"},
		"revocations may be lost":     {},
		"an old revocation":           {Tenant: "acme", Position: 1, LogID: "log"},
	} {
		t.Run(name, func(t *testing.T) { endedWhileNegotiating(t, notice) })
	}
}

func endedWhileNegotiating(t *testing.T, notice decision.Revocation) {
	b := startSink(t)
	defer b.stop()
	p := &meanwhile{table: newTable(), notice: notice, followed: make(chan struct{}, 1)}
	g := serveGateway(t, p, b.listener.Addr().String(), nil)
	p.recheck = g.gateway.Recheck
	witness, _, err := dialDirect(g.direct, "witness")
	if err != nil {
		t.Fatal(err)
	}
	defer witness.Close()
	conn, r, err := dialDirect(g.direct, "r")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, _ := io.ReadAll(r); !strings.Contains(string(got), "<reset ") {
		t.Errorf("the client is told %q", got)
	}
	g.stop()
	if err := <-g.done; err != nil {
		t.Error(err)
	}
}

// meanwhile revokes all sessions admitted before position 8. The first session,
// the witness, is admitted at 9, and the second at 7. While the second is being
// opened, a notice comes. Open waits until the gateway has handled the notice,
// that is, has asked about the witness.
type meanwhile struct {
	*table
	notice   decision.Revocation
	followed chan struct{} // has a token when the gateway has asked about the witness

	opened atomic.Bool // the witness has been opened
}

func (p *meanwhile) Admit(ctx context.Context, domain string) (decision.Admission, error) {
	a, err := p.table.Admit(ctx, domain)
	if !p.opened.Load() {
		a.Position = 9
	}
	return a, err
}

func (p *meanwhile) Open(ctx context.Context, s decision.Session) (decision.Opening, error) {
	if p.opened.Swap(true) {
		p.recheck(p.notice)
		select {
		case <-p.followed:
		case <-ctx.Done():
			return decision.Opening{}, ctx.Err()
		}
	}
	o, err := p.table.Open(ctx, s)
	o.Position = 9
	return o, err
}

func (p *meanwhile) Ask(_ context.Context, qs []decision.Question, vs []decision.Verdict, _ time.Duration) error {
	for i := range qs {
		vs[i] = decision.Verdict{Effect: decision.Pass, LogID: "log", Position: 9, Freshness: justNow()}
		if qs[i].Session.Opened < 8 {
			vs[i].Effect, vs[i].Reason = decision.End, decision.RolesChanged
			continue
		}
		select {
		case p.followed <- struct{}{}:
		default:
		}
	}
	return nil
}

type panicky struct{ *table }

func (p *panicky) Open(ctx context.Context, s decision.Session) (decision.Opening, error) {
	if string(s.Resource) == "panic" {
		panic("open")
	}
	return p.table.Open(ctx, s)
}

func (p *panicky) Ask(ctx context.Context, qs []decision.Question, vs []decision.Verdict, hold time.Duration) error {
	for _, q := range qs {
		if string(q.Desc.ID) == "panic" {
			panic("ask")
		}
	}
	return p.table.Ask(ctx, qs, vs, hold)
}
