// Package daemon holds what the gateway and policyd do alike because both are
// daemons: it reads their configuration, looks at what a start would open, turns
// signals into calls, and serves metrics and health.
//
// It promises that a configuration is read strictly, the TOML file first and then
// the environment variables that override it. A key or variable that means nothing
// is an error, because its author meant something by it. An error in the file has
// its line and column. The package holds no defaults: a program fills them in
// before. It decides nothing and knows neither program.
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
	// Check refuses settings that can never work or are unsafe: all of them in
	// one error.
	Check() error
}

// Load reads into c, which holds the defaults, and checks it. It reads the file, if
// path is not empty, and then those of environ that begin with prefix. The variable
// of starttls in [listen] is prefix + LISTEN_STARTTLS; a list's elements are
// separated by commas. prefix + CONFIG names the file, and is no setting. If c can
// be read and is refused, Load returns it with the error of its check.
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
	return override(into, prefix, environ)
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
			return fmt.Errorf("environment: %s is no setting", name)
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
		*p = nil
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
		panic("daemon: a setting of unknown type " + field.Type().String())
	}
	return nil
}

// A Duration is written as "30s" and is positive.
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

// Log is the part of a configuration that says how the program logs.
type Log struct {
	Format string     `toml:"format"` // text or json; empty is text
	Level  slog.Level `toml:"level"`
}

// Logger returns the logger that is asked for.
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

// CheckLoopback refuses an address off loopback, for listeners that answer
// whoever asks.
func CheckLoopback(address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return err
	}
	if !limit.IsLoopback(address) {
		return fmt.Errorf("%s is not on loopback, and it answers whoever asks", address)
	}
	return nil
}
