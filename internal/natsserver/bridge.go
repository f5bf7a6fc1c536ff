package natsserver

import (
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postern-im/postern/internal/floodlog"
)

// A Refusal is what the server did not let a client do.
type Refusal struct {
	// From is the client's address, without its port.
	From string
	// Key is the client's public key; empty when it has given none.
	Key string
	// Subject is what the key has no right to; empty when the client was not
	// let in at all.
	Subject string
}

// A bridge gives what the server logs to slog. What it calls a notice is for
// whoever debugs it: the embedding program tells its operator itself. Whoever
// reaches the port can cause an error as often as it likes: errors are counted.
type bridge struct {
	logger  *slog.Logger
	often   *floodlog.Logger
	refused func(Refusal) // nil: refusals are errors like others
	fatal   chan string   // the first fatal message, for Run to return
}

func newBridge(logger *slog.Logger, refused func(Refusal)) *bridge {
	logger = logger.With("part", "nats")
	return &bridge{
		logger: logger, often: floodlog.New(floodlog.Config{Logger: logger, Key: "from"}),
		refused: refused, fatal: make(chan string, 1),
	}
}

func (b *bridge) Fatalf(format string, v ...any) {
	select {
	case b.fatal <- fmt.Sprintf(format, v...):
	default: // one is enough to stop
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
	b.often.Say(level, from, "the NATS server reports an error", "error", text)
}

// The lines that the server logs of a client: its address and number, the name
// it gave itself, quoted, the user it is, then what happened.
var (
	clientLine = regexp.MustCompile(`^(\S+:\d+) - \w+:\d+ - (.*)$`)
	givenName  = regexp.MustCompile(`^"(?:[^"\\]|\\.)*" - `)
	userPart   = regexp.MustCompile(`^"\$G/nkey:(U[A-Z2-7]{55})" - `)
	violation  = regexp.MustCompile(`^(?:Publish|Subscription) Violation - (?:Subject|Reply) "([^"]*)"`)
	unknownKey = regexp.MustCompile(`^ - Nkey "(U[A-Z2-7]{55})"$`)
)

// client splits a line into the address it is about and what happened. A line
// about no client has no address.
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

// refusal reads what happened to a client, where that is a refusal.
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
