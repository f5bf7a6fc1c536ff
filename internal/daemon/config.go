// Package daemon holds the code that the gateway and policyd share because both
// are daemons. It reads their configuration, checks the files and addresses that
// they will open, turns signals into calls, and serves metrics and health.
//
// It promises that a configuration is read strictly: first the TOML file, and
// then the environment variables, which override it. An unknown key or variable
// is an error, because it may be a misspelt setting. An error in the file has its
// line and column. The package holds no defaults: each program sets its own before
// it calls Load. It does not depend on either program.
package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/postern-im/postern/internal/limit"
)

// A Config is a pointer to a struct with toml tags.
type Config interface {
	// Check returns one error for all settings that cannot work or are unsafe.
	Check() error
}

// Load reads a configuration into c, which holds the defaults, and checks it. It
// reads the file at path, unless path is empty, and then the variables in environ
// that begin with prefix. For example, prefix + LISTEN_STARTTLS sets starttls in
// [listen]. Commas separate the elements of a list. Load ignores prefix + CONFIG,
// which names the file. A setting credential:NAME becomes the path of a credential of
// the service; see systemd's LoadCredential. If the check fails, Load returns c with the error; if
// reading fails, it returns no configuration.
func Load[C Config](c C, path, prefix string, environ []string) (C, error) {
	if err := read(c, path, prefix, environ); err != nil {
		var none C
		return none, err
	}
	return c, c.Check()
}

func read(into any, path, prefix string, environ []string) error {
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		if err := decode(text, into); err != nil {
			return fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	if err := override(into, prefix, environ); err != nil {
		return err
	}
	return resolveCredentials(into, environ)
}

func decode(text []byte, into any) error {
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var unknown []error
		for _, e := range strict.Errors {
			row, column := e.Position()
			unknown = append(unknown, fmt.Errorf("%d:%d: unknown key %s", row, column, strings.Join(e.Key(), ".")))
		}
		return errors.Join(unknown...)
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, column := e.Position()
		return fmt.Errorf("%d:%d: %w", row, column, err)
	}
	return err
}

func override(into any, prefix string, environ []string) error {
	fields := make(map[string]reflect.Value)
	walk(reflect.ValueOf(into).Elem(), prefix, fields)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, prefix) || name == prefix+"CONFIG" {
			continue
		}
		field, ok := fields[name]
		if !ok {
			return fmt.Errorf("environment: %s is not the name of a setting", name)
		}
		if err := set(field, value); err != nil {
			return fmt.Errorf("environment: %s: %w", name, err)
		}
	}
	return nil
}

func walk(v reflect.Value, prefix string, fields map[string]reflect.Value) {
	for i := range v.NumField() {
		name := prefix + strings.ToUpper(v.Type().Field(i).Tag.Get("toml"))
		if f := v.Field(i); f.Kind() == reflect.Struct {
			walk(f, name+"_", fields)
		} else {
			fields[name] = f
		}
	}
}

func set(field reflect.Value, value string) error {
	switch p := field.Addr().Interface().(type) {
	case interface{ UnmarshalText([]byte) error }:
		return p.UnmarshalText([]byte(value))
	case *string:
		*p = value
	case *[]string:
		*p = []string{} // an empty list is not an absent one
		if value != "" {
			*p = strings.Split(value, ",")
		}
	case *bool:
		v, err := strconv.ParseBool(value)
		*p = v
		return err
	case *int:
		v, err := strconv.Atoi(value)
		*p = v
		return err
	default:
		panic("daemon: a setting has an unsupported type: " + field.Type().String())
	}
	return nil
}

// A Duration is a positive duration, written as in "30s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err == nil && v <= 0 {
		err = errors.New("a duration must be positive")
	}
	*d = Duration(v)
	return err
}

// Log is the [log] section of a configuration.
type Log struct {
	Format string     `toml:"format"` // text or json; empty means text
	Level  slog.Level `toml:"level"`
}

// Logger returns a logger with this format and level.
func (l Log) Logger(to io.Writer) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: l.Level}
	switch l.Format {
	case "json":
		return slog.New(slog.NewJSONHandler(to, options)), nil
	case "", "text":
		return slog.New(slog.NewTextHandler(to, options)), nil
	}
	return nil, errors.New(`log: format must be "text" or "json"`)
}

// CheckLoopback returns an error unless an address is on loopback. It is for
// listeners that answer without authentication.
func CheckLoopback(address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return err
	}
	if !limit.IsLoopback(address) {
		return fmt.Errorf("%s is not on loopback, and its listener answers without authentication", address)
	}
	return nil
}
