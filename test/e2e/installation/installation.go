// Package installation runs Postern's own programs, as built, for the
// end-to-end suite and the demo: one policyd and one gateway on loopback, with
// everything they keep in one folder.
//
// It never reaches into the programs: what it knows of them is their
// configuration, their command line and their health endpoints.
package installation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-im/postern/test/e2e/backend"
)

// readyTimeout bounds the wait for a program to say that it is ready.
const readyTimeout = 30 * time.Second

// Config says what to run.
type Config struct {
	// Bin is the folder with gateway, policyd and policyctl.
	Bin string
	// Dir takes configuration, data and logs. It must exist and be empty.
	Dir string
	// Certificate and Key are PEM files that serve every domain, signed by an
	// authority the clients trust.
	Certificate, Key string
	// Domains are the names the certificate is for.
	Domains []string
	// StartTLS and DirectTLS are where clients connect; empty: a free port.
	StartTLS, DirectTLS string
	// LogFormat is the gateway's; empty: json.
	LogFormat string
	// GatewaySettings is added to the gateway's configuration file. Without a
	// [limits] of its own, limits are lifted: all clients of a test come from one
	// address, and send as fast as they can.
	GatewaySettings string
	// Second runs a second gateway, whose id is SecondID, beside the first.
	Second bool
}

// SecondID is the second gateway's id.
const SecondID = "second"

// An Installation is a running policyd and gateway.
type Installation struct {
	config Config
	// StartTLS and DirectTLS are where clients connect.
	StartTLS, DirectTLS string
	// Metrics of both programs, as base addresses.
	GatewayHTTP, PolicydHTTP string

	nats     string
	Policyd  *backend.Program
	Gateway  *backend.Program
	sockPath string

	// SecondGateway is nil without one; SecondDirectTLS is where its clients
	// connect.
	SecondGateway   *backend.Program
	SecondDirectTLS string
	secondHTTP      string
}

// Start runs both programs and waits until they are ready.
func Start(ctx context.Context, config Config) (*Installation, error) {
	in := &Installation{config: config, StartTLS: config.StartTLS, DirectTLS: config.DirectTLS}
	addrs, err := backend.FreeAddrs(7)
	if err != nil {
		return nil, err
	}
	if in.StartTLS == "" {
		in.StartTLS = addrs[0]
	}
	if in.DirectTLS == "" {
		in.DirectTLS = addrs[1]
	}
	in.nats, in.GatewayHTTP, in.PolicydHTTP = addrs[2], addrs[3], addrs[4]
	in.SecondDirectTLS, in.secondHTTP = addrs[5], addrs[6]
	in.sockPath = in.path("admin", "policyd.sock")
	if err := in.configure(); err != nil {
		return nil, err
	}
	if err := in.StartPolicyd(ctx); err != nil {
		return nil, err
	}
	if err := in.StartGateway(ctx); err != nil {
		return nil, errors.Join(err, in.Policyd.Kill())
	}
	if config.Second {
		if in.SecondGateway, err = in.start(ctx, "second", in.secondHTTP, "gateway"); err != nil {
			return nil, errors.Join(err, in.Gateway.Kill(), in.Policyd.Kill())
		}
	}
	return in, nil
}

func (in *Installation) path(parts ...string) string {
	return filepath.Join(append([]string{in.config.Dir}, parts...)...)
}

// Socket is policyd's admin socket.
func (in *Installation) Socket() string { return in.sockPath }

// NATS is where policyd's NATS server listens, and GatewaySeed the file with
// the key that the gateway has for it.
func (in *Installation) NATS() (address, gatewaySeed string) {
	return in.nats, in.path("data", "nats", "gateway.nkey")
}

// GatewayLog is the file with what the gateway has logged.
func (in *Installation) GatewayLog() string { return in.path("gateway.log") }

func (in *Installation) configure() error {
	if err := os.Mkdir(in.path("certificates"), 0o700); err != nil {
		return err
	}
	for _, domain := range in.config.Domains {
		for from, suffix := range map[string]string{in.config.Certificate: ".crt", in.config.Key: ".key"} {
			text, err := os.ReadFile(from)
			if err != nil {
				return err
			}
			if err := os.WriteFile(in.path("certificates", domain+suffix), text, 0o600); err != nil {
				return err
			}
		}
	}
	policyd := fmt.Sprintf(`data = %q
[admin]
socket = %q
[nats]
listen = %q
gateways = [%s]
[listen]
http = %q
[log]
format = "json"
`, in.path("data"), in.sockPath, in.nats, in.gateways(), in.PolicydHTTP)
	texts := map[string]string{
		"policyd.toml": policyd,
		"gateway.toml": in.gateway("gateway", fmt.Sprintf("starttls = [%q]\n", in.StartTLS), in.DirectTLS, in.GatewayHTTP),
	}
	if in.config.Second {
		texts["second.toml"] = in.gateway(SecondID, "starttls = []\n", in.SecondDirectTLS, in.secondHTTP)
	}
	for name, text := range texts {
		if err := os.WriteFile(in.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// gateways are the gateways' ids, as a TOML list's elements.
func (in *Installation) gateways() string {
	if in.config.Second {
		return `"gateway", "` + SecondID + `"`
	}
	return `"gateway"`
}

// lifted are limits that tests do not reach.
const lifted = `
[limits]
unauthenticated = 64
rate = 1073741824
burst = 1073741824
stanzas = 1000000
stanza_burst = 1000000
login_failures_per_address = 1000
`

// gateway is a gateway's configuration.
func (in *Installation) gateway(id, starttls, directTLS, http string) string {
	limits := lifted
	if strings.Contains(in.config.GatewaySettings, "[limits]") {
		limits = ""
	}
	return fmt.Sprintf(`id = %q
[listen]
%sdirect_tls = [%q]
http = %q
[certificates]
directory = %q
[nats]
urls = ["nats://%s"]
server_name = "postern"
seed_file = %q
[log]
format = %q
%s%s`, id, starttls, directTLS, http, in.path("certificates"), in.nats, in.path("data", "nats", id+".nkey"), cmp.Or(in.config.LogFormat, "json"), in.config.GatewaySettings, limits)
}

// StartPolicyd starts policyd, again after it was stopped.
func (in *Installation) StartPolicyd(ctx context.Context) (err error) {
	in.Policyd, err = in.start(ctx, "policyd", in.PolicydHTTP, "policyd")
	return err
}

// StartGateway starts the gateway, again after it was stopped.
func (in *Installation) StartGateway(ctx context.Context) (err error) {
	in.Gateway, err = in.start(ctx, "gateway", in.GatewayHTTP, "gateway")
	return err
}

// start starts a program by the configuration and with the log of a name.
func (in *Installation) start(ctx context.Context, name, healthAddr, program string) (*backend.Program, error) {
	log := in.path(name + ".log")
	p, err := backend.StartProgram(log, filepath.Join(in.config.Bin, program), "--config", in.path(name+".toml"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := p.WaitFor(ctx, func(ctx context.Context) error { return get(ctx, "http://"+healthAddr+"/readyz", io.Discard) }); err != nil {
		said, _ := os.ReadFile(log)
		return nil, errors.Join(fmt.Errorf("%s is not ready: %w; it said:\n%s", name, err, tail(said)), p.Kill())
	}
	return p, nil
}

// tail is the end of what a program said.
func tail(said []byte) []byte {
	const most = 4 << 10
	return said[max(0, len(said)-most):]
}

func get(ctx context.Context, url string, to io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	_, err = io.Copy(to, response.Body)
	return err
}

// Metrics reads the metrics of one of the programs.
func (in *Installation) Metrics(ctx context.Context, addr string) (string, error) {
	var text bytes.Buffer
	err := get(ctx, "http://"+addr+"/metrics", &text)
	return text.String(), err
}

// Policyctl runs policyctl against policyd's admin socket with the given
// standard input and returns what it printed.
func (in *Installation) Policyctl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(in.config.Bin, "policyctl"), args...)
	cmd.Env = append(os.Environ(), "POSTERN_SOCKET="+in.sockPath)
	cmd.Stdin = bytes.NewReader([]byte(stdin))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("policyctl %q: %w: %s", args, err, errs.String())
	}
	return out.String(), nil
}

// Stop ends the programs; nothing of them is left.
func (in *Installation) Stop() error {
	var second error
	if in.SecondGateway != nil {
		second = in.SecondGateway.Stop()
	}
	return errors.Join(in.Gateway.Stop(), second, in.Policyd.Stop())
}
