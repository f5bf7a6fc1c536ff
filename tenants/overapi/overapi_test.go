package overapi_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/tenants/overapi"
)

// whole returns a tenant with a value in every field.
func whole() api.TenantCreate {
	suspended := true
	return api.TenantCreate{
		DisplayName: "ACME Ltd", Ceiling: []string{"xmpp:federate"}, MaxSessions: 7,
		Settings: api.Settings{PresenceWithoutMessages: "refuse", AuditAddresses: "class"},
		Domains: []api.DomainAdd{{
			Domain: "a.test", DefaultRole: "prosody:guest", Suspended: &suspended,
			Backends: []api.Backend{{Address: "127.0.0.1:1", Security: "tls", Proxy: true}},
		}},
		Services:     []string{"rooms.a.test"},
		Roles:        []api.RoleDefine{{Role: "a:b", Inherits: []string{"c"}, Allow: []string{"d"}, Deny: []string{"e"}}},
		BuiltinRoles: []api.RoleAdjust{{Role: "prosody:guest", Add: []string{"f"}, Remove: []string{"g"}}},
		Members:      []api.MemberSet{{JID: "u@a.test", Role: "h", Secondary: []string{"i"}, Suspended: &suspended}},
		Suspended:    &suspended,
	}
}

// TestThereAndBack reads a tenant and writes it again. The result must be the
// same in every field.
func TestThereAndBack(t *testing.T) {
	want := whole()
	checkWhole(t, "TenantCreate", reflect.ValueOf(want))
	read, err := overapi.CreateTenant(want)
	if err != nil {
		t.Fatal(err)
	}
	if got := overapi.TenantCreate(read); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nbecame %+v", want, got)
	}
	policy, err := overapi.ApplyTenant(api.TenantApply(want))
	if err != nil || !reflect.DeepEqual(tenants.CreateTenant(policy), read) {
		t.Errorf("as a policy: %+v, %v", policy, err)
	}
}

// checkWhole checks that no field is zero, since the translation of a zero field
// would not be tested.
func checkWhole(t *testing.T, at string, v reflect.Value) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s is zero: give it a value in whole", at)
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			checkWhole(t, at+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			checkWhole(t, at, v.Index(i))
		}
	}
}

// TestUnknownNames checks that an unknown name is refused, with an error that
// names its field.
func TestUnknownNames(t *testing.T) {
	for field, spoil := range map[string]func(*api.TenantCreate){
		"presence_without_messages":       func(c *api.TenantCreate) { c.PresenceWithoutMessages = "x" },
		"audit_addresses":                 func(c *api.TenantCreate) { c.AuditAddresses = "x" },
		"domains[0].backends[0].security": func(c *api.TenantCreate) { c.Domains[0].Backends[0].Security = "" },
	} {
		c := whole()
		spoil(&c)
		_, err := overapi.CreateTenant(c)
		e, ok := errors.AsType[*api.Error](err)
		if !ok || e.Code != api.CodeInvalid || len(e.Details) != 1 || e.Details[0].Field != field {
			t.Errorf("%s: %+v", field, err)
		}
	}
}
