// Package tenants is every command an administrator can give: each is checked
// against a View and becomes the events to append, or an error that says what
// is wrong and what to do about it.
//
// It promises that events it returns apply to the View they were checked
// against, that a command which changes nothing gives no events, and that a
// command for one tenant never changes another. Names come in as people write
// them and stand in the events prepared. It is pure: whoever keeps the log
// appends at the View's position, and checks again when the log had moved on.
package tenants

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// A Change is what a command asks for. The set is closed: Catalogue lists it.
type Change interface {
	// Name is the command's name, such as "domain.add".
	Name() string
	// check checks the change and says what it amounts to.
	check(*checker)
}

// An Actor is who gives a command. The zero Actor may do nothing.
type Actor struct {
	// Name is how the log knows it, such as "operator:root".
	Name string
	// Operator is set for those who run the installation; they may do all.
	Operator bool
	// Tenant is, for anyone else, the tenant it administers.
	Tenant string
	// Token is the id of the token it acts by, if it does. Once that is
	// revoked nothing is done, however long before the command was given.
	Token string
}

// A Command is one change to one tenant, and all that goes with it.
type Command struct {
	Tenant string
	Actor  Actor
	// ID is the command's own id, unique within the tenant; given again it is
	// answered with the first result.
	ID string
	// Reason is the actor's own words, possibly empty.
	Reason string
	// IfVersion, where not zero, is the version the tenant must be at.
	IfVersion uint64
	Change    Change
}

// An Outcome is what a command amounts to.
type Outcome struct {
	// Events are to be appended as one commit; none: all is so already.
	Events []events.Event
	// Warnings are what the actor should know.
	Warnings []Warning
}

// A Warning is about something that is allowed and probably not meant.
type Warning struct {
	Field string // as in Error
	Text  string
}

// A Result is what became of a command, as whoever keeps the log reports it.
type Result struct {
	// Changed is false when nothing was appended.
	Changed bool
	// Position is where the commit stands; without one, where the View stood.
	Position events.Position
	// TenantVersion is the tenant's version after it.
	TenantVersion uint64
	// Warnings are the texts of the Outcome's.
	Warnings []string
}

// Check checks a command against a View. The error of a refused one is an Errors.
func (c *Command) Check(v *projections.View) (Outcome, error) {
	p := &checker{view: v, id: c.Tenant}
	entry, known := lookUp(c.Change)
	switch {
	case !known:
		p.fail(Invalid, "", "unknown command")
	case !c.Actor.Operator && c.Actor.Tenant != c.Tenant:
		p.fail(Forbidden, "", "%s is not yours to change", quote(c.Tenant))
	case !c.Actor.Operator && (entry.Operator || c.Tenant == ""):
		p.fail(Forbidden, "", "%s is for operators only", entry.Name)
	}
	p.text("id", "command id", c.ID, MaxCommandID, isVisibleASCII)
	p.text("actor", "actor", c.Actor.Name, MaxActor, isVisibleASCII)
	if c.Reason != "" {
		p.text("reason", "reason", c.Reason, MaxReason, isPrintable)
	}
	if c.Actor.Token != "" {
		if t := v.Installation().Token(c.Actor.Token); t == nil || t.Revoked != 0 {
			p.fail(Forbidden, "", "the token is not in force any more")
		}
	}
	if len(p.errs) > 0 {
		return Outcome{}, p.errs
	}
	if entry.Installation && c.IfVersion != 0 && v.Installation().Version() != c.IfVersion {
		p.fail(Conflict, "if_version", "the installation is at version %d, not %d: look at it again", v.Installation().Version(), c.IfVersion)
		return Outcome{}, p.errs
	}
	if t := v.Tenant([]byte(c.Tenant)); c.IfVersion != 0 && t != nil && t.Version() != c.IfVersion {
		p.fail(Conflict, "if_version", "tenant %s is at version %d, not %d: look at it again", quote(c.Tenant), t.Version(), c.IfVersion)
		return Outcome{}, p.errs
	}
	done, err := check(v, c.Tenant, c.Change, c.Actor.Operator)
	if err != nil {
		return Outcome{}, err
	}
	if !c.Actor.Operator {
		errs := append(operatorOnly(done.Events), bound(v.Tenant([]byte(c.Tenant)), done.Events)...)
		if len(errs) > 0 {
			return Outcome{}, errs[:min(len(errs), maxErrors)]
		}
	}
	if n := c.size(done.Events); n > events.MaxSize {
		return Outcome{}, Errors{{Code: Invalid, Text: fmt.Sprintf("the command makes a record of %d bytes, and one can have %d: give it in several commands", n, events.MaxSize)}}
	}
	return done, nil
}

// size is the largest record the command can make of its events.
func (c *Command) size(evs []events.Event) int {
	return len(events.AppendCommit(nil, &events.Commit{
		Position: math.MaxUint64, TenantVersion: math.MaxUint64, Tenant: c.Tenant,
		Time:  time.Unix(1<<32, 0),
		Actor: c.Actor.Name, CommandID: c.ID, Reason: c.Reason, Events: evs,
		CommandHash: events.CommandHash{1},
	}))
}

// Check checks a change by itself, as of an operator, who may do all. The error
// of a refused one is an Errors, with everything that is wrong in the order of
// the change's fields.
func Check(v *projections.View, tenant string, c Change) (Outcome, error) {
	return check(v, tenant, c, true)
}

func check(v *projections.View, tenant string, c Change, operator bool) (Outcome, error) {
	entry, known := lookUp(c)
	if !known {
		return Outcome{}, Errors{{Code: Invalid, Text: "unknown command"}}
	}
	p := &checker{view: v, id: tenant, operator: operator}
	if entry.Installation {
		if tenant != "" {
			p.fail(Invalid, "", "%s is not about a tenant", entry.Name)
			return Outcome{}, p.errs
		}
	} else if _, creates := c.(CreateTenant); !creates {
		if p.tenant = v.Tenant([]byte(tenant)); p.tenant == nil {
			if v.Used([]byte(tenant)) {
				p.fail(NotFound, "", "tenant %s was removed", quote(tenant))
			} else {
				p.fail(NotFound, "", "there is no tenant %s: create it first", quote(tenant))
			}
			return Outcome{}, p.errs
		}
	}
	c.check(p)
	switch {
	case len(p.errs) > 0:
		return Outcome{}, p.errs
	case p.fault != nil:
		return Outcome{}, fmt.Errorf("check %s: %w", c.Name(), p.fault)
	}
	return Outcome{p.events, p.warnings}, nil
}

// An Entry is one command of the Catalogue.
type Entry struct {
	Name string
	// Operator is set when only operators may give the command: those that
	// set a tenant's bounds, and those that say what is local to it or where
	// gateways connect to, by which a tenant could step over its bounds.
	Operator bool
	// Installation is set for what concerns no tenant: the command's is empty.
	Installation bool
	// Zero is the Change's zero value; that of a SetSetting has its setting.
	Zero Change
	// Makes is the zero value of the event that the command is there to make.
	// Another command that makes it too is for operators only if this one is.
	// It is nil for ApplyTenant, which makes what other commands do.
	Makes events.Event
}

// Catalogue lists every command. The slice is the caller's own.
func Catalogue() []Entry {
	list := slices.Concat(
		tenantCommands(), settingCommands(), domainCommands(), serviceCommands(), roleCommands(), memberCommands(),
		installationCommands(),
	)
	for i := range list {
		list[i].Name = list[i].Zero.Name()
	}
	return list
}

// lookUp finds a change's entry. What is not in the catalogue is refused.
func lookUp(c Change) (Entry, bool) {
	if c == nil {
		return Entry{}, false
	}
	list := Catalogue()
	i := slices.IndexFunc(list, func(e Entry) bool { return e.Name == c.Name() })
	if i < 0 {
		return Entry{}, false
	}
	return list[i], true
}

// A Code says what kind of refusal an Error is.
type Code string

// The codes.
const (
	NotFound  Code = "not-found" // what it names is not there
	Exists    Code = "exists"    // what it makes is there already
	Invalid   Code = "invalid"   // no state of the installation would allow it
	Conflict  Code = "conflict"  // the state does not allow it
	InUse     Code = "in-use"    // something else needs what it removes
	Forbidden Code = "forbidden" // not for this actor
)

// An Error is why a command is refused. Its text is safe to show to whoever
// gave the command: it names nothing of another tenant.
type Error struct {
	Code Code
	// Field is the path of the argument at fault as the admin API and policy
	// files spell it, such as "roles[2].inherits[0]"; empty when it is the
	// command as a whole.
	Field string
	Text  string
}

func (e *Error) Error() string { return e.Text }

// Errors are the reasons a command is refused, at most a hundred; never empty.
type Errors []*Error

// Error joins the texts, a line each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Text
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each Error to errors.As.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i := range e {
		list[i] = e[i]
	}
	return list
}

// A checker is a change being checked.
type checker struct {
	view   *projections.View
	id     string              // the tenant's
	tenant *projections.Tenant // nil while it is being created
	// operator is set when an operator asks: what it suspends is its own.
	operator bool
	// live is the tenant as it is while what it is to become is checked by
	// itself; nil otherwise.
	live *projections.Tenant
	// prefix stands before the fields of errors: where the change stands in
	// the one it is a part of.
	prefix   string
	events   []events.Event
	warnings []Warning
	errs     Errors
	failures int // those beyond maxErrors included
	// broken names what was refused in a change of several parts, by kind and
	// name, so that what refers to it is not reported as well.
	broken map[string]bool
	// skipped is set when the present part refers to something broken.
	skipped bool
	// fault is set when events of ours do not apply: a programmer's mistake,
	// of which the actor is told nothing.
	fault error
}

func (p *checker) emit(e events.Event) { p.events = append(p.events, e) }

func (p *checker) fail(code Code, field, format string, args ...any) {
	if p.failures++; len(p.errs) < maxErrors {
		p.errs = append(p.errs, &Error{code, p.prefix + field, fmt.Sprintf(format, args...)})
	}
}

func (p *checker) warn(field, format string, args ...any) {
	if len(p.warnings) < maxErrors {
		p.warnings = append(p.warnings, Warning{p.prefix + field, fmt.Sprintf(format, args...)})
	}
}

// failed reports whether something was refused since there were n failures.
func (p *checker) failed(n int) bool { return p.failures > n }
