//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// churnLimits are low, and a closed connection frees its place at once.
const churnLimits = `[limits]
connections = 12
per_address = 8
unauthenticated = 4
sessions_per_account = 3
login_failures = 1000
login_failures_per_address = 1000
[proxy]
trusted = ["127.0.0.99/32"]
`

const (
	// churnTimes is more than any of the limits.
	churnTimes = 15
	// churnPatience bounds the wait until the gateway notices that a connection
	// has ended.
	churnPatience = 20 * time.Second
)

// TestChurn drops connections at each step on the way to a session, and in the
// session, many more times than the limits allow at once. Every counted place
// is given back: afterwards exactly as many clients get in as before.
func TestChurn(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx := waiting(t)
			server := shared.servers[kind]
			in, err := install(server, server.Addr(), installation.Config{GatewaySettings: churnLimits})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := in.Stop(); err != nil {
					t.Error(err)
				}
			})
			tg := target{server: server, startTLS: in.StartTLS, directTLS: in.DirectTLS, caFile: server.CAFile()}
			a := newAccount(t, server, "alice", "alpha.test")
			config := tg.clientConfig(t, a, client.DirectTLS)
			for name, step := range churnSteps {
				for i := range churnTimes {
					// The gateway may count the previous connection for a
					// moment longer.
					waiting, cancel := context.WithTimeout(ctx, churnPatience)
					err := in.Gateway.WaitFor(waiting, func(ctx context.Context) error { return step(ctx, config) })
					cancel()
					if err != nil {
						t.Fatalf("%s, the %d. time: %v", name, i+1, err)
					}
				}
			}
			fill(ctx, t, in, config)
		})
	}
}

// fill takes every place that the limits allow, and checks that there is no
// further one.
func fill(ctx context.Context, t *testing.T, in *installation.Installation, config client.Config) {
	t.Helper()
	if err := in.Gateway.WaitFor(ctx, func(ctx context.Context) error {
		text, err := in.Metrics(ctx, in.GatewayHTTP)
		for _, gauge := range []string{"sessions", "backend_dials", "backend_dials_waiting"} {
			if err == nil && !strings.Contains(text, "\npostern_gateway_"+gauge+" 0\n") {
				err = errors.New(gauge + " are left")
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		login(ctx, t, config)
	}
	if c, err := client.Login(ctx, config); err == nil || !strings.Contains(err.Error(), "resource-constraint") {
		t.Errorf("one session too many: %v, %v", c, err)
	}
	for i := range 4 {
		var c *client.Client
		if err := in.Gateway.WaitFor(ctx, func(ctx context.Context) (err error) {
			c, err = client.Dial(ctx, config)
			return err
		}); err != nil {
			t.Fatalf("the %d. connection without a session: %v", i+1, err)
		}
		t.Cleanup(c.Vanish)
	}
	if c, err := client.Dial(ctx, config); err == nil {
		c.Vanish()
		t.Error("one connection too many without a session")
	}
}

// churnSteps end a connection at different steps. They return an error if an
// earlier step fails.
var churnSteps = map[string]func(context.Context, client.Config) error{
	"connected": func(ctx context.Context, c client.Config) error {
		c.Security = client.Plain
		return vanish(client.Connect(ctx, c))
	},
	"half a PROXY header": func(ctx context.Context, c client.Config) error {
		c.Security, c.From, c.Header = client.Plain, "127.0.0.99", "PROXY TCP4 12"
		return vanish(client.Connect(ctx, c))
	},
	"a PROXY header": func(ctx context.Context, c client.Config) error {
		c.From, c.Header = "127.0.0.99", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
		return vanish(client.Connect(ctx, c))
	},
	"not TLS": func(ctx context.Context, c client.Config) error {
		c.Security, c.Header = client.Plain, "<stream:stream>"
		return vanish(client.Connect(ctx, c))
	},
	"TLS": func(ctx context.Context, c client.Config) error { return vanish(client.Connect(ctx, c)) },
	"stream opened": func(ctx context.Context, c client.Config) error {
		return vanish(client.Dial(ctx, c))
	},
	"wrong password": func(ctx context.Context, c client.Config) error {
		c.Password = "wrong"
		_, err := client.Login(ctx, c)
		if failed, ok := errors.AsType[*client.SASLError](err); ok && failed.Condition == "not-authorized" {
			return nil
		}
		return fmt.Errorf("got %w", err)
	},
	"half a log-in": func(ctx context.Context, c client.Config) error {
		x, err := client.Dial(ctx, c)
		if err == nil {
			err = x.Send(ctx, "<auth xmlns='"+client.NSSASL+"' mechanism='SCRAM-SHA-1'>"+"biwsbj1hLHI9YQ=="+"</auth>")
		}
		return vanish(x, err)
	},
	"logged in": func(ctx context.Context, c client.Config) error {
		x, err := client.Dial(ctx, c)
		if err == nil {
			err = x.Authenticate(ctx)
		}
		return vanish(x, err)
	},
	"bind asked for": func(ctx context.Context, c client.Config) error {
		x, err := client.Dial(ctx, c)
		if err == nil {
			err = x.Authenticate(ctx)
		}
		if err == nil {
			err = x.Send(ctx, "<iq type='set' id='b'><bind xmlns='"+client.NSBind+"'/></iq>")
		}
		return vanish(x, err)
	},
	"no bind": func(ctx context.Context, c client.Config) error {
		x, err := client.Dial(ctx, c)
		if err == nil {
			err = x.Authenticate(ctx)
		}
		if err == nil {
			err = x.Send(ctx, "<message/>")
		}
		return vanish(x, err)
	},
	"bound": func(ctx context.Context, c client.Config) error { return vanish(client.Login(ctx, c)) },
	"ended": func(ctx context.Context, c client.Config) error {
		x, err := client.Login(ctx, c)
		if err != nil {
			return err
		}
		return x.Logout(ctx)
	},
	"not XML": func(ctx context.Context, c client.Config) error {
		x, err := client.Login(ctx, c)
		if err == nil {
			err = x.Send(ctx, "<a")
		}
		if err == nil {
			err = x.Send(ctx, "<")
		}
		return vanish(x, err)
	},
}

// vanish drops a connection without closing the stream.
func vanish(c *client.Client, err error) error {
	if c != nil {
		c.Vanish()
	}
	return err
}
