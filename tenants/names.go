package tenants

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/xmpp/jid"
)

// quote quotes a name from a command, so that it is safe and short to show.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(s[:most], ""))
	}
	return strconv.Quote(s)
}

// oneOf joins a list of values, as in "full, domain or class".
func oneOf(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func isVisibleASCII(r rune) bool { return r > ' ' && r < 0x7f }

// isPrintable is false for control and format characters. With these, a name could
// break a line or change the direction of its text.
func isPrintable(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }

// text checks a text of at most most characters; what names it in errors.
func (p *checker) text(field, what, s string, most int, allowed func(rune) bool) {
	switch {
	case s == "":
		p.fail(Invalid, field, "the %s is missing", what)
	case len(s) > utf8.UTFMax*most || utf8.RuneCountInString(s) > most:
		p.fail(Invalid, field, "the %s is longer than %d characters", what, most)
	case !utf8.ValidString(s):
		p.fail(Invalid, field, "the %s is not UTF-8", what)
	case strings.ContainsFunc(s, func(r rune) bool { return !allowed(r) }):
		p.fail(Invalid, field, "the %s %s has a character that is not allowed in it", what, quote(s))
	case strings.TrimSpace(s) != s:
		p.fail(Invalid, field, "the %s %s begins or ends with a space", what, quote(s))
	}
}

// CheckID checks a tenant id: [a-z0-9][a-z0-9-]{0,31}.
func CheckID(id string) error {
	if id == "" || len(id) > MaxTenantID || id[0] == '-' {
		return fmt.Errorf("%s is no tenant id: want 1 to %d of a-z, 0-9 and '-', not beginning with '-'", quote(id), MaxTenantID)
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%s is no tenant id: only a-z, 0-9 and '-' are allowed", quote(id))
		}
	}
	return nil
}

// CheckRoleName checks the name of a role: [A-Za-z0-9][A-Za-z0-9:._-]{0,63}.
func CheckRoleName(name string) error {
	if name == "" || len(name) > MaxRoleName {
		return fmt.Errorf("role name %s: want 1 to %d characters", quote(name), MaxRoleName)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && strings.IndexByte(":._-", c) >= 0:
		default:
			return fmt.Errorf("role name %s: want a letter or digit, then letters, digits and : . _ -", quote(name))
		}
	}
	return nil
}

// CheckBackend refuses a backend that a gateway must not dial. The address must
// be host:port. Without TLS it must be on loopback or in a private network.
func CheckBackend(b events.Backend) error {
	host, port, ok := cutPort(b.Address)
	if len(b.Address) > maxAddress || !ok || !isPort(port) {
		return fmt.Errorf("backend address %s: want host:port, such as 127.0.0.1:5222 or [::1]:5222", quote(b.Address))
	}
	if !b.Security.Valid() {
		return fmt.Errorf("backend %s: unknown security; want %s", quote(b.Address), oneOf(events.Names[events.Security]()))
	}
	bracketed := strings.HasPrefix(b.Address, "[")
	ip, err := netip.ParseAddr(host)
	switch {
	case bracketed != (err == nil && ip.Is6()) || ip.Zone() != "":
		return fmt.Errorf("backend address %s: an IPv6 address must be in brackets and have no zone, and nothing else may be in brackets", quote(b.Address))
	case err != nil && !isHostname(host):
		return fmt.Errorf("backend address %s: %s is neither an IP address nor a host name", quote(b.Address), quote(host))
	}
	ip = ip.Unmap()
	if err == nil && (ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255})) {
		return fmt.Errorf("backend address %s: this is not the address of a single host", quote(b.Address))
	}
	private := err == nil && (ip.IsLoopback() || ip.IsPrivate()) || err != nil && strings.EqualFold(host, "localhost")
	if b.Security == events.SecurityNone && !private {
		return fmt.Errorf("backend %s: security none is for localhost and literal addresses of loopback and private networks only; use %s", quote(b.Address), oneOf(events.Names[events.Security]()[1:]))
	}
	return nil
}

// cutPort splits host:port and removes the brackets of an IPv6 address.
func cutPort(address string) (host, port string, ok bool) {
	if rest, found := strings.CutPrefix(address, "["); found {
		return strings.Cut(rest, "]:")
	}
	host, port, ok = strings.Cut(address, ":")
	return host, port, ok && !strings.Contains(port, ":")
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s == strconv.FormatUint(n, 10)
}

// isHostname reports whether s is a host name as in RFC 1123 section 2.1, of
// letters, digits and hyphens. The last label must not be all digits: such a
// name is a mistyped IPv4 address.
func isHostname(s string) bool {
	if len(s) > maxHostname {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i] | 0x20
			if (c < 'a' || c > 'z') && (label[i] < '0' || label[i] > '9') && label[i] != '-' {
				return false
			}
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// domainName prepares the name of a domain or service; what is its kind in errors.
func (p *checker) domainName(field, what, name string) (string, bool) {
	prepared, err := jid.Domain(name)
	if err != nil {
		p.fail(Invalid, field, "%s %s is no domain name: %v", what, quote(name), err)
		return "", false
	}
	return prepared, true
}

// account prepares the address of an account. It must be in a domain of the
// tenant.
func (p *checker) account(field, address string) (string, bool) {
	bare, err := jid.Bare(address)
	if err != nil {
		p.fail(Invalid, field, "%s is no account's address, such as user@example.org: %v", quote(address), err)
		return "", false
	}
	_, domain, _ := strings.Cut(bare, "@")
	if p.tenant == nil || p.isBroken("domain", domain) {
		return "", false
	}
	if _, ok := p.tenant.Domain([]byte(domain)); !ok {
		p.fail(NotFound, field, "account %s: %s is no domain of tenant %s", quote(bare), quote(domain), quote(p.id))
		return "", false
	}
	return bare, true
}

// role checks that a role exists.
func (p *checker) role(field, name string) bool {
	if p.tenant == nil || p.isBroken("role", name) {
		return false
	}
	if _, ok := p.tenant.Role(name); !ok {
		if p.live != nil {
			if _, ok := p.live.Role(name); ok {
				p.fail(InUse, field, "role %s is used here, but would be removed because it is not listed among the roles: list it, or use another", quote(name))
				return false
			}
		}
		p.fail(NotFound, field, "there is no role %s: define it first, or use a built-in one (%s … %s)", quote(name), permission.Guest, permission.Operator)
		return false
	}
	return true
}

// permissions checks a list of permissions. It warns of names that look like
// misspelt permissions of the catalogue.
func (p *checker) permissions(field string, names []string) {
	if len(names) > MaxPermissions {
		p.fail(Invalid, field, "%d permissions in one list: at most %d", len(names), MaxPermissions)
		return
	}
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := permission.CheckName(name); err != nil {
			p.fail(Invalid, at, "%v", err)
		} else if permission.Misspelt(name) {
			p.warn(at, "%q is none of Postern's permissions, so no stanza asks for it: see policyctl permissions", name)
		}
		p.once(at, "permission", names[:i], name)
	}
}

// once refuses a repeated name in a list; before is the part of the list before it.
func (p *checker) once(field, what string, before []string, name string) {
	if slices.Contains(before, name) {
		p.fail(Invalid, field, "%s %s is listed twice", what, quote(name))
	}
}

// isBroken reports whether the part of this change that defines a thing was
// refused. The part that refers to the thing is then skipped without an error.
func (p *checker) isBroken(kind, name string) bool {
	broken := p.broken[kind+" "+name]
	p.skipped = p.skipped || broken
	return broken
}
