package negotiate

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway/proxyheader"
	"github.com/postern-im/postern/xmpp/stream"
)

// A testBackend is a server that negotiates up to its SASL features.
type testBackend struct {
	listener net.Listener
	cert     tls.Certificate
	direct   bool // direct TLS; otherwise STARTTLS if offered
	starttls string
	names    chan string // server names that clients asked for
	clients  chan string // client addresses from PROXY headers at the start of connections; nil: none are read
}

func startBackend(t *testing.T, b *testBackend) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.listener, b.names = l, make(chan string, 8)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

const (
	testHeader = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1'>"
	testSASL   = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
)

func (b *testBackend) serve(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if b.clients != nil {
		var header []byte
		for {
			h, more, err := proxyheader.Parse(header)
			if err != nil {
				b.clients <- err.Error()
				return
			}
			if more == 0 {
				b.clients <- h.Source.String() + " " + h.Destination.String()
				break
			}
			next := make([]byte, more)
			if _, err := io.ReadFull(conn, next); err != nil {
				return
			}
			header = append(header, next...)
		}
	}
	r := bufio.NewReader(conn)
	until := func(end string) bool {
		var got strings.Builder
		for !strings.HasSuffix(got.String(), end) {
			c, err := r.ReadByte()
			if err != nil {
				return false
			}
			got.WriteByte(c)
		}
		return true
	}
	secure := func() bool {
		t := tls.Server(conn, &tls.Config{
			Certificates: []tls.Certificate{b.cert},
			GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				b.names <- h.ServerName
				return nil, nil
			},
		})
		conn, r = t, bufio.NewReader(t)
		return t.Handshake() == nil
	}
	if b.direct && !secure() {
		return
	}
	if !until("version='1.0'>") {
		return
	}
	if b.starttls != "" {
		_, _ = io.WriteString(conn, testHeader+"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>")
		if !until("/>") {
			return
		}
		_, _ = io.WriteString(conn, b.starttls)
		if !secure() || !until("version='1.0'>") {
			return
		}
	}
	_, _ = io.WriteString(conn, testHeader+testSASL)
	_, _ = io.Copy(io.Discard, r)
}

// testCert returns a self-signed certificate for name and adds it to roots.
func testCert(t *testing.T, name string, roots *x509.CertPool) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

type noAdmitter struct{ Admitter }

func TestConnect(t *testing.T) {
	pool := x509.NewCertPool()
	good := testCert(t, "xn--bcher-kva.test", pool)
	wrong := testCert(t, "other.test", pool)
	unknown := testCert(t, "xn--bcher-kva.test", x509.NewCertPool())
	const proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	for _, c := range []struct {
		name     string
		backend  testBackend
		security decision.Security
		err      string
	}{
		{"plain", testBackend{}, decision.Plain, ""},
		{"STARTTLS", testBackend{cert: good, starttls: proceed}, decision.StartTLS, ""},
		{"direct TLS", testBackend{cert: good, direct: true}, decision.TLS, ""},
		{"STARTTLS not offered", testBackend{cert: good}, decision.StartTLS, "does not offer STARTTLS"},
		{"STARTTLS refused", testBackend{cert: good, starttls: "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}, decision.StartTLS, "refused STARTTLS"},
		{"bytes behind proceed", testBackend{cert: good, starttls: proceed + testHeader + testSASL}, decision.StartTLS, "bytes from before TLS"},
		{"another name", testBackend{cert: wrong, direct: true}, decision.TLS, "certificate is valid for other.test"},
		{"unknown authority", testBackend{cert: unknown, starttls: proceed}, decision.StartTLS, "unknown authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := startBackend(t, &c.backend)
			n, err := New(Config{
				Admitter: noAdmitter{}, Certificate: func(string) *tls.Certificate { return nil },
				BackendTLS: &tls.Config{RootCAs: pool},
			})
			if err != nil {
				t.Fatal(err)
			}
			x := newNegotiation(n, "bücher.test", decision.Backend{Address: address, Security: c.security})
			err = x.connect(t.Context())
			if x.backend != nil {
				x.unhook()
				x.backend.close(nil)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				if x.backend != nil {
					t.Error("a backend that failed is kept")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.security != decision.Plain {
				if name := <-c.backend.names; name != "xn--bcher-kva.test" {
					t.Errorf("server name %q", name)
				}
			}
		})
	}
}

func newNegotiation(n *Negotiator, domain string, backends ...decision.Backend) *negotiation {
	client, _ := net.Pipe()
	return &negotiation{
		Negotiator: n, until: time.Now().Add(AuthTimeout), last: time.Now().Add(NegotiationTimeout), domain: domain,
		client:    newLeg(client, stream.Config{Limits: stream.PreAuthLimits()}),
		admission: decision.Admission{Known: true, Backends: backends},
	}
}

// TestIntroduce checks that a backend with proxy = true gets the client's
// address before any other byte, even before TLS. Other backends get no
// header, and no header is sent if the address is unknown.
func TestIntroduce(t *testing.T) {
	pool := x509.NewCertPool()
	cert := testCert(t, "a.test", pool)
	client := &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 4711}
	here := &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 5222}
	const told = "[2001:db8::7]:4711 [2001:db8::1]:5222"
	for _, c := range []struct {
		name   string
		b      testBackend
		asked  decision.Backend
		remote net.Addr
		told   string
	}{
		{"plain", testBackend{}, decision.Backend{Security: decision.Plain, Proxy: true}, client, told},
		{"STARTTLS", testBackend{cert: cert, starttls: "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}, decision.Backend{Security: decision.StartTLS, Proxy: true}, client, told},
		{"direct TLS", testBackend{cert: cert, direct: true}, decision.Backend{Security: decision.TLS, Proxy: true}, client, told},
		{"not told", testBackend{}, decision.Backend{Security: decision.Plain}, client, proxyheader.ErrMalformed.Error() + ": not the beginning of version 1 or 2"},
		{"nobody", testBackend{}, decision.Backend{Security: decision.Plain, Proxy: true}, &net.UnixAddr{Name: "x"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.b.clients = make(chan string, 1)
			c.asked.Address = startBackend(t, &c.b)
			n, err := New(Config{
				Admitter: noAdmitter{}, Certificate: func(string) *tls.Certificate { return nil },
				BackendTLS: &tls.Config{RootCAs: pool},
			})
			if err != nil {
				t.Fatal(err)
			}
			x := newNegotiation(n, "a.test", c.asked)
			x.remote, x.local = c.remote, here
			err = x.connect(t.Context())
			if (err == nil) != (c.told == told) {
				t.Errorf("connect: %v", err)
			}
			if c.told != "" {
				if got := <-c.b.clients; got != c.told {
					t.Errorf("told %q, want %q", got, c.told)
				}
			}
			if x.backend != nil {
				x.unhook()
				x.backend.close(nil)
			}
		})
	}
}

// TestUnexpectedHeader checks that the error mentions the PROXY header if a
// backend fails after it, since the server itself may not understand what it
// received.
func TestUnexpectedHeader(t *testing.T) {
	for _, proxy := range []bool{true, false} {
		n, err := New(Config{Admitter: noAdmitter{}, Certificate: func(string) *tls.Certificate { return nil }, BackendTLS: new(tls.Config)})
		if err != nil {
			t.Fatal(err)
		}
		b := testBackend{clients: make(chan string, 1)}
		x := newNegotiation(n, "a.test", decision.Backend{Address: startBackend(t, &b), Security: decision.StartTLS, Proxy: proxy}) // it has no certificate
		x.remote = &net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 4711}
		x.local = x.remote
		if err := x.connect(t.Context()); err == nil || strings.Contains(err.Error(), "PROXY header (proxy = true)") != proxy {
			t.Errorf("proxy %v: %v", proxy, err)
		}
		<-b.clients
	}
}

// TestConnectInOrder checks that the first usable backend is used, and that
// each backend has its own deadline.
func TestConnectInOrder(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := dead.Addr().String()
	_ = dead.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and sends nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	b := &testBackend{}
	good := startBackend(t, b)
	var dialed []string
	n, err := New(Config{
		Admitter: noAdmitter{}, Certificate: func(string) *tls.Certificate { return nil },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialed = append(dialed, address)
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if address == silent.Addr().String() && err == nil {
				conn = hurried{conn}
			}
			return conn, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	x := newNegotiation(n, "a.test", decision.Backend{Address: refused},
		decision.Backend{Address: silent.Addr().String()}, decision.Backend{Address: good}, decision.Backend{Address: refused})
	if err := x.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.unhook()
	x.backend.close(nil)
	if len(dialed) != 3 || dialed[2] != good {
		t.Errorf("dialed %v", dialed)
	}
	x = newNegotiation(n, "a.test")
	if e, ok := errors.AsType[*Error](x.connect(t.Context())); !ok || e.Condition != "remote-connection-failed" {
		t.Errorf("no backends: %v", e)
	}
}

// A hurried connection reaches its deadline when it begins to read.
type hurried struct{ net.Conn }

func (c hurried) Read(b []byte) (int, error) {
	_ = c.SetReadDeadline(past)
	return c.Conn.Read(b)
}
