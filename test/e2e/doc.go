// Package e2e runs Postern's own programs against real XMPP servers with real
// clients, over loopback only.
//
// A scenario gets a target: the addresses to connect to. That is a server
// itself, or a gateway in front of one; so the same scenario shows first that
// it holds without Postern, and then that it holds with it. The tests need the
// build tag e2e and what scripts/install-deps.sh installs; each run has servers
// of its own and never touches the system's.
package e2e
