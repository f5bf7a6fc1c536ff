//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/installation"
)

// binaries is where make builds the programs.
const binaries = "../../bin"

// The tenants of every installation: lab owns alpha.test and beta.test with
// their services, other owns gamma.test.
const (
	labPolicy = `tenant = "lab"
[[domain]]
name = "alpha.test"
services = ["muc.alpha.test", "pubsub.alpha.test", "upload.alpha.test"]
backend = [{ address = "@BACKEND@", security = "none" }]
[[domain]]
name = "beta.test"
services = ["muc.beta.test", "pubsub.beta.test", "upload.beta.test"]
backend = [{ address = "@BACKEND@", security = "none" }]
`
	otherPolicy = `tenant = "other"
[[domain]]
name = "gamma.test"
services = ["muc.gamma.test", "pubsub.gamma.test", "upload.gamma.test"]
backend = [{ address = "@BACKEND@", security = "none" }]
`
)

// installations are those of this run, one before each server.
var installations = map[backend.Kind]*installation.Installation{}

// startInstallations starts one installation before each server. What it
// returns stops those that were started, whatever the error.
func startInstallations() (stop func() error, err error) {
	stop = func() error {
		var errs []error
		for _, in := range installations {
			errs = append(errs, in.Stop())
		}
		return errors.Join(errs...)
	}
	for kind, server := range shared.servers {
		in, err := newInstallation(server, server.Addr(), "")
		if err != nil {
			return stop, fmt.Errorf("install before %s: %w", kind, err)
		}
		installations[kind] = in
	}
	return stop, nil
}

// newInstallation starts policyd and a gateway before a server, reached at
// backendAddr, with both tenants. The caller stops it.
func newInstallation(server *backend.Server, backendAddr, gatewaySettings string) (*installation.Installation, error) {
	return install(server, backendAddr, installation.Config{GatewaySettings: gatewaySettings})
}

// install starts what a configuration asks for, as newInstallation does.
func install(server *backend.Server, backendAddr string, config installation.Config) (*installation.Installation, error) {
	return installPolicies(server, config,
		strings.ReplaceAll(labPolicy, "@BACKEND@", backendAddr), strings.ReplaceAll(otherPolicy, "@BACKEND@", backendAddr))
}

// installPolicies starts what a configuration asks for, with a tenant for each
// policy file. Clients are shown the certificate of a server. The caller stops
// it.
func installPolicies(server *backend.Server, config installation.Config, policies ...string) (*installation.Installation, error) {
	bin, err := filepath.Abs(binaries)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(shared.dir, "postern-")
	if err != nil {
		return nil, err
	}
	config.Bin, config.Dir, config.Domains = bin, dir, server.Hosts()
	config.Certificate, config.Key = server.FrontCertificate()
	in, err := installation.Start(context.Background(), config)
	if err != nil {
		return nil, err
	}
	for _, policy := range policies {
		if _, err := in.Policyctl(context.Background(), policy, "tenant", "create", "-f", "-"); err != nil {
			return nil, errors.Join(err, in.Stop())
		}
	}
	return in, nil
}

// through is the shared gateway before a server.
func through(kind backend.Kind) (target, *installation.Installation) {
	in, server := installations[kind], shared.servers[kind]
	return target{
		name: "gateway before " + string(kind), server: server,
		startTLS: in.StartTLS, directTLS: in.DirectTLS, caFile: server.CAFile(),
	}, in
}

// TestGatewayClients runs every real client through the gateway with the
// default role: nothing of what it does on login may be refused.
func TestGatewayClients(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			tg, _ := through(kind)
			smokeMatrix(t, tg)
		})
	}
}
