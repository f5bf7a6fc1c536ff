// Package jetstream puts the entries of a cluster into one order with a JetStream
// stream, and carries messages between the nodes. It implements the Sequencer and
// the Peers of package events/replica.
//
// The stream POSTERN holds every entry. Its leader gives an entry its number once a
// majority of the log servers has synced it, and then publishes it again on
// postern.told.>, to which each node listens. A published message can be lost, so a
// node fetches entries that it lacks from the stream itself. The stream must never
// lose an entry: settings under which it could are refused at the start.
//
// The package never says whether an offered entry was ordered, and it drops an
// entry rather than wait for the stream. It uses no consumer, because a consumer
// belongs to one server and is lost with it. It never sends a message id or an
// expected sequence, because the stream would then refuse repeated offers by rules
// of its own, and a node could not tell what was ordered.
//
// The log servers are those in the policy nodes, or an operator's own NATS servers.
// Rights names the subjects that a node needs. No other user may publish to
// postern.log.>, postern.told.> or postern.peer.>, nor manage the stream.
package jetstream

import "time"

const (
	// streamName is the name of the stream.
	streamName = "POSTERN"
	// logSubjects are the subjects of the stream, one for each kind of entry.
	logSubjects = "postern.log.>"
	// toldSubjects are the subjects on which the leader publishes ordered entries.
	toldSubjects = "postern.told.>"
	// clusterKey is the key of the cluster's name in the metadata of the stream.
	clusterKey = "postern.cluster"

	// minReplicas is the smallest number of copies that leaves a majority when one
	// log server is lost.
	minReplicas = 3
	// tickTTL is the time after which a tick is removed from the stream. A node that
	// was away for longer finds newer ticks, which prove more.
	tickTTL = 10 * time.Second
	// attempt bounds each request to JetStream. A request is dropped while there is
	// no leader, so that one long wait would miss the leader's election.
	attempt = time.Second
)

// Rights returns the subjects that a node must be allowed to publish and to
// subscribe to.
func Rights() (publish, subscribe []string) {
	return []string{
			logSubjects, "postern.peer.>", "_INBOX.>",
			apiInfo, apiCreate, apiGet, apiDirect,
		}, []string{
			toldSubjects, "postern.peer.>", "_INBOX.>",
		}
}
