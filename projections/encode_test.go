package projections

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// randomLog returns n commits that apply, of several tenants and of the
// installation, with events of nearly every type.
func randomLog(t testing.TB, seed uint64, n int) []*events.Commit {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 6))
	v := New()
	versions := map[string]uint64{}
	var log []*events.Commit
	for len(log) < n {
		tenant := "t" + string(rune('a'+rng.IntN(3)))
		c := &events.Commit{
			Position: v.Position() + 1, Tenant: tenant, TenantVersion: versions[tenant] + 1,
			Time: time.UnixMicro(1_700_000_000_000_000 + int64(len(log)) + rng.Int64N(40)).UTC(),
		}
		if versions[tenant] == 0 {
			c.Events = append(c.Events, events.TenantCreated{Name: "Tenant " + tenant})
		}
		if rng.IntN(15) == 0 {
			tenant = "" // a commit of the installation
			c.Tenant, c.TenantVersion, c.Events = "", versions[""]+1, []events.Event{installationStep(rng)}
		} else {
			for range 1 + rng.IntN(4)*rng.IntN(2) {
				c.Events = append(c.Events, logStep(rng, tenant))
			}
		}
		if next, err := v.Apply(c); err == nil {
			v = next
			log = append(log, c)
			versions[tenant]++
		}
	}
	return log
}

// installationStep returns a random event about a token, a gateway or a shared service.
// Some of the services have names that logStep gives to tenants, too.
func installationStep(rng *rand.Rand) events.Event {
	names := []string{"push.test", "upload.test", "rooms.a.ta.test", "b.tb.test"}
	switch name := names[rng.IntN(len(names))]; rng.IntN(8) {
	case 0, 1:
		return events.SharedServiceAdded{Service: name}
	case 2:
		return events.SharedServiceRemoved{Service: name}
	case 3:
		return events.GatewayAdded{ID: fmt.Sprintf("g%d", rng.IntN(4)), PublicKey: fmt.Sprintf("K%d", rng.IntN(40))}
	case 4:
		return events.GatewayRemoved{ID: fmt.Sprintf("g%d", rng.IntN(4))}
	}
	return tokenStep(rng)
}

func tokenStep(rng *rand.Rand) events.Event {
	id := fmt.Sprintf("k%d", rng.IntN(12))
	switch rng.IntN(3) {
	case 0:
		return events.TokenRevoked{ID: id}
	case 1:
		return events.TokenCreated{ID: id, Name: "ops", Scope: events.TokenOperator, Hash: [32]byte{byte(rng.Uint32())}, Expires: rng.Uint64N(2)}
	}
	return events.TokenCreated{ID: id, Tenant: "ta", Hash: [32]byte{byte(rng.Uint32())}}
}

func logStep(rng *rand.Rand, tenant string) events.Event {
	pool := []string{"acme:x", permission.MessagesRead.Name(), permission.ContactsWrite.Name(), permission.Federate.Name()}
	roles := []string{permission.Guest, permission.Registered, permission.Admin, "ra", "rb", "rc"}
	domain := []string{"a.", "b."}[rng.IntN(2)] + tenant + ".test"
	jid := fmt.Sprintf("u%d@%s", rng.IntN(400), domain)
	role := roles[rng.IntN(len(roles))]
	switch rng.IntN(41) {
	case 40:
		return events.TenantLimitsSet{MaxSessions: uint64(rng.IntN(2) * 300)}
	case 0:
		return events.TenantRenamed{Name: role}
	case 1:
		return events.SettingsChanged{PresenceWithoutMessages: events.PresenceRefuse, AuditAddresses: events.AuditAddresses(rng.IntN(3))}
	case 2:
		return events.CeilingSet{Permissions: some(rng, pool, 2)}
	case 3:
		return events.RoleRemoved{Name: role}
	case 4:
		return events.BuiltinRoleAdjusted{Name: permission.Member, Add: some(rng, pool, 2), Remove: some(rng, pool, 2)}
	case 5, 6, 7:
		return events.RoleDefined{Name: roles[3+rng.IntN(3)], Inherits: some(rng, roles, 2), Allow: some(rng, pool, 2), Deny: some(rng, pool, 2)}
	case 8:
		return events.ServiceAdded{Service: "rooms." + domain}
	case 9:
		return events.ServiceRemoved{Service: "rooms." + domain}
	case 10:
		return events.DomainBackendsSet{Domain: domain, Backends: []events.Backend{{Address: "127.0.0.1:5222", Security: events.SecurityTLS}, {Address: "[::1]:5222", Proxy: true}}}
	case 11:
		return events.DomainResumed{Domain: domain}
	case 12:
		if tenant != "ta" && rng.IntN(20) == 0 { // ta stays, so that some later events can apply
			return events.TenantRemoved{}
		}
		return events.TenantResumed{}
	case 13, 14, 15, 16:
		return events.DomainAdded{Domain: domain, DefaultRole: role}
	}
	return endingStepOf(rng, jid, domain, roles)
}

// endingStepOf returns a random event, mostly about a member, of the types that
// can revoke sessions.
func endingStepOf(rng *rand.Rand, jid, domain string, roles []string) events.Event {
	role := roles[rng.IntN(len(roles))]
	switch rng.IntN(16) {
	case 0:
		return events.MemberRemoved{JID: jid}
	case 1:
		return events.MemberSuspended{JID: jid, ByOperator: rng.IntN(2) == 0}
	case 2:
		return events.MemberResumed{JID: jid}
	case 3:
		return events.MemberSessionsEnded{JID: jid}
	case 4:
		return events.DomainDefaultRoleSet{Domain: domain, Role: role}
	case 5:
		return events.DomainSuspended{Domain: domain, ByOperator: rng.IntN(2) == 0}
	case 6:
		return events.MemberRolesSet{JID: jid}
	case 7:
		if rng.IntN(30) == 0 {
			return events.DomainRemoved{Domain: domain}
		}
	}
	return events.MemberRolesSet{JID: jid, Role: role, Secondary: some(rng, roles, 2)}
}

// describe returns all answers of a View as text, except those whose order is
// not defined.
func describe(v *View) string {
	var b strings.Builder
	fmt.Fprintln(&b, v.Position(), v.Time(), v.Installation().Version())
	for _, k := range v.Installation().Tokens() {
		fmt.Fprintln(&b, *k)
	}
	for _, g := range v.Installation().Gateways() {
		fmt.Fprintln(&b, *g)
	}
	for t := range v.Tenants() {
		fmt.Fprintln(&b, t.ID(), t.Name(), t.Version(), t.Suspended(), t.Settings(), t.Ceiling(), t.CeilingSet(), t.MaxSessions(), t.Services(), t.MemberCount(), t.DomainCount(), t.ServiceCount(), t.RoleCount())
		for r := range t.Roles() {
			roles, domains, members := t.RoleUses(r.Name)
			fmt.Fprintln(&b, r, roles, domains, members, t.Explain(r.Name, "acme:x"))
		}
		for d := range t.Domains() {
			fmt.Fprintln(&b, d)
			owner, kind := v.Owner([]byte(d.Name))
			fmt.Fprintln(&b, owner.ID(), kind)
			for i := range 400 {
				s, ok := t.Access([]byte(fmt.Sprintf("u%d@%s", i, d.Name)), []byte(d.Name))
				fmt.Fprintln(&b, s, ok)
			}
		}
		for _, m := range t.MembersAfter("", 1000) {
			fmt.Fprintln(&b, m)
		}
	}
	for _, id := range []string{"ta", "tb", "tc", "td"} {
		fmt.Fprintln(&b, v.Used([]byte(id)))
	}
	return b.String()
}

func encoded(t testing.TB, v *View) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := v.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decoded(t testing.TB, b []byte) *View {
	t.Helper()
	v, err := Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sameView checks that two Views have the same encoding and the same answers.
func sameView(t *testing.T, what string, got, want *View) {
	t.Helper()
	if got.Hash() != want.Hash() {
		t.Fatalf("%s: the encodings at %d differ", what, want.Position())
	}
	if g, w := describe(got), describe(want); g != w {
		t.Fatalf("%s: the answers at %d differ:\n%s\nwant:\n%s", what, want.Position(), g, w)
	}
}

// TestWaysToAView checks that all ways to fold a log give the same View: Apply,
// a Builder, and both of them when they start from an earlier View or from its
// decoded snapshot.
func TestWaysToAView(t *testing.T) {
	for seed := range rounds(2) {
		const n = 200
		log := randomLog(t, uint64(seed), n)
		views := []*View{New()}
		whole := NewBuilder()
		for i, c := range log {
			next, err := views[i].Apply(c)
			if err != nil {
				t.Fatal(err)
			}
			views = append(views, next)
			if err := whole.Apply(c); err != nil {
				t.Fatal(err)
			}
		}
		want := views[n]
		sameView(t, "builder", whole.View(), want)
		for cut := 0; cut <= n; cut += 1 + 9*min(1, seed) {
			v := views[cut]
			before := v.Hash()
			snapshot := decoded(t, encoded(t, v))
			if snapshot.Hash() != before {
				t.Fatalf("a snapshot at %d differs", cut)
			}
			for _, start := range []*View{v, snapshot} {
				b := BuilderFrom(start)
				for _, c := range log[cut:] {
					if err := b.Apply(c); err != nil {
						t.Fatal(err)
					}
				}
				built := b.View()
				if built.Hash() != want.Hash() {
					t.Fatalf("seed %d: the builder from %d differs", seed, cut)
				}
				if start.Hash() != before {
					t.Fatalf("seed %d: the view of %d changed", seed, cut)
				}
				if cut%50 == 0 {
					sameView(t, "builder from a view", built, want)
					sameView(t, "snapshot", snapshot, v)
				}
			}
			if cut%20 == 0 {
				for _, c := range log[cut:] {
					var err error
					if snapshot, err = snapshot.Apply(c); err != nil {
						t.Fatal(err)
					}
				}
				if snapshot.Hash() != want.Hash() {
					t.Fatalf("apply from the snapshot at %d differs", cut)
				}
			}
		}
	}
}

// TestBuilderRefuses checks that a Builder refuses the same commits as Apply,
// with the same error, and returns no View afterwards.
func TestBuilderRefuses(t *testing.T) {
	v := New()
	b := NewBuilder()
	for _, c := range randomLog(t, 77, 50) {
		var err error
		if v, err = v.Apply(c); err != nil {
			t.Fatal(err)
		}
		if err := b.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	v = b.View()
	if b.View() != nil || b.Apply(&events.Commit{Position: v.Position() + 1}) != errSpent {
		t.Fatal("a builder still works after View")
	}
	version := v.Tenant([]byte("ta")).Version() + 1
	for _, c := range []events.Commit{
		{Position: v.Position()},
		{Position: v.Position() + 1, Events: []events.Event{events.TenantCreated{}}},
		{Position: v.Position() + 1, Tenant: "ta", TenantVersion: version + 1},
		{Position: v.Position() + 1, Tenant: "ta", TenantVersion: version, Events: []events.Event{events.TenantRenamed{Name: "x"}, events.MemberRemoved{JID: "nobody@nowhere.test"}}},
		{Position: v.Position() + 1, Tenant: "ta", TenantVersion: version, Events: []events.Event{events.RoleDefined{Name: "ra", Inherits: []string{"ra"}}}},
	} {
		_, want := v.Apply(&c)
		b := BuilderFrom(v)
		got := b.Apply(&c)
		if want == nil || got == nil || got.Error() != want.Error() {
			t.Errorf("%v, want %v", got, want)
		}
		if b.View() != nil || b.Apply(&events.Commit{Position: v.Position() + 1}) != got {
			t.Error("a builder still works after an error")
		}
	}
}

// TestBuilderFromReaders reads a View while Builders and Apply continue from
// it. The race detector reports any change of the View in place.
func TestBuilderFromReaders(t *testing.T) {
	log := randomLog(t, 5, 240)
	b := NewBuilder()
	for _, c := range log[:120] {
		if err := b.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	v := b.View()
	want, text := v.Hash(), describe(v)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 3 {
				if v.Hash() != want || describe(v) != text {
					t.Error("the view changed")
				}
			}
		})
		all.Go(func() {
			for range 3 {
				b, applied := BuilderFrom(v), v
				for _, c := range log[120:] {
					if err := b.Apply(c); err != nil {
						t.Error(err)
						return
					}
					var err error
					if applied, err = applied.Apply(c); err != nil {
						t.Error(err)
						return
					}
				}
				if b.View().Hash() != applied.Hash() {
					t.Error("builder and apply differ")
				}
			}
		})
	}
	all.Wait()
}

// TestTime checks that the time of a View never goes back.
func TestTime(t *testing.T) {
	if !New().Time().IsZero() {
		t.Error("a time without a commit")
	}
	at := time.Date(2024, 5, 6, 7, 8, 9, 1000, time.UTC)
	v, err := New().Apply(&events.Commit{Position: 1, TenantVersion: 1, Time: at})
	if err != nil || !v.Time().Equal(at) {
		t.Fatal(v.Time(), err)
	}
	if v, err = v.Apply(&events.Commit{Position: 2, TenantVersion: 2, Time: at.Add(-time.Hour)}); err != nil || !v.Time().Equal(at) {
		t.Fatal("after a commit with an earlier time:", v.Time(), err)
	}
	if !decoded(t, encoded(t, v)).Time().Equal(at) {
		t.Error("the encoding has another time")
	}
}

// accepted reports whether Decode accepts b. It checks that b is then exactly
// what Encode writes for the View.
func accepted(t *testing.T, b []byte) bool {
	t.Helper()
	v, err := Decode(bytes.NewReader(b))
	if err != nil {
		if v != nil {
			t.Fatal("an error and a view")
		}
		if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrMalformed) {
			t.Fatal("neither ErrFormat nor ErrMalformed:", err)
		}
		return false
	}
	if !bytes.Equal(encoded(t, v), b) {
		t.Fatalf("Decode accepted %x, which Encode would not write", b)
	}
	describe(v)
	return true
}

// TestDamagedEncodings cuts an encoding at every byte, which Decode must refuse.
// It also flips one bit of every byte, in the long form each bit: Decode must
// refuse the result, unless it is the encoding of another View.
func TestDamagedEncodings(t *testing.T) {
	b := encoded(t, smallView(t))
	if !accepted(t, b) || accepted(t, append(slices.Clone(b), 0)) {
		t.Fatal("the whole encoding was refused, or one with a further byte accepted")
	}
	for i := range b {
		if accepted(t, b[:i]) {
			t.Fatalf("accepted when cut at %d", i)
		}
		for bit := range 8 {
			if rounds(1) == 1 && bit != i%8 {
				continue // only the long form flips every bit
			}
			bad := slices.Clone(b)
			bad[i] ^= 1 << bit
			accepted(t, bad)
		}
	}
}

// TestByOperatorAlone checks that Decode refuses a domain or member that has the
// bit "by the operator" but is not suspended.
func TestByOperatorAlone(t *testing.T) {
	b := encoded(t, smallView(t))
	for what, change := range map[string][2]string{
		"domain": {"\x06b.test\x01\x03", "\x06b.test\x01\x02"},
		"member": {"\x01t\x2b", "\x01t\x29"},
	} {
		if bytes.Count(b, []byte(change[0])) != 1 {
			t.Fatalf("%s: the encoding does not have the bytes that this test changes", what)
		}
		if accepted(t, bytes.Replace(b, []byte(change[0]), []byte(change[1]), 1)) {
			t.Errorf("%s: accepted", what)
		}
	}
}

// smallView has every kind of fact that the encoding knows, except limits.
func smallView(t testing.TB) *View {
	l := newLog(nil)
	l.t = t
	l.commit("a", events.TenantCreated{Name: "A"},
		events.RoleDefined{Name: "r1"}, events.RoleDefined{Name: "r2", Inherits: []string{"r1"}, Deny: []string{"x:y"}},
		events.DomainAdded{Domain: "a.test", DefaultRole: "r2", Backends: []events.Backend{{Address: "h:1", Security: events.SecurityTLS}}},
		events.DomainAdded{Domain: "b.test", DefaultRole: permission.Guest},
		events.ServiceAdded{Service: "rooms.test"}, events.CeilingSet{Permissions: []string{permission.Federate.Name()}},
		events.SettingsChanged{PresenceWithoutMessages: events.PresenceRefuse, AuditAddresses: events.AuditClass},
		events.BuiltinRoleAdjusted{Name: permission.Guest, Add: []string{"x:y"}, Remove: []string{permission.MessagesRead.Name()}},
	)
	l.commit("a", events.RoleDefined{Name: "r3", Inherits: []string{"r2"}}, events.RoleDefined{Name: "r2"},
		events.MemberRolesSet{JID: "u@a.test", Role: "r3", Secondary: []string{"r2", permission.Admin}},
		events.MemberSuspended{JID: "v@a.test"}, events.MemberSuspended{JID: "t@a.test", ByOperator: true}, events.MemberSessionsEnded{JID: "w@a.test"},
		events.DomainDefaultRoleSet{Domain: "b.test", Role: permission.Admin})
	l.commit("a", events.RoleRemoved{Name: "r1"}, events.DomainSuspended{Domain: "b.test", ByOperator: true})
	l.commit("b", events.TenantCreated{Name: "B"})
	l.commit("b", events.TenantRemoved{})
	l.commit("c", events.TenantCreated{}, events.TenantSuspended{})
	l.commit("", events.TokenCreated{ID: "k1", Name: "ops", Scope: events.TokenOperator}, events.TokenCreated{ID: "k2", Tenant: "a", Expires: 1 << 40})
	l.commit("", events.TokenRevoked{ID: "k1"})
	return l.v
}

// TestFormat compares the encoding with fixed bytes. It fails if the encoding
// changes, or if the fold of these commits gives another View. If the change is
// intended, magic must change too.
func TestFormat(t *testing.T) {
	b := encoded(t, smallView(t))
	if !bytes.HasPrefix(b, []byte(magic)) {
		t.Fatal("no magic")
	}
	const want = "08000103016101410301000102010d786d70703a66656465726174650103783a79011a786d70703a6163636f756e743a6d657373616765733a72656164010000010000010000010000010207027232000000000802723301070000000306612e7465737401000701000103683a31020401742b0201751d080202070401760b020177080206622e74657374010304030200000a726f6f6d732e7465737402016201420205010163000106020000000000000000000000000000000000000000020202026b31036f707302000000000000000000000000000000000000000000000000000000000000000000000708026b32000001610000000000000000000000000000000000000000000000000000000000000000808080808020070000"
	if got := fmt.Sprintf("%x", b[len(magic)+32:]); got != want {
		t.Errorf("the encoding or the fold has changed; if this is intended, change magic too:\n%s", got)
	}
	b[len(magic)-2]++
	if _, err := Decode(bytes.NewReader(b)); !errors.Is(err, ErrFormat) {
		t.Error("another version was not refused:", err)
	}
	b[len(magic)-2]--
	b[len(magic)]++
	if _, err := Decode(bytes.NewReader(b)); !errors.Is(err, ErrFormat) {
		t.Error("another catalogue was not refused:", err)
	}
}

// TestSecurityBeside checks that every value of a backend's security is less
// than bitProxy, since both share one number.
func TestSecurityBeside(t *testing.T) {
	if n := len(events.Names[events.Security]()); n > bitProxy {
		t.Errorf("%d values of security do not fit below bit %d", n, bitProxy)
	}
}

// limitedView has tenants with limits.
func limitedView(t testing.TB) *View {
	l := newLog(nil)
	l.t = t
	l.commit("a", events.TenantCreated{Name: "A"}, events.TenantLimitsSet{MaxSessions: 300})
	l.commit("b", events.TenantCreated{Name: "B"}, events.TenantLimitsSet{MaxSessions: 1}, events.TenantSuspended{})
	l.commit("c", events.TenantCreated{Name: "C"}, events.TenantLimitsSet{MaxSessions: 1})
	l.commit("c", events.TenantRemoved{})
	l.commit("d", events.TenantCreated{Name: "D"}, events.TenantLimitsSet{MaxSessions: 1}, events.TenantLimitsSet{})
	return l.v
}

// TestLimitsEncoding checks that limits survive encoding. A bit of the tenant
// says that a limit follows. So a tenant without a limit keeps the bytes it had
// before limits existed; TestFormat compares these bytes with fixed ones.
func TestLimitsEncoding(t *testing.T) {
	b := encoded(t, limitedView(t))
	v := decoded(t, b)
	for id, want := range map[string]uint64{"a": 300, "b": 1, "d": 0} {
		if got := v.Tenant([]byte(id)).MaxSessions(); got != want {
			t.Errorf("tenant %s: %d sessions, want %d", id, got, want)
		}
	}
	if old := decoded(t, encoded(t, smallView(t))).Tenant([]byte("a")).MaxSessions(); old != 0 {
		t.Errorf("a tenant without a limit has one of %d", old)
	}
	for what, change := range map[string][2]string{
		"a limit of none":     {"\x01B\x01\x02\x06\x01", "\x01B\x01\x02\x06\x00"},
		"removed and limited": {"\x01C\x02\x04\x01", "\x01C\x02\x04\x05"},
	} {
		if bytes.Count(b, []byte(change[0])) != 1 {
			t.Fatalf("%s: the encoding does not have the bytes that this test changes", what)
		}
		if accepted(t, bytes.Replace(b, []byte(change[0]), []byte(change[1]), 1)) {
			t.Errorf("%s: accepted", what)
		}
	}
	for i := range b {
		if accepted(t, b[:i]) {
			t.Fatalf("accepted when cut at %d", i)
		}
	}
}

// TestEncodeErrors checks that Encode and Decode return the errors of their
// writer and reader, and that Decode works when it gets one byte at a time.
func TestEncodeErrors(t *testing.T) {
	v := smallView(t)
	broken := errors.New("broken")
	if err := v.Encode(brokenWriter{broken}); !errors.Is(err, broken) {
		t.Error(err)
	}
	b := encoded(t, v)
	if _, err := Decode(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(b)))); !errors.Is(err, iotest.ErrTimeout) {
		t.Error(err)
	}
	got, err := Decode(iotest.OneByteReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	sameView(t, "byte by byte", got, v)
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// FuzzDecode checks that Decode accepts only bytes that Encode writes.
func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, New())[len(magic)+32:])
	f.Add(encoded(f, smallView(f))[len(magic)+32:])
	f.Add(encoded(f, limitedView(f))[len(magic)+32:])
	catalogue := catalogueHash()
	head := append([]byte(magic), catalogue[:]...)
	f.Fuzz(func(t *testing.T, body []byte) {
		accepted(t, append(slices.Clone(head), body...))
	})
}
