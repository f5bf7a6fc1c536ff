// Command policyd is a policy node: it keeps the event log, decides what
// gateways ask over NATS, and carries out the operator's commands.
//
// It joins the log, the node, both ends of NATS and the admin API, and adds
// what a process needs: configuration, logging, metrics, health, signals. It
// holds no rules of its own.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

var cli struct {
	Config string `short:"c" env:"POSTERN_POLICYD_CONFIG" type:"existingfile" help:"Configuration file (TOML). Without one, defaults and the environment are used."`
	Init   bool   `help:"Begin a new installation although the data folder holds files of an earlier one, such as gateways' keys. An error where there is a log."`
	Check  bool   `help:"Check the configuration and stop."`
}

const description = `Postern's policy node: it keeps the log of who may do what, and answers the gateways.

Every setting of the file can be given as an environment variable: POSTERN_POLICYD_NATS_LISTEN is listen in [nats].
SIGTERM and SIGINT stop it gracefully; a second one does not wait. SIGHUP opens the record of admin calls (admin.jsonl) and reads the certificate of [admin] anew. It is administered with policyctl over its socket.`

func main() {
	kong.Parse(&cli, kong.Name("policyd"), kong.Description(description))
	c, err := loadConfig(cli.Config, os.Environ())
	if err == nil && !cli.Check {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		context.AfterFunc(ctx, stop)
		err = run(ctx, c, cli.Init)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "policyd:", err)
		os.Exit(1)
	}
}
