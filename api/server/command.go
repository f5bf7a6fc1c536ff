package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants"
)

// A commandSpec is one command: how its arguments are read.
type commandSpec struct {
	zero api.Command
	read func(args []byte) (tenants.Change, error)
}

// spec makes the entry of one command: change turns its arguments, as read,
// into what tenants checks.
func spec[C api.Command](change func(C) (tenants.Change, error)) commandSpec {
	var zero C
	return commandSpec{zero: zero, read: func(args []byte) (tenants.Change, error) {
		var c C
		if len(args) > 0 {
			if err := decode(args, &c); err != nil {
				return nil, &api.Error{Code: api.CodeBadRequest, Text: "args: " + err.Error()}
			}
		}
		return change(c)
	}}
}

// as wraps a change that cannot fail to be made.
func as[C api.Command](change func(C) tenants.Change) commandSpec {
	return spec(func(c C) (tenants.Change, error) { return change(c), nil })
}

// commands are all commands, by name.
func commands() map[string]commandSpec {
	all := map[string]commandSpec{}
	for _, s := range []commandSpec{
		spec(func(c api.TenantCreate) (tenants.Change, error) { return createTenant(c) }),
		spec(func(c api.TenantApply) (tenants.Change, error) {
			change, err := createTenant(api.TenantCreate(c))
			return tenants.ApplyTenant(change), err
		}),
		as(func(c api.TenantRename) tenants.Change { return tenants.RenameTenant{DisplayName: c.DisplayName} }),
		as(func(api.TenantSuspend) tenants.Change { return tenants.SuspendTenant{} }),
		as(func(api.TenantResume) tenants.Change { return tenants.ResumeTenant{} }),
		as(func(api.TenantRemove) tenants.Change { return tenants.RemoveTenant{} }),
		as(func(c api.TenantSetLimits) tenants.Change { return tenants.SetLimits(c) }),
		as(func(c api.TenantSetCeiling) tenants.Change { return tenants.SetCeiling{Permissions: c.Permissions} }),
		spec(func(c api.TenantSetPresence) (tenants.Change, error) {
			mode, err := oneOf("presence_without_messages", c.PresenceWithoutMessages, presenceModes)
			return tenants.SetSetting{Setting: "presence_without_messages", Value: uint8(mode)}, err
		}),
		spec(func(c api.TenantSetAuditAddresses) (tenants.Change, error) {
			addresses, err := oneOf("audit_addresses", c.AuditAddresses, auditAddresses)
			return tenants.SetSetting{Setting: "audit_addresses", Value: uint8(addresses)}, err
		}),
		spec(func(c api.DomainAdd) (tenants.Change, error) { return addDomain("", c) }),
		spec(func(c api.DomainSetBackends) (tenants.Change, error) {
			backends, err := backendsOf("", c.Backends)
			return tenants.SetDomainBackends{Domain: c.Domain, Backends: backends}, err
		}),
		as(func(c api.DomainSetDefaultRole) tenants.Change { return tenants.SetDomainDefaultRole(c) }),
		as(func(c api.DomainSuspend) tenants.Change { return tenants.SuspendDomain(c) }),
		as(func(c api.DomainResume) tenants.Change { return tenants.ResumeDomain(c) }),
		as(func(c api.DomainRemove) tenants.Change { return tenants.RemoveDomain(c) }),
		as(func(c api.ServiceAdd) tenants.Change { return tenants.AddService(c) }),
		as(func(c api.ServiceRemove) tenants.Change { return tenants.RemoveService(c) }),
		as(func(c api.RoleDefine) tenants.Change { return tenants.DefineRole(c) }),
		as(func(c api.RoleAdjust) tenants.Change { return tenants.AdjustRole(c) }),
		as(func(c api.RoleRemove) tenants.Change { return tenants.RemoveRole(c) }),
		as(func(c api.MemberSet) tenants.Change { return tenants.SetMemberRoles(c) }),
		as(func(c api.MemberRemove) tenants.Change { return tenants.RemoveMember(c) }),
		as(func(c api.MemberSuspend) tenants.Change { return tenants.SuspendMember(c) }),
		as(func(c api.MemberResume) tenants.Change { return tenants.ResumeMember(c) }),
		spec(createToken),
		as(func(c api.TokenRevoke) tenants.Change { return tenants.RevokeToken(c) }),
		as(func(c api.SharedServiceAdd) tenants.Change { return tenants.AddSharedService(c) }),
		as(func(c api.SharedServiceRemove) tenants.Change { return tenants.RemoveSharedService(c) }),
		as(func(c api.MemberEndSessions) tenants.Change { return tenants.EndMemberSessions(c) }),
	} {
		all[s.zero.Command()] = s
	}
	return all
}

// The words of the wire for what the events number.
var (
	securities     = []events.Security{events.SecurityNone, events.SecurityStartTLS, events.SecurityTLS}
	presenceModes  = []events.PresenceMode{events.PresenceClamp, events.PresenceRefuse}
	auditAddresses = []events.AuditAddresses{events.AuditFull, events.AuditDomain, events.AuditClass}
)

// oneOf finds a value by its word.
func oneOf[T fmt.Stringer](field, word string, values []T) (T, error) {
	var words []string
	for _, v := range values {
		if v.String() == word {
			return v, nil
		}
		words = append(words, v.String())
	}
	var zero T
	return zero, invalidField(field, fmt.Sprintf("%s %q: give one of %s", field, word, strings.Join(words, ", ")))
}

func invalidField(field, text string) error {
	return &api.Error{Code: api.CodeInvalid, Text: text, Details: []api.Detail{{Code: api.CodeInvalid, Field: field, Text: text}}}
}

// backendsOf reads backends; at is the path of what they stand in.
func backendsOf(at string, list []api.Backend) ([]events.Backend, error) {
	var backends []events.Backend
	for i, b := range list {
		security, err := oneOf(fmt.Sprintf("%sbackends[%d].security", at, i), b.Security, securities)
		if err != nil {
			return nil, err
		}
		backends = append(backends, events.Backend{Address: b.Address, Security: security, Proxy: b.Proxy})
	}
	return backends, nil
}

func addDomain(at string, c api.DomainAdd) (tenants.AddDomain, error) {
	backends, err := backendsOf(at, c.Backends)
	return tenants.AddDomain{Domain: c.Domain, DefaultRole: c.DefaultRole, Backends: backends, Suspended: c.Suspended}, err
}

func createTenant(c api.TenantCreate) (tenants.CreateTenant, error) {
	out := tenants.CreateTenant{DisplayName: c.DisplayName, Ceiling: c.Ceiling, MaxSessions: c.MaxSessions, Suspended: c.Suspended}
	var err error
	if c.PresenceWithoutMessages != "" {
		if out.PresenceWithoutMessages, err = oneOf("presence_without_messages", c.PresenceWithoutMessages, presenceModes); err != nil {
			return out, err
		}
	}
	if c.AuditAddresses != "" {
		if out.AuditAddresses, err = oneOf("audit_addresses", c.AuditAddresses, auditAddresses); err != nil {
			return out, err
		}
	}
	for i, d := range c.Domains {
		domain, err := addDomain(fmt.Sprintf("domains[%d].", i), d)
		if err != nil {
			return out, err
		}
		out.Domains = append(out.Domains, domain)
	}
	for _, s := range c.Services {
		out.Services = append(out.Services, tenants.AddService{Service: s})
	}
	for _, r := range c.Roles {
		out.Roles = append(out.Roles, tenants.DefineRole(r))
	}
	for _, r := range c.BuiltinRoles {
		out.BuiltinRoles = append(out.BuiltinRoles, tenants.AdjustRole(r))
	}
	for _, m := range c.Members {
		out.Members = append(out.Members, tenants.SetMemberRoles(m))
	}
	return out, nil
}

// postCommand carries out a command.
func (s *Server) postCommand(w http.ResponseWriter, r *http.Request, spec commandSpec) (any, error) {
	var q api.CommandRequest
	if err := decodeBody(w, r, &q); err != nil {
		return nil, err
	}
	change, err := spec.read(q.Args)
	if err != nil {
		return nil, err
	}
	if q.IfLog != "" && q.IfLog != s.logID {
		return nil, &api.Error{Code: api.CodeConflict, Text: "the node has another log than the one that was read, as after a restore: look at it again"}
	}
	if q.CommandID == "" {
		q.CommandID = api.NewCommandID()
	}
	if err := s.intend(r, q.CommandID); err != nil {
		return nil, err
	}
	result, err := s.runner.Execute(r.Context(), tenants.Command{
		Tenant:    r.PathValue("tenant"),
		Actor:     callerOf(r.Context()).asActor(),
		ID:        q.CommandID,
		Reason:    q.Reason,
		IfVersion: q.IfVersion,
		Change:    change,
	})
	if err != nil {
		return nil, s.refusal(spec.zero.Command(), q.CommandID, err)
	}
	return api.Result{
		CommandID: q.CommandID, Changed: result.Changed, Position: uint64(result.Position),
		TenantVersion: result.TenantVersion, Warnings: list(result.Warnings),
	}, nil
}

// codes are the codes of tenants on the wire.
var codes = map[tenants.Code]api.Code{
	tenants.NotFound:  api.CodeNotFound,
	tenants.Exists:    api.CodeExists,
	tenants.Invalid:   api.CodeInvalid,
	tenants.Conflict:  api.CodeConflict,
	tenants.InUse:     api.CodeInUse,
	tenants.Forbidden: api.CodeForbidden,
}

// refusal is the answer to a command that was not carried out, or of which
// that is not known: whatever a Runner does not say clearly may have happened.
func (s *Server) refusal(name, id string, err error) error {
	var known *api.Error
	var refused tenants.Errors
	switch {
	case errors.As(err, &refused) && len(refused) > 0:
		e := &api.Error{Code: codes[refused[0].Code], Text: refused.Error()}
		for _, r := range refused {
			e.Details = append(e.Details, api.Detail{Code: codes[r.Code], Field: wireField(name, r.Field), Text: r.Text})
		}
		return e
	case errors.As(err, &known):
		return known
	}
	s.logger.Error("carry out an admin's command", "command", name, "command_id", id, "error", err)
	return &api.Error{Code: api.CodeUnknown, Text: fmt.Sprintf("the node cannot tell whether command %s was carried out; give it again with the same id", id)}
}

// wireField turns the name of a field of tenants, such as
// "Roles[2].Inherits[0]", into that of the wire, which differs in its case and
// in two places.
func wireField(command, field string) string {
	var b strings.Builder
	inWord, upper := false, false
	for _, r := range field {
		wasUpper := upper
		upper = r >= 'A' && r <= 'Z'
		if upper && inWord && !wasUpper {
			b.WriteByte('_')
		}
		inWord = r != '.' && r != '['
		b.WriteRune(unicode.ToLower(r))
	}
	field = b.String()
	if command == (api.TenantCreate{}).Command() || command == (api.TenantApply{}).Command() {
		if rest, ok := strings.CutPrefix(field, "permissions"); ok {
			return "ceiling" + rest
		}
		if rest, ok := strings.CutPrefix(field, "services"); ok {
			return "services" + strings.TrimSuffix(rest, ".service")
		}
	}
	return field
}
