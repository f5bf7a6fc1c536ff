package session

import (
	"strconv"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

// tooBig changes the answer r so that it names the size limit, if a client's
// stanza was refused because of its size. The framer delivers such a stanza
// with a fault, so no verdict passes it.
func (p *pump) tooBig(e entry, v *decision.Verdict, r *stanza.Reply) {
	most := stream.ClientLimits().Bytes
	if p.dir != decision.Out || e.end-e.start <= most || v.Reason != decision.NotAcceptable {
		return
	}
	r.Type, r.Condition = "modify", "policy-violation"
	r.Text = "The stanza is larger than " + strconv.Itoa(most) + " bytes"
}
