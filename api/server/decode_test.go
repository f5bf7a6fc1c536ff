package server

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
)

// sample has every kind of field that requests have.
type sample struct {
	Text    string        `json:"text,omitempty"`
	Number  uint64        `json:"number,omitempty"`
	Names   []string      `json:"names,omitempty"`
	Objects []api.Backend `json:"objects,omitempty"`
	api.Settings
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"nothing", ``, "not complete"},
		{"cut off", `{"text":"a`, "not complete"},
		{"no JSON", `text=a`, "not JSON at byte"},
		{"unknown field", `{"texts":"a"}`, `unknown field "texts"`},
		{"unknown inner field", `{"objects":[{"port":1}]}`, `unknown field "port"`},
		{"other case", `{"Text":"a"}`, `unknown field "Text"`},
		{"folding letter", `{"nameſ":["a"]}`, `unknown field "nameſ"`},
		{"twice", `{"text":"a","text":"b"}`, `"text" is given twice`},
		{"twice by escape", `{"text":"a","te\u0078t":"b"}`, `"text" is given twice`},
		{"twice inside", `{"objects":[{"address":"a","address":"b"}]}`, `"address" is given twice`},
		{"null", `{"text":null}`, "null"},
		{"null in a list", `{"names":["a",null]}`, "null"},
		{"null alone", `null`, "null"},
		{"more", `{"text":"a"} {}`, "after the end"},
		{"more garbage", `{"text":"a"}]`, "after the end"},
		{"wrong type", `{"text":1}`, `field "text": a value of type number is not allowed here`},
		{"wrong inner type", `{"objects":[{"address":[]}]}`, `field "objects.address": a value of type array is not allowed here`},
		{"wrong type in an embedded struct", `{"audit_addresses":1}`, `field "audit_addresses": a value of type number is not allowed here`},
		{"list for the whole", `[]`, "is not allowed here"},
		{"negative", `{"number":-1}`, "is not allowed here"},
		{"fraction", `{"number":1.5}`, "is not allowed here"},
		{"too big", `{"number":18446744073709551616}`, "is not allowed here"},
		{"not UTF-8", "{\"text\":\"\xff\"}", "not UTF-8"},
		{"half a pair", `{"text":"\ud800"}`, "surrogate"},
		{"deep", strings.Repeat(`[`, 2000) + strings.Repeat(`]`, 2000), "deeper than"},
		{"deep in a field", `{"names":` + strings.Repeat(`[`, 20) + strings.Repeat(`]`, 20) + `}`, "deeper than"},
		{"comment", `{/**/"text":"a"}`, "not JSON"},
		{"trailing comma", `{"text":"a",}`, "not JSON"},
		{"control character", "{\"text\":\"a\nb\"}", "not JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v sample
			err := decode([]byte(c.body), &v)
			if err == nil {
				t.Fatalf("accepted as %+v", v)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

func TestDecodeAccepts(t *testing.T) {
	var v sample
	body := ` {"text":"a\u00e9\ud83d\ude00","number":18446744073709551615,"names":["x","y"],"objects":[{"address":"h:1","security":"tls"}]} ` + "\n"
	if err := decode([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	want := sample{"aé😀", 1<<64 - 1, []string{"x", "y"}, []api.Backend{{Address: "h:1", Security: "tls"}}, api.Settings{}}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("read %+v, want %+v", v, want)
	}
}

// FuzzDecode checks every accepted value. A less strict parser must give the same
// result, and the encoded value must decode to the same again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"text":"a","names":["x"],"number":3,"objects":[{"address":"h:1","security":"tls"}]}`))
	f.Add([]byte(`{"text":"a","Text":"b"}`))
	f.Add([]byte(`{"args":{},"args":null}`))
	f.Add([]byte("{\"text\":\"\xed\xa0\x80\"}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var v sample
		if decode(body, &v) != nil {
			return
		}
		var generic map[string]any
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if err := d.Decode(&generic); err != nil {
			t.Fatalf("%q: accepted, but not JSON: %v", body, err)
		}
		for name := range generic {
			switch name {
			case "text", "number", "names", "objects":
			default:
				t.Fatalf("%q: accepted with field %q", body, name)
			}
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var w sample
		if err := decode(again, &w); err != nil {
			t.Fatalf("%q: what it was read as, %q, is refused: %v", body, again, err)
		}
		third, err := json.Marshal(w)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%q: read as %q, then as %q", body, again, third)
		}
	})
}
