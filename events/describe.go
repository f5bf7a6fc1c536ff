package events

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Describe says in one line what happened, for logs and lists. What somebody
// chose freely stands in quotes unless it is plain, so that no name can break
// the line or look like something else.
func Describe(e Event) string {
	switch e := e.(type) {
	case TenantCreated:
		return line("tenant created", quoted(e.Name))
	case TenantRenamed:
		return line("tenant renamed", quoted(e.Name))
	case TenantSuspended:
		return "tenant suspended"
	case TenantResumed:
		return "tenant resumed"
	case TenantRemoved:
		return "tenant removed"
	case SettingsChanged:
		return describeSettings(e)
	case CeilingSet:
		if len(e.Permissions) == 0 {
			return "ceiling set denies nothing"
		}
		return line("ceiling set", list("denies", e.Permissions))
	case TenantLimitsSet:
		if e.MaxSessions == 0 {
			return "tenant limits removed"
		}
		return line("tenant limits set", "sessions", strconv.FormatUint(e.MaxSessions, 10))
	default:
		if s := describeDomain(e); s != "" {
			return s
		}
		if s := describeRole(e); s != "" {
			return s
		}
		if s := describeToken(e); s != "" {
			return s
		}
		if s := describeSharedService(e); s != "" {
			return s
		}
		return fmt.Sprintf("%T", e)
	}
}

func describeDomain(e Event) string {
	switch e := e.(type) {
	case DomainAdded:
		return line("domain added", plain(e.Domain), "default-role", plain(e.DefaultRole), backends(e.Backends))
	case DomainBackendsSet:
		return line("domain backends set", plain(e.Domain), backends(e.Backends))
	case DomainDefaultRoleSet:
		return line("domain default role set", plain(e.Domain), plain(e.Role))
	case DomainSuspended:
		return line("domain suspended", plain(e.Domain), byOperator(e.ByOperator))
	case DomainResumed:
		return line("domain resumed", plain(e.Domain))
	case DomainRemoved:
		return line("domain removed", plain(e.Domain))
	case ServiceAdded:
		return line("service added", plain(e.Service))
	case ServiceRemoved:
		return line("service removed", plain(e.Service))
	}
	return ""
}

func describeRole(e Event) string {
	switch e := e.(type) {
	case RoleDefined:
		return line("role defined", plain(e.Name), list("inherits", e.Inherits), list("allow", e.Allow), list("deny", e.Deny))
	case RoleRemoved:
		return line("role removed", plain(e.Name))
	case BuiltinRoleAdjusted:
		return line("built-in role adjusted", plain(e.Name), list("add", e.Add), list("remove", e.Remove))
	case MemberRolesSet:
		role := "default role"
		if e.Role != "" {
			role = "role " + plain(e.Role)
		}
		return line("member roles set", plain(e.JID), role, list("secondary", e.Secondary))
	case MemberRemoved:
		return line("member removed", plain(e.JID))
	case MemberSuspended:
		return line("member suspended", plain(e.JID), byOperator(e.ByOperator))
	case MemberResumed:
		return line("member resumed", plain(e.JID))
	case MemberSessionsEnded:
		return line("member sessions ended", plain(e.JID))
	}
	return ""
}

func byOperator(yes bool) string {
	if !yes {
		return ""
	}
	return "by the operator"
}

// line joins what is not empty.
func line(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p != "" && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p)
	}
	return b.String()
}

// list is a key and its values, nothing when there are none.
func list(key string, values []string) string {
	if len(values) == 0 {
		return ""
	}
	parts := []string{key}
	for _, v := range values {
		parts = append(parts, plain(v))
	}
	return line(parts...)
}

func backends(list []Backend) string {
	if len(list) == 0 {
		return ""
	}
	parts := []string{"backends"}
	for _, b := range list {
		parts = append(parts, plain(b.Address), b.Security.String())
		if b.Proxy {
			parts = append(parts, "proxy")
		}
	}
	return line(parts...)
}

// unixTime is a time in seconds in words; beyond the year 9999 the seconds.
func unixTime(s uint64) string {
	if s > maxTime/1_000_000 {
		return strconv.FormatUint(s, 10)
	}
	return time.Unix(int64(s), 0).UTC().Format(time.RFC3339)
}

func quoted(s string) string { return strconv.Quote(s) }

// plain is s as it is when it cannot be mistaken, else quoted.
func plain(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == '='
	}) {
		return quoted(s)
	}
	return s
}
