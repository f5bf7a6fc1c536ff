package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// FuzzCommand checks that the arguments of a command are either refused with an error
// that is safe to show, or converted to a change that can be checked.
func FuzzCommand(f *testing.F) {
	specs := commands()
	var names []string
	for name := range specs {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		zero, err := json.Marshal(specs[name].zero)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), "acme", zero)
	}
	f.Add(uint8(0), "a", []byte(`{"domains":[{"domain":"x.test","backends":[{"address":"h:1","security":"tls"}]}],"roles":[{"role":"a","inherits":["b"]},{"role":"b","inherits":["a"]}]}`))
	f.Fuzz(func(t *testing.T, i uint8, tenant string, args []byte) {
		name := names[int(i)%len(names)]
		change, err := specs[name].read(args)
		if err != nil {
			if e, ok := errors.AsType[*api.Error](err); !ok || e.Code == "" || e.Text == "" {
				t.Fatalf("%s %q: %v", name, args, err)
			}
			return
		}
		if change.Name() != name {
			t.Fatalf("%s was read as %s", name, change.Name())
		}
		_, err = tenants.Check(projections.New(), tenant, change)
		if refused, ok := errors.AsType[tenants.Errors](err); ok {
			for _, r := range refused {
				if codes[r.Code] == "" {
					t.Fatalf("%s %q: code %q is not known on the wire", name, args, r.Code)
				}
			}
		} else if err != nil {
			t.Fatalf("%s %q: %v", name, args, err)
		}
	})
}

// TestArgumentsReachTheChange sets each argument of each command to a different value
// and checks that the change has all these values.
func TestArgumentsReachTheChange(t *testing.T) {
	for name, spec := range commands() {
		args := reflect.New(reflect.TypeOf(spec.zero)).Elem()
		var marks []string
		fill(args, &marks)
		body, err := json.Marshal(args.Interface())
		if err != nil {
			t.Fatal(err)
		}
		change, err := spec.read(body)
		if err != nil {
			t.Errorf("%s %s: %v", name, body, err)
			continue
		}
		read, err := json.Marshal(change)
		if err != nil {
			t.Fatal(err)
		}
		for _, mark := range marks {
			if !strings.Contains(string(read), mark) {
				t.Errorf("%s: %s is lost: %s was read as %s", name, mark, body, read)
			}
		}
	}
}

// fill sets each text to a different value. An enumerated text gets the last of its
// values, because the number of that value in the change is not zero.
func fill(v reflect.Value, marks *[]string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if setting, ok := events.SettingNamed(name); ok {
				last := len(setting.Values) - 1
				v.Field(i).SetString(setting.Values[last])
				*marks = append(*marks, fmt.Sprintf(":%d", last))
				continue
			}
			switch v.Type().Field(i).Name {
			case "Hash":
				v.Field(i).SetString(strings.Repeat("0a", 32))
				*marks = append(*marks, "10,10,10")
			case "Scope":
				v.Field(i).SetString("write")
				*marks = append(*marks, `"Scope":1`)
			case "Security":
				v.Field(i).SetString("tls")
				*marks = append(*marks, `"Security":2`)
			default:
				fill(v.Field(i), marks)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), marks)
		}
	case reflect.String:
		mark := "mark-" + string(rune('a'+len(*marks)%26)) + strings.Repeat("x", len(*marks))
		v.SetString(mark)
		*marks = append(*marks, `"`+mark+`"`)
	}
}
