package natsserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postern-im/postern/internal/floodlog"
)

// awayEach is the time between two log lines about a peer that cannot be reached.
// Attempts are made all the time, and a node may be down for hours.
const awayEach = time.Minute

// A Refusal is an action that the server denied to a client.
type Refusal struct {
	// From is the client's address, without its port.
	From string
	// Key is the client's public key. It is empty if the client gave none.
	Key string
	// Subject is the subject for which the key has no permission. It is empty
	// if the client could not authenticate.
	Subject string
}

// A bridge passes the server's log to slog. Notices become debug lines, since
// the embedding program reports the server's state itself. Any client that
// reaches the port can cause errors at any rate, so errors are counted: by the
// client's address, or by their text if no client caused them.
type bridge struct {
	logger  *slog.Logger
	often   *floodlog.Logger // by address
	own     *floodlog.Logger // by text
	away    *floodlog.Logger // by the error of connecting to a peer
	refused func(Refusal)    // nil: refusals are logged as errors
	route   func(routeEvent) // nil: the server has no peers
	fatal   chan string      // the first fatal message, which Run returns
}

func newBridge(logger *slog.Logger, part string, refused func(Refusal)) *bridge {
	logger = logger.With("part", part)
	return &bridge{
		logger: logger, often: floodlog.New(floodlog.Config{Logger: logger, Key: "from"}),
		own:     floodlog.New(floodlog.Config{Logger: logger, Key: "error"}),
		away:    floodlog.New(floodlog.Config{Logger: logger, Key: "error", Every: awayEach}),
		refused: refused, fatal: make(chan string, 1),
	}
}

func (b *bridge) Fatalf(format string, v ...any) {
	select {
	case b.fatal <- fmt.Sprintf(format, v...):
	default: // the first message is enough to stop
	}
}

// Errorf implements server.Logger.
func (b *bridge) Errorf(format string, v ...any) { b.say(slog.LevelError, fmt.Sprintf(format, v...)) }

// Warnf implements server.Logger.
func (b *bridge) Warnf(format string, v ...any) { b.say(slog.LevelWarn, fmt.Sprintf(format, v...)) }

func (b *bridge) Noticef(format string, v ...any) { b.logger.Debug(fmt.Sprintf(format, v...)) }
func (b *bridge) Debugf(format string, v ...any)  { b.logger.Debug(fmt.Sprintf(format, v...)) }
func (b *bridge) Tracef(format string, v ...any)  { b.logger.Debug(fmt.Sprintf(format, v...)) }

func (b *bridge) say(level slog.Level, text string) {
	from, rest := client(text)
	if r, ok := refusal(from, rest); ok && b.refused != nil {
		b.refused(r)
		return
	}
	if e, ok := strings.CutPrefix(rest, "TLS handshake error: "); ok && b.route == nil {
		b.often.Say(slog.LevelWarn, from, "the TLS handshake of a NATS client failed", "error", e, "remedy", clientRemedy(e))
		return
	}
	if b.route != nil {
		if e, ok := readRouteEvent(from, text); ok {
			b.route(e)
			return
		}
	}
	if from == "" {
		b.own.Say(level, text, "the NATS server reports an error")
		return
	}
	b.often.Say(level, from, "the NATS server reports an error", "error", text)
}

// clientRemedy returns the next step after a failed handshake with a client.
func clientRemedy(event string) string {
	if strings.HasPrefix(event, "remote error") {
		return "the client does not trust this node's certificate: if it is a gateway, ca in its [nats] must be the CA of cert in this node's [nats], " +
			"and urls must use a host that the certificate names; its log has the reason"
	}
	return "if it is a gateway, its log has the reason; gateways connect by TLS, and with the server_name of this node's [nats]"
}

// run reports counted errors until ctx ends.
func (b *bridge) run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { b.often.Run(ctx) })
	all.Go(func() { b.own.Run(ctx) })
	all.Go(func() { b.away.Run(ctx) })
	all.Wait()
}

// The format of the server's log lines about a client: its address and
// connection number, the quoted name it chose, its user, then the event.
var (
	clientLine = regexp.MustCompile(`^(\S+:\d+) - \w+:\d+ - (.*)$`)
	givenName  = regexp.MustCompile(`^"(?:[^"\\]|\\.)*" - `)
	userPart   = regexp.MustCompile(`^"\$G/nkey:(U[A-Z2-7]{55})" - `)
	violation  = regexp.MustCompile(`^(?:Publish|Subscription) Violation - (?:Subject|Reply) "([^"]*)"`)
	unknownKey = regexp.MustCompile(`^ - Nkey "(U[A-Z2-7]{55})"$`)
)

// client splits a log line into the client's address and the event. The address
// is empty if the line is not about a client.
func client(text string) (from, rest string) {
	m := clientLine.FindStringSubmatch(text)
	if m == nil {
		return "", text
	}
	host, _, err := net.SplitHostPort(m[1])
	if err != nil {
		host = m[1]
	}
	return host, m[2]
}

// refusal parses an event about a client. ok is false if it is not a refusal.
func refusal(from, rest string) (r Refusal, ok bool) {
	if from == "" {
		return Refusal{}, false
	}
	r.From = from
	if tail, ok := strings.CutPrefix(rest, server.ErrAuthentication.Error()); ok {
		if m := unknownKey.FindStringSubmatch(tail); m != nil {
			r.Key = m[1]
		}
		return r, true
	}
	rest = rest[len(givenName.FindString(rest)):]
	user := userPart.FindStringSubmatch(rest)
	if user == nil {
		return Refusal{}, false
	}
	m := violation.FindStringSubmatch(rest[len(user[0]):])
	if m == nil {
		return Refusal{}, false
	}
	r.Key, r.Subject = user[1], m[1]
	return r, true
}
