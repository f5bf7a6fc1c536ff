// Package overnats carries questions from gateways to policy nodes over NATS
// request and reply: the Asker is the gateway's end, the Responder the node's.
//
// What callers ask at the same time travels together. Each node is asked on
// its own subject, learned from what it announces; one that does not answer
// is left alone and another is asked. The Asker promises that each question
// gets exactly one verdict, made for that very question, or an error; it
// never makes up a verdict. The Responder promises that a node's failure to
// decide is never an answer.
//
// No text of a user or tenant ever becomes part of a subject.
package overnats

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postern-im/postern/decision"
)

// The subjects. Node and gateway ids are tokens (decision.IsToken). A gateway's
// id stands in the subjects it may publish to and hear, so that none can ask
// in another's name.
//
//	postern.ask.NODE.GATEWAY     what a gateway asks one node
//	postern.first.GATEWAY        what it asks any, until it knows one
//	postern.reply.GATEWAY.….TRY  where the answer goes
//	postern.nodes                what nodes say of themselves
//	postern.sessions.end         a revocation: whose sessions are to be asked about again
//	postern.gateways.GATEWAY     that a gateway is there, or goes
//	postern.sessions.ask.GATEWAY.NODE           what a node asks of a gateway's sessions
//	postern.sessions.reply.NODE.GATEWAY         what the gateway answers
const (
	askPrefix       = "postern.ask."
	firstPrefix     = "postern.first."
	replyPrefix     = "postern.reply."
	announceSubject = "postern.nodes"
	// revocationSubject says "end", as it did before revocations had their name:
	// gateways and nodes of different versions must hear each other.
	revocationSubject = "postern.sessions.end"
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
	// ErrUnavailable: no node has answered for as long as the caller holds.
	ErrUnavailable = errors.New("no policy node answers")
	// ErrBadRequest: a node answers, and says that it cannot read or cannot
	// decide this very request.
	ErrBadRequest = fmt.Errorf("request: %w", decision.ErrUndecidable)
	// ErrClosed: the Asker's Run has ended.
	ErrClosed = errors.New("the asker has stopped")
)

// Rights are the subjects a NATS user needs.
type Rights struct {
	Publish, Subscribe []string
}

// GatewayRights are the rights of the gateway with that id: to ask in its own
// name, to get its own replies, to hear of nodes and revocations, and to be asked
// about its own sessions and answer in its own name.
func GatewayRights(id string) Rights {
	return Rights{
		Publish:   []string{askSubject("*", id), askSubject("", id), gatewayPrefix + id, reportPrefix + "*." + id},
		Subscribe: []string{replyPrefix + id + ".>", announceSubject, revocationSubject, queryPrefix + id + ".*"},
	}
}

// NodeRights are the rights of the policy node with that id: to be asked, to
// answer gateways, and to tell of itself and of revocations.
func NodeRights(id string) Rights {
	return Rights{
		Publish:   []string{replyPrefix + ">", announceSubject, revocationSubject, queryPrefix + "*." + id},
		Subscribe: []string{askSubject(id, "*"), askSubject("", "*"), gatewayPrefix + "*", reportPrefix + id + ".*"},
	}
}

// GatewayOf is the id of the gateway that a subject belongs to, where it is one
// that a gateway publishes to or hears. It tells an operator whose rights were
// asked for; it is no check.
func GatewayOf(subject string) (id string, ok bool) {
	if rest, found := strings.CutPrefix(subject, askPrefix); found {
		_, id, _ = strings.Cut(rest, ".")
		return id, decision.IsToken(id)
	}
	if rest, found := strings.CutPrefix(subject, reportPrefix); found {
		_, id, _ = strings.Cut(rest, ".")
		return id, decision.IsToken(id)
	}
	for _, prefix := range []string{firstPrefix, replyPrefix, gatewayPrefix, queryPrefix} {
		if rest, found := strings.CutPrefix(subject, prefix); found {
			id, _, _ = strings.Cut(rest, ".")
			return id, decision.IsToken(id)
		}
	}
	return "", false
}

// askSubject is where a gateway asks a node, or with an empty id any node.
func askSubject(node, gateway string) string {
	if node == "" {
		return firstPrefix + gateway
	}
	return askPrefix + node + "." + gateway
}

// checkID refuses an id that must not become part of a subject.
func checkID(what, id string) error {
	if !decision.IsToken(id) {
		return errors.New(what + " id " + strconv.Quote(id) + ": want one to 32 of a-z and 0-9")
	}
	return nil
}
