package tenants

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// TestCatalogue checks that the catalogue lists every type of the package that
// can be a Change, and each under a different name.
func TestCatalogue(t *testing.T) {
	var listed, names []string
	for _, e := range Catalogue() {
		listed = append(listed, reflect.TypeOf(e.Zero).Name())
		names = append(names, e.Name)
		if noun, verb, ok := strings.Cut(e.Name, "."); !ok || noun == "" || verb == "" {
			t.Errorf("%q is not noun.verb", e.Name)
		}
	}
	slices.Sort(listed)
	slices.Sort(names)
	if len(slices.Compact(names)) != len(listed) {
		t.Error("two entries have the same name")
	}
	listed = slices.Compact(listed) // each setting has an entry
	if want := changeTypes(t); !slices.Equal(listed, want) {
		t.Errorf("the catalogue lists\n%v\nthe package has\n%v", listed, want)
	}
}

// changeTypes lists the package's types with a method check.
func changeTypes(t *testing.T) []string {
	var types []string
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.Name == "check" {
				types = append(types, fn.Recv.List[0].Type.(*ast.Ident).Name)
			}
		}
	}
	slices.Sort(types)
	return types
}

// pools holds the names for random commands. They are of two tenants, so that a
// command sometimes names parts of its own tenant and sometimes of the other.
var pools = map[string][]string{
	"place":   {"a.test", "muc.a.test", "b.test", "muc.b.test", "c.test", "A.Test", "?"},
	"account": {"x@a.test", "y@a.test", "x@b.test", "y@b.test", "x@c.test", "X@A.test", "a.test"},
	"role":    {"ra", "rb", "shared", "", permission.Guest, permission.Registered, permission.Admin, "prosody:x"},
	"perm":    {"xmpp:federate", permission.MessagesRead.Name(), permission.PresenceWrite.Name(), "acme:x", "xmpp:typo", "bad"},
	"setting": {"presence_without_messages", "audit_addresses", "presence", "?"},
}

// poolOf says which pool an argument is taken from.
var poolOf = map[string]string{
	"Setting": "setting", "Domain": "place", "Service": "place", "JID": "account",
	"Role": "role", "DefaultRole": "role", "Inherits": "role", "Secondary": "role",
	"Allow": "perm", "Deny": "perm", "Add": "perm", "Remove": "perm", "Permissions": "perm", "Ceiling": "perm",
}

// ofTenants returns the commands of the catalogue that are about a tenant.
func ofTenants() []Entry {
	return slices.DeleteFunc(Catalogue(), func(e Entry) bool { return e.Installation })
}

// fill makes a random value of any command's type.
func fill(t *testing.T, rng *rand.Rand, v reflect.Value, name string) {
	switch {
	case v.Type() == reflect.TypeFor[events.Backend]():
		v.Set(reflect.ValueOf(events.Backend{Address: fmt.Sprintf("127.0.0.1:%d", 5222+rng.IntN(3))}))
	case v.Type() == reflect.TypeFor[events.Settings]():
		s := events.Settings{}
		for setting := range events.AllSettings() {
			s = setting.In(s, uint8(rng.IntN(len(setting.Values))))
		}
		v.Set(reflect.ValueOf(s))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, rng, v.Field(i), v.Type().Field(i).Name)
		}
	case v.Kind() == reflect.Slice:
		most := 3
		if v.Type().Elem().Kind() == reflect.Struct {
			most = 2 // so that a whole tenant is valid sometimes
		}
		for range rng.IntN(most) {
			item := reflect.New(v.Type().Elem()).Elem()
			fill(t, rng, item, name)
			v.Set(reflect.Append(v, item))
		}
	case v.Kind() == reflect.Pointer:
		if yes := rng.IntN(3); yes < 2 {
			said := yes == 1
			v.Set(reflect.ValueOf(&said))
		}
	case v.Kind() == reflect.Uint8, v.Kind() == reflect.Uint64:
		v.SetUint(uint64(rng.IntN(3)))
	case name == "DisplayName":
		v.SetString(fmt.Sprintf("Name %d", rng.IntN(3)))
	default:
		pool := pools[poolOf[name]]
		if len(pool) == 0 {
			t.Fatalf("poolOf has no pool for %q: add it", name)
		}
		v.SetString(pool[rng.IntN(len(pool))])
	}
}

// TestNoCommandCrossesTenants gives random commands, of every kind in the
// catalogue, each to one of three tenants but with arguments of all of them. It
// checks that nothing changes in the other tenants.
func TestNoCommandCrossesTenants(t *testing.T) {
	accepted := map[string]int{}
	refused := map[string]int{}
	for seed := range rounds(150) {
		rng := rand.New(rand.NewPCG(uint64(seed), 6))
		w := &world{t: t, v: projections.New()}
		for _, id := range []string{"a", "b"} {
			if _, err := w.give(id, twin(id)); err != nil {
				t.Fatal(err)
			}
		}
		for range 60 {
			entry := ofTenants()[rng.IntN(len(ofTenants()))]
			c := reflect.New(reflect.TypeOf(entry.Zero)).Elem()
			fill(t, rng, c, "")
			tenant := []string{"a", "b", "c"}[rng.IntN(3)]
			before := w.v
			outcome, err := w.give(tenant, c.Interface().(Change))
			if err != nil || len(outcome.Events) == 0 {
				refused[entry.Name]++
				if w.v != before {
					t.Fatal("a refused command changed the view")
				}
				continue
			}
			accepted[entry.Name]++
			for _, other := range []string{"a", "b", "c"} {
				if other != tenant {
					sameTenant(t, before, w.v, other, entry.Name)
				}
			}
		}
	}
	for _, e := range ofTenants() {
		if accepted[e.Name] == 0 || refused[e.Name] == 0 {
			t.Errorf("%s: accepted %d times, refused %d times; want both", e.Name, accepted[e.Name], refused[e.Name])
		}
	}
}

// twin returns a tenant. Two twins have the same names, except for their domains
// and services, which must differ.
func twin(id string) CreateTenant {
	return CreateTenant{
		Domains:  []AddDomain{{Domain: id + ".test"}},
		Services: []AddService{{Service: "muc." + id + ".test"}},
		Roles:    []DefineRole{{Role: "r" + id, Inherits: []string{permission.Guest}}, {Role: "shared", Allow: []string{"xmpp:federate"}}},
		Members:  []SetMemberRoles{{JID: "x@" + id + ".test", Role: "shared"}, {JID: "y@" + id + ".test", Role: "r" + id}},
	}
}

// sameTenant compares all facts about a tenant in two views.
func sameTenant(t *testing.T, before, after *projections.View, id, command string) {
	t.Helper()
	was, is := before.Tenant([]byte(id)), after.Tenant([]byte(id))
	if was != is {
		t.Fatalf("%s for another tenant replaced tenant %s", command, id)
	}
	if was == nil {
		return
	}
	for _, place := range pools["place"] {
		o1, k1 := before.Owner([]byte(place))
		o2, k2 := after.Owner([]byte(place))
		if (o1 == was) != (o2 == is) || o1 == was && k1 != k2 {
			t.Fatalf("%s for another tenant changed who owns %s of tenant %s", command, place, id)
		}
		if is.HostKind([]byte(place)) != was.HostKind([]byte(place)) {
			t.Fatalf("%s for another tenant changed place %s of tenant %s", command, place, id)
		}
	}
	for _, account := range pools["account"] {
		_, domain, _ := strings.Cut(account, "@")
		s1, ok1 := was.Access([]byte(account), []byte(domain))
		s2, ok2 := is.Access([]byte(account), []byte(domain))
		if s1 != s2 || ok1 != ok2 {
			t.Fatalf("%s for another tenant changed %s: %+v, then %+v", command, account, s1, s2)
		}
	}
}

// TestAgain gives each accepted command twice. The second time it must change
// nothing or be refused, except for the command that ends sessions.
func TestAgain(t *testing.T) {
	for seed := range rounds(60) {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		w := &world{t: t, v: projections.New()}
		if _, err := w.give("a", twin("a")); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			entry := ofTenants()[rng.IntN(len(ofTenants()))]
			v := reflect.New(reflect.TypeOf(entry.Zero)).Elem()
			fill(t, rng, v, "")
			c := v.Interface().(Change)
			if _, err := w.give("a", c); err != nil {
				continue
			}
			outcome, err := w.give("a", c)
			if _, ends := c.(EndMemberSessions); err == nil && len(outcome.Events) > 0 && !ends {
				t.Fatalf("%s %+v did something twice: %v", entry.Name, c, outcome.Events)
			}
		}
	}
}

// TestCommand checks the rules for the fields of a Command other than Change.
func TestCommand(t *testing.T) {
	w := &world{t: t, v: projections.New()}
	for _, id := range []string{"a", "b"} {
		if _, err := w.give(id, twin(id)); err != nil {
			t.Fatal(err)
		}
	}
	operator := Actor{Name: "operator:root", Operator: true}
	admin := Actor{Name: "tenant:a:ann", Tenant: "a"}
	define := DefineRole{Role: "new"}
	many := CreateTenant{Domains: []AddDomain{{Domain: "many.test"}}}
	for i := range 40_000 {
		many.Members = append(many.Members, SetMemberRoles{JID: fmt.Sprintf("user%d@many.test", i), Role: permission.Guest})
	}
	for _, tt := range []struct {
		name string
		c    Command
		want Code // empty: accepted
	}{
		{"operator", Command{Tenant: "b", Actor: operator, ID: "1", Change: define}, ""},
		{"own tenant", Command{Tenant: "a", Actor: admin, ID: "1", Change: define}, ""},
		{"reason", Command{Tenant: "a", Actor: admin, ID: "1", Reason: "because of Zoë", Change: define}, ""},
		{"version", Command{Tenant: "a", Actor: admin, ID: "1", IfVersion: 1, Change: define}, ""},
		{"other tenant", Command{Tenant: "b", Actor: admin, ID: "1", Change: define}, Forbidden},
		{"no tenant", Command{Actor: Actor{Name: "x"}, ID: "1", Change: define}, Forbidden},
		{"nobody", Command{Tenant: "a", ID: "1", Change: define}, Forbidden},
		{"ceiling", Command{Tenant: "a", Actor: admin, ID: "1", Change: SetCeiling{}}, Forbidden},
		{"limits", Command{Tenant: "a", Actor: admin, ID: "1", Change: SetLimits{300}}, Forbidden},
		{"service", Command{Tenant: "a", Actor: admin, ID: "1", Change: AddService{"gmail.test"}}, Forbidden},
		{"create", Command{Tenant: "z", Actor: Actor{Name: "x", Tenant: "z"}, ID: "1", Change: CreateTenant{}}, Forbidden},
		{"no change", Command{Tenant: "a", Actor: operator, ID: "1"}, Invalid},
		{"no id", Command{Tenant: "a", Actor: operator, Change: define}, Invalid},
		{"id with a space", Command{Tenant: "a", Actor: operator, ID: "a b", Change: define}, Invalid},
		{"id not ASCII", Command{Tenant: "a", Actor: operator, ID: "é", Change: define}, Invalid},
		{"long id", Command{Tenant: "a", Actor: operator, ID: strings.Repeat("x", 65), Change: define}, Invalid},
		{"no actor", Command{Tenant: "a", Actor: Actor{Operator: true}, ID: "1", Change: define}, Invalid},
		{"long reason", Command{Tenant: "a", Actor: operator, ID: "1", Reason: strings.Repeat("é", 513), Change: define}, Invalid},
		{"reason of two lines", Command{Tenant: "a", Actor: operator, ID: "1", Reason: "a\nb", Change: define}, Invalid},
		{"other version", Command{Tenant: "a", Actor: operator, ID: "1", IfVersion: 2, Change: define}, Conflict},
		{"unknown tenant", Command{Tenant: "z", Actor: operator, ID: "1", Change: define}, NotFound},
		{"not one record", Command{Tenant: "z", Actor: operator, ID: "1", Change: many}, Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outcome, err := tt.c.Check(w.v)
			if tt.want == "" {
				if err != nil || len(outcome.Events) == 0 {
					t.Fatalf("%v %v", outcome, err)
				}
				return
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.Code != tt.want || len(outcome.Events) > 0 {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
		})
	}
	if _, err := Check(w.v, "z", many); err != nil {
		t.Errorf("many members, without the bound of a commit: %v", err)
	}
}

// TestOperatorOnly compares the commands for operators only with a fixed list,
// so that a change to it is made on purpose.
func TestOperatorOnly(t *testing.T) {
	var list []string
	for _, e := range Catalogue() {
		if e.Operator {
			list = append(list, e.Name)
		}
	}
	want := "tenant.create tenant.suspend tenant.resume tenant.remove tenant.set-ceiling tenant.set-limits domain.add domain.set-backends service.add token.create token.revoke shared-service.add shared-service.remove gateway.add gateway.remove"
	if got := strings.Join(list, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestLimits checks that each bound can be reached but not exceeded.
func TestLimits(t *testing.T) {
	numbered := func(format string, n int) []string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(format, i))
		}
		return list
	}
	chain := func(n int) CreateTenant {
		var c CreateTenant
		below := permission.Operator // the fifth role of the built-in chain
		for i := range n - len(permission.BuiltinRoles()) {
			name := fmt.Sprintf("r%d", i)
			c.Roles = append(c.Roles, DefineRole{Role: name, Inherits: []string{below}})
			below = name
		}
		slices.Reverse(c.Roles)
		return c
	}
	roles := func(n int) (c CreateTenant) {
		for _, name := range numbered("r%d", n) {
			c.Roles = append(c.Roles, DefineRole{Role: name})
		}
		return c
	}
	parents := func(n int) CreateTenant {
		c := roles(n)
		c.Roles = append(c.Roles, DefineRole{Role: "last", Inherits: numbered("r%d", n)})
		return c
	}
	domains := func(n int) (c CreateTenant) {
		for _, name := range numbered("d%d.test", n) {
			c.Domains = append(c.Domains, AddDomain{Domain: name})
		}
		return c
	}
	services := func(n int) (c CreateTenant) {
		for _, name := range numbered("s%d.test", n) {
			c.Services = append(c.Services, AddService{name})
		}
		return c
	}
	secondary := func(n int) CreateTenant {
		c := roles(n)
		c.Domains = []AddDomain{{Domain: "d.test"}}
		c.Members = []SetMemberRoles{{JID: "x@d.test", Secondary: numbered("r%d", n)}}
		return c
	}
	for _, tt := range []struct {
		name string
		most int
		make func(int) CreateTenant
	}{
		{"depth", MaxDepth, chain},
		{"roles", MaxRoles, roles},
		{"parents", MaxParents, parents},
		{"domains", MaxDomains, domains},
		{"services", MaxServices, services},
		{"secondary", MaxSecondary, secondary},
		{"permissions", MaxPermissions, func(n int) CreateTenant { return CreateTenant{Ceiling: numbered("x:%d", n)} }},
		{"backends", MaxBackends, func(n int) CreateTenant {
			c := domains(1)
			for i := range n {
				c.Domains[0].Backends = append(c.Domains[0].Backends, events.Backend{Address: fmt.Sprintf("127.0.0.1:%d", i+1)})
			}
			return c
		}},
		{"tenant id", MaxTenantID, func(int) CreateTenant { return CreateTenant{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range []int{tt.most, tt.most + 1} {
				id := "t"
				if tt.name == "tenant id" {
					id = strings.Repeat("t", n)
				}
				_, err := Check(projections.New(), id, tt.make(n))
				if (err == nil) != (n == tt.most) {
					t.Errorf("%d of at most %d: %v", n, tt.most, err)
				}
			}
		})
	}
	// One role beyond the bound, defined by a command of its own.
	w := &world{t: t, v: projections.New()}
	if _, err := w.give("t", roles(MaxRoles)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.give("t", DefineRole{Role: "one-more"}); err == nil {
		t.Error("one role beyond the bound was accepted")
	}
	if _, err := w.give("t", DefineRole{Role: "r0", Allow: []string{"x:y"}}); err != nil {
		t.Errorf("redefining at the bound: %v", err)
	}
}

// rounds is the number of rounds of a test: short, or more in the long form.
func rounds(short int) int {
	if os.Getenv("POSTERN_SOAK") == "1" {
		return 50 * short
	}
	return short
}
