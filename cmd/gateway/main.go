// Command gateway stands between XMPP clients and their servers, and passes a
// stanza only if a policy node says so.
//
// It joins the packages gateway and decision/overnats, and adds what a process
// needs: configuration, logging, metrics, health, signals. It holds no rules.
package main

import (
	"context"
	"os"

	"github.com/alecthomas/kong"

	"github.com/postern-im/postern/internal/daemon"
)

var cli struct {
	Config string `short:"c" env:"POSTERN_GATEWAY_CONFIG" type:"existingfile" help:"Configuration file (TOML). Without one, defaults and the environment are used."`
	Check  bool   `help:"Look at the configuration and at all that a start would open, change nothing, and stop: a line for each problem, status 1 where there is one."`
}

func main() {
	kong.Parse(&cli, kong.Name("gateway"),
		kong.Description(description()))
	if cli.Check {
		os.Exit(checkAll(cli.Config, os.Environ()).Print(os.Stderr, "gateway"))
	}
	os.Exit(daemon.Main("gateway", os.Stderr, func(ctx context.Context) error {
		c, err := loadConfig(cli.Config, os.Environ())
		if err != nil {
			return err
		}
		return run(ctx, c)
	}))
}
