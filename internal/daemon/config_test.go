package daemon

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

type sample struct {
	ID     string `toml:"id"`
	Listen struct {
		HTTP []string `toml:"http"`
		Port int      `toml:"port"`
	} `toml:"listen"`
	Secure bool     `toml:"secure"`
	Drain  Duration `toml:"drain"`
	Log    Log      `toml:"log"`
}

func load(t *testing.T, text string, environ ...string) (sample, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := sample{ID: "default", Drain: Duration(time.Second)}
	_, err := Load(&s, path, "X_", environ)
	return s, err
}

// Check implements Config.
func (s *sample) Check() error {
	if s.ID == "" {
		return errors.New("id: empty")
	}
	return nil
}

// Load returns a configuration that fails its check, and no configuration if it
// cannot be read.
func TestLoadChecks(t *testing.T) {
	if c, err := Load(&sample{ID: "default"}, "", "X_", []string{"X_ID="}); c == nil || err == nil || err.Error() != "id: empty" {
		t.Errorf("%v, %v", c, err)
	}
	if c, err := Load(&sample{ID: "default"}, "", "X_", []string{"X_NOPE=1"}); c != nil || err == nil {
		t.Errorf("%v, %v", c, err)
	}
}

func TestLoad(t *testing.T) {
	got, err := load(t, "secure = true\n[listen]\nhttp = [\"a\"]\nport = 1\n[log]\nlevel = \"warn\"\n",
		"X_LISTEN_HTTP=b,c", "X_LISTEN_PORT=7", "X_DRAIN=1m", "X_CONFIG=elsewhere", "OTHER=1", "X_LOG_FORMAT=json")
	if err != nil {
		t.Fatal(err)
	}
	want := sample{ID: "default", Secure: true, Drain: Duration(time.Minute), Log: Log{Format: "json", Level: slog.LevelWarn}}
	want.Listen.HTTP, want.Listen.Port = []string{"b", "c"}, 7
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tt := range []struct{ text, environ, want string }{
		{"id = \"x\"\nnope = 1\n", "", "2:1: unknown key nope"},
		{"[listen]\n  prot = 1\n", "", "2:3: unknown key listen.prot"},
		{"id = \n", "", "1:"},
		{"[listen]\nport = \"x\"\n", "", "2:"},
		{"drain = \"-1s\"\n", "", "positive"},
		{"", "X_NOPE=1", "X_NOPE is not the name of a setting"},
		{"", "X_LISTEN_PORT=x", "X_LISTEN_PORT"},
		{"", "X_SECURE=maybe", "X_SECURE"},
	} {
		var environ []string
		if tt.environ != "" {
			environ = append(environ, tt.environ)
		}
		if _, err := load(t, tt.text, environ...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q %q: got %v, want %q", tt.text, tt.environ, err, tt.want)
		}
	}
	if _, err := Load(new(sample), filepath.Join(t.TempDir(), "missing"), "X_", nil); err == nil {
		t.Error("no error for a missing file")
	}
}

func TestLoggerAndLoopback(t *testing.T) {
	if _, err := (Log{Format: "xml"}).Logger(os.Stderr); err == nil {
		t.Error("no error for an unknown format")
	}
	var out strings.Builder
	log, err := Log{Format: "json", Level: slog.LevelWarn}.Logger(&out)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("unheard")
	log.Warn("heard")
	if s := out.String(); strings.Contains(s, "unheard") || !strings.HasPrefix(s, "{") {
		t.Errorf("logged %s", s)
	}
	for address, ok := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "0.0.0.0:1": false, ":1": false, "example.test:1": false, "127.0.0.1": false,
	} {
		if err := CheckLoopback(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}
