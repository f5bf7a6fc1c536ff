// Command policyd is a policy node: it keeps the event log, answers the questions
// of gateways over NATS, and runs the commands of administrators.
//
// It connects the log, the node, the NATS server and client, and the admin API,
// and adds the configuration, logging, metrics, health and signals of a process.
// It holds no rules.
package main

import (
	"context"
	"os"

	"github.com/alecthomas/kong"

	"github.com/postern-im/postern/internal/daemon"
)

var cli struct {
	Config string `short:"c" env:"POSTERN_POLICYD_CONFIG" type:"existingfile" help:"Configuration file (TOML). Without one, defaults and the environment are used."`
	Init   bool   `help:"Begin a new installation even if the data folder holds files of an earlier one, such as gateways' keys. It is an error if there is a log."`
	Check  bool   `help:"Check the configuration and the files and addresses that policyd opens when it starts, print a line for each error or warning, and exit: status 1 if there is an error. Change nothing."`
}

const description = `Postern's policy node: it keeps the log of permissions, and answers the gateways.

An environment variable can override each setting in the file: POSTERN_POLICYD_NATS_LISTEN is listen in [nats].
SIGTERM and SIGINT stop it gracefully; a second signal stops it at once. SIGHUP opens the records (decisions.jsonl, admin.jsonl) again, so that they can be rotated, and reads the certificates of [admin], [nats] and [cluster] again. Use policyctl to administer it over its socket.`

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
