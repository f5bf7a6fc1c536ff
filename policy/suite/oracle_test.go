package suite

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/permission"
)

// The oracle holds outcomes that were measured with Prosody's mod_restrict_xmpp.
// The list of differences has every shape of stanza for which Postern decides
// differently, with the reason.
const (
	oracleFile      = "../testdata/oracle.jsonl.gz"
	differencesFile = "../testdata/oracle-differences.txt"
)

// A measurement is one line of the oracle.
type measurement struct {
	ID       string     `json:"id"`
	Shape    string     `json:"shape"`
	Stanza   string     `json:"stanza"`
	Expected string     `json:"expected"` // allow or deny
	Role     oracleRole `json:"role"`
}

type oracleRole struct {
	Name     string   `json:"name"`
	Builtin  bool     `json:"builtin"`
	Allow    []string `json:"allow"`
	Deny     []string `json:"deny"`
	Inherits []string `json:"inherits"`
	Add      []string `json:"add_permissions"`
	Remove   []string `json:"remove_permissions"`
}

// unlistedRoles are parents of measured roles. This part of the measurements does
// not contain them. Their permissions follow from the outcomes of the roles that
// inherit from them.
var unlistedRoles = []oracleRole{
	{Name: "lab:child-allows", Inherits: []string{"lab:parent-denies"}, Allow: []string{"xmpp:account:contacts:read", "xmpp:federate"}},
	{Name: "lab:silentpA", Allow: []string{"xmpp:account:disco:read"}},
}

func readOracle(t *testing.T) []measurement {
	t.Helper()
	f, err := os.Open(oracleFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []measurement
	for dec := json.NewDecoder(z); dec.More(); {
		var m measurement
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// oraclePolicy writes the measured roles as a policy file. Prosody's
// add_permissions overrides the deny list of a custom role; therefore the added
// names are left out of deny here. Names with wildcards gave nothing; they are
// left out because a policy file refuses them.
func oraclePolicy(roles map[string]oracleRole) string {
	var b strings.Builder
	b.WriteString(`tenant = "lab"
allow_unknown = true
name = "Lab"
presence_without_messages = "refuse" # as the module does
[[domain]]
name = "alpha.test"
services = ["muc.alpha.test", "pubsub.alpha.test"]
[[domain]]
name = "beta.test"
`)
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		r := roles[name]
		if !r.Builtin {
			deny := slices.DeleteFunc(slices.Clone(r.Deny), func(p string) bool { return slices.Contains(r.Add, p) })
			fmt.Fprintf(&b, "[[role]]\nname = %q\ninherits = %s\nallow = %s\ndeny = %s\n", name,
				tomlList(r.Inherits), tomlList(append(slices.Clone(r.Allow), r.Add...)), tomlList(append(deny, r.Remove...)))
		}
		if name != "none" {
			fmt.Fprintf(&b, "[[member]]\njid = %q\nrole = %q\n", oracleAccount(name), name)
		}
	}
	return b.String()
}

func tomlList(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	var quoted []string
	for _, n := range slices.Compact(names) {
		if permission.CheckName(n) == nil || strings.HasPrefix(n, "lab:") || strings.HasPrefix(n, "prosody:") {
			quoted = append(quoted, fmt.Sprintf("%q", n))
		}
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func oracleAccount(role string) string {
	return "u-" + strings.ToLower(strings.ReplaceAll(role, ":", ".")) + "@alpha.test"
}

// TestOracle replays the measurements through Check. Each difference must be in
// the list of differences with its reason, and each listed difference must
// occur.
func TestOracle(t *testing.T) {
	all := readOracle(t)
	roles := map[string]oracleRole{}
	for _, r := range unlistedRoles {
		roles[r.Name] = r
	}
	var in bytes.Buffer
	for _, m := range all {
		roles[m.Role.Name] = m.Role
		line, err := json.Marshal(map[string]any{
			"id": m.ID, "account": oracleAccount(m.Role.Name), "resource": "r1", "direction": "out", "stanza": m.Stanza,
		})
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	view := loadPolicy(t, oraclePolicy(roles))
	var out bytes.Buffer
	if err := Check(view, time.Now, &in, &out); err != nil {
		t.Fatal(err)
	}

	listed := readDifferences(t)
	seen := map[string]int{}
	dec := json.NewDecoder(&out)
	for _, m := range all {
		var a checkAnswer
		if err := dec.Decode(&a); err != nil {
			t.Fatal(err)
		}
		if string(a.ID) != fmt.Sprintf("%q", m.ID) {
			t.Fatalf("answer %s to question %s", a.ID, m.ID)
		}
		got := "deny"
		if a.Effect == "pass" || a.Effect == "clamp" {
			got = "allow"
		}
		if got == m.Expected {
			continue
		}
		difference := m.Shape + " " + m.Expected + " -> " + got
		if ofRole := "role " + m.Role.Name + " " + m.Expected + " -> " + got; listed[ofRole] != "" {
			difference = ofRole
		}
		seen[difference]++
		if _, ok := listed[difference]; !ok {
			t.Errorf("%s (%s, role %s): not listed; asks for %v, missing %v, %s", difference, m.ID, m.Role.Name, a.Permissions, a.Missing, a.Text)
		}
	}
	for difference := range listed {
		if seen[difference] == 0 {
			t.Errorf("%s: listed, but it does not occur any more", difference)
		}
	}
	t.Logf("%d measurements, %d of them differ, in %d listed ways", len(all), sum(seen), len(listed))
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// readDifferences reads lines "shape expected -> got: reason". A line "role name
// expected -> got: reason" covers all shapes for a role that Postern defines
// differently.
func readDifferences(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(differencesFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	listed := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		difference, reason, ok := strings.Cut(line, ": ") // a role's name has a colon, but no space after it
		if !ok || reason == "" {
			t.Fatalf("%q: want \"shape expected -> got: reason\"", line)
		}
		if _, twice := listed[difference]; twice {
			t.Fatalf("%q is listed twice", difference)
		}
		listed[difference] = reason
	}
	return listed
}
