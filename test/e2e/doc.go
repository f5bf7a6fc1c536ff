// Package e2e runs Postern's own programs against real XMPP servers with real
// clients, over loopback only.
//
// A scenario gets a target: the addresses to connect to. That is a server
// itself, or a gateway in front of one; so the same scenario shows first that
// it holds without Postern, and then that it holds with it. The tests need the
// build tag e2e and what scripts/install-deps.sh installs; each run has servers
// of its own and never touches the system's.
//
// Where a test has to know what a gateway let through, or that a server did
// send what a client was not to get, a tap on the leg between them keeps every
// byte. What becomes of each stanza is read from package policy's scenarios.
package e2e
