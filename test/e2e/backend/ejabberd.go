package backend

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
)

// ejabberdLibraries matches the folder of Debian's Erlang libraries. Its name
// contains the machine's architecture.
const ejabberdLibraries = "/usr/lib/*/ejabberd-*/ebin"

// maxReply bounds an answer of the server's HTTP API.
const maxReply = 64 << 10

//go:embed ejabberd.yml
var ejabberdTemplate string

// ejabberd is Debian's ejabberd, run by erl as the user that runs the tests. It
// is not a distributed Erlang node, so it needs no node name that could clash,
// no cookie, and no epmd that would outlive it.
type ejabberd struct {
	config Config
	ports  ports
}

func (e ejabberd) configFile() string { return filepath.Join(e.config.Dir, "ejabberd.yml") }

func (e ejabberd) configure() error {
	if strings.ContainsAny(e.config.Dir, `"\`) {
		return fmt.Errorf("folder %q: has a quote or a backslash", e.config.Dir)
	}
	return render(e.configFile(), ejabberdTemplate, map[string]any{
		"Host": e.ports.host, "Dir": e.config.Dir, "Domains": e.config.hosts(), "Admins": e.config.Admins,
		"PlainPort": e.ports.plain, "StartTLSPort": e.ports.startTLS,
		"DirectTLSPort": e.ports.directTLS, "HTTPPort": e.ports.http,
		"ProxyPort": e.ports.proxied, "BanAfter": e.config.BanAfter,
		"Chain": filepath.Join(e.config.Dir, "certs", chainName),
	})
}

func (e ejabberd) command() command {
	libraries := ""
	if found, err := filepath.Glob(ejabberdLibraries); err == nil && len(found) > 0 {
		libraries = filepath.Dir(filepath.Dir(found[0]))
	}
	logs := filepath.Join(e.config.Dir, "logs")
	return command{
		path: "erl",
		args: []string{
			"+K", "true",
			// Idle schedulers must not spin: other processes need the
			// processor.
			"+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none",
			"-noinput",
			"-mnesia", "dir", `"` + filepath.Join(e.config.Dir, "data") + `"`,
			"-s", "ejabberd",
		},
		env: []string{
			"ERL_LIBS=" + libraries,
			"EJABBERD_CONFIG_PATH=" + e.configFile(),
			"EJABBERD_LOG_PATH=" + filepath.Join(logs, "ejabberd.log"),
			"ERL_CRASH_DUMP=" + filepath.Join(logs, "erl_crash.dump"),
			"ERL_CRASH_DUMP_BYTES=0",
		},
		dir: e.config.Dir,
	}
}

func (e ejabberd) addUser(ctx context.Context, local, domain, password string) error {
	var text string
	return e.call(ctx, "register", map[string]string{"user": local, "host": domain, "password": password}, &text)
}

func (e ejabberd) hasUser(ctx context.Context, local, domain string) (bool, error) {
	var code int // 0: it exists, 1: it does not
	if err := e.call(ctx, "check_account", map[string]string{"user": local, "host": domain}, &code); err != nil {
		return false, err
	}
	return code == 0, nil
}

func (e ejabberd) addressesOf(ctx context.Context, local, domain string) (found []string, err error) {
	var sessions []struct {
		IP string `json:"ip"`
	}
	if err := e.call(ctx, "user_sessions_info", map[string]string{"user": local, "host": domain}, &sessions); err != nil {
		return nil, err
	}
	for _, s := range sessions {
		found = append(found, strings.TrimPrefix(s.IP, "::ffff:"))
	}
	return found, nil
}

// call runs a command of mod_http_api.
func (e ejabberd) call(ctx context.Context, name string, arguments map[string]string, result any) error {
	body, err := json.Marshal(arguments)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url := "http://" + address(e.ports.host, e.ports.http) + "/api/" + name
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Close = true // tests count connections that are left
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", name, response.Status, reply)
	}
	if err := json.Unmarshal(reply, result); err != nil {
		return fmt.Errorf("%s: %q: %w", name, reply, err)
	}
	return nil
}
