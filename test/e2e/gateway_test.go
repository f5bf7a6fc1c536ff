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

// binaries is the folder into which make builds the programs.
const binaries = "../../bin"

// The tenants of every installation. Tenant lab owns alpha.test and beta.test
// with their services, tenant other owns gamma.test with its services.
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

// installations are the shared installations of this run, one in front of each
// server.
var installations = map[backend.Kind]*installation.Installation{}

// startInstallations starts one installation in front of each server. The
// returned function stops those that were started, also after an error.
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
			return stop, fmt.Errorf("install in front of %s: %w", kind, err)
		}
		installations[kind] = in
	}
	return stop, nil
}

// newInstallation starts policyd and a gateway with both tenants in front of a
// server, which the gateway reaches at backendAddr. The caller stops it.
func newInstallation(server *backend.Server, backendAddr, gatewaySettings string) (*installation.Installation, error) {
	return install(server, backendAddr, installation.Config{GatewaySettings: gatewaySettings})
}

// install is newInstallation with a whole configuration.
func install(server *backend.Server, backendAddr string, config installation.Config) (*installation.Installation, error) {
	return installPolicies(server, config,
		strings.ReplaceAll(labPolicy, "@BACKEND@", backendAddr), strings.ReplaceAll(otherPolicy, "@BACKEND@", backendAddr))
}

// installPolicies starts an installation with a tenant for each policy file.
// The gateway shows clients a certificate that the server's authority signed.
// The caller stops it.
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

// through returns the shared gateway in front of a server.
func through(kind backend.Kind) (target, *installation.Installation) {
	in, server := installations[kind], shared.servers[kind]
	return target{
		name: "gateway before " + string(kind), server: server,
		startTLS: in.StartTLS, directTLS: in.DirectTLS, caFile: server.CAFile(),
	}, in
}

// TestGatewayClients runs every real client through the gateway with the
// default role. The gateway may refuse nothing of what they do at log-in.
func TestGatewayClients(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			tg, _ := through(kind)
			smokeMatrix(t, tg)
		})
	}
}
