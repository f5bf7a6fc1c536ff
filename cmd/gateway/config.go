package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// envPrefix begins the environment variables that override the file:
// POSTERN_GATEWAY_LISTEN_STARTTLS is starttls in [listen]. Lists are separated
// by commas.
const envPrefix = "POSTERN_GATEWAY_"

// config is the configuration file. What is left out is as in defaults.
type config struct {
	// ID names this gateway to the policy nodes: a-z and 0-9. It is the one
	// its NATS user was made for.
	ID     string `toml:"id"`
	Listen struct {
		STARTTLS  []string `toml:"starttls"`
		DirectTLS []string `toml:"direct_tls"`
		HTTP      string   `toml:"http"` // metrics and health, loopback; empty: none
	} `toml:"listen"`
	Certificates struct {
		Directory  string `toml:"directory"`
		SelfSigned bool   `toml:"self_signed"` // demonstrations only
	} `toml:"certificates"`
	Backend struct {
		Roots string `toml:"roots"` // PEM; empty: the system's
	} `toml:"backend"`
	NATS struct {
		URLs       []string `toml:"urls"`
		ServerName string   `toml:"server_name"`
		SeedFile   string   `toml:"seed_file"`
		CA         string   `toml:"ca"` // PEM; empty: no TLS, loopback only
	} `toml:"nats"`
	Limits struct {
		Connections int      `toml:"connections"`
		PerAddress  int      `toml:"per_address"`
		Drain       duration `toml:"drain"`
	} `toml:"limits"`
	Log struct {
		Format string     `toml:"format"` // text or json
		Level  slog.Level `toml:"level"`
	} `toml:"log"`
}

// A duration is written as "30s".
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err == nil && v <= 0 {
		err = errors.New("a duration must be positive")
	}
	*d = duration(v)
	return err
}

func defaults() *config {
	c := new(config)
	c.ID = "gateway"
	c.Listen.STARTTLS = []string{":5222"}
	c.Listen.DirectTLS = []string{":5223"}
	c.Listen.HTTP = "127.0.0.1:9522"
	c.Certificates.Directory = "/etc/postern/certificates"
	c.NATS.URLs = []string{"nats://127.0.0.1:4222"}
	c.Limits.Connections = 10_000
	c.Limits.PerAddress = 64
	c.Limits.Drain = duration(30 * time.Second)
	c.Log.Format = "text"
	return c
}

// loadConfig reads the file, then the environment, and checks both.
func loadConfig(path string, environ []string) (*config, error) {
	c := defaults()
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		if err := decode(text, c); err != nil {
			return nil, fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	if err := override(c, environ); err != nil {
		return nil, err
	}
	return c, c.check()
}

// decode reads TOML strictly; an error has its line and column.
func decode(text []byte, c *config) error {
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(c)
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

// override sets what the environment says. A variable that means nothing is
// an error: it was meant to.
func override(c *config, environ []string) error {
	fields := make(map[string]reflect.Value)
	walk(reflect.ValueOf(c).Elem(), envPrefix, fields)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) || name == envPrefix+"CONFIG" {
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
		panic("gateway: a setting of unknown type " + field.Type().String())
	}
	return nil
}

// check refuses what can never work or is unsafe.
func (c *config) check() error {
	switch {
	case len(c.Listen.STARTTLS)+len(c.Listen.DirectTLS) == 0:
		return errors.New("listen: no address for clients")
	case c.Limits.Connections <= 0 || c.Limits.PerAddress <= 0:
		return errors.New("limits: must be positive")
	case c.Log.Format != "text" && c.Log.Format != "json":
		return errors.New(`log: format must be "text" or "json"`)
	case c.Certificates.Directory == "" && !c.Certificates.SelfSigned:
		return errors.New("certificates: no directory")
	}
	if c.Listen.HTTP == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen.HTTP)
	if err != nil {
		return fmt.Errorf("listen: http: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("listen: http must be on loopback: it shows metrics to whoever asks")
	}
	return nil
}

// roots returns a TLS configuration that trusts a file's certificates; nil if
// there is no file.
func roots(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// logger returns the logger that is asked for.
func (c *config) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Log.Level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}
