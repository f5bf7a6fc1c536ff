package daemon

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
)

// credentialPrefix begins a setting whose file is a credential of the service.
const credentialPrefix = "credential:"

// credentialName is the form of a credential's name. It has no slash, so that it
// cannot name a file outside the folder of credentials.
var credentialName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}$`)

// resolveCredentials replaces each setting credential:NAME by the path of the file
// NAME in the folder that CREDENTIALS_DIRECTORY names. systemd makes this folder
// for a unit with LoadCredential=NAME:PATH; only the service can read it.
func resolveCredentials(into any, environ []string) error {
	fields := make(map[string]reflect.Value)
	walk(reflect.ValueOf(into).Elem(), "", fields)
	dir := variable(environ, "CREDENTIALS_DIRECTORY")
	var errs []error
	for _, field := range fields {
		if field.Kind() != reflect.String {
			continue
		}
		value := field.String()
		if len(value) < len(credentialPrefix) || value[:len(credentialPrefix)] != credentialPrefix {
			continue
		}
		name := value[len(credentialPrefix):]
		switch {
		case !credentialName.MatchString(name):
			errs = append(errs, fmt.Errorf("%s: want credential: and a name of letters, digits, '.', '_' and '-'", value))
		case !filepath.IsAbs(dir):
			errs = append(errs, fmt.Errorf("%s: CREDENTIALS_DIRECTORY names no folder; systemd sets it for a unit with LoadCredential=%s:PATH", value, name))
		default:
			field.SetString(filepath.Join(dir, name))
		}
	}
	return errors.Join(errs...)
}
