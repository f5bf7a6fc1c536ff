// Command policyd is a policy node: it keeps the event log, decides what
// gateways ask over NATS, and carries out the operator's commands.
//
// It joins the log, the node, both ends of NATS and the admin API, and adds
// what a process needs: configuration, logging, metrics, health, signals. It
// holds no rules of its own.
package main

import (
	"context"
	"os"

	"github.com/alecthomas/kong"

	"github.com/postern-im/postern/internal/daemon"
)

var cli struct {
	Config string `short:"c" env:"POSTERN_POLICYD_CONFIG" type:"existingfile" help:"Configuration file (TOML). Without one, defaults and the environment are used."`
	Init   bool   `help:"Begin a new installation although the data folder holds files of an earlier one, such as gateways' keys. An error where there is a log."`
	Check  bool   `help:"Look at the configuration and at all that a start would open, change nothing, and stop: a line for each problem, status 1 where there is one."`
}

const description = `Postern's policy node: it keeps the log of who may do what, and answers the gateways.

Every setting of the file can be given as an environment variable: POSTERN_POLICYD_NATS_LISTEN is listen in [nats].
SIGTERM and SIGINT stop it gracefully; a second one does not wait. SIGHUP opens the records (decisions.jsonl, admin.jsonl) again, so that they can be moved away, and reads the certificate of [admin] again. It is administered with policyctl over its socket.`

func main() {
	kong.Parse(&cli, kong.Name("policyd"), kong.Description(description))
	if cli.Check {
		os.Exit(checkAll(cli.Config, os.Environ(), cli.Init).Print(os.Stderr, "policyd"))
	}
	os.Exit(daemon.Main("policyd", os.Stderr, func(ctx context.Context) error {
		c, err := loadConfig(cli.Config, os.Environ())
		if err != nil {
			return err
		}
		return run(ctx, c, cli.Init)
	}))
}
