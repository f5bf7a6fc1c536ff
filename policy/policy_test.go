package policy

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

var update = flag.Bool("update", false, "rewrite the scenarios' expected lines")

// scenarioView returns a View with two tenants. Tenant acme has the domains
// alpha.test and beta.test and the service muc.alpha.test; tenant other has
// gamma.test. In alpha.test, all@ has every permission and none@ has none. For
// each permission NAME, the role "lab:no-NAME" has all others.
func scenarioView(t testing.TB) *projections.View {
	var log logOf
	all := permission.Everything.Names()
	evs := []events.Event{
		events.TenantCreated{Name: "ACME"},
		events.RoleDefined{Name: "lab:all", Allow: all},
		events.RoleDefined{Name: "lab:none"},
		events.DomainAdded{Domain: "alpha.test", DefaultRole: permission.DefaultRole},
		events.DomainAdded{Domain: "beta.test", DefaultRole: permission.DefaultRole},
		events.ServiceAdded{Service: "muc.alpha.test"},
		events.MemberRolesSet{JID: "all@alpha.test", Role: "lab:all"},
		events.MemberRolesSet{JID: "none@alpha.test", Role: "lab:none"},
	}
	for p := range permission.All() {
		role := "lab:no-" + p.Name()
		evs = append(evs,
			events.RoleDefined{Name: role, Inherits: []string{"lab:all"}, Deny: []string{p.Name()}},
			events.MemberRolesSet{JID: lacking(p), Role: role})
	}
	log.commit(t, "acme", evs...)
	log.commit(t, "other", events.TenantCreated{Name: "Other"},
		events.DomainAdded{Domain: "gamma.test", DefaultRole: permission.DefaultRole})
	return log.view
}

func lacking(p permission.Permission) string { return fmt.Sprintf("no-%d@alpha.test", p) }

// logOf applies commits to a View as they are created.
type logOf struct {
	view     *projections.View
	versions map[string]uint64
}

func (l *logOf) commit(t testing.TB, tenant string, evs ...events.Event) {
	t.Helper()
	if l.view == nil {
		l.view, l.versions = projections.New(), map[string]uint64{}
	}
	l.versions[tenant]++
	next, err := l.view.Apply(&events.Commit{
		Position: l.view.Position() + 1, Tenant: tenant, TenantVersion: l.versions[tenant],
		Time: time.Unix(0, 0).UTC(), Events: evs,
	})
	if err != nil {
		t.Fatal(err)
	}
	l.view = next
}

// remembers is the memory of a session in a scenario.
type remembers struct{ joined, muc, outstanding, queried bool }

func (m remembers) Joined(jid.Addr, stanza.Type) (joined, muc bool)       { return m.joined || m.muc, m.muc }
func (m remembers) Queried(jid.Addr) bool                                 { return m.queried }
func (m remembers) Outstanding(decision.Direction, jid.Addr, []byte) bool { return m.outstanding }

func ask(t testing.TB, v *projections.View, account string, dir decision.Direction, m decision.Memory, xml string) Explanation {
	t.Helper()
	limits, lenient := stream.ClientLimits(), false
	if dir == decision.In {
		limits, lenient = stream.BackendLimits(), true
	}
	el, err := stream.NewFramer(stream.Config{Limits: limits, Lenient: lenient}).ParseStanza([]byte(xml))
	if err != nil && !el.Valid() { // a lenient framer reports a fault, which is described
		t.Fatalf("%s: %v", xml, err)
	}
	var d stanza.Descriptor
	d.Describe(el)
	s := decision.Session{Tenant: []byte("acme"), Account: []byte(account), Resource: []byte("r1"), Opened: uint64(v.Position())}
	q := decision.NewQuestion(s, dir, &d, m)
	return Explain(v, &q, time.Unix(0, 0))
}

// TestScenarios judges each stanza of the two files. ME in a stanza is the
// account. -update writes the results below each stanza: the row and the
// permissions it asks for, the effect for all@ and none@, and, for each
// permission asked for, the effect for an account that lacks only this
// permission.
func TestScenarios(t *testing.T) {
	v := scenarioView(t)
	for _, file := range []string{"testdata/outgoing.txt", "testdata/incoming.txt"} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for line := range strings.Lines(string(want)) {
				if strings.HasPrefix(line, "\t") {
					continue
				}
				got.WriteString(line)
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
					judgeLine(t, v, &got, line)
				}
			}
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s: differs from what is judged now; look at the difference after -update\n%s", file, firstDifference(got.String(), string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d\n got: %s\nwant: %s", i+1, g[i], w[i])
		}
	}
	return "one is longer"
}

func judgeLine(t *testing.T, v *projections.View, out *bytes.Buffer, line string) {
	words, xml, _ := strings.Cut(line, "<")
	xml = "<" + xml
	dir, m := decision.Out, remembers{}
	for _, w := range strings.Fields(words) {
		switch w {
		case "out":
		case "in":
			dir = decision.In
		case "joined":
			m.joined = true
		case "muc":
			m.muc = true
		case "queried":
			m.queried = true
		case "outstanding":
			m.outstanding = true
		default:
			t.Fatalf("unknown word %q in %s", w, line)
		}
	}
	of := func(account string) Explanation {
		return ask(t, v, account, dir, m, strings.ReplaceAll(xml, "ME", account))
	}
	e := of("all@alpha.test")
	fmt.Fprintf(out, "\trow: %s\n\tasks: %s\n\tall: %s\n", e.Row, e.Asked, verdictLine(e))
	fmt.Fprintf(out, "\tnone: %s\n", verdictLine(of("none@alpha.test")))
	for p := range permission.All() {
		if e.Asked.Has(p) && e.Asked != permission.Of(p) {
			fmt.Fprintf(out, "\twithout %s: %s\n", p, verdictLine(of(lacking(p))))
		}
	}
}

func verdictLine(e Explanation) string {
	a := e.Verdict.Answer()
	line := e.Verdict.Effect.String()
	if e.Verdict.Effect == decision.Refuse || e.Verdict.Effect == decision.End {
		line += " " + strings.TrimPrefix(a.Type+"/"+a.Condition, "/")
	}
	if text := e.Verdict.Text(); text != "" {
		line += ": " + text
	}
	return line
}
