package overapi

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/tenants"
)

// Settings writes all settings of a tenant.
func Settings(s events.Settings) api.Settings {
	var out api.Settings
	v := reflect.ValueOf(&out).Elem()
	for i := range v.NumField() {
		if setting, ok := settingOf(v.Type().Field(i)); ok {
			v.Field(i).SetString(setting.Values[setting.Of(s)])
		}
	}
	return out
}

// settings reads the settings of a tenant. An absent setting gets the value that
// a new tenant has.
func settings(s api.Settings) (events.Settings, error) {
	var out events.Settings
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		setting, ok := settingOf(v.Type().Field(i))
		if !ok || v.Field(i).String() == "" {
			continue
		}
		value, err := valueOf(setting, v.Field(i).String())
		if err != nil {
			return out, err
		}
		out = setting.In(out, value)
	}
	return out, nil
}

// SetSetting reads a command that changes one setting: its only field is the
// setting's value.
func SetSetting[C api.Command](c C) (tenants.SetSetting, error) {
	v := reflect.ValueOf(c)
	setting, ok := settingOf(v.Type().Field(0))
	if !ok {
		return tenants.SetSetting{}, fmt.Errorf("read %s: it names no setting", c.Command())
	}
	value, err := valueOf(setting, v.Field(0).String())
	return tenants.SetSetting{Setting: setting.Name, Value: value}, err
}

// settingOf returns the setting that has the JSON name of a field.
func settingOf(f reflect.StructField) (events.Setting, bool) {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return events.SettingNamed(name)
}

// valueOf returns the value of a setting with a name.
func valueOf(s events.Setting, name string) (uint8, error) {
	value, ok := s.Parse(name)
	if !ok {
		return 0, unknownName(s.Name, name, s.Values)
	}
	return value, nil
}
