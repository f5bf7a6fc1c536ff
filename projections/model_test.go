package projections

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// rounds is the number of rounds of a test: short, or 50 times as many in the
// long form.
func rounds(short int) int {
	if os.Getenv("POSTERN_SOAK") == "1" {
		return 50 * short
	}
	return short
}

// modelRole is the definition of a role in the model.
type modelRole struct{ yes, no, parents []string }

// modelTenant implements the role rules a second time, as simply as possible.
type modelTenant struct {
	roles   map[string]modelRole
	ceiling []string
}

// answer returns "yes" or "no", or "" if the role and all its parents are silent.
func (m modelTenant) answer(role, perm string) string {
	r := m.roles[role]
	if slices.Contains(r.no, perm) {
		return "no"
	}
	if slices.Contains(r.yes, perm) {
		return "yes"
	}
	for _, p := range r.parents {
		if a := m.answer(p, perm); a != "" {
			return a
		}
	}
	return ""
}

func (m modelTenant) grants(role, perm string) bool {
	return m.answer(role, perm) == "yes" && !slices.Contains(m.ceiling, perm)
}

// reaches reports whether the role from is to, or inherits from it.
func (m modelTenant) reaches(from, to string) bool {
	return from == to || slices.ContainsFunc(m.roles[from].parents, func(p string) bool { return m.reaches(p, to) })
}

func builtinModel() modelTenant {
	m := modelTenant{roles: map[string]modelRole{}}
	below := []string(nil)
	for _, b := range permission.BuiltinRoles() {
		m.roles[b.Name] = modelRole{yes: b.Gives.Names(), parents: below}
		below = []string{b.Name}
	}
	return m
}

// some returns up to most random elements of a list, in random order.
func some(rng *rand.Rand, list []string, most int) []string {
	out := slices.Clone(list)
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:rng.IntN(min(most, len(out))+1)]
}

// TestRoleRules compares the compiled masks and the look-up by name with the
// model. The roles form random graphs and are defined, redefined and adjusted.
func TestRoleRules(t *testing.T) {
	names := []string{"acme:x", "acme:y", "xmpp:account"}
	for p := range permission.All() {
		names = append(names, p.Name())
	}
	for seed := range rounds(60) {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		l, m := newLog(t), builtinModel()
		l.commit("t", events.TenantCreated{})
		pool := some(rng, names, 8) // few names, so that roles disagree
		for range 40 {
			e := modelStep(rng, m, pool)
			before := l.v.Tenant([]byte("t"))
			err := l.try("t", e)
			if refuses(m, e) != (err != nil) {
				t.Fatalf("seed %d: %s: %v", seed, events.Describe(e), err)
			}
			if err != nil {
				if l.v.Tenant([]byte("t")) != before {
					t.Fatal("a refused commit changed the view")
				}
				continue
			}
			m.apply(e)
			compareRoles(t, l.v.Tenant([]byte("t")), m, names)
		}
	}
}

func modelStep(rng *rand.Rand, m modelTenant, pool []string) events.Event {
	roles := slices.Sorted(maps.Keys(m.roles))
	switch rng.IntN(8) {
	case 0:
		return events.CeilingSet{Permissions: some(rng, pool, 2)}
	case 1:
		return events.BuiltinRoleAdjusted{
			Name: permission.BuiltinRoles()[rng.IntN(5)].Name, Add: some(rng, pool, 3), Remove: some(rng, pool, 3),
		}
	}
	return events.RoleDefined{
		Name: "r" + string(rune('a'+rng.IntN(10))), Inherits: some(rng, roles, 3), Allow: some(rng, pool, 3), Deny: some(rng, pool, 3),
	}
}

// refuses reports whether a definition makes a role inherit from itself.
func refuses(m modelTenant, e events.Event) bool {
	d, ok := e.(events.RoleDefined)
	return ok && slices.ContainsFunc(d.Inherits, func(p string) bool { return m.reaches(p, d.Name) })
}

func (m *modelTenant) apply(e events.Event) {
	switch e := e.(type) {
	case events.CeilingSet:
		m.ceiling = e.Permissions
	case events.BuiltinRoleAdjusted:
		r := builtinModel().roles[e.Name]
		m.roles[e.Name] = modelRole{append(r.yes, e.Add...), e.Remove, r.parents}
	case events.RoleDefined:
		m.roles[e.Name] = modelRole{e.Allow, e.Deny, e.Inherits}
	}
}

func compareRoles(t *testing.T, tn *Tenant, m modelTenant, names []string) {
	t.Helper()
	for role := range m.roles {
		info, ok := tn.Role(role)
		if !ok {
			t.Fatalf("no role %s", role)
		}
		for _, name := range names {
			want := m.grants(role, name)
			if got := tn.Grants(role, name); got != want {
				t.Fatalf("%s %s: look-up says %v, want %v", role, name, got, want)
			}
			if p, known := permission.ByName(name); known && info.Effective.Has(p) != want {
				t.Fatalf("%s %s: the mask says %v, want %v", role, name, !want, want)
			}
		}
	}
}

// observed holds the facts about an account at one position that can cause a
// revocation of its sessions.
type observed struct {
	role   string
	reset  permission.Set  // the permissions in resets that the account has
	there  bool            // its domain exists
	ended  bool            // the event named the account, its domain or tenant, and so revoked its sessions
	own    bool            // it has a role of its own
	oldest events.Position // sessions opened before this are revoked
}

// TestRevokedAt compares Access.RevokedAt with its rule, on random histories. A
// session opened at p must be revoked at q exactly if one of these happened in
// between: the account's domain was removed, an event revoked its sessions, its
// primary role changed, or its role lost a permission in resets.
func TestRevokedAt(t *testing.T) {
	for seed := range rounds(40) {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		l := newLog(t)
		l.commit("t", events.TenantCreated{}, events.RoleDefined{Name: "r0"}, events.RoleDefined{Name: "r1", Inherits: []string{permission.Guest}})
		accounts := []string{"a@x.test", "b@x.test", "a@y.test"}
		history := map[string][]observed{}
		for range 120 {
			e := endingStep(rng, accounts)
			if l.try("t", e) != nil {
				continue
			}
			tn := l.v.Tenant([]byte("t"))
			for _, account := range accounts {
				history[account] = append(history[account], observe(tn, account, e, l.v.Position()))
				checkRevokedAt(t, seed, account, history[account], events.Describe(e))
			}
		}
	}
}

func endingStep(rng *rand.Rand, accounts []string) events.Event {
	account := accounts[rng.IntN(len(accounts))]
	domain := []string{"x.test", "y.test"}[rng.IntN(2)]
	roles := []string{"r0", "r1", permission.Guest, permission.Registered}
	role := roles[rng.IntN(len(roles))]
	lossy := []string{permission.MessagesRead.Name(), permission.PresenceWrite.Name(), permission.Federate.Name()}
	switch rng.IntN(16) {
	case 0, 1, 2:
		return events.MemberRolesSet{JID: account, Role: role, Secondary: some(rng, roles, 2)}
	case 3:
		return events.MemberRolesSet{JID: account}
	case 4:
		return events.MemberRemoved{JID: account}
	case 5:
		return events.MemberSuspended{JID: account, ByOperator: rng.IntN(2) == 0}
	case 6:
		return events.MemberResumed{JID: account}
	case 7:
		return events.MemberSessionsEnded{JID: account}
	case 8:
		return events.DomainDefaultRoleSet{Domain: domain, Role: role}
	case 9:
		return events.DomainSuspended{Domain: domain, ByOperator: rng.IntN(2) == 0}
	case 10:
		return events.DomainRemoved{Domain: domain}
	case 11, 12:
		return events.DomainAdded{Domain: domain, DefaultRole: role}
	case 13:
		return events.CeilingSet{Permissions: some(rng, lossy, 1)}
	case 14:
		return events.RoleDefined{Name: roles[rng.IntN(2)], Inherits: []string{permission.Guest}, Deny: some(rng, lossy, 2)}
	}
	return events.TenantSuspended{}
}

func observe(tn *Tenant, account string, e events.Event, at events.Position) observed {
	_, domain, _ := strings.Cut(account, "@")
	s, ok := tn.Access([]byte(account), []byte(domain))
	m, _ := tn.Member(account)
	o := observed{role: s.Role, reset: s.Effective & resets, there: ok, own: m.Role != "", oldest: s.RevokedAt}
	switch e := e.(type) {
	case events.MemberRemoved:
		o.ended = e.JID == account
	case events.MemberSuspended:
		o.ended = e.JID == account
	case events.MemberSessionsEnded:
		o.ended = e.JID == account
	case events.DomainSuspended:
		o.ended = e.Domain == domain
	case events.TenantSuspended:
		o.ended = true
	}
	return o
}

// checkRevokedAt checks the newest observation against all earlier ones. The
// history begins after the first commit of the test, so its positions begin
// with 2.
func checkRevokedAt(t *testing.T, seed int, account string, h []observed, last string) {
	t.Helper()
	now := h[len(h)-1]
	if !now.there {
		return
	}
	over := false
	for i := len(h) - 2; i >= 0; i-- {
		then, next := h[i], h[i+1]
		over = over || !then.there || next.ended || next.role != then.role || then.reset.Minus(next.reset) != 0
		opened := events.Position(i + 2)
		if over && now.oldest <= opened {
			t.Fatalf("seed %d: %s: a session opened at %d is not revoked at %d (%s)", seed, account, opened, len(h)+1, last)
		}
		if !over && then.there && now.oldest > opened && !excused(h[i:]) {
			t.Fatalf("seed %d: %s: a session opened at %d is revoked at %d without a reason (%s)", seed, account, opened, len(h)+1, last)
		}
	}
}

// excused reports whether a session may be revoked although the rule does not
// ask for it. This happens when an account loses a role of its own that is the
// same as its domain's default role. From then on all revocations for accounts
// without a role of their own apply to the account, including earlier revocations.
// The extra revocation is harmless.
func excused(h []observed) bool {
	for i := 1; i < len(h); i++ {
		if h[i-1].own && !h[i].own {
			return true
		}
	}
	return false
}

// TestOldViews checks that a View does not change after it is made.
func TestOldViews(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	l := newLog(t)
	l.commit("t", events.TenantCreated{}, events.DomainAdded{Domain: "x.test", DefaultRole: permission.Guest}, events.DomainAdded{Domain: "y.test", DefaultRole: permission.Guest})
	type kept struct {
		v    *View
		dump string
	}
	var views []kept
	for i := range 2000 {
		account := fmt.Sprintf("u%d@%s", rng.IntN(600), []string{"x.test", "y.test"}[rng.IntN(2)])
		e := endingStep(rng, []string{account})
		switch e.(type) {
		case events.DomainRemoved, events.DomainAdded:
			continue
		}
		if l.try("t", e) == nil && i%50 == 0 {
			views = append(views, kept{l.v, dump(l.v.Tenant([]byte("t")))})
		}
	}
	for _, k := range views {
		if got := dump(k.v.Tenant([]byte("t"))); got != k.dump {
			t.Fatalf("the view of position %d changed", k.v.Position())
		}
	}
}

// TestMembers compares members with a plain map.
func TestMembers(t *testing.T) {
	for seed := range rounds(4) {
		rng := rand.New(rand.NewPCG(uint64(seed), 4))
		hashSeed := maphash.MakeSeed()
		var ms members
		by := new(owner)
		want := map[string]member{}
		for range 8000 {
			rec := member{local: localpart(rng), revokedAt: events.Position(rng.Uint64()), role: roleRef(rng.Uint32()), flags: flagListed}
			for range rng.IntN(3) * rng.IntN(4) {
				rec.secondary = append(rec.secondary, roleRef(rng.Uint32()))
			}
			if rec.secondary != nil {
				rec.flags |= flagSecondary
			}
			if rng.IntN(100) == 0 {
				by = new(owner) // from now on, leaves made so far are copied
			}
			if err := ms.put(by, hashSeed, maphash.String(hashSeed, rec.local), rec); err != nil {
				t.Fatal(err)
			}
			want[rec.local] = rec
		}
		n := 0
		for got := range ms.all() {
			n++
			checkMember(t, got.unpack(string(got.local)), want[string(got.local)])
		}
		if n != len(want) {
			t.Fatalf("%d records, want %d", n, len(want))
		}
		for name, rec := range want {
			checkMember(t, ms.get(maphash.String(hashSeed, name), name), rec)
			other := name + "!"
			if r := ms.find(maphash.String(hashSeed, other), []byte(other)); len(r.local) != 0 {
				t.Fatal("found an account that was never put")
			}
		}
	}
}

// localpart returns a random localpart, mostly a short one and sometimes one of
// maxLocal bytes. The pool is small, so that records are replaced too.
func localpart(rng *rand.Rand) string {
	name := fmt.Sprintf("user%d", rng.IntN(4000))
	if rng.IntN(20) == 0 {
		name = strings.Repeat("x", maxLocal-len(name)) + name
	}
	return name
}

func checkMember(t *testing.T, got, want member) {
	t.Helper()
	if got.local != want.local || got.revokedAt != want.revokedAt || got.role != want.role || got.flags != want.flags || !slices.Equal(got.secondary, want.secondary) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

// TestCrowded overfills a leaf at maxDepth, which a keyed hash does not do.
func TestCrowded(t *testing.T) {
	p := packer{seed: maphash.MakeSeed()}
	var records [][]byte
	for i := range maxMembers + 1 {
		records = append(records, (&member{local: fmt.Sprint(i)}).pack(nil))
	}
	if _, err := p.split(records, maxDepth); err != errCrowded {
		t.Fatal(err)
	}
	if _, err := p.split(records[1:], maxDepth); err != nil {
		t.Fatal(err)
	}
}

// TestTable compares a table with a plain map.
func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	seed := maphash.MakeSeed()
	var tab table[int]
	by := new(owner)
	want := map[string]int{}
	for i := range 20000 {
		if rng.IntN(50) == 0 {
			by = new(owner)
		}
		key := fmt.Sprint(rng.IntN(3000))
		hash := maphash.String(seed, key)
		if rng.IntN(3) == 0 {
			tab.remove(by, hash, key)
			delete(want, key)
		} else {
			tab.put(by, hash, key, i)
			want[key] = i
		}
		if tab.len != len(want) {
			t.Fatalf("len %d, want %d", tab.len, len(want))
		}
	}
	if got := maps.Collect(tab.all()); !maps.Equal(got, want) {
		t.Fatal("the tables differ")
	}
	for key := range 3000 {
		name := fmt.Sprint(key)
		got, ok := tab.get(maphash.String(seed, name), []byte(name))
		if w, there := want[name]; ok != there || got != w {
			t.Fatalf("%s: %d %v, want %d %v", name, got, ok, w, there)
		}
	}
}

// TestNoAllocation checks that the look-ups of a decision allocate nothing.
func TestNoAllocation(t *testing.T) {
	v := crowd(t, 3, 500)
	q := asked{[]byte(tenantID(1)), []byte(local(77) + "@" + domainName(1)), []byte(domainName(1))}
	n := testing.AllocsPerRun(100, func() {
		tn := v.Tenant(q.tenant)
		if _, ok := tn.Access(q.account, q.domain); !ok || tn.HostKind(q.domain) != Domain {
			t.Fatal("not found")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestApplyRefuses checks that Apply refuses a commit with a wrong position,
// version or tenant, or with an event that does not belong into it.
func TestApplyRefuses(t *testing.T) {
	l := newLog(t)
	l.commit("t", events.TenantCreated{})
	for _, c := range []events.Commit{
		{Position: 1, Tenant: "t", TenantVersion: 2},
		{Position: 3, Tenant: "t", TenantVersion: 2},
		{Position: 2, Tenant: "t", TenantVersion: 1},
		{Position: 2, Tenant: "t", TenantVersion: 3},
		{Position: 2, Tenant: "u", TenantVersion: 1},
		{Position: 2, Tenant: "u", TenantVersion: 2, Events: []events.Event{events.TenantCreated{}}},
		{Position: 2, TenantVersion: 1, Events: []events.Event{events.TenantCreated{}}},
		{Position: 2, TenantVersion: 2, Events: []events.Event{events.TokenCreated{ID: "i", Name: "n", Tenant: "t"}}},
		{Position: 2, TenantVersion: 1, Events: []events.Event{events.TokenCreated{ID: "i", Name: "n"}}},
		{Position: 2, TenantVersion: 1, Events: []events.Event{events.TokenRevoked{ID: "i"}}},
		{Position: 2, Tenant: "t", TenantVersion: 2, Events: []events.Event{events.TokenCreated{ID: "i", Name: "n", Tenant: "t"}}},
		{Position: 2, TenantVersion: 1, Events: []events.Event{events.GatewayRemoved{ID: "g"}}},
		{Position: 2, Tenant: "t", TenantVersion: 2, Events: []events.Event{events.GatewayAdded{ID: "g", PublicKey: "k"}}},
		{Position: 2, Tenant: "t", TenantVersion: 2, Events: []events.Event{nil}},
	} {
		if _, err := l.v.Apply(&c); err == nil {
			t.Errorf("%+v was applied", c)
		}
	}
	if v, err := l.v.Apply(&events.Commit{Position: 2, TenantVersion: 1}); err != nil || v.Position() != 2 {
		t.Error("a commit of the installation without events was refused:", err)
	}
}

// TestPages reads all members page by page.
func TestPages(t *testing.T) {
	v := crowd(t, 1, 1234)
	tn := v.Tenant([]byte(tenantID(0)))
	var got []string
	for after := ""; ; {
		page := tn.MembersAfter(after, 100)
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			got = append(got, m.JID)
		}
		after = page[len(page)-1].JID
	}
	if len(got) != 1234 || !slices.IsSorted(got) || len(slices.Compact(got)) != 1234 {
		t.Fatalf("%d members", len(got))
	}
	if tn.MembersAfter("", 0) != nil {
		t.Error("a page of size 0 is not empty")
	}
}
