package events

import (
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Settings are the settings of a tenant. The zero value has the settings of a new
// tenant.
//
// To add a setting, write a type with its names, and add a field here, an entry to
// the table below and a field to SettingsChanged in events.proto. Encodings,
// commands and policy files use the table. Code that implements the setting reads
// the field.
type Settings struct {
	PresenceWithoutMessages PresenceMode
	AuditAddresses          AuditAddresses
}

// SettingsChanged replaces all settings of the tenant.
type SettingsChanged Settings

// PresenceMode says how available presence from a session without messages:read is
// treated. Such presence could make the server deliver messages to the session.
type PresenceMode uint8

// The presence modes.
const (
	PresenceClamp  PresenceMode = iota // forwarded with priority -1
	PresenceRefuse                     // refused, as Prosody's module does
)

var presenceNames = names{PresenceClamp: "clamp", PresenceRefuse: "refuse"}

func (m PresenceMode) String() string { return presenceNames.of(uint8(m)) }

// Valid reports whether this version knows the value.
func (m PresenceMode) Valid() bool { return presenceNames.valid(uint8(m)) }

// AuditAddresses says which part of an address an audit record holds.
type AuditAddresses uint8

// The values of AuditAddresses.
const (
	AuditFull   AuditAddresses = iota // the whole address
	AuditDomain                       // only its domain
	AuditClass                        // only whether it is own, local or remote
)

var auditNames = names{AuditFull: "full", AuditDomain: "domain", AuditClass: "class"}

func (a AuditAddresses) String() string { return auditNames.of(uint8(a)) }

// Valid reports whether this version knows the value.
func (a AuditAddresses) Valid() bool { return auditNames.valid(uint8(a)) }

// settings is the table of all settings, in the order of their numbers. The names
// are also used by policy files and the admin API.
var settings = [...]Setting{
	setting(1, "presence_without_messages", presenceNames, func(s *Settings) *PresenceMode { return &s.PresenceWithoutMessages }),
	setting(2, "audit_addresses", auditNames, func(s *Settings) *AuditAddresses { return &s.AuditAddresses }),
}

// A Setting describes one field of Settings and its possible values.
type Setting struct {
	// Number is the number of the setting's field in SettingsChanged.
	Number uint64
	// Name is the setting's name in policy files and the admin API.
	Name string
	// Values are the names of the setting's values, by number. The first is
	// the value of a new tenant.
	Values []string

	get func(Settings) uint8
	set func(Settings, uint8) Settings
}

// setting returns an entry of the table. field returns a pointer to the setting's
// field.
func setting[E Enum](number uint64, name string, values names, field func(*Settings) *E) Setting {
	return Setting{
		Number: number, Name: name, Values: values,
		get: func(s Settings) uint8 { return uint8(*field(&s)) },
		set: func(s Settings, v uint8) Settings {
			*field(&s) = E(v)
			return s
		},
	}
}

// AllSettings yields the settings in the order of their numbers.
func AllSettings() iter.Seq[Setting] { return slices.Values(settings[:]) }

// SettingNamed returns the setting with the given name, if there is one.
func SettingNamed(name string) (Setting, bool) {
	for _, setting := range settings {
		if setting.Name == name {
			return setting, true
		}
	}
	return Setting{}, false
}

// Of returns the number of the setting's value in s.
func (t Setting) Of(s Settings) uint8 { return t.get(s) }

// In returns s with the setting changed to the given value, which must be valid.
func (t Setting) In(s Settings, value uint8) Settings { return t.set(s, value) }

// Valid reports whether the setting has a value with this number.
func (t Setting) Valid(value uint8) bool { return int(value) < len(t.Values) }

// Parse returns the number of the value with the given name. It returns false if
// there is none.
func (t Setting) Parse(name string) (uint8, bool) {
	i := slices.Index(t.Values, name)
	return uint8(max(i, 0)), i >= 0
}

func (e *SettingsChanged) wire(c *codec) {
	for _, setting := range settings {
		v := setting.get(Settings(*e))
		c.value(protowire.Number(setting.Number), &v, setting.Valid)
		*e = SettingsChanged(setting.set(Settings(*e), v))
	}
}
func (e SettingsChanged) encode(out []byte) []byte { return encodeBody(out, 6, &e) }
func (SettingsChanged) subject() Subject           { return Subject{Kind: KindTenant} }
func (SettingsChanged) effects() Effects           { return Withdraws }

func (e SettingsChanged) describe() string {
	parts := []string{"settings changed"}
	for _, setting := range settings {
		value := names(setting.Values).of(setting.get(Settings(e)))
		parts = append(parts, strings.ReplaceAll(setting.Name, "_", "-"), value)
	}
	return line(parts...)
}
