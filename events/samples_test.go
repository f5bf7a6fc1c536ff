package events_test

import (
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/postern-im/postern/events"
)

// everyEvent returns at least one value of each event type. TestEveryEvent checks
// that no type is missing.
func everyEvent() []events.Event {
	return []events.Event{
		events.TenantCreated{Name: "ACME \"Ltd\"\n=\u202e\u00e9"},
		events.TenantRenamed{Name: "ACME"},
		events.TenantSuspended{},
		events.TenantResumed{},
		events.TenantRemoved{},
		events.SettingsChanged{PresenceWithoutMessages: events.PresenceRefuse, AuditAddresses: events.AuditClass},
		events.CeilingSet{Permissions: []string{"xmpp:federate", "xmpp:account:omemo:write"}},
		events.DomainAdded{Domain: "alpha.test", DefaultRole: "prosody:registered", Backends: []events.Backend{
			{Address: "127.0.0.1:15222"}, {Address: "[2001:db8::1]:5223", Security: events.SecurityTLS}}},
		events.DomainBackendsSet{Domain: "alpha.test", Backends: []events.Backend{
			{Address: "xmpp.alpha.test:5222", Security: events.SecurityStartTLS}}},
		events.DomainDefaultRoleSet{Domain: "alpha.test", Role: "prosody:guest"},
		events.DomainSuspended{Domain: "alpha.test", ByOperator: true},
		events.DomainResumed{Domain: "alpha.test"},
		events.DomainRemoved{Domain: "alpha.test"},
		events.ServiceAdded{Service: "muc.alpha.test"},
		events.ServiceRemoved{Service: "muc.alpha.test"},
		events.RoleDefined{Name: "lab:kiosk", Inherits: []string{"prosody:guest", "lab:base"},
			Allow: []string{"xmpp:federate"}, Deny: []string{"xmpp:account:contacts:write"}},
		events.RoleRemoved{Name: "lab:kiosk"},
		events.BuiltinRoleAdjusted{Name: "prosody:registered", Add: []string{"xmpp:x:y"}, Remove: []string{"xmpp:federate"}},
		events.MemberRolesSet{JID: "bob@alpha.test", Role: "lab:kiosk", Secondary: []string{"prosody:member"}},
		events.MemberRemoved{JID: "zo\u00eb@alpha.test"},
		events.MemberSuspended{JID: "bob@alpha.test", ByOperator: true},
		events.MemberResumed{JID: "bob@alpha.test"},
		events.MemberSessionsEnded{JID: "bob@alpha.test"},
		events.TokenCreated{ID: "0123456789abcdef", Name: "CI \"x\"\n\u202e", Scope: events.TokenWrite, Tenant: "acme", Hash: [32]byte{1, 31: 2}, Expires: 1800000000},
		events.TokenRevoked{ID: "0123456789abcdef"},
		events.SharedServiceAdded{Service: "push.vendor.test"},
		events.SharedServiceRemoved{Service: "push.vendor.test"},
		events.TenantLimitsSet{MaxSessions: 5000},
		events.DomainBackendsSet{Domain: "alpha.test", Backends: []events.Backend{{Address: "10.0.0.5:5222", Proxy: true}}},
		events.GatewayAdded{ID: "edge2", PublicKey: "UCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVZ45L"},
		events.GatewayRemoved{ID: "edge2"},
		// The same types without their optional fields.
		events.TenantCreated{},
		events.SettingsChanged{},
		events.CeilingSet{},
		events.TenantLimitsSet{},
		events.DomainAdded{Domain: "d", DefaultRole: "r"},
		events.DomainBackendsSet{Domain: "d"},
		events.DomainSuspended{Domain: "d"},
		events.RoleDefined{Name: "r"},
		events.BuiltinRoleAdjusted{Name: "r"},
		events.MemberRolesSet{JID: "j"},
		events.MemberSuspended{JID: "j"},
		events.TokenCreated{ID: "i", Name: "n"},
	}
}

func sampleCommit(list ...events.Event) events.Commit {
	c := events.Commit{
		Position:      300,
		Tenant:        "acme",
		TenantVersion: 7,
		Time:          time.Date(2026, 11, 23, 9, 30, 0, 123456000, time.UTC),
		Actor:         "operator:root",
		CommandID:     "0123456789abcdef",
		Reason:        "ticket 4711",
		Events:        list,
	}
	for i := range c.Previous {
		c.Previous[i] = byte(i)
	}
	c.CommandHash = events.CommandHash{15: 1}
	return c
}

// randomCommit returns a random commit that is complete and within all limits.
func randomCommit(rng *rand.Rand) events.Commit {
	c := events.Commit{
		Position:      events.Position(1 + rng.Uint64N(1<<rng.UintN(63))),
		Tenant:        randomText(rng),
		TenantVersion: 1 + rng.Uint64N(1<<rng.UintN(63)),
		Time:          time.UnixMicro(1 + rng.Int64N(1<<rng.UintN(57))).UTC(),
		Actor:         "a" + randomText(rng),
		CommandID:     "c" + randomText(rng),
		Reason:        randomText(rng),
	}
	for i := range c.Previous {
		c.Previous[i] = byte(rng.Uint32())
	}
	for i := range c.CommandHash {
		if rng.IntN(2) == 0 { // all bytes zero: no command hash
			c.CommandHash[i] = byte(rng.Uint32())
		}
	}
	all := everyEvent()
	for range 1 + rng.IntN(5) {
		e := reflect.New(reflect.TypeOf(all[rng.IntN(len(all))])).Elem()
		fillRandomly(rng, e)
		c.Events = append(c.Events, e.Interface().(events.Event))
	}
	return c
}

// fillRandomly fills a struct with random values. Strings are never empty, because
// some fields are required; everyEvent has empty strings.
func fillRandomly(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillRandomly(rng, v.Field(i))
		}
	case reflect.Slice:
		for range rng.IntN(4) {
			e := reflect.New(v.Type().Elem()).Elem()
			fillRandomly(rng, e)
			v.Set(reflect.Append(v, e))
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(rng.Uint64N(256))
		}
	case reflect.Uint64:
		v.SetUint(rng.Uint64N(1 << rng.UintN(63)))
	case reflect.Bool:
		v.SetBool(rng.Uint64N(2) == 1)
	case reflect.String:
		v.SetString("x" + randomText(rng))
	case reflect.Uint8: // every enum has at least two values
		v.SetUint(rng.Uint64N(2))
	default:
		panic(v.Type())
	}
}

func randomText(rng *rand.Rand) string {
	letters := []rune("abcxyz019:._-@/ \x00\n\u00e9\u4e16\U0001f642")
	s := make([]rune, rng.IntN(1<<rng.UintN(6)))
	for i := range s {
		s[i] = letters[rng.IntN(len(letters))]
	}
	return string(s)
}
