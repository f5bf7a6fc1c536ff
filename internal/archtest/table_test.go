package archtest

// imports says which packages of this module a package may import, separated
// by spaces; "*" is all, a name ending in "/..." the package and all below it.
// The lines follow the design. A new edge is a reviewed line with its reason; an
// edge that no file uses is removed.
var imports = map[string]string{
	"xmpp/jid":    "",
	"xmpp/stream": "",
	"xmpp/stanza": "xmpp/jid xmpp/stream",

	"permission": "",

	"events":          "",
	"events/eventlog": "events internal/pebbledb",
	"events/replica":  "events",
	// events: positions of commits that nodes copy from each other. events/replica:
	// its Sequencer and its Peers are implemented there.
	"events/replica/jetstream": "events events/replica",
	"events/logtest":           "events",
	// Three real nodes in one process, under the suite of every log.
	"events/replica/replicatest": "events events/eventlog events/logtest events/replica",
	"projections":                "events permission",

	// internal/limit: a request that folds the past waits for a turn.
	"history": "events projections internal/limit",

	"decision": "xmpp/jid xmpp/stanza",
	// internal/floodlog: a gateway can cause log lines as fast as it sends.
	// internal/limit: without TLS, NATS must be on loopback.
	// internal/boottime: answers are dated.
	// internal/secretfile: a client's NATS key is a file.
	"decision/overnats": "decision internal/boottime internal/floodlog internal/limit internal/secretfile",

	// events: tenant settings are named there, and a View hands them out.
	"policy": "projections decision permission events xmpp/...",
	// The one way from a stanza's text to a decision, for explain, check, tests.
	"policy/trial": "policy projections decision xmpp/...",

	"tenants": "events projections permission xmpp/jid",
	// events: a parsed file is the payload of commands, backends included.
	// xmpp/jid: a name that does not prepare is refused at its line.
	"tenants/policyfile": "tenants projections permission events xmpp/jid",
	// Many questions at once. tenants, events: a case that names a role gets an
	// account that has it, by the commands that would make one. tenants/policyfile:
	// remarks about a case name its line. permission: which names there are.
	"policy/suite": "policy policy/trial tenants tenants/policyfile projections decision events permission xmpp/...",

	// Both sides of the translation; events: the names of enumerated values.
	"tenants/overapi": "tenants api events",
	// permission: built-in roles and their order. xmpp/jid: hosts, admins and
	// accounts are prepared as the gateway will see them. events: a domain's
	// backends.
	"import/prosody": "tenants tenants/policyfile events permission xmpp/jid",

	"audit": "decision",
	// internal/headfile: a log that lost its end is refused.
	"audit/auditlog": "audit audit/proof decision internal/headfile internal/pebbledb",
	"audit/proof":    "",
	// The records as lines of a file. xmpp/stanza: a line says what stanza a verdict
	// was on.
	"audit/jsonl":  "decision xmpp/stanza",
	"audit/replay": "audit history events projections policy decision",

	// xmpp/jid: Admit gets a raw domain, records hold shortened addresses.
	"node": "events projections policy decision tenants audit/jsonl xmpp/jid",
	// The state of a node that does not run: its log, held against the Views that
	// the commits make.
	"node/datafolder": "events events/eventlog projections",
	// A client of the API knows its wire and nothing behind it.
	"api": "",
	// xmpp/jid: the names in a request's path are prepared before look-up.
	// internal/floodlog: any caller can cause log lines while the disk is full.
	// internal/limit: bounds on the requests of a caller.
	"api/server": "api tenants tenants/overapi history projections events permission xmpp/jid internal/floodlog internal/limit",
	"oauth2":     "events projections",
	"console":    "api",

	// internal/certdate: both daemons tell of certificates that expire.
	// internal/floodlog: any client that reaches the port can cause log lines.
	// internal/limit: bounds on the connections of a source.
	// internal/boottime: an answer is acted on only while it is fresh.
	"gateway": "decision gateway/... xmpp/... internal/boottime internal/certdate internal/floodlog internal/limit",
	// gateway/proxyheader: a backend may want to be told the client's address.
	"gateway/negotiate": "decision gateway/proxyheader xmpp/... internal/boottime",
	// internal/limit: a client sends no more than its share.
	"gateway/session": "decision xmpp/... internal/boottime internal/limit",

	"gateway/proxyheader": "",

	"internal/archtest": "",
	"internal/boottime": "",
	"internal/expat":    "",
	"internal/floodlog": "",
	// internal/floodlog: any client that reaches the port can cause log lines.
	// internal/limit: without TLS, the server listens on loopback only.
	// internal/secretfile: the gateways' NATS keys are files.
	"internal/natsserver": "internal/floodlog internal/limit internal/secretfile",
	// Log servers in the process of a test.
	"internal/natsserver/natsservertest": "internal/natsserver",
	"internal/certdate":                  "",
	"internal/limit":                     "",
	"internal/headfile":                  "",
	"internal/pebbledb":                  "",
	"internal/secretfile":                "",
	"internal/mutants":                   "",
	// internal/limit: metrics and health need no authentication, so they listen on
	// loopback only.
	"internal/daemon":            "internal/limit",
	"internal/daemon/daemontest": "",

	// Wiring. internal/daemon holds what both daemons do alike.
	"cmd/gateway": "gateway decision decision/overnats internal/daemon",
	"cmd/policyd": "*",
	// policy, permission: the tables that "policyctl permissions" prints. decision:
	// the direction of a stanza in the short form. events, events/eventlog: what a
	// log that was verified or restored says of itself.
	"cmd/policyctl": "api tenants/overapi tenants/policyfile import/prosody policy policy/trial policy/suite decision xmpp/jid events events/eventlog permission node/datafolder",

	"test/e2e/...": "*",
}

// never says what a package must not reach, however indirectly, with the
// reason.
var never = []struct{ from, to, reason string }{
	{"cmd/gateway", "events/... projections policy permission tenants/... import/... oauth2 audit/... node/... api/... history",
		"the process that faces the Internet has no rules and stores no secret of a tenant"},
	{"cmd/policyctl", "api/server", "the command line is a client of the API: it sees the wire and nothing behind it"},
	{"api", "api/server", "the wire does not depend on the server"},
	{"cmd/policyd", "gateway/...", "a policy node terminates no client's connection"},
}

// testOnly may be imported by nothing but tests.
var testOnly = "internal/expat internal/archtest events/logtest events/replica/replicatest internal/daemon/daemontest internal/mutants internal/natsserver/natsservertest test/..."

// pure are the packages whose answers depend on their arguments alone.
var pure = "xmpp/... permission events projections decision policy policy/trial tenants tenants/policyfile import/prosody gateway/proxyheader policy/suite"

// clockless are packages that name types of net or take a lock, so that they are
// not pure, but get the time as an argument and start no goroutine.
var clockless = "internal/limit internal/certdate"

// impure are the imports and calls a pure package must not have. A clockless
// package must not have the calls.
var (
	impureImports = "os os/... net net/http io/ioutil log log/... syscall crypto/rand math/rand math/rand/v2 unsafe"
	impureCalls   = "time.Now time.Since time.Until time.Sleep time.After time.AfterFunc time.NewTimer time.NewTicker time.Tick"
)

// starts are the functions that may start a goroutine although they are not
// named for it, with the one that calls them and joins what they started. Test
// support and programs need no line.
var starts = map[string]string{
	"gateway.received":     "called by accept, Serve's loop for one listener, for one connection; Serve joins Gateway.work",
	"gateway.refuse":       "tells one client that there is no room; Serve joins Gateway.work",
	"gateway/session.pump": "the body of Run; joins the second pump itself",
}
