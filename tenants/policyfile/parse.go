package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/xmpp/jid"
)

// document is a policy file as TOML has it.
type document struct {
	Tenant   string        `toml:"tenant"`
	Name     string        `toml:"name"`
	Ceiling  []string      `toml:"ceiling"`
	Presence string        `toml:"presence_without_messages"`
	Domain   []domainTable `toml:"domain"`
	Role     []roleTable   `toml:"role"`
	Member   []memberTable `toml:"member"`
}

type domainTable struct {
	Name        string         `toml:"name"`
	DefaultRole string         `toml:"default_role"`
	Services    []string       `toml:"services"`
	Backend     []backendTable `toml:"backend"`
}

type backendTable struct {
	Address  string `toml:"address"`
	Security string `toml:"security"`
}

type roleTable struct {
	Name     string   `toml:"name"`
	Inherits []string `toml:"inherits"`
	Allow    []string `toml:"allow"`
	Deny     []string `toml:"deny"`
	Add      []string `toml:"add"`
	Remove   []string `toml:"remove"`
}

type memberTable struct {
	JID       string   `toml:"jid"`
	Role      string   `toml:"role"`
	Secondary []string `toml:"secondary"`
}

// Parse reads a file. source names it in notes. The error is an Errors.
func Parse(source string, data []byte) (*File, error) {
	p := parser{file: &File{source: source}}
	if len(data) > MaxBytes {
		return nil, Errors{{File: source, Text: fmt.Sprintf("%d bytes; at most %d", len(data), MaxBytes)}}
	}
	if i := invalidUTF8(data); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		return nil, Errors{{source, line, i - bytes.LastIndexByte(data[:i], '\n'), "not UTF-8"}}
	}
	var doc document
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&doc); err != nil {
		return nil, p.decodeErrors(err)
	}
	p.file.at = locate(data)
	p.document(&doc)
	if err := p.errs.sorted(); err != nil {
		return nil, err
	}
	return p.file, nil
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// parser collects what is wrong; it never stops at the first.
type parser struct {
	file *File
	errs Errors
}

func (p *parser) decodeErrors(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		for i := range strict.Errors {
			e := &strict.Errors[i]
			line, column := e.Position()
			p.errs = append(p.errs, Note{p.file.source, line, column, fmt.Sprintf("unknown key %q", join("", keyText(e.Key())))})
		}
		return p.errs.sorted()
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, column := decode.Position()
		return Errors{{p.file.source, line, column, decode.Error()}}
	}
	return Errors{{File: p.file.source, Text: err.Error()}}
}

func keyText(key toml.Key) string {
	text := ""
	for _, part := range key {
		text = join(text, part)
	}
	return text
}

func (p *parser) errorf(path, format string, args ...any) {
	at := p.file.at.of(path)
	p.errs = append(p.errs, Note{p.file.source, at.line, at.column, fmt.Sprintf(format, args...)})
}

func (p *parser) warnf(path, format string, args ...any) {
	at := p.file.at.of(path)
	p.file.Warnings = append(p.file.Warnings, Note{p.file.source, at.line, at.column, fmt.Sprintf(format, args...)})
}

func (p *parser) document(doc *document) {
	f := p.file
	f.Tenant, f.Name, f.Ceiling = doc.Tenant, doc.Name, doc.Ceiling
	if doc.Tenant == "" {
		p.errorf("tenant", "tenant is missing: say which tenant the policy is of")
	}
	if f.Name == "" {
		f.Name = f.Tenant
	}
	p.permissions("ceiling", doc.Ceiling)
	switch doc.Presence {
	case "", "clamp":
		f.Presence = events.PresenceClamp
	case "refuse":
		f.Presence = events.PresenceRefuse
	default:
		p.errorf("presence_without_messages", "presence_without_messages %q: want \"clamp\" or \"refuse\"", doc.Presence)
	}
	// Roles first: domains and members name them.
	p.roles(doc.Role)
	p.domains(doc.Domain)
	p.members(doc.Member)
}

func (p *parser) permissions(path string, names []string) {
	for i, name := range names {
		at := fmt.Sprintf("%s.%d", path, i)
		if err := permission.CheckName(name); err != nil {
			p.errorf(at, "%v", err)
		} else if permission.Misspelt(name) {
			p.warnf(at, "%q is none of Postern's permissions, so no stanza asks for it; a misspelling?", name)
		}
		if slices.Contains(names[:i], name) {
			p.errorf(at, "%q stands twice", name)
		}
	}
}

func (p *parser) domains(tables []domainTable) {
	seen := map[string]string{} // domain or service -> what it is
	for i, t := range tables {
		path := fmt.Sprintf("domain.%d", i)
		d := Domain{DefaultRole: permission.DefaultRole}
		d.Name = p.domain(path+".name", "domain", t.Name, seen)
		if t.DefaultRole != "" {
			d.DefaultRole = t.DefaultRole
			p.roleExists(path+".default_role", t.DefaultRole)
		}
		for j, b := range t.Backend {
			at := fmt.Sprintf("%s.backend.%d", path, j)
			if b.Address == "" {
				p.errorf(at, "backend without an address")
			}
			security, ok := securities[b.Security]
			if !ok {
				p.errorf(at+".security", "security %q: want \"none\", \"starttls\" or \"tls\"", b.Security)
			}
			d.Backends = append(d.Backends, events.Backend{Address: b.Address, Security: security})
		}
		for j, s := range t.Services {
			d.Services = append(d.Services, p.domain(fmt.Sprintf("%s.services.%d", path, j), "service", s, seen))
		}
		p.file.Domains = append(p.file.Domains, d)
	}
}

var securities = map[string]events.Security{
	"none":     events.SecurityNone,
	"starttls": events.SecurityStartTLS,
	"tls":      events.SecurityTLS,
}

// domain prepares the name of a domain or service and refuses a second one of
// the same name.
func (p *parser) domain(path, kind, name string, seen map[string]string) string {
	prepared, err := jid.Domain(name)
	if err != nil {
		p.errorf(path, "%s %q: %v", kind, name, err)
		return name
	}
	if other := seen[prepared]; other != "" {
		p.errorf(path, "%s %q is already a %s of this file", kind, prepared, other)
	}
	seen[prepared] = kind
	return prepared
}

func (p *parser) members(tables []memberTable) {
	seen := map[string]bool{}
	for i, t := range tables {
		path := fmt.Sprintf("member.%d", i)
		m := Member{Role: t.Role, Secondary: t.Secondary}
		bare, err := jid.Bare(t.JID)
		if err != nil {
			p.errorf(path+".jid", "member %q: %v", t.JID, err)
			continue
		}
		m.JID = bare
		if seen[bare] {
			p.errorf(path+".jid", "member %q stands twice", bare)
		}
		seen[bare] = true
		if !p.isOwnDomain(bare) {
			p.errorf(path+".jid", "member %q: its domain is none of this file's", bare)
		}
		if t.Role != "" {
			p.roleExists(path+".role", t.Role)
		}
		for j, s := range t.Secondary {
			at := fmt.Sprintf("%s.secondary.%d", path, j)
			p.roleExists(at, s)
			if slices.Contains(t.Secondary[:j], s) {
				p.errorf(at, "secondary role %q stands twice", s)
			}
		}
		p.file.Members = append(p.file.Members, m)
	}
}

func (p *parser) isOwnDomain(bare string) bool {
	_, domain, _ := bytes.Cut([]byte(bare), []byte("@"))
	return slices.ContainsFunc(p.file.Domains, func(d Domain) bool { return d.Name == string(domain) })
}
