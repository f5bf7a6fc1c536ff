package backend

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// scramIterations is the least count that RFC 5802 allows: the tests' passwords
// are not secret, and a test creates dozens of accounts quickly.
const scramIterations = 4096

// prosodyModules is where Debian installs Prosody's modules and the community
// modules.
const prosodyModules = "/usr/lib/prosody/modules"

//go:embed prosody.cfg.lua
var prosodyTemplate string

// prosodyProxy is a module that reads PROXY headers. Debian's prosody-modules
// lack mod_net_proxy.
//
//go:embed mod_test_proxy.lua
var prosodyProxy []byte

// prosody is Debian's Prosody, run as the user that runs the tests.
type prosody struct {
	config Config
	ports  ports
}

func (p prosody) configFile() string { return filepath.Join(p.config.Dir, "prosody.cfg.lua") }

func (p prosody) configure() error {
	modules := filepath.Join(p.config.Dir, "modules")
	if err := os.Mkdir(modules, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(modules, "mod_test_proxy.lua"), prosodyProxy, 0o600); err != nil {
		return err
	}
	_, err := os.Stat(filepath.Join(prosodyModules, "mod_cloud_notify"))
	return render(p.configFile(), prosodyTemplate, map[string]any{
		"Host": p.ports.host, "Dir": p.config.Dir, "Domains": p.config.hosts(), "Admins": p.config.Admins,
		"PlainPort": p.ports.plain, "StartTLSPort": p.ports.startTLS,
		"DirectTLSPort": p.ports.directTLS, "HTTPPort": p.ports.http, "ProxyPort": p.ports.proxied,
		"Cert": filepath.Join(p.config.Dir, "certs", certName),
		"Key":  filepath.Join(p.config.Dir, "certs", keyName),
		// The module is in the package prosody-modules, which may be missing.
		"CloudNotify": err == nil,
	})
}

func (p prosody) command() command {
	return command{
		path: "prosody",
		args: []string{"-F", "--config", p.configFile()},
		dir:  p.config.Dir,
	}
}

// addUser writes the account file that mod_auth_internal_hashed reads at each
// log-in. It holds the keys of RFC 5802 section 3.
func (p prosody) addUser(_ context.Context, local, domain, password string) error {
	salt := rand.Text()
	salted, err := pbkdf2.Key(sha1.New, password, []byte(salt), scramIterations, sha1.Size)
	if err != nil {
		return err
	}
	stored := sha1.Sum(keyed(salted, "Client Key"))
	content := fmt.Sprintf(`return {
	["iteration_count"] = %d;
	["salt"] = "%s";
	["stored_key"] = "%s";
	["server_key"] = "%s";
};
`, scramIterations, salt, hex.EncodeToString(stored[:]), hex.EncodeToString(keyed(salted, "Server Key")))
	file := p.accountFile(local, domain)
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	// The file is renamed into place, so a log-in never reads half of it.
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (p prosody) hasUser(_ context.Context, local, domain string) (bool, error) {
	_, err := os.Stat(p.accountFile(local, domain))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// addressesOf reads the addresses from the log, into which mod_test_proxy
// writes them.
func (p prosody) addressesOf(_ context.Context, local, domain string) (found []string, err error) {
	log, err := os.ReadFile(filepath.Join(p.config.Dir, "logs", "prosody.log"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(log)) {
		if _, address, ok := strings.Cut(line, "session of "+local+"@"+domain+" is from "); ok {
			found = append(found, strings.TrimSpace(address))
		}
	}
	return found, nil
}

func (p prosody) accountFile(local, domain string) string {
	return filepath.Join(p.config.Dir, "data", storeName(domain), "accounts", storeName(local)+".dat")
}

func keyed(key []byte, text string) []byte {
	mac := hmac.New(sha1.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// storeName returns Prosody's file name for a name: every byte except ASCII
// letters and digits becomes %xx.
func storeName(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// render writes a configuration file from a template.
func render(file, text string, values map[string]any) error {
	parsed, err := template.New(filepath.Base(file)).Option("missingkey=error").Parse(text)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := parsed.Execute(&b, values); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o600)
}
