package api

// An Enforced says whether a position of the log is enforced everywhere: whether no
// gateway hands a stanza over on a verdict from an older state.
type Enforced struct {
	Position uint64 `json:"position"`
	// Enforced is set if the position is enforced everywhere. If it is not set, the
	// wait has ended before.
	Enforced bool `json:"enforced"`
	// By is the reason: alone (this is the only node), reported (all nodes have
	// reported that they decide from the position), bound (the time has passed after
	// which no gateway uses an older verdict), or pending.
	By string `json:"by"`
	// TookMicros is the time from the change on this node until the position was
	// enforced everywhere, or until the answer, in microseconds.
	TookMicros int64 `json:"took_micros"`
	// MarginMicros is how long a gateway may still use a verdict that it asked for
	// before, in microseconds.
	MarginMicros int64 `json:"margin_micros"`
	// Nodes are the nodes of the cluster, for operators only.
	Nodes []EnforcedNode `json:"nodes"`
}

// An EnforcedNode says whether a node has reported that it decides from a position.
type EnforcedNode struct {
	Node     string `json:"node"`
	Reported bool   `json:"reported"`
	// TookMicros is the time from the change on the answering node until the report,
	// in microseconds. It is absent if there is no report.
	TookMicros *int64 `json:"took_micros,omitempty"`
}
