// Package installation runs Postern's own built programs for the end-to-end
// suite and the demo: one policyd and one gateway on loopback, with all their
// files in one folder.
//
// It knows only their configuration, their command line and their health
// endpoints, nothing inside the programs.
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

// readyTimeout bounds the wait until a program reports that it is ready.
const readyTimeout = 30 * time.Second

// Config says what to run.
type Config struct {
	// Bin is the folder of gateway, policyd and policyctl.
	Bin string
	// Dir holds configuration, data and logs. It must exist and be empty.
	Dir string
	// Certificate and Key are PEM files for all domains. The clients trust the
	// authority that signed the certificate.
	Certificate, Key string
	// Domains are the names in the certificate.
	Domains []string
	// StartTLS and DirectTLS are the addresses for clients; empty: a free port.
	StartTLS, DirectTLS string
	// LogFormat is the gateway's log format; empty: json.
	LogFormat string
	// GatewaySettings is added to the gateway's configuration file. If it has
	// no [limits], the limits are raised, because all clients of a test connect
	// from one address and send as fast as they can.
	GatewaySettings string
	// Second runs a second gateway with the id SecondID.
	Second bool
}

// SecondID is the second gateway's id.
const SecondID = "second"

// An Installation is a running policyd and gateway.
type Installation struct {
	config Config
	// StartTLS and DirectTLS are the addresses for clients.
	StartTLS, DirectTLS string
	// GatewayHTTP and PolicydHTTP are the addresses of metrics and health.
	GatewayHTTP, PolicydHTTP string

	nats     string
	Policyd  *backend.Program
	Gateway  *backend.Program
	sockPath string

	// SecondGateway is nil if there is none. Its clients connect to
	// SecondDirectTLS.
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

// Socket is the path of policyd's admin socket.
func (in *Installation) Socket() string { return in.sockPath }

// NATS returns the address of policyd's NATS server, and the file with the
// gateway's key for it.
func (in *Installation) NATS() (address, gatewaySeed string) {
	return in.nats, in.madeSeed("gateway")
}

// madeSeed is the file of the key that policyd makes for a gateway in its
// configuration.
func (in *Installation) madeSeed(id string) string { return in.path("data", "nats", id+".nkey") }

// GatewayLog is the path of the gateway's log.
func (in *Installation) GatewayLog() string { return in.path("gateway.log") }

func (in *Installation) configure() error {
	if err := copyCertificates(in.path("certificates"), in.config.Certificate, in.config.Key, in.config.Domains); err != nil {
		return err
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
		"gateway.toml": in.gateway("gateway", fmt.Sprintf("starttls = [%q]\n", in.StartTLS), in.DirectTLS, in.GatewayHTTP, in.madeSeed("gateway")),
	}
	if in.config.Second {
		texts["second.toml"] = in.gateway(SecondID, "starttls = []\n", in.SecondDirectTLS, in.secondHTTP, in.madeSeed(SecondID))
	}
	for name, text := range texts {
		if err := os.WriteFile(in.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// gateways lists the gateways' ids as elements of a TOML list.
func (in *Installation) gateways() string {
	if in.config.Second {
		return `"gateway", "` + SecondID + `"`
	}
	return `"gateway"`
}

// lifted are limits so high that tests do not reach them.
const lifted = `
[limits]
unauthenticated = 64
rate = 1073741824
burst = 1073741824
stanzas = 1000000
stanza_burst = 1000000
login_failures_per_address = 1000
`

// gateway returns a gateway's configuration file.
func (in *Installation) gateway(id, starttls, directTLS, http, seed string) string {
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
%s%s`, id, starttls, directTLS, http, in.path("certificates"), in.nats, seed, cmp.Or(in.config.LogFormat, "json"), in.config.GatewaySettings, limits)
}

// StartPolicyd starts policyd. It may be called again after policyd has
// stopped.
func (in *Installation) StartPolicyd(ctx context.Context) (err error) {
	in.Policyd, err = in.start(ctx, "policyd", in.PolicydHTTP, "policyd")
	return err
}

// StartGateway starts the gateway. It may be called again after the gateway has
// stopped.
func (in *Installation) StartGateway(ctx context.Context) (err error) {
	in.Gateway, err = in.start(ctx, "gateway", in.GatewayHTTP, "gateway")
	return err
}

// AddGateway registers a gateway while policyd runs, as an operator does, and starts
// it with the seed that policyctl prints. Clients connect to it at directTLS. The
// caller stops it.
func (in *Installation) AddGateway(ctx context.Context, id string) (p *backend.Program, directTLS string, err error) {
	addrs, err := backend.FreeAddrs(2)
	if err != nil {
		return nil, "", err
	}
	seed, err := in.Policyctl(ctx, "", "gateway", "add", id)
	if err != nil {
		return nil, "", err
	}
	file := in.path(id + ".nkey")
	if err := os.WriteFile(file, []byte(seed), 0o600); err != nil {
		return nil, "", err
	}
	text := in.gateway(id, "starttls = []\n", addrs[0], addrs[1], file)
	if err := os.WriteFile(in.path(id+".toml"), []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	p, err = in.start(ctx, id, addrs[1], "gateway")
	return p, addrs[0], err
}

// Log returns the log of a program so far, by the program's name: policyd, gateway, or
// the id of another gateway.
func (in *Installation) Log(name string) (string, error) {
	text, err := os.ReadFile(in.path(name + ".log"))
	return string(text), err
}

// start starts a program with the configuration file and the log file of that
// name, and waits until it is ready.
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
		return nil, errors.Join(fmt.Errorf("%s is not ready: %w; its log ends with:\n%s", name, err, tail(said)), p.Kill())
	}
	return p, nil
}

// tail returns the end of a program's output.
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
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("%s: %s: %s", url, response.Status, text)
	}
	_, err = io.Copy(to, response.Body)
	return err
}

// Metrics returns the metrics at the address of one of the programs.
func (in *Installation) Metrics(ctx context.Context, addr string) (string, error) {
	var text bytes.Buffer
	err := get(ctx, "http://"+addr+"/metrics", &text)
	return text.String(), err
}

// Policyctl runs policyctl at policyd's admin socket with the given standard
// input, and returns its output.
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

// Stop ends the programs and leaves nothing of them behind.
func (in *Installation) Stop() error {
	var second error
	if in.SecondGateway != nil {
		second = in.SecondGateway.Stop()
	}
	return errors.Join(in.Gateway.Stop(), second, in.Policyd.Stop())
}
