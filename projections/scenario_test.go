package projections

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// log applies commits one after the other and keeps the newest View.
type log struct {
	t testing.TB
	v *View
	n map[string]uint64
}

func newLog(t testing.TB) *log { return &log{t, New(), map[string]uint64{}} }

// try applies a commit and keeps the View if it applies.
func (l *log) try(tenant string, evs ...events.Event) error {
	c := &events.Commit{Position: l.v.Position() + 1, Tenant: tenant, TenantVersion: l.n[tenant] + 1, Events: evs}
	v, err := l.v.Apply(c)
	if err != nil {
		return err
	}
	l.v = v
	l.n[tenant]++
	return nil
}

func (l *log) commit(tenant string, evs ...events.Event) {
	l.t.Helper()
	if err := l.try(tenant, evs...); err != nil {
		l.t.Fatal(err)
	}
}

// TestScenarios runs the files of testdata. A block is a question, a line of
// four dashes, the answer and an empty line. The question may be a commit: its
// first line is "commit TENANT" or "commit-installation", and each further line
// is an event. An event is its type and its fields as Name=value; the elements
// of a list are separated by commas. Lines that begin with # are comments.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s: the answers differ; run with -update and read the diff\n%s", file, got)
			}
		})
	}
}

// play runs a scenario and returns it with the answers it gets.
func play(t *testing.T, scenario string) string {
	var out strings.Builder
	var question []string
	l := newLog(t)
	inAnswer := false
	for s := bufio.NewScanner(strings.NewReader(scenario)); s.Scan(); {
		line := s.Text()
		switch {
		case inAnswer:
			inAnswer = line != ""
			continue
		case line == "----":
			fmt.Fprintf(&out, "----\n%s\n\n", ask(t, l, question))
			question, inAnswer = nil, true
			continue
		case line != "" && !strings.HasPrefix(line, "#"):
			question = append(question, line)
		}
		out.WriteString(line + "\n")
	}
	return out.String()
}

// ask answers one question.
func ask(t *testing.T, l *log, lines []string) string {
	t.Helper()
	if len(lines) == 0 {
		t.Fatal("an answer without a question")
	}
	words := strings.Fields(lines[0])
	arg := func(i int) string {
		if i >= len(words) {
			t.Fatalf("%q: too few words", lines[0])
		}
		return words[i]
	}
	switch words[0] {
	case "commit":
		return commit(t, l, arg(1), lines[1:])
	case "commit-installation":
		return commit(t, l, "", lines[1:])
	}
	if words[0] == "owner" {
		owner, kind := l.v.Owner([]byte(arg(1)))
		if owner == nil {
			return "nobody"
		}
		return fmt.Sprintf("%s of %s", kind, owner.ID())
	}
	if words[0] == "installation" {
		return fmt.Sprintf("version %d, shared services %v", l.v.Installation().Version(), l.v.Installation().SharedServices())
	}
	tn := l.v.Tenant([]byte(arg(1)))
	if tn == nil {
		return fmt.Sprintf("no tenant; id used: %v", l.v.Used([]byte(arg(1))))
	}
	switch words[0] {
	case "tenant":
		return dump(tn)
	case "host":
		return fmt.Sprintf("%s, of its own %s", l.v.HostKindFor(tn, []byte(arg(2))), tn.HostKind([]byte(arg(2))))
	case "access":
		_, domain, _ := strings.Cut(arg(2), "@")
		s, ok := tn.Access([]byte(arg(2)), []byte(domain))
		if !ok {
			return "none"
		}
		return showAccess(s)
	case "blocks":
		blocked, byOperator := tn.Blocks(arg(2))
		return fmt.Sprintf("%v, by the operator %v", blocked, byOperator)
	case "explain":
		return explain(tn, arg(2), arg(3))
	case "uses":
		roles, domains, members := tn.RoleUses(arg(2))
		holder, _ := tn.RoleHolder(arg(2))
		return fmt.Sprintf("roles %d domains %d members %d %s", roles, domains, members, holder)
	}
	t.Fatalf("unknown question %q", lines[0])
	return ""
}

func commit(t *testing.T, l *log, tenant string, lines []string) string {
	var evs []events.Event
	for _, line := range lines {
		evs = append(evs, eventOf(t, line))
	}
	if err := l.try(tenant, evs...); err != nil {
		for next := err; next != nil; next = errors.Unwrap(next) {
			err = next // the innermost error is the cause
		}
		return "error: " + err.Error()
	}
	return fmt.Sprintf("position %d", l.v.Position())
}

// eventTypes returns the event types that a scenario can use, by their names.
func eventTypes() map[string]reflect.Type {
	types := map[string]reflect.Type{}
	for _, e := range []events.Event{
		events.TenantCreated{}, events.TenantRenamed{}, events.TenantSuspended{}, events.TenantResumed{},
		events.TenantRemoved{}, events.SettingsChanged{}, events.CeilingSet{}, events.TenantLimitsSet{}, events.DomainAdded{},
		events.DomainBackendsSet{}, events.DomainDefaultRoleSet{}, events.DomainSuspended{}, events.DomainResumed{},
		events.DomainRemoved{}, events.ServiceAdded{}, events.ServiceRemoved{}, events.RoleDefined{},
		events.RoleRemoved{}, events.BuiltinRoleAdjusted{}, events.MemberRolesSet{}, events.MemberRemoved{},
		events.MemberSuspended{}, events.MemberResumed{}, events.MemberSessionsEnded{},
		events.SharedServiceAdded{}, events.SharedServiceRemoved{}, events.GatewayAdded{}, events.GatewayRemoved{},
	} {
		types[reflect.TypeOf(e).Name()] = reflect.TypeOf(e)
	}
	return types
}

// eventOf reads "TypeName Field=value Field=a,b".
func eventOf(t *testing.T, line string) events.Event {
	t.Helper()
	words := strings.Fields(line)
	typ, ok := eventTypes()[words[0]]
	if !ok {
		t.Fatalf("%q: no such event", line)
	}
	e := reflect.New(typ).Elem()
	for _, word := range words[1:] {
		name, text, _ := strings.Cut(word, "=")
		switch f := e.FieldByName(name); f.Kind() {
		case reflect.String:
			f.SetString(text)
		case reflect.Bool:
			f.SetBool(text == "true")
		case reflect.Uint64:
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			f.SetUint(n)
		case reflect.Uint8:
			f.SetUint(uint64(text[0] - '0'))
		case reflect.Slice:
			for _, item := range strings.Split(text, ",") {
				if f.Type() == reflect.TypeFor[[]events.Backend]() {
					f.Set(reflect.Append(f, reflect.ValueOf(events.Backend{Address: item})))
				} else {
					f.Set(reflect.Append(f, reflect.ValueOf(item)))
				}
			}
		default:
			t.Fatalf("%q: no such field %q", line, name)
		}
	}
	return e.Interface().(events.Event)
}

func showAccess(s Access) string {
	suspended := ""
	if s.Suspended {
		suspended = ", suspended"
	}
	return fmt.Sprintf("%s, ended %d%s\n%s", s.Role, s.RevokedAt, suspended, set(s.Effective))
}

// set writes a set by its permissions or by the missing ones, whichever is
// shorter.
func set(s permission.Set) string {
	rest := permission.Everything.Minus(s)
	switch {
	case s == 0:
		return "nothing"
	case rest == 0:
		return "everything"
	case len(rest.Names()) < len(s.Names()):
		return "everything but " + rest.String()
	}
	return s.String()
}

func explain(tn *Tenant, role, perm string) string {
	var out []string
	for _, s := range tn.Explain(role, perm) {
		out = append(out, strings.Repeat("  ", s.Depth)+strings.TrimSpace(s.Role+" "+s.Answer.String()))
	}
	if out == nil {
		return "no such role"
	}
	granted := "denied"
	if tn.Grants(role, perm) {
		granted = "granted"
	}
	return strings.Join(append(out, granted), "\n")
}

func suspendedBy(suspended, operator bool) string {
	switch {
	case operator && !suspended:
		return "by an operator, and not"
	case operator:
		return "by the operator"
	}
	return fmt.Sprint(suspended)
}

// dump writes all facts about a tenant.
func dump(tn *Tenant) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q version %d suspended %v presence %s audit %s", tn.ID(), tn.Name(), tn.Version(), tn.Suspended(),
		tn.Settings().PresenceWithoutMessages, tn.Settings().AuditAddresses)
	if len(tn.Ceiling()) > 0 {
		fmt.Fprintf(&b, "\nceiling %v", tn.Ceiling())
	}
	if tn.MaxSessions() > 0 {
		fmt.Fprintf(&b, "\nsessions at each gateway: %d", tn.MaxSessions())
	}
	for d := range tn.Domains() {
		fmt.Fprintf(&b, "\ndomain %s default %s backends %v suspended %s members %d", d.Name, d.DefaultRole, d.Backends, suspendedBy(d.Suspended, d.ByOperator), d.Members)
	}
	for _, s := range tn.Services() {
		fmt.Fprintf(&b, "\nservice %s", s)
	}
	for r := range tn.Roles() {
		if !r.Builtin || len(r.Allow)+len(r.Deny) > 0 {
			fmt.Fprintf(&b, "\nrole %s inherits %v allow %v deny %v", r.Name, r.Inherits, r.Allow, r.Deny)
		}
	}
	for _, m := range tn.MembersAfter("", 1000) {
		fmt.Fprintf(&b, "\nmember %s role %q secondary %v suspended %s ended %d", m.JID, m.Role, m.Secondary, suspendedBy(m.Suspended, m.ByOperator), m.RevokedAt)
	}
	fmt.Fprintf(&b, "\n%d domains, %d services, %d roles, %d members", tn.DomainCount(), tn.ServiceCount(), tn.RoleCount(), tn.MemberCount())
	return b.String()
}
