package node_test

import (
	"errors"
	"testing"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// A prover proves the challenge 40 below the one that it is asked for, from one
// position of the log on.
type prover struct {
	from  events.Position
	ready error
	asked func(gateway string, at events.Position)
}

func (p *prover) Prove(gateway string, challenge uint64, at events.Position) uint64 {
	if p.asked != nil {
		p.asked(gateway, at)
	}
	if at < p.from {
		return decision.NoChallenge
	}
	return challenge - 40
}

func (p *prover) Ready() error { return p.ready }

// challenged returns an empty batch with a challenge.
func challenged(gateway string, challenge uint64) *decision.Batch {
	return &decision.Batch{BatchHead: decision.BatchHead{Gateway: gateway, ID: 3, Wire: decision.Wire2, Challenge: challenge}}
}

// TestStandAloneEchoes checks that a node without a Prover proves the challenge of
// the batch, and answers gateways that send none.
func TestStandAloneEchoes(t *testing.T) {
	n := start(t, openLog(t), "log").ready()
	var r decision.Reply
	if n.Answer(challenged("g1", 1<<61), &r); r.Status != decision.StatusOK || r.Proven != 1<<61 {
		t.Errorf("%+v", r.ReplyHead)
	}
	if n.Answer(&decision.Batch{BatchHead: decision.BatchHead{Gateway: "g1", Wire: decision.Wire1}}, &r); r.Status != decision.StatusOK || r.Proven != decision.NoChallenge {
		t.Errorf("a gateway of the first wire: %+v", r.ReplyHead)
	}
}

// TestAnswerProvesTheView checks that a node with a Prover answers with the proof
// of its View, and does not answer without one.
func TestAnswerProvesTheView(t *testing.T) {
	var gateway string
	var at events.Position
	p := &prover{from: 1, asked: func(g string, p events.Position) { gateway, at = g, p }}
	n := run(t, node.Config{Log: openLog(t), LogID: "log", Prover: p}).ready()
	var r decision.Reply
	if n.Answer(challenged("g1", 1<<61), &r); r.Status != decision.StatusNotFresh || r.Proven == 1<<61 {
		t.Errorf("without a proof: %+v", r.ReplyHead)
	}
	n.do("acme", "c1", tenants.CreateTenant{})
	if n.Answer(challenged("g1", 1<<61), &r); r.Status != decision.StatusOK || r.Proven != 1<<61-40 {
		t.Errorf("with a proof: %+v", r.ReplyHead)
	}
	if gateway != "g1" || uint64(at) != r.At.Position || at != n.View().Position() {
		t.Errorf("the proof is for %s at %d, the answer for g1 at %d", gateway, at, r.At.Position)
	}
	if n.Answer(&decision.Batch{BatchHead: decision.BatchHead{Gateway: "g1", Wire: decision.Wire1}}, &r); r.Status != decision.StatusNotFresh {
		t.Errorf("a gateway of the first wire, in a cluster: %+v", r.ReplyHead)
	}
}

// TestProofIsOfTheOldView checks that a commit which comes while the proof is taken
// does not change which View decides: the proof is for the View that was loaded
// first.
func TestProofIsOfTheOldView(t *testing.T) {
	p := new(prover)
	n := run(t, node.Config{Log: openLog(t), LogID: "log", Prover: p}).ready()
	first := true
	var proven events.Position
	p.asked = func(_ string, at events.Position) {
		if proven = at; first {
			first = false
			n.do("acme", "c1", tenants.CreateTenant{})
		}
	}
	var r decision.Reply
	b := challenged("g1", 1<<61)
	b.Requests = []decision.Request{{Kind: decision.Admit, Domain: []byte("a.test")}}
	n.Answer(b, &r)
	if r.Status != decision.StatusOK || proven != 0 || r.At.Position != 0 || r.Results[0].Admission.Position != 0 {
		t.Errorf("a proof for %d, an answer at %d: %+v", proven, r.At.Position, r)
	}
}

// TestProverReadyIsAdvice checks that a node whose Prover is not ready says so to
// gateways, and answers those that ask it nevertheless.
func TestProverReadyIsAdvice(t *testing.T) {
	p := new(prover)
	n := run(t, node.Config{Log: openLog(t), LogID: "log", Prover: p}).ready()
	p.ready = errors.New("nothing heard for 3 s")
	if err := n.Ready(); !errors.Is(err, p.ready) || n.State().Ready {
		t.Errorf("ready: %v, state %+v", err, n.State())
	}
	var r decision.Reply
	if n.Answer(challenged("g1", 1<<61), &r); r.Status != decision.StatusOK {
		t.Errorf("%+v", r.ReplyHead)
	}
}
