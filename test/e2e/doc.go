// Package e2e runs Postern's own programs against real XMPP servers with real
// clients, over loopback only.
//
// A scenario gets a target, which is the addresses to connect to: a server
// itself, or a gateway in front of it. So the same scenario first succeeds
// without Postern, and then with it. The tests need the build tag e2e and the
// packages that scripts/install-deps.sh installs. Each run starts its own
// servers and never touches the system's.
//
// Some tests must know what a gateway forwarded, or that a server did send a
// stanza that the client must not get. For these, a tap between gateway and
// server keeps every byte. The expected result for each stanza comes from
// package policy's scenarios.
package e2e
