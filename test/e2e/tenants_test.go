//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

// A crossing is a command line on behalf of tenant other that names something
// of tenant lab.
type crossing struct {
	args string // ALICE is lab's member, SESSION her session, CAROL other's member
	// allowed: the command names only things that each tenant has itself, or
	// that an operator may see of the whole installation.
	allowed bool
	// stdin is the policy file on standard input.
	stdin string
}

// crossings are the crossings by policyctl's commands. Every command has at
// least one.
var crossings = map[string][]crossing{
	"tenant create": {
		{args: "lab"},
		{args: "third -f -", stdin: "tenant = \"third\"\n[[domain]]\nname = \"alpha.test\"\n"},
		{args: "third -f -", stdin: "tenant = \"third\"\n[[domain]]\nname = \"third.test\"\nservices = [\"muc.alpha.test\"]\n"},
		{args: "third -f -", stdin: "tenant = \"third\"\n[[domain]]\nname = \"third.test\"\n[[member]]\njid = \"ALICE\"\nrole = \"prosody:guest\"\n"},
		{args: "third -f -", stdin: "tenant = \"third\"\n[[domain]]\nname = \"third.test\"\ndefault_role = \"lab:secret\"\n"},
	},
	"tenant list":        {{args: "", allowed: true}},
	"tenant show":        {{args: "other", allowed: true}},
	"tenant rename":      {{args: "other lab", allowed: true}},
	"tenant set-limits":  {{args: "other --sessions 300", allowed: true}, {args: "other --sessions 0", allowed: true}},
	"tenant set-ceiling": {{args: "other xmpp:account:contacts:read", allowed: true}, {args: "other --none", allowed: true}},
	"tenant set-presence": {
		{args: "other refuse", allowed: true},
	},
	"tenant set-audit": {{args: "other class", allowed: true}},
	"tenant suspend":   {{args: "other", allowed: true}},
	"tenant resume":    {{args: "other", allowed: true}},
	"domain add": {
		{args: "alpha.test -t other"}, {args: "ALPHA.TEST -t other"}, {args: "alpha.test. -t other"},
		{args: "muc.alpha.test -t other"}, {args: "\uFF41lpha.test -t other"},
	},
	"domain list":             {{args: "-t other", allowed: true}},
	"domain set-backends":     {{args: "alpha.test none://127.0.0.1:1 -t other"}, {args: "alpha.test --none -t other"}},
	"domain show":             {{args: "gamma.test", allowed: true}},
	"domain set-default-role": {{args: "alpha.test prosody:guest -t other"}, {args: "gamma.test lab:secret -t other"}},
	"domain suspend":          {{args: "alpha.test -t other"}},
	"domain resume":           {{args: "alpha.test -t other"}},
	"domain remove":           {{args: "alpha.test --yes -t other"}},
	"service add":             {{args: "muc.alpha.test -t other"}, {args: "alpha.test -t other"}, {args: "MUC.alpha.test. -t other"}},
	"service list":            {{args: "-t other", allowed: true}},
	"service remove":          {{args: "muc.alpha.test -t other --yes"}},
	"role define": {
		{args: "lab:shared -t other --deny xmpp:account:contacts:read --deny xmpp:account:messages:read", allowed: true},
		{args: "other:heir -t other --inherits lab:secret"},
	},
	"role adjust": {{args: "prosody:registered -t other --remove xmpp:account:contacts:read", allowed: true}},
	"role list":   {{args: "-t other", allowed: true}},
	"role show":   {{args: "lab:secret -t other"}, {args: "prosody:guest -t other", allowed: true}},
	"role remove": {{args: "lab:secret -t other --yes"}, {args: "lab:shared -t other --yes", allowed: true}},
	"member set-role": {
		{args: "ALICE prosody:guest -t other"}, {args: "ALICE --default -t other"}, {args: "CAROL lab:secret -t other"},
		{args: "CAROL prosody:guest -s lab:secret -t other"}, {args: "ALICE lab:shared -t other"},
	},
	"member list":         {{args: "-t other", allowed: true}},
	"member show":         {{args: "ALICE -t other"}},
	"member suspend":      {{args: "ALICE -t other"}},
	"member resume":       {{args: "ALICE -t other"}},
	"member remove":       {{args: "ALICE -t other --yes"}},
	"member end-sessions": {{args: "ALICE -t other"}},
	"session list": {
		{args: "-t other", allowed: true}, {args: "--account ALICE -t other"}, {args: "--domain alpha.test -t other"},
	},
	"session show": {{args: "SESSION -t other"}},
	"session end":  {{args: "SESSION -t other"}, {args: "--account ALICE -t other"}},
	"explain": {
		{args: "--account ALICE -t other --permission xmpp:federate"},
		{args: "--account ALICE -t other --stanza <presence/>"},
		{args: "--account ALICE -t other --direction in --stanza <presence/>"},
	},
	"log":  {{args: "-t other", allowed: true}},
	"diff": {{args: "-t other --from 1", allowed: true}},
	"blame": {
		{args: "--account ALICE -t other xmpp:federate"}, {args: "--role lab:secret -t other xmpp:federate"},
	},
	"export": {{args: "other", allowed: true}},
	"plan": {
		{args: "-f -", stdin: "tenant = \"other\"\n[[domain]]\nname = \"alpha.test\"\n"},
		{args: "-f -", stdin: "tenant = \"other\"\n[[domain]]\nname = \"gamma.test\"\nservices = [\"muc.alpha.test\"]\n"},
		{args: "-f -", stdin: "tenant = \"other\"\n[[domain]]\nname = \"gamma.test\"\ndefault_role = \"lab:secret\"\n"},
		{args: "-f -", stdin: "tenant = \"other\"\n[[domain]]\nname = \"gamma.test\"\n[[member]]\njid = \"ALICE\"\nsuspended = true\n"},
	},
	"apply": {
		{args: "-f - --yes", stdin: "tenant = \"other\"\n[[domain]]\nname = \"alpha.test\"\n"},
		{args: "-f - --yes", stdin: "tenant = \"other\"\n[[domain]]\nname = \"gamma.test\"\n[[member]]\njid = \"ALICE\"\nsuspended = true\n"},
	},
	// These commands concern no tenant.
	"status":         {{args: "", allowed: true}},
	"permissions":    {{args: "", allowed: true}},
	"check":          {{args: "-f -", stdin: ""}},   // reads files only
	"test":           {{args: "/proc/nonexistent"}}, // reads files only
	"completion":     {{args: "bash", allowed: true}},
	"man":            {{args: "", allowed: true}},
	"help":           {{args: "tenant", allowed: true}},
	"verify":         {{args: "--data /proc/nonexistent"}},
	"backup":         {{args: "/proc/nonexistent"}},
	"restore":        {{args: "--from /proc/nonexistent --data /proc/nonexistent --yes"}},
	"import prosody": {{args: "--config /proc/nonexistent --no-data -o /proc/nonexistent"}},
	"token create":   {{args: "ci --scope read -t other", allowed: true}},
	"token list":     {{args: "", allowed: true}},
	"token revoke":   {{args: "0123456789abcdef"}},
	"token self":     {{args: "", allowed: true}},
	"gateway add":    {{args: "No.2"}},
	"gateway list":   {{args: "", allowed: true}},
	"gateway remove": {{args: "edge9 --yes"}},
	// The node stands alone, so there is nothing to join, remove or compare.
	"cluster status": {{args: "", allowed: true}},
	"cluster join":   {{args: "--timeout 1s"}},
	"cluster remove": {{args: "n2 --yes"}},
	"cluster diff":   {{args: "n2"}},
	// These read and write files only.
	"cluster init":     {{args: ""}},
	"cluster issue":    {{args: ""}},
	"cluster create":   {{args: "--data /proc/nonexistent"}},
	"cluster dissolve": {{args: "--data /proc/nonexistent"}},
	"cluster resolve":  {{args: "--data /proc/nonexistent --discard --position 1"}},
	// This comes last: it removes tenant other.
	"tenant remove": {{args: "other --yes", allowed: true}},
}

// operatorSees are the commands that show the whole installation, tenant lab
// included, and commands that show examples.
var operatorSees = []string{"tenant list", "status", "man", "help"}

// TestCrossTenant shows that no tenant sees, changes or ends anything of
// another tenant: not by a command, a gateway's question, or a NATS subject.
func TestCrossTenant(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, kind)
			t.Run("questions", func(t *testing.T) { crossQuestions(waiting(t), t, s) })
			t.Run("subjects", func(t *testing.T) { crossSubjects(t, s) })
			t.Run("stanzas", func(t *testing.T) { crossStanzas(waiting(t), t, s) })
			t.Run("commands", func(t *testing.T) { crossCommands(waiting(t), t, s) })
		})
	}
}

// commandsOf returns policyctl's commands, as its help lists them.
func commandsOf(ctx context.Context, t *testing.T, s *site) []string {
	t.Helper()
	help, err := s.in.Policyctl(ctx, "", "--help")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(help, "Commands:\n")
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^  ([a-z]\S*(?: [a-z]\S*)?)(?:  |$)`).FindAllStringSubmatch(list, -1) {
		names = append(names, match[1])
	}
	return names
}

// wantComplete expects that every command is tried: policyctl's, and the
// node's.
func wantComplete(ctx context.Context, t *testing.T, s *site) {
	t.Helper()
	names := commandsOf(ctx, t, s)
	if len(names) < 30 {
		t.Errorf("the help lists only %q", names)
	}
	for _, name := range names {
		if len(crossings[name]) == 0 {
			t.Errorf("policyctl %s is not tried", name)
		}
	}
	for _, entry := range tenants.Catalogue() {
		name := strings.TrimSuffix(strings.ReplaceAll(entry.Name, ".", " "), "-addresses")
		name = strings.TrimPrefix(name, "shared-") // shared is a flag
		if name == "tenant apply" {
			name = "apply"
		}
		if !slices.Contains(names, name) {
			t.Errorf("policyctl has no command %s", entry.Name)
		}
	}
}

func crossCommands(ctx context.Context, t *testing.T, s *site) {
	wantComplete(ctx, t, s)
	s.allBut(ctx, t, "lab:shared")
	s.allBut(ctx, t, "lab:secret")
	alice := s.member(ctx, t, "alice", "lab:shared")
	carol := newAccount(t, s.server, "carol", "gamma.test")
	s.do(ctx, t, "lab", api.MemberSet{JID: alice.jid, Role: "lab:shared", Secondary: []string{"lab:secret"}})
	s.do(ctx, t, "other", api.RoleDefine{Role: "lab:shared", Allow: everything()})
	me := s.subject(ctx, t, alice)
	before := s.allOf(ctx, t, "lab")

	names := make([]string, 0, len(crossings))
	for name := range crossings {
		if name != "tenant remove" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	sessions, err := s.admin.Sessions(ctx, "lab", api.SessionFilter{Account: alice.jid}, "", 0)
	if err != nil || len(sessions.Sessions) != 1 || len(sessions.Missing) > 0 {
		t.Fatalf("alice's sessions: %+v, %v", sessions, err)
	}
	fill := strings.NewReplacer("ALICE", alice.jid, "SESSION", sessions.Sessions[0].ID, "CAROL", carol.jid)
	prepared := strings.NewReplacer("ALPHA.TEST", "alpha.test", "\uFF41", "a")
	for _, name := range append(names, "tenant remove") {
		for _, c := range crossings[name] {
			t.Run(name+" "+c.args, func(t *testing.T) {
				args := append(strings.Fields(name), strings.Fields(fill.Replace(c.args))...)
				out, err := s.in.Policyctl(ctx, fill.Replace(c.stdin), args...)
				if c.allowed != (err == nil) {
					t.Errorf("want allowed: %v, got %v", c.allowed, err)
				}
				said := fmt.Sprint(out, err)
				for _, mine := range []string{alice.jid, "lab:secret", "alpha.test", "beta.test"} {
					named := strings.Contains(prepared.Replace(strings.Join(args, " "))+fill.Replace(c.stdin), mine)
					if strings.Contains(said, mine) && !named && !slices.Contains(operatorSees, name) {
						t.Errorf("it reveals %s: %s", mine, said)
					}
				}
				if after := s.allOf(ctx, t, "lab"); after != before {
					t.Errorf("it changed the other tenant:\n%s\n%s", before, after)
				}
				mayReadRoster(ctx, t, me, true)
			})
		}
	}
	// Each tenant has its own role of this name.
	mayReadRoster(ctx, t, s.subject(ctx, t, alice), true)
}

// allOf returns everything that the node reports about a tenant, except
// positions, which grow with every commit of the installation.
func (s *site) allOf(ctx context.Context, t *testing.T, tenant string) string {
	t.Helper()
	var all []any
	keep := func(v any, err error) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	show, err := s.admin.Tenant(ctx, tenant)
	keep(show, err)
	domains, err := s.admin.Domains(ctx, tenant)
	keep(domains, err)
	services, err := s.admin.Services(ctx, tenant)
	keep(services, err)
	roles, err := s.admin.Roles(ctx, tenant)
	keep(roles, err)
	members, err := s.admin.Members(ctx, tenant, "", 1000)
	keep(members, err)
	for _, m := range members.Members {
		member, err := s.admin.Member(ctx, tenant, m.JID)
		keep(member, err)
	}
	log, err := s.admin.Log(ctx, api.LogQuery{Tenant: tenant, Limit: 1000})
	keep(log, err)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`"position":\d+`).ReplaceAllString(string(text), "")
}

// crossStanzas: two tenants have a role of the same name, with members in both.
// A change to one tenant ends no session of the other tenant, and affects no
// stanza between the other's accounts.
func crossStanzas(ctx context.Context, t *testing.T, s *site) {
	const role = "shared:role"
	s.do(ctx, t, "lab", api.RoleDefine{Role: role, Allow: everything()})
	s.do(ctx, t, "other", api.RoleDefine{Role: role, Allow: everything()})
	carol := newAccount(t, s.server, "carol", "gamma.test")
	s.do(ctx, t, "other", api.MemberSet{JID: carol.jid, Role: role})
	mine, theirs := s.subject(ctx, t, s.member(ctx, t, "alice", role)), s.subject(ctx, t, carol)
	mayWrite := func(from, to *subject, may bool) {
		t.Helper()
		mark := unique("mark")
		send(ctx, t, from.Client, "<message type='chat' id='"+mark+"' to='"+to.JID+"'><body>hi</body></message>")
		from.fence(ctx, t)
		if may {
			if _, err := to.Expect(ctx, func(e client.Element) bool { return e.Attr("id") == mark && e.Attr("type") == "chat" }); err != nil {
				t.Error(err)
			}
			return
		}
		for _, e := range to.fence(ctx, t) {
			if e.Attr("id") == mark {
				t.Errorf("delivered: %s", e)
			}
		}
	}
	mayWrite(mine, theirs, true)
	mayWrite(theirs, mine, true)
	// Each side needs its own permission to federate: if either side lacks it,
	// no stanza passes in either direction. The role of one tenant does not
	// change what the other tenant's accounts may do.
	s.do(ctx, t, "other", api.RoleDefine{Role: role, Allow: everything(), Deny: []string{"xmpp:federate", "xmpp:account:contacts:read"}})
	mayWrite(mine, theirs, false)
	mayWrite(theirs, mine, false)
	mayReadRoster(ctx, t, mine, true)
	mayReadRoster(ctx, t, theirs, false)
	bystander := s.subject(ctx, t, s.member(ctx, t, "alice", role))
	mayWrite(mine, bystander, true)
	for _, ending := range []api.Command{
		api.MemberEndSessions{JID: carol.jid}, api.DomainSuspend{Domain: "gamma.test"}, api.TenantSuspend{},
	} {
		s.do(ctx, t, "other", ending)
		mayWrite(mine, bystander, true)
	}
	wantReset(ctx, t, theirs)
	s.do(ctx, t, "other", api.TenantResume{})
	s.do(ctx, t, "other", api.DomainResume{Domain: "gamma.test"})
}

// asker connects a second asking end to the node, with the gateway's own key.
func (s *site) asker(ctx context.Context, t *testing.T) *overnats.Asker {
	t.Helper()
	address, seed := s.in.NATS()
	conn, err := overnats.Connect(overnats.ConnectConfig{
		URLs: []string{"nats://" + address}, ServerName: "postern", SeedFile: seed, Name: "test", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	asker, err := overnats.New(overnats.Config{Links: []overnats.LinkConfig{{Conn: conn}}, Gateway: "gateway", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	var run sync.WaitGroup
	run.Go(func() {
		if err := asker.Run(running); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		run.Wait()
		conn.Close()
	})
	return asker
}

// crossQuestions asks about accounts in the name of a tenant that does not own
// them, for every kind of stanza in both directions.
func crossQuestions(ctx context.Context, t *testing.T, s *site) {
	asker := s.asker(ctx, t)
	for domain, tenant := range map[string]string{"alpha.test": "lab", "beta.test": "lab", "gamma.test": "other"} {
		a, err := asker.Admit(ctx, domain)
		if err != nil {
			t.Fatal(err)
		}
		if !a.Known || a.Tenant != tenant || a.Domain != domain || len(a.Backends) != 1 {
			t.Errorf("%s is admitted as %+v", domain, a)
		}
	}
	for _, domain := range []string{"muc.alpha.test", "nobody.test", "", "lab", "other"} {
		if a, err := asker.Admit(ctx, domain); err != nil || a.Known {
			t.Errorf("%q is admitted as %+v, %v", domain, a, err)
		}
	}
	for _, crossed := range []struct {
		tenant, account string
		own             bool
	}{
		{"lab", "x@alpha.test", true}, {"lab", "x@beta.test", true}, {"other", "x@gamma.test", true},
		{"other", "x@alpha.test", false}, {"other", "x@beta.test", false}, {"lab", "x@gamma.test", false},
		{"other", "x@muc.alpha.test", false}, {"lab", "x@muc.alpha.test", false}, {"nobody", "x@alpha.test", false},
	} {
		who := decision.Session{ID: []byte("test"), Tenant: []byte(crossed.tenant), Account: []byte(crossed.account), Resource: []byte("r")}
		opening, err := asker.Open(ctx, who)
		if err != nil {
			t.Fatal(err)
		}
		if opening.Allowed != crossed.own {
			t.Errorf("%s of tenant %s is opened: %+v", crossed.account, crossed.tenant, opening)
		}
		who.Opened = opening.Position // later than every revocation
		who.OpenedLog = []byte(opening.LogID)
		for _, q := range questions(t, who) {
			verdicts := make([]decision.Verdict, 1)
			if err := asker.Ask(ctx, []decision.Question{q}, verdicts, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			if ends := verdicts[0].Effect == decision.End; ends == crossed.own {
				t.Errorf("%s of tenant %s, %+v: %s", crossed.account, crossed.tenant, q.Desc, verdicts[0].Effect)
			}
		}
	}
}

// questions returns a question about each kind of stanza in each direction.
func questions(t *testing.T, who decision.Session) []decision.Question {
	t.Helper()
	bob, err := jid.Parse([]byte("bob@alpha.test/r"))
	if err != nil {
		t.Fatal(err)
	}
	roster := []stanza.Part{{Space: stanza.Roster, Local: []byte("query")}}
	var all []decision.Question
	for _, d := range []stanza.Descriptor{
		{Kind: stanza.Message, Type: stanza.Chat, Marks: stanza.HasContent},
		{Kind: stanza.Presence, Type: stanza.Available},
		{Kind: stanza.IQ, Type: stanza.Get, ID: []byte("1"), HasID: true, Payloads: roster},
		{Kind: stanza.IQ, Type: stanza.Result, ID: []byte("1"), HasID: true},
	} {
		for _, dir := range []decision.Direction{decision.Out, decision.In} {
			if d.From = bob; dir == decision.Out {
				d.From, d.To = jid.Addr{}, bob
			}
			all = append(all, decision.NewQuestion(who, dir, &d, nil))
		}
	}
	return all
}

// crossSubjects: a gateway's key permits to ask, to receive its own replies,
// and to receive the nodes' notices to all gateways, nothing else. Without a
// key nothing is permitted.
func crossSubjects(t *testing.T, s *site) {
	address, seed := s.in.NATS()
	key, err := nats.NkeyOptionFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect("nats://"+address, key, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// refused reports whether the server refused the connection's last action
	// on a subject.
	refused := func(subject string) bool {
		t.Helper()
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		err := conn.LastError()
		return err != nil && errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`)
	}
	rights := overnats.GatewayRights("gateway")
	for _, subject := range []string{
		">", "*", "postern.>", "postern.*", "postern.ask", "postern.ask.*", "postern.ask.node", "postern.ask.>",
		"postern.reply.>", "postern.reply.*.>", "postern.reply.gateway2.>", "postern.reply.gateway",
		"postern.events", "postern.events.>", "postern.sessions.>", "postern.nodes.>",
		"postern.node", "postern.node.*.>", "postern.challenge.*", "postern.challenge.gateway",
		"postern.gateways.*", "postern.sessions.ask.>", "postern.sessions.ask.other.*", "postern.sessions.reply.>",
		"_INBOX.>", "$SYS.>", "$JS.API.>", "$KV.>", "lab", "other.>",
	} {
		if _, err := conn.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		if !refused(subject) {
			t.Errorf("a gateway may subscribe to %s", subject)
		}
	}
	for _, subject := range []string{
		"postern.nodes", "postern.sessions.end", "postern.sessions", "postern.reply", "postern.reply.gateway.x.1",
		"postern.node.node", "postern.challenge.other",
		"postern.gateways.other", "postern.sessions.ask.gateway.node", "postern.sessions.reply.node.other",
		"postern.reply.other.x.1", "postern.events", "postern.ask.node.x", "_INBOX.x", "$SYS.REQ.SERVER.PING", "$JS.API.INFO", "lab", "x",
	} {
		if err := conn.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if !refused(subject) {
			t.Errorf("a gateway may publish on %s", subject)
		}
	}
	// The subjects that a gateway needs are permitted, so the refusals above
	// mean something.
	for _, subject := range rights.Subscribe {
		if _, err := conn.SubscribeSync(subject); err != nil || refused(subject) {
			t.Errorf("a gateway may not subscribe to %s: %v", subject, err)
		}
	}
	for _, subject := range rights.Publish {
		subject = strings.ReplaceAll(subject, "*", "nobody")
		if err := conn.Publish(subject, []byte("x")); err != nil || refused(subject) {
			t.Errorf("a gateway may not publish on %s: %v", subject, err)
		}
	}

	stranger, err := natsserver.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := stranger.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string]nats.Option{
		"no key": nats.Name("test"), "a key of its own": nats.Nkey(public, stranger.Sign),
		"a user": nats.UserInfo("gateway", "gateway"), "a token": nats.Token("gateway"),
	} {
		if c, err := nats.Connect("nats://"+address, option); err == nil {
			c.Close()
			t.Errorf("a client with %s is let in", name)
		}
	}
}
