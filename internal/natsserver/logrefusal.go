package natsserver

import (
	"regexp"
	"strings"
)

// A PeerRefusal is a connection between two log servers that one of them refused.
type PeerRefusal struct {
	// From is the address of the other log server, without its port.
	From string
	// Reason says why, and in doubt which setting is wrong.
	Reason string
}

var (
	// routeLine is the form of the server's log lines about a route: an address,
	// the route's number, then the event.
	routeLine = regexp.MustCompile(`^\S+:\d+ - rid:\d+ - (.*)$`)
	// routeError quotes a refusal that the other server has sent.
	routeError = regexp.MustCompile(`^Route Error '?"?(.*?)"?'?$`)
)

// peerRefusal returns the reason if a line of the server's log says that a route
// was refused.
func peerRefusal(line string) (reason string, ok bool) {
	m := routeLine.FindStringSubmatch(line)
	if m == nil {
		return "", false
	}
	event := m[1]
	if e := routeError.FindStringSubmatch(event); e != nil {
		return "the other log server refuses this one: " + explain(e[1]), true
	}
	for _, start := range []string{"TLS route handshake error: ", "Rejecting connection", "Remote server has a duplicate name", "attempted to connect to route port"} {
		if strings.HasPrefix(event, start) {
			return explain(event), true
		}
	}
	return "", false
}

// explain adds what to check to the server's own words.
func explain(event string) string {
	switch {
	case strings.Contains(event, "cluster name"):
		return event + ": the setting [cluster] name must be the same on all nodes"
	case strings.Contains(event, "duplicate name"):
		return event + ": the data folder of one node was copied to another"
	case strings.Contains(event, "handshake"):
		return event + ": the certificates of all nodes must be signed by the cluster's CA and name their hosts"
	}
	return event
}
