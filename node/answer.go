package node

import (
	"fmt"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/projections"
)

// Answer decides a batch from the newest View, and records the decisions before it
// returns. It implements the Decider of decision/overnats.
//
// The reply proves the View that decided, and no newer one. The View is therefore
// loaded first, and the proof is taken for its position.
func (n *Node) Answer(b *decision.Batch, r *decision.Reply) {
	v := n.view.Load()
	r.At = n.mark(v)
	r.Results = r.Results[:0]
	switch {
	case v == nil || n.decides() != nil:
		r.Status = decision.StatusNotFresh
		return
	case b.AtLeast.LogID == n.cfg.LogID && b.AtLeast.Position > r.At.Position:
		r.Status = decision.StatusBehind
		return
	}
	proven, ok := n.prove(b, v)
	if !ok {
		r.Status = decision.StatusNotFresh
		return
	}
	at := time.Now()
	for i := range b.Requests {
		r.Results = append(r.Results, n.decide(v, &b.Requests[i], at))
	}
	if len(r.Results) > 0 {
		if err := n.record(b, r.Results, v, at); err != nil {
			n.stopRecording(err)
			r.Results = r.Results[:0]
			r.Status = decision.StatusNotFresh
			return
		}
	}
	// The node may have stopped while it wrote the records.
	if n.decides() != nil {
		r.Results = r.Results[:0]
		r.Status = decision.StatusNotFresh
		return
	}
	r.Status, r.Proven = decision.StatusOK, proven
	n.metrics.answered(r.Results, time.Since(at))
}

// prove returns the challenge of the gateway for which v is proven. ok is false if
// there is none.
//
// A node that stands alone acknowledges a commit only after its View includes the
// commit. The View was loaded after the gateway sent the batch, so it is proven for
// the challenge of the batch. The gateway of a batch without a challenge knows that
// too, and dates the answer by itself. In a cluster such a batch has no answer,
// because the gateway would take an old state for a new one.
func (n *Node) prove(b *decision.Batch, v *projections.View) (challenge uint64, ok bool) {
	if n.cfg.Prover == nil {
		return b.Challenge, true
	}
	if b.Challenge == decision.NoChallenge {
		return decision.NoChallenge, false
	}
	challenge = n.cfg.Prover.Prove(b.Gateway, b.Challenge, v.Position())
	return challenge, challenge != decision.NoChallenge
}

func (n *Node) decide(v *projections.View, q *decision.Request, at time.Time) decision.Result {
	switch q.Kind {
	case decision.Ask:
		verdict := policy.Decide(v, n.cfg.LogID, &q.Question, at)
		verdict.LogID = n.cfg.LogID
		return decision.Result{Kind: q.Kind, Verdict: verdict}
	case decision.Admit:
		return decision.Result{Kind: q.Kind, Admission: policy.Admit(v, n.cfg.LogID, q.Domain)}
	case decision.Open:
		return decision.Result{Kind: q.Kind, Opening: policy.Open(v, n.cfg.LogID, &q.Session)}
	}
	panic(fmt.Sprintf("node: request of kind %d", q.Kind))
}
