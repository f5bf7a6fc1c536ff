package tenants

import (
	"strings"

	"github.com/postern-im/postern/events"
)

// SetSetting changes one of the tenant's settings. Each setting has a command
// of its own, which is a SetSetting that names it.
type SetSetting struct {
	Setting string // as in events.Setting
	Value   uint8  // its number, as in events.Setting
}

// Name is the name of the setting's command.
func (c SetSetting) Name() string {
	command, _ := c.spelling()
	return command
}

// spelling is the name of the setting's command, and what the command's hash
// calls the value. The first settings had commands before there was a rule. A
// setting that there is not gets the name of no command.
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

// settings is the event of new settings, all of them.
func (p *checker) settings(s events.Settings) {
	if s != p.tenant.Settings() {
		p.emit(events.SettingsChanged(s))
	}
}
