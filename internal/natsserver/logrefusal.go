package natsserver

import (
	"log/slog"
	"net"
	"regexp"
	"strings"
)

// A routeEvent is a line of the server's log about the connection to another log
// server.
type routeEvent struct {
	kind routeKind
	// from is the address of the other log server, without its port. It is empty for
	// an unreachable one.
	from string
	// reason is the event, and remedy the next step of an operator.
	reason, remedy string
}

type routeKind byte

const (
	// routeRefused: one of the two log servers refused the connection.
	routeRefused routeKind = iota + 1
	// routeUnreachable: this log server could not connect to the other one.
	routeUnreachable
	// routeRepeats: the line says what another line says, or what the wait for the
	// stream reports in an operator's words.
	routeRepeats
)

var (
	// routeLine is the form of the server's log lines about a route: an address,
	// the route's number, then the event.
	routeLine = regexp.MustCompile(`^\S+:\d+ - rid:\d+ - (.*)$`)
	// routeError quotes a refusal that the other server has sent.
	routeError = regexp.MustCompile(`^Route Error '(.*)'$`)
	// routeDial is an attempt that failed before there was a connection.
	routeDial = regexp.MustCompile(`^Error trying to connect to route \(attempt \d+\): (.*)$`)
)

// repeated are the beginnings of lines that repeat other lines.
var repeated = []string{
	"Waiting for routing to be established", "JetStream has not established contact with a meta leader",
	"cluster name from remote server conflicts", "TLS handshake timeout",
}

// broken are the ends of lines about a handshake that the network or the other process
// has ended, and not a certificate. A node that starts or stops causes them.
var broken = []string{"i/o timeout", "EOF", "connection reset by peer", "broken pipe", "use of closed network connection"}

// readRouteEvent reads a line of the server's log. ok is false if the line is not
// about another log server.
func readRouteEvent(from, line string) (e routeEvent, ok bool) {
	event := line
	if m := routeLine.FindStringSubmatch(line); m != nil {
		event = m[1]
	}
	for _, start := range repeated {
		if strings.HasPrefix(event, start) {
			return routeEvent{kind: routeRepeats}, true
		}
	}
	if m := routeDial.FindStringSubmatch(event); m != nil {
		return routeEvent{kind: routeUnreachable, reason: m[1], remedy: "start policyd on that node; if it runs there, " +
			"open the port of its listen in [cluster] to this node, and compare peers in [cluster] with its address"}, true
	}
	if event == line {
		return routeEvent{}, false
	}
	if m := routeError.FindStringSubmatch(event); m != nil {
		text := strings.ReplaceAll(m[1], `\"`, `"`)
		text = strings.TrimSuffix(strings.TrimPrefix(text, `"`), `"`)
		if strings.Count(text, `"`)%2 != 0 {
			text += `"` // the quote at its end was its own
		}
		return routeEvent{kind: routeRefused, from: from, reason: "the other log server refuses this one: " + text, remedy: routeRemedy(text)}, true
	}
	for _, text := range broken {
		if strings.HasPrefix(event, "TLS route handshake error: ") && strings.HasSuffix(event, text) {
			return routeEvent{kind: routeUnreachable, reason: "the TLS handshake with " + from + " ended: " + text, remedy: "if it repeats: policyd hangs on that node, " +
				"a packet filter drops the connection, or another program uses the port of listen in [cluster]; a gateway must use the port of [nats]"}, true
		}
	}
	for _, start := range []string{"TLS route handshake error: ", "Rejecting connection", "Remote server has a duplicate name", "attempted to connect to route port"} {
		if strings.HasPrefix(event, start) {
			return routeEvent{kind: routeRefused, from: from, reason: event, remedy: routeRemedy(event)}, true
		}
	}
	return routeEvent{}, false
}

// routeRemedy returns the next step after a refusal.
func routeRemedy(event string) string {
	for _, r := range []struct{ text, remedy string }{
		{"cluster name", "the setting [cluster] name must be the same on all nodes"},
		{"duplicate name", "the data folder of one node was copied to another: stop the copy, and give it an id of its own and an empty data folder"},
		{"remote error: tls", "the other node does not accept this node's certificate, and its log says why. The certificate must be signed by the cluster's CA, " +
			"be in date, and name the host that peers in [cluster] has for this node: make another with policyctl cluster issue"},
		{"certificate is valid for", "the other node has the certificate of another host or node: install its own folder of policyctl cluster init there, " +
			"or make a certificate for its address in peers with policyctl cluster issue"},
		{"doesn't contain any IP SANs", "the other node's certificate must name its address in peers: make another with policyctl cluster issue"},
		{"expired", "renew the other node's certificate with policyctl cluster issue, and check the clocks of both machines"},
		{"unknown authority", "the certificates of both nodes must be signed by the cluster's CA: the other node's files or this node's ca come from another policyctl cluster init"},
		{"incompatible key usage", "the other node uses a certificate that is not for the routes, such as nats.crt: cert and key in [cluster] must be cluster.crt and cluster.key"},
		{"didn't provide a certificate", "a program without a certificate connected: only log servers may use this port; gateways use the port of [nats]"},
		{"first record does not look like", "a program that does not speak TLS connected: only log servers may use this port; gateways use the port of [nats]"},
		{"route port", "a NATS client connected: only log servers may use this port; gateways use the port of [nats]"},
		{"handshake", "the certificates of all nodes must be signed by the cluster's CA and name their hosts"},
	} {
		if strings.Contains(event, r.text) {
			return r.remedy
		}
	}
	return "compare [cluster] in the configuration of both nodes"
}

// nodeAt returns the id of the only node for which fits is true. It is empty if there
// is none or more than one, for example because the list has names and the text that
// is compared has addresses.
func (cfg *LogConfig) nodeAt(fits func(address, host string) bool) (node string) {
	for _, p := range cfg.Peers {
		host, _, err := net.SplitHostPort(p.Address)
		if err != nil || !fits(p.Address, host) {
			continue
		}
		if node != "" {
			return ""
		}
		node = p.Node
	}
	return node
}

// route logs an event of the connection to another log server, and counts refusals.
func (s *LogServer) route(e routeEvent) {
	switch e.kind {
	case routeRefused:
		s.refused.Add(1)
		node := s.cfg.nodeAt(func(_, host string) bool { return host == e.from })
		s.inner.Load().bridge.often.Say(slog.LevelWarn, e.from, "a log server was refused", e.args(node)...)
	case routeUnreachable:
		node := s.cfg.nodeAt(func(address, host string) bool {
			return strings.Contains(e.reason, " "+address+":") || strings.Contains(e.reason, " with "+host+" ") || strings.Contains(e.reason, "lookup "+host+":") || strings.Contains(e.reason, "lookup "+host+" ")
		})
		s.inner.Load().bridge.away.Say(slog.LevelWarn, e.reason, "the log server of another node cannot be reached", e.args(node)...)
	}
}

// args returns what a log line says of the event, after its source.
func (e *routeEvent) args(node string) (args []any) {
	if node != "" {
		args = append(args, "node", node)
	}
	if e.kind == routeRefused {
		args = append(args, "reason", e.reason)
	}
	return append(args, "remedy", e.remedy)
}
