package node

import (
	"time"

	"github.com/postern-im/postern/audit"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/projections"
)

// Records are the records of a batch that node n1 decided.
func Records(v *projections.View, at time.Time, b *decision.Batch, results []decision.Result) []audit.Record {
	return (&decided{"n1", at, v, b, results}).records(nil)
}
