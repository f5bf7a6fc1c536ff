#!/bin/sh
# Runs the benchmarks, each beside its lower bound or a peer in the same run.
# Compare the ratios: absolute times differ between machines and are noisy.
# BENCHTIME (default 1s) is the time that each benchmark takes. The last three need
# the servers that `make test` installs.
set -eu
cd "$(dirname "$0")/.."
time=${BENCHTIME:-1s}

bench() {
	title=$1 pattern=$2
	shift 2
	printf '\n== %s\n' "$title"
	said=$(go test -run '^$' -bench "$pattern" -benchtime "$time" -benchmem "$@" 2>&1) || {
		printf '%s\n' "$said" >&2
		echo "bench.sh: $title: failed" >&2
		exit 1
	}
	printf '%s\n' "$said" | grep '^Benchmark' || {
		echo "bench.sh: $title: nothing was measured" >&2
		exit 1
	}
}

bench 'framer and describer, against encoding/xml and bytes.IndexByte' . ./xmpp/stream ./xmpp/stanza
bench 'addresses, against mellium' . ./xmpp/jid
bench 'Decide over 1,000 tenants x 1,000 members, against a bare map of maps' Decide ./policy
bench 'one account looked up, one change, memory per member' . ./projections
bench 'question and verdict on the wire' . ./decision
bench 'Ask through embedded NATS, against a plain echo' Ask ./decision/overnats
bench 'a node answering batches, with and without recording them' Answer ./node
bench 'decoding commits, reading the log' . ./events ./events/eventlog
bench 'start without a snapshot, against a Pebble scan, a decoding scan, and Read' Rebuild ./node
bench 'the past of one tenant, against a scan and a fold of the whole log (a million commits with POSTERN_SOAK=1)' Past ./api/server
bench 'append and groups of 64 on three log servers, against bare entries; a new node with a history (-join N: its commits)' 'Append|Group|Join' ./events/replica/jetstream
bench 'plan of 1,000 tenants x 100 members, nothing to change (at most 5 s)' PlanUnchanged ./cmd/policyctl
bench 'gateway with TLS to a sink, against a plain copy; memory of idle sessions' . ./gateway
bench 'client to client through gateway and Prosody, against Prosody alone' Delivery -tags e2e ./test/e2e
bench '1,000 clients logging in at once over STARTTLS, at Prosody alone and through the gateway' Storm -tags e2e ./test/e2e
bench 'three nodes and two gateways: enforced everywhere, commits, processor time, a dead gateway, memory (-clients N)' Cluster -tags e2e -timeout 20m ./test/e2e
