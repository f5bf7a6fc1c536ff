// Package tenants holds every command an administrator can give. It checks a
// command against a View and returns the events to append, or an error that
// says what is wrong and how to correct it.
//
// It promises that the events it returns apply to the View they were checked
// against, that a command which changes nothing returns no events, and that a
// command for one tenant never changes another. Commands may spell names as
// people write them; the events hold prepared names. The package is pure: its
// caller appends the events to the log at the View's position. If the log has
// a newer commit by then, the caller checks the command again.
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

// A Change is the change that a command asks for. Catalogue lists all types of
// Change; there can be no others.
type Change interface {
	// Name is the command's name, such as "domain.add".
	Name() string
	// check checks the change and gives the checker its events, warnings and
	// errors.
	check(*checker)
}

// An Actor is the person or program that gives a command. The zero Actor may do
// nothing.
type Actor struct {
	// Name is the actor's name in the log, such as "operator:root".
	Name string
	// Operator is set if the actor runs the installation. An operator may give
	// every command.
	Operator bool
	// Tenant is the tenant that the actor administers, unless it is an operator.
	Tenant string
	// Token is the id of the token that the actor used, if any. If it has been
	// revoked by the time of the check, the command is refused, even if it was
	// given before the revocation.
	Token string
}

// A Command is one change to one tenant or to the installation, with its actor
// and its conditions.
type Command struct {
	Tenant string
	Actor  Actor
	// ID is the command's id, unique within the tenant. A command that is
	// repeated with the same id gets the result of the first one.
	ID string
	// Reason is the actor's reason in free text; it may be empty.
	Reason string
	// IfVersion is the version that the tenant must have; 0: any version.
	IfVersion uint64
	Change    Change
}

// An Outcome is the result of checking a command that is allowed.
type Outcome struct {
	// Events are the events to append as one commit. There are none if the
	// command changes nothing.
	Events []events.Event
	// Warnings are for the actor.
	Warnings []Warning
}

// A Warning is about a detail that is allowed but probably a mistake.
type Warning struct {
	Field string // as in Error
	Text  string
}

// A Result is the result of carrying out a command. The owner of the log
// returns it.
type Result struct {
	// Changed is false if nothing was appended.
	Changed bool
	// Position is the position of the commit; if there is none, the position of
	// the View.
	Position events.Position
	// TenantVersion is the tenant's version after the command.
	TenantVersion uint64
	// TakesAway is set if the commit may take a right away: see events.TakesAway.
	TakesAway bool
	// Warnings are the texts of the Outcome's warnings.
	Warnings []string
}

// Check checks a command against a View. If the command is refused, the error
// is an Errors.
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
			p.fail(Forbidden, "", "the token was revoked")
		}
	}
	if len(p.errs) > 0 {
		return Outcome{}, p.errs
	}
	if entry.Installation && c.IfVersion != 0 && v.Installation().Version() != c.IfVersion {
		p.fail(Conflict, "if_version", "the installation is at version %d, not %d: read it again", v.Installation().Version(), c.IfVersion)
		return Outcome{}, p.errs
	}
	if t := v.Tenant([]byte(c.Tenant)); c.IfVersion != 0 && t != nil && t.Version() != c.IfVersion {
		p.fail(Conflict, "if_version", "tenant %s is at version %d, not %d: read it again", quote(c.Tenant), t.Version(), c.IfVersion)
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
		return Outcome{}, Errors{{Code: Invalid, Text: fmt.Sprintf("the command would make a commit of %d bytes, and at most %d are allowed: split it into several commands", n, events.MaxSize)}}
	}
	return done, nil
}

// size returns the size of the largest commit that the events can be encoded
// to: the position, the version and the time are not known yet.
func (c *Command) size(evs []events.Event) int {
	return len(events.AppendCommit(nil, &events.Commit{
		Position: math.MaxUint64, TenantVersion: math.MaxUint64, Tenant: c.Tenant,
		Time:  time.Unix(1<<32, 0),
		Actor: c.Actor.Name, CommandID: c.ID, Reason: c.Reason, Events: evs,
		CommandHash: events.CommandHash{1},
	}))
}

// Check checks a change without a Command, as if an operator had given it. If
// the change is refused, the error is an Errors with all faults, in the order of
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
	// Operator is set if only operators may give the command. These are the
	// commands that set a tenant's bounds, and the commands that set which
	// domains are local to a tenant and which addresses gateways connect to.
	// With commands of the second kind a tenant could evade its bounds.
	Operator bool
	// Installation is set if the command is about the installation. Then
	// Command.Tenant must be empty.
	Installation bool
	// Zero is the zero value of the Change. The zero value of a SetSetting
	// names its setting.
	Zero Change
	// Makes is the zero value of the event that is this command's purpose. If
	// this command is for operators only, no other command may make the event
	// unless an operator gives it. Makes is nil for ApplyTenant, which makes
	// the events of other commands.
	Makes events.Event
}

// Catalogue lists every command. The caller may change the slice.
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

// lookUp returns a change's entry in the catalogue. It returns false if the
// change has none; the caller must then refuse it.
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

// A Code is the kind of an Error.
type Code string

// The codes.
const (
	NotFound  Code = "not-found" // the command names a thing that does not exist
	Exists    Code = "exists"    // the command would make a thing that exists
	Invalid   Code = "invalid"   // the command is wrong in every state
	Conflict  Code = "conflict"  // the present state does not allow the command
	InUse     Code = "in-use"    // the command would remove a thing in use
	Forbidden Code = "forbidden" // the actor may not give the command
)

// An Error is a reason for which a command is refused. Its text is safe to show
// to the actor: it names nothing of another tenant.
type Error struct {
	Code Code
	// Field is the path of the wrong argument as the admin API and policy files
	// spell it, such as "roles[2].inherits[0]". It is empty if the command as a
	// whole is wrong.
	Field string
	Text  string
}

func (e *Error) Error() string { return e.Text }

// Errors are the reasons for which a command is refused, at most maxErrors of
// them. There is at least one.
type Errors []*Error

// Error joins the texts, one in each line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Text
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each Error, for errors.As.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i := range e {
		list[i] = e[i]
	}
	return list
}

// A checker holds the state of checking one change.
type checker struct {
	view   *projections.View
	id     string              // of the tenant
	tenant *projections.Tenant // nil while it is being created
	// operator is set if an operator gives the command. A suspension that the
	// command makes is then marked as an operator's.
	operator bool
	// live is the tenant in its present state while an ApplyTenant checks the
	// wanted tenant by itself; otherwise nil.
	live *projections.Tenant
	// prefix is put before the fields of errors. In a change with several parts
	// it is the path of the part.
	prefix   string
	events   []events.Event
	warnings []Warning
	errs     Errors
	failures int // counts errors beyond maxErrors too
	// broken holds the parts that were refused in a change with several parts,
	// by kind and name. Parts that refer to them are not reported as well.
	broken map[string]bool
	// skipped is set if the present part refers to a broken one.
	skipped bool
	// fault is set if the checker's own events do not apply. This is a
	// programmer's mistake; the actor is not told the details.
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

// failed reports whether failures were added since their number was n.
func (p *checker) failed(n int) bool { return p.failures > n }
