package server

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
)

// TestEventsAreWhole checks that every field of an event is in its form on the wire,
// and that its type is in the documented list of types.
func TestEventsAreWhole(t *testing.T) {
	source, err := os.ReadFile("../wire.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []events.Event{
		events.TenantCreated{}, events.TenantRenamed{}, events.TenantSuspended{}, events.TenantResumed{}, events.TenantRemoved{},
		events.SettingsChanged{}, events.CeilingSet{}, events.TenantLimitsSet{}, events.DomainAdded{}, events.DomainBackendsSet{}, events.DomainDefaultRoleSet{},
		events.DomainSuspended{}, events.DomainResumed{}, events.DomainRemoved{}, events.ServiceAdded{}, events.ServiceRemoved{},
		events.RoleDefined{}, events.RoleRemoved{}, events.BuiltinRoleAdjusted{}, events.MemberRolesSet{}, events.MemberRemoved{},
		events.MemberSuspended{}, events.MemberResumed{}, events.MemberSessionsEnded{},
		events.GatewayAdded{}, events.GatewayRemoved{},
	} {
		v := reflect.New(reflect.TypeOf(e)).Elem()
		var marks []string
		for i := range v.NumField() {
			mark := "mark" + v.Type().Field(i).Name
			switch f := v.Field(i).Addr().Interface().(type) {
			case *string:
				*f = mark
			case *bool:
				*f, mark = true, `"by_operator":true`
			case *uint64:
				*f, mark = 300, `"max_sessions":300`
			case *[]string:
				*f = []string{mark}
			case *[]events.Backend:
				*f = []events.Backend{{Address: mark, Security: events.SecurityTLS, Proxy: true}}
			default:
				if _, isSetting := e.(events.SettingsChanged); !isSetting {
					t.Fatalf("%T: a field of another type", e)
				}
				continue // set below
			}
			marks = append(marks, mark)
		}
		if changed, ok := v.Addr().Interface().(*events.SettingsChanged); ok {
			for setting := range events.AllSettings() {
				last := len(setting.Values) - 1
				*changed = events.SettingsChanged(setting.In(events.Settings(*changed), uint8(last)))
				marks = append(marks, fmt.Sprintf("%q:%q", setting.Name, setting.Values[last]))
			}
		}
		out := eventFrom(v.Interface().(events.Event))
		if !strings.Contains(string(source), out.Type) {
			t.Errorf("%s is not in the list of types", out.Type)
		}
		out.What = ""
		text, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, mark := range marks {
			if !strings.Contains(string(text), mark) {
				t.Errorf("%T: %s is not on the wire: %s", e, mark, text)
			}
		}
	}
}
