package tenants

import (
	"strings"

	"github.com/postern-im/postern/events"
)

// SetSetting changes one of the tenant's settings. Each setting has its
// own command name, but the Go type of all these commands is SetSetting.
type SetSetting struct {
	Setting string // as in events.Setting
	Value   uint8  // the value's number, as in events.Setting
}

// Name is the name of the setting's command.
func (c SetSetting) Name() string {
	command, _ := c.spelling()
	return command
}

// spelling returns the name of the setting's command, and the name of the value
// in the command's hash. The oldest two settings have irregular names. An
// unknown setting gets a name that no command has.
func (c SetSetting) spelling() (command, value string) {
	switch c.Setting {
	case "presence_without_messages":
		return "tenant.set-presence", "Mode"
	case "audit_addresses":
		return "tenant.set-audit-addresses", "Addresses"
	}
	if _, known := events.SettingNamed(c.Setting); !known {
		return "unknown setting " + c.Setting, "Value"
	}
	return "tenant.set-" + strings.ReplaceAll(c.Setting, "_", "-"), "Value"
}

// settingCommands are the commands of all settings.
func settingCommands() []Entry {
	var list []Entry
	for setting := range events.AllSettings() {
		list = append(list, Entry{Zero: SetSetting{Setting: setting.Name}, Makes: events.SettingsChanged{}})
	}
	return list
}

func (c SetSetting) check(p *checker) {
	setting, ok := events.SettingNamed(c.Setting)
	if !ok {
		p.fail(Invalid, "", "there is no setting %s", quote(c.Setting))
		return
	}
	if p.value(setting, c.Value) {
		p.settings(setting.In(p.tenant.Settings(), c.Value))
	}
}

// value checks the value of a setting.
func (p *checker) value(setting events.Setting, value uint8) bool {
	if !setting.Valid(value) {
		p.fail(Invalid, setting.Name, "unknown %s: want %s", setting.Name, oneOf(setting.Values))
		return false
	}
	return true
}

// settings emits the event that sets all settings to s, if they differ.
func (p *checker) settings(s events.Settings) {
	if s != p.tenant.Settings() {
		p.emit(events.SettingsChanged(s))
	}
}
