package api

import "time"

// A Cluster is the state of the cluster, as the answering node knows it.
type Cluster struct {
	// Clustered is false if the node is stand-alone: it is the only node. Nodes then
	// has this node only, and the fields of a cluster are absent.
	Clustered bool `json:"clustered"`
	// Node is the answering node, and Time is its clock.
	Node string    `json:"node"`
	Time time.Time `json:"time"`
	Name string    `json:"name,omitempty"`
	// Generation identifies the beginning of the common order, in hex, and
	// GenerationPosition is the position of the log at that time.
	Generation         string `json:"generation,omitempty"`
	GenerationPosition uint64 `json:"generation_position,omitempty"`
	LogID              string `json:"log_id"`
	// Leader is the node that leads the order at present. It is absent if there is
	// none, or none is known.
	Leader string `json:"leader,omitempty"`
	// Nodes are all nodes of the cluster, also those that have not been heard from,
	// ordered by name.
	Nodes []ClusterNode `json:"nodes"`
	// Copies are the copies of the order that the servers of the log have.
	Copies []ClusterCopy `json:"copies"`
	// Gateways are the gateways that the answering node expects or hears, ordered by
	// id.
	Gateways []ClusterGateway `json:"gateways"`
	// Warnings are the findings that an operator should look at, as texts.
	Warnings []string `json:"warnings"`
}

// A ClusterNode is one node of the cluster, as it described itself in its last
// message.
type ClusterNode struct {
	Node string `json:"node"`
	Role string `json:"role"` // voter; decides (it has no vote); alone (there is no cluster)
	// Heard is when the answering node heard from it last. It is absent if it has not
	// since the answering node was started; the other fields are then unknown.
	Heard time.Time `json:"heard,omitzero"`
	// Stopped: the node has stopped for good, and its own log says why.
	Stopped bool `json:"stopped,omitempty"`
	// Position and Hash are the newest commit on the node's disk. Lag is the number of
	// commits that other nodes have and this one has not.
	Position uint64 `json:"position"`
	Hash     string `json:"hash,omitempty"`
	Lag      uint64 `json:"lag"`
	// Decides is the position of the state from which the node decides.
	Decides uint64 `json:"decides"`
	// ProofAgeMicros is the time since the node proved that its state is fresh, in
	// microseconds. It is absent if it has not.
	ProofAgeMicros *int64 `json:"proof_age_micros,omitempty"`
	// Version is the node's program. Level is the highest event that it reads.
	Version string `json:"version,omitempty"`
	Level   uint64 `json:"level,omitempty"`
	// SkewMicros is how far the node's clock is ahead of the answering node's, in
	// microseconds.
	SkewMicros *int64 `json:"skew_micros,omitempty"`
}

// A ClusterCopy is the copy of the order that one server of the log has.
type ClusterCopy struct {
	Server string `json:"server"`
	State  string `json:"state"` // current, behind, offline
	// Lag is the number of entries that the copy lacks.
	Lag uint64 `json:"lag"`
}

// A ClusterGateway is a gateway that the answering node expects or hears.
type ClusterGateway struct {
	Gateway   string `json:"gateway"`
	Connected bool   `json:"connected"`
	// Heard is when the gateway last announced itself to the answering node. It is
	// absent if it has not done so since the node was started.
	Heard time.Time `json:"heard,omitzero"`
	// Twice: two gateways use the id at present.
	Twice bool `json:"twice,omitempty"`
}

// A ClusterRemove is the body of a request to take a node out of the cluster.
type ClusterRemove struct {
	// Reason is the caller's own explanation. The node's records of admin calls keep
	// it.
	Reason string `json:"reason,omitempty"`
}

// A ClusterRemoved is the answer when a node is out of the cluster.
type ClusterRemoved struct {
	Node string `json:"node"`
	// Removed are the log servers of the node, which have no vote and no copy of the
	// order any more. Left are the log servers that remain.
	Removed []string `json:"removed"`
	Left    []string `json:"left"`
}

// A ClusterDiff compares the logs of two nodes.
type ClusterDiff struct {
	// Equal is true if neither log has a commit that the other one does not have.
	Equal bool `json:"equal"`
	// Common is the last position up to which both logs are the same.
	Common uint64 `json:"common"`
	// Sides are the node that answers, and the node that the request names.
	Sides []ClusterSide `json:"sides"`
}

// A ClusterSide is the log of one of two nodes that are compared.
type ClusterSide struct {
	Node     string `json:"node"`
	Position uint64 `json:"position"`
	// Only are the commits that only this node has, oldest first. More is the number
	// of later ones that are not in the answer.
	Only []LogEntry `json:"only"`
	More uint64     `json:"more"`
}
