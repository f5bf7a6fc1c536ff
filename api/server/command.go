package server

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/tenants/overapi"
)

// A commandSpec describes one command: zero has the type of its arguments, and read
// parses them.
type commandSpec struct {
	zero api.Command
	read func(args []byte) (tenants.Change, error)
}

// spec makes the entry of one command. change converts the parsed arguments into
// the change that package tenants checks.
func spec[C api.Command, T tenants.Change](change func(C) (T, error)) commandSpec {
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

// as makes the entry of a command, like spec, from a conversion that cannot fail.
func as[C api.Command](change func(C) tenants.Change) commandSpec {
	return spec(func(c C) (tenants.Change, error) { return change(c), nil })
}

// commands returns all commands, by name.
func commands() map[string]commandSpec {
	all := map[string]commandSpec{}
	for _, s := range []commandSpec{
		spec(overapi.CreateTenant),
		spec(overapi.ApplyTenant),
		as(func(c api.TenantRename) tenants.Change { return tenants.RenameTenant{DisplayName: c.DisplayName} }),
		as(func(api.TenantSuspend) tenants.Change { return tenants.SuspendTenant{} }),
		as(func(api.TenantResume) tenants.Change { return tenants.ResumeTenant{} }),
		as(func(api.TenantRemove) tenants.Change { return tenants.RemoveTenant{} }),
		as(func(c api.TenantSetLimits) tenants.Change { return tenants.SetLimits(c) }),
		as(func(c api.TenantSetCeiling) tenants.Change { return tenants.SetCeiling{Permissions: c.Permissions} }),
		spec(overapi.SetSetting[api.TenantSetPresence]),
		spec(overapi.SetSetting[api.TenantSetAuditAddresses]),
		spec(overapi.AddDomain),
		spec(overapi.SetDomainBackends),
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
		spec(overapi.CreateToken),
		as(func(c api.TokenRevoke) tenants.Change { return tenants.RevokeToken(c) }),
		as(func(c api.SharedServiceAdd) tenants.Change { return tenants.AddSharedService(c) }),
		as(func(c api.SharedServiceRemove) tenants.Change { return tenants.RemoveSharedService(c) }),
		as(func(c api.GatewayAdd) tenants.Change { return tenants.AddGateway(c) }),
		as(func(c api.GatewayRemove) tenants.Change { return tenants.RemoveGateway(c) }),
		as(func(c api.MemberEndSessions) tenants.Change { return tenants.EndMemberSessions(c) }),
	} {
		all[s.zero.Command()] = s
	}
	return all
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
		return nil, &api.Error{Code: api.CodeConflict, Text: "the node has another log than if_log, perhaps after a restore: read the state again"}
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
	callOf(r).Position = uint64(result.Position)
	return api.Result{
		CommandID: q.CommandID, Changed: result.Changed, Position: uint64(result.Position),
		TenantVersion: result.TenantVersion, TakesAway: result.TakesAway, Warnings: list(result.Warnings),
	}, nil
}

// codes maps the codes of package tenants to those of the wire.
var codes = map[tenants.Code]api.Code{
	tenants.NotFound:  api.CodeNotFound,
	tenants.Exists:    api.CodeExists,
	tenants.Invalid:   api.CodeInvalid,
	tenants.Conflict:  api.CodeConflict,
	tenants.InUse:     api.CodeInUse,
	tenants.Forbidden: api.CodeForbidden,
}

// refusal returns the answer to a command that failed. The Runner's error may not
// show that the command changed nothing; then the answer says that the outcome is
// unknown.
func (s *Server) refusal(name, id string, err error) error {
	var known *api.Error
	var refused tenants.Errors
	switch {
	case errors.As(err, &refused) && len(refused) > 0:
		e := &api.Error{Code: codes[refused[0].Code], Text: refused.Error()}
		for _, r := range refused {
			e.Details = append(e.Details, api.Detail{Code: codes[r.Code], Field: r.Field, Text: r.Text})
		}
		return e
	case errors.As(err, &known):
		return known
	}
	s.logger.Error("carry out an admin's command", "command", name, "command_id", id, "error", err)
	return &api.Error{Code: api.CodeUnknown, Text: fmt.Sprintf("it is not known whether command %s was carried out; send it again with the same id", id)}
}
