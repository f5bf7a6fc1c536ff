package policyfile

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseCases(t *testing.T) {
	const head = "policy = ['a.toml']\n"
	for text, want := range map[string]string{
		head + "[[case]]\naccount='a@b'\nstanza='presence'\nexpect='pass'":                 "",
		head + "[[case]]\nrole='r'\npermissions=[]\nstanza='presence'\nexpect='pass'":      "f:2:3: a case needs exactly one of account, role and permissions",
		head + "[[case]]\npermissions=[]\nstanza='presence'\nexpect='pass'\nmissing=[]":    "",
		head + "[[case]]\naccount='a@b'\ndomain='b'\nstanza='presence'\nexpect='pass'":     "f:4:8: domain is given, but account has one already",
		head + "[[case]]\naccount='a@b'\nstanza='presence'\nexpect='maybe'":                `f:5:8: expect is "maybe": want one of pass, refuse, drop, clamp, strip, end`,
		head + "[[case]]\naccount='a@b'\nstanza='presence'\nexpect='pass'\ndirection='up'": `f:6:11: direction is "up": want "out" (the client sends) or "in"`,
		head + "[[case]]\naccount='a@b'\nexpect='pass'":                                    "f:2:3: stanza is missing",
		head + "[[case]]\naccount='a@b'\nstanza=7\nexpect='pass'":                          "f:4:8: stanza must be a string, not a whole number",
		head + "[[case]]\naccount='a@b'\nstanza='presence'\nexpect='pass'\nwho='x'":        `f:6:1: unknown key "who": a case has name, account, role, permissions, domain, resource, direction, stanza, joined, outstanding, expect, missing`,
		head + "[case]\naccount='a@b'":                                                     "f:2:2: a file of cases has no table [case]; its tables are [[case]]",
		head:                                                                               "f: there are no cases: each begins with [[case]]",
		"[[case]]\naccount='a@b'\nstanza='presence'\nexpect='pass'":                        `f: policy is missing: name the policy files, such as policy = ["acme.toml"]`,
	} {
		got := ""
		if _, err := ParseCases("f", []byte(text)); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

// FuzzParseCases checks that ParseCases returns either valid cases or an Errors,
// for any bytes.
func FuzzParseCases(f *testing.F) {
	f.Add([]byte("policy = ['a.toml']\n[[case]]\naccount='a@b'\nstanza='presence'\nexpect='pass'\nmissing='x:y'"))
	f.Add([]byte("policy = []\ncase = [{role=''}, 7]"))
	f.Add([]byte("[[case]]\n[case.x]\na.b=1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCases("f", data)
		if err != nil {
			if list, ok := errors.AsType[Errors](err); !ok || len(list) == 0 {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if len(c.List) == 0 || len(c.Policies) == 0 {
			t.Fatal("no cases or no policy files")
		}
		for _, x := range c.List {
			if x.Stanza == "" || !slices.Contains(Effects(), x.Expect) || x.Line == 0 || x.FirstMissing && len(x.Missing) != 1 {
				t.Fatalf("%+v", x)
			}
		}
	})
}
