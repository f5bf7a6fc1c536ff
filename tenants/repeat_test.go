package tenants

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// commitOf returns the commit that a command made.
func commitOf(c *Command) *events.Commit {
	return &events.Commit{Tenant: c.Tenant, Actor: c.Actor.Name, CommandID: c.ID, CommandHash: c.Hash()}
}

// same reports whether a command repeats another.
func same(a, b *Command) bool { return a.Repeats(commitOf(b)) == nil }

// TestRepeats compares random commands of every kind. A command must repeat
// itself. It must repeat another command exactly if all their fields are equal.
func TestRepeats(t *testing.T) {
	alike := 0
	for seed := range rounds(30) {
		rng := rand.New(rand.NewPCG(uint64(seed), 9))
		var list []Command
		var commits []*events.Commit
		for range 80 {
			entry := ofTenants()[rng.IntN(len(ofTenants()))]
			v := reflect.New(reflect.TypeOf(entry.Zero)).Elem()
			fill(t, rng, v, "")
			list = append(list, Command{
				Tenant: []string{"a", "b"}[rng.IntN(2)], ID: "1", Change: v.Interface().(Change),
				Actor: Actor{Name: []string{"x", "y"}[rng.IntN(2)], Operator: rng.IntN(2) == 0},
			})
			commits = append(commits, commitOf(&list[len(list)-1]))
		}
		for i := range list {
			if list[i].Repeats(commits[i]) != nil {
				t.Fatalf("%+v does not repeat itself", list[i])
			}
			for j := range list {
				a, b := &list[i], &list[j]
				equal := reflect.DeepEqual(*a, *b)
				if commits[i].CommandHash == commits[j].CommandHash != equal {
					t.Fatalf("equal %v, but repeats %v:\n%+v\n%+v", equal, !equal, a, b)
				}
				if equal && i != j {
					alike++
				}
			}
		}
	}
	if alike < 30 {
		t.Errorf("only %d pairs were equal: the test tries too few", alike)
	}
}

// TestRepeatsEachField changes each field of each command and of the actor, down
// to the elements of lists. The result must count as another command. Fields are
// found by reflection, so new ones are tested too.
func TestRepeatsEachField(t *testing.T) {
	full := Command{Tenant: "a", ID: "1"}
	fillAll(reflect.ValueOf(&full.Actor).Elem())
	tried := 0
	for _, entry := range Catalogue() {
		v := reflect.New(reflect.TypeOf(entry.Zero)).Elem()
		fillAll(v)
		full.Change = v.Interface().(Change)
		first := commitOf(&full)
		eachChange(v, "", func(where string) {
			tried++
			changed := full
			changed.Change = v.Interface().(Change)
			if changed.Repeats(first) == nil {
				t.Errorf("%s: with another %s it counts as the same", entry.Name, where)
			}
		})
		if full.Change = v.Interface().(Change); full.Repeats(first) != nil {
			t.Fatalf("%s: the test left something changed", entry.Name)
		}
		actor := reflect.ValueOf(&full.Actor).Elem()
		eachChange(actor, "", func(where string) {
			if full.Repeats(first) == nil {
				t.Errorf("%s: with another %s of the actor it counts as the same", entry.Name, where)
			}
		})
		for _, other := range Catalogue() {
			c := full
			if c.Change = other.Zero; c.Repeats(first) == nil && other.Name != entry.Name {
				t.Errorf("%s counts as %s", other.Name, entry.Name)
			}
		}
	}
	if tried < 150 {
		t.Errorf("only %d changes were tried", tried)
	}
}

// fillAll gives each field a value that is not zero, and each list two
// elements.
func fillAll(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillAll(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillAll(v.Index(0))
		fillAll(v.Index(1))
	case reflect.Array:
		for i := range v.Len() {
			fillAll(v.Index(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillAll(v.Elem())
	case reflect.String:
		v.SetString("ab")
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.SetUint(1)
	}
}

// eachChange makes every possible single change to v, one at a time. It calls
// see after each and then undoes it.
func eachChange(v reflect.Value, where string, see func(where string)) {
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	try := func(to reflect.Value) {
		v.Set(to)
		see(strings.TrimPrefix(where, "."))
		v.Set(was)
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			eachChange(v.Field(i), where+"."+v.Type().Field(i).Name, see)
		}
		return
	case reflect.Slice:
		try(reflect.Zero(v.Type()))
		try(v.Slice(0, 1))
		longer := reflect.MakeSlice(v.Type(), 3, 3)
		reflect.Copy(longer, v)
		try(longer)
		copied := reflect.MakeSlice(v.Type(), 2, 2)
		reflect.Copy(copied, v)
		v.Set(copied)
		for i := range 2 {
			eachChange(v.Index(i), fmt.Sprintf("%s[%d]", where, i), see)
		}
		v.Set(was)
	case reflect.Array:
		for i := range v.Len() {
			eachChange(v.Index(i), fmt.Sprintf("%s[%d]", where, i), see)
		}
	case reflect.Pointer:
		try(reflect.Zero(v.Type()))
		to := reflect.New(v.Type().Elem()) // a pointer to the zero value differs from nil
		try(to)
	case reflect.String:
		for _, s := range []string{"", "a", "aB", "ab ", "ab\x00"} {
			try(reflect.ValueOf(s).Convert(v.Type()))
		}
	case reflect.Bool:
		try(reflect.ValueOf(false).Convert(v.Type()))
	default:
		for _, n := range []uint64{0, 2, 3} {
			to := reflect.New(v.Type()).Elem()
			to.SetUint(n)
			try(to)
		}
	}
}

// TestRepeatsNoOther compares commands that would have the same hash if the
// encoding held no lengths or no names.
func TestRepeatsNoOther(t *testing.T) {
	no := false
	for _, pair := range [][2]Change{
		{DefineRole{Role: "r", Allow: []string{"a:x"}}, DefineRole{Role: "r", Deny: []string{"a:x"}}},
		{DefineRole{Role: "r", Allow: []string{"a:x", "a:y"}}, DefineRole{Role: "r", Allow: []string{"a:x"}, Deny: []string{"a:y"}}},
		{SetCeiling{[]string{"ab", "c"}}, SetCeiling{[]string{"a", "bc"}}},
		{SetCeiling{[]string{"abc"}}, SetCeiling{[]string{"ab", "c"}}},
		{SetCeiling{[]string{"a", ""}}, SetCeiling{[]string{"a"}}},
		{SetLimits{}, SetLimits{1}},
		{SetLimits{1}, SetLimits{11}},
		{SetDomainDefaultRole{"ab", "c"}, SetDomainDefaultRole{"a", "bc"}},
		{SetMemberRoles{JID: "j", Role: "r"}, SetMemberRoles{JID: "j", Secondary: []string{"r"}}},
		{SetMemberRoles{JID: "j"}, SetMemberRoles{JID: "j", Suspended: &no}},
		{SuspendMember{"j"}, ResumeMember{"j"}},
		{CreateTenant{DisplayName: "x"}, ApplyTenant{DisplayName: "x"}},
		{SetSetting{"presence_without_messages", 1}, SetSetting{"audit_addresses", 1}},
		{AddDomain{Domain: "d"}, AddDomain{Domain: "d", DefaultRole: "r"}},
		{AddDomain{Domain: "d"}, AddDomain{Domain: "d", Backends: []events.Backend{{Address: "b:1"}}}},
		{ApplyTenant{Members: []SetMemberRoles{{JID: "a"}, {JID: "b", Role: "r"}}}, ApplyTenant{Members: []SetMemberRoles{{JID: "a", Role: "b"}, {JID: "r"}}}},
	} {
		for _, p := range [][2]Change{pair, {pair[1], pair[0]}} {
			a, b := Command{Tenant: "a", Change: p[0]}, Command{Tenant: "a", Change: p[1]}
			if same(&a, &b) {
				t.Errorf("%s %+v counts as %s %+v", p[0].Name(), p[0], p[1].Name(), p[1])
			}
		}
	}
	a, b := Command{Tenant: "ab", Actor: Actor{Name: "c"}, Change: SuspendTenant{}}, Command{Tenant: "a", Actor: Actor{Name: "bc"}, Change: SuspendTenant{}}
	if same(&a, &b) {
		t.Error("a command hashes the same after a letter moved from the tenant to the actor")
	}
}

// TestRepeatsWhyAndWhen checks that a change of the reason or of IfVersion, or an
// empty list instead of nil, does not make another command.
func TestRepeatsWhyAndWhen(t *testing.T) {
	first := Command{Tenant: "a", Actor: Actor{Name: "x"}, ID: "1", Reason: "why", IfVersion: 7, Change: SetDomainBackends{Domain: "d"}}
	again := first
	again.Reason, again.IfVersion, again.Change = "why not", 8, SetDomainBackends{"d", []events.Backend{}}
	if !same(&again, &first) {
		t.Error("it counts as another command")
	}
}

// TestRepeatsOfOld checks that no command repeats a commit without a hash.
func TestRepeatsOfOld(t *testing.T) {
	w := &world{t: t, v: projections.New()}
	outcome, err := w.give("a", CreateTenant{})
	if err != nil {
		t.Fatal(err)
	}
	c := Command{Tenant: "a", Actor: Actor{Name: "x", Operator: true}, ID: "1", Change: CreateTenant{}}
	old := &events.Commit{Position: 17, Tenant: "a", Actor: "x", CommandID: "1", Events: outcome.Events}
	if err := c.Repeats(old); err == nil || !strings.Contains(err.Error(), "at position 17") {
		t.Errorf("%v", err)
	}
}

// TestHash compares a hash with a fixed value. If the encoding changed, no
// command would count as a repetition of a command from before the change.
func TestHash(t *testing.T) {
	yes := true
	c := Command{Tenant: "acme", Actor: Actor{Name: "token:0123", Tenant: "acme", Token: "0123"}, ID: "1", Change: ApplyTenant{
		Ceiling: []string{"xmpp:federate"}, Settings: events.Settings{PresenceWithoutMessages: events.PresenceRefuse}, Suspended: &yes,
		Domains: []AddDomain{{Domain: "a.test", Backends: []events.Backend{{Address: "h:1", Security: events.SecurityTLS}}}},
	}}
	if got, want := fmt.Sprintf("%x", c.Hash()), "4fd84292b6976910d27f35025a7c4d81"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestHashOfSettings compares the hashes of settings' commands with fixed values.
// The values date from a version in which each setting had a separate Go type.
func TestHashOfSettings(t *testing.T) {
	yes := true
	for want, change := range map[string]Change{
		"58717c4faba672d976ca6ea0302aa622": SetSetting{"presence_without_messages", 0},
		"cf0a10a5e1e2ea43f73391570c2e4a54": SetSetting{"presence_without_messages", 1},
		"1e44257309982102493c49fa7ee8be1c": SetSetting{"audit_addresses", 0},
		"c6ef3dd68e76f008ff08e196d9992dc0": SetSetting{"audit_addresses", 2},
		"d93a5fb939369a75fe18be14878cf3e6": CreateTenant{
			DisplayName: "x", MaxSessions: 3, Settings: events.Settings{PresenceWithoutMessages: events.PresenceRefuse, AuditAddresses: events.AuditDomain},
			Roles: []DefineRole{{Role: "r"}}, Suspended: &yes,
		},
		"f26ece6d58226fbb66a3c2f98610c365": ApplyTenant{Settings: events.Settings{AuditAddresses: events.AuditClass}},
		"7585de2cd851c3551785b34419f165b2": ApplyTenant{},
	} {
		c := Command{Tenant: "acme", Actor: Actor{Name: "operator:root", Operator: true}, ID: "1", Change: change}
		if got := fmt.Sprintf("%x", c.Hash()); got != want {
			t.Errorf("%s %+v: %s, want %s", change.Name(), change, got, want)
		}
	}
}
