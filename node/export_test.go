package node

import (
	"time"

	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/projections"
)

// Records returns the records of a batch decided by node n1.
func Records(v *projections.View, at time.Time, b *decision.Batch, results []decision.Result) []audit.Record {
	return (&decided{"n1", at, v, b, results}).records(nil)
}
