// Package overnats carries questions from gateways to policy nodes over NATS
// request and reply. The Asker is the gateway's end, and the Responder is the
// node's end.
//
// The Asker sends questions that callers ask at the same time in one message.
// Each node has its own subject, which the Asker learns from the node's
// announcements. If a node does not answer, the Asker avoids it for a while and
// asks another node. The Asker guarantees that each question gets either exactly
// one verdict, which a node made for this question, or an error. It never
// invents a verdict. The Responder guarantees that a node's failure to decide
// never looks like a decision.
//
// No text from a user or a tenant ever becomes part of a subject.
package overnats

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postern-im/postern/decision"
)

// The subjects. Node and gateway ids are tokens (decision.IsToken). A gateway may
// publish and subscribe only to subjects that contain its own id, so no gateway
// can ask in the name of another. The announcements of nodes and the revocations
// go to all gateways.
//
//	postern.ask.NODE.GATEWAY     a gateway's batches for one node
//	postern.first.GATEWAY        a gateway's batches for any node, while it knows no node
//	postern.reply.GATEWAY.….TRY  the reply to a batch
//	postern.nodes                the announcements of nodes, as every version reads them
//	postern.node.NODE            a node's announcements with its wire and level
//	postern.challenge.GATEWAY    a gateway's challenges
//	postern.sessions.end         a revocation: gateways ask about these sessions again
//	postern.gateways.GATEWAY     the announcements of a gateway
//	postern.sessions.ask.GATEWAY.NODE           a node's queries about a gateway's sessions
//	postern.sessions.reply.NODE.GATEWAY         a gateway's replies to these queries
const (
	askPrefix       = "postern.ask."
	firstPrefix     = "postern.first."
	replyPrefix     = "postern.reply."
	announceSubject = "postern.nodes"
	// revocationSubject ends in "end", an older name for a revocation. It must not
	// change, because gateways and nodes of different versions work together.
	revocationSubject = "postern.sessions.end"
	nodePrefix        = "postern.node."
	challengePrefix   = "postern.challenge."
	gatewayPrefix     = "postern.gateways."
	queryPrefix       = "postern.sessions.ask."
	reportPrefix      = "postern.sessions.reply."
)

const (
	firstQueue       = "nodes"
	announceEach     = time.Second
	replyTokenBase   = 36
	noRespondersCode = "503"
)

// The errors of an Asker.
var (
	// ErrUnavailable is returned when the caller's hold time is over. The time
	// counts from the call, or from the beginning of an outage that began earlier.
	ErrUnavailable = errors.New("no policy node answers")
	// ErrBadRequest is returned when a node answers that it cannot read or cannot
	// decide this request.
	ErrBadRequest = fmt.Errorf("request: %w", decision.ErrUndecidable)
	// ErrClosed is returned after the Asker's Run has ended.
	ErrClosed = errors.New("the asker has stopped")
)

// Rights are the subjects that a NATS user may publish and subscribe to.
type Rights struct {
	Publish, Subscribe []string
}

// GatewayRights returns the rights of the gateway with the given id. It may ask and
// publish challenges in its own name, and receive its own replies, the announcements
// of nodes, and revocations. It may receive queries about its own sessions and
// answer them in its own name. It receives the announcements under its own id, to
// notice another gateway with this id.
func GatewayRights(id string) Rights {
	return Rights{
		Publish:   []string{askSubject("*", id), askSubject("", id), gatewayPrefix + id, challengePrefix + id, reportPrefix + "*." + id},
		Subscribe: []string{replyPrefix + id + ".>", announceSubject, nodePrefix + "*", revocationSubject, queryPrefix + id + ".*", gatewayPrefix + id},
	}
}

// NodeRights returns the rights of the policy node with the given id. It may
// receive and answer the batches of gateways and receive their challenges, publish
// announcements and revocations, and query gateways about their sessions. It also
// receives the announcements of all nodes, to notice another node with its own id.
func NodeRights(id string) Rights {
	return Rights{
		Publish: []string{replyPrefix + ">", announceSubject, nodePrefix + id, revocationSubject, queryPrefix + "*." + id},
		Subscribe: []string{
			askSubject(id, "*"), askSubject("", "*"), gatewayPrefix + "*", challengePrefix + "*", reportPrefix + id + ".*",
			announceSubject, nodePrefix + "*",
		},
	}
}

// GatewayOf returns the id of the gateway that a subject names. ok is false if the
// subject names no gateway. Log messages about denied rights use GatewayOf; it
// grants and denies nothing.
func GatewayOf(subject string) (id string, ok bool) {
	if rest, found := strings.CutPrefix(subject, askPrefix); found {
		_, id, _ = strings.Cut(rest, ".")
		return id, decision.IsToken(id)
	}
	if rest, found := strings.CutPrefix(subject, reportPrefix); found {
		_, id, _ = strings.Cut(rest, ".")
		return id, decision.IsToken(id)
	}
	for _, prefix := range []string{firstPrefix, replyPrefix, gatewayPrefix, challengePrefix, queryPrefix} {
		if rest, found := strings.CutPrefix(subject, prefix); found {
			id, _, _ = strings.Cut(rest, ".")
			return id, decision.IsToken(id)
		}
	}
	return "", false
}

// askSubject returns the subject on which a gateway asks a node. An empty node id
// means any node.
func askSubject(node, gateway string) string {
	if node == "" {
		return firstPrefix + gateway
	}
	return askPrefix + node + "." + gateway
}

// checkID returns an error if an id must not become part of a subject.
func checkID(what, id string) error {
	if !decision.IsToken(id) {
		return errors.New(what + " id " + strconv.Quote(id) + ": want 1 to 32 characters of a-z and 0-9")
	}
	return nil
}
