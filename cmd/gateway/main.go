// Command gateway relays XMPP between clients and their servers. It passes a
// stanza only if a policy node allows it.
//
// It connects the packages gateway and decision/overnats, and adds the
// configuration, logging, metrics, health and signals of a process. It holds no
// rules.
package main

import (
	"context"
	"os"

	"github.com/alecthomas/kong"

	"github.com/postern-im/postern/internal/daemon"
)

var cli struct {
	Config string `short:"c" env:"POSTERN_GATEWAY_CONFIG" type:"existingfile" help:"Configuration file (TOML). Without one, defaults and the environment are used."`
	Check  bool   `help:"Check the configuration and the files and addresses that the gateway opens when it starts, print a line for each error or warning, and exit: status 1 if there is an error. Change nothing."`
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
