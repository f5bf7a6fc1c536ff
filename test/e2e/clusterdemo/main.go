// Command clusterdemo runs a Postern cluster on this machine: three policy nodes
// and two gateways in front of a private Prosody and a private ejabberd. Some users
// stay connected and ask all the time, while a scripted tour, or the keys, break the
// cluster: a node is killed, the leader is killed, a node hangs, a node is cut off, a
// gateway is killed. The program shows the state of each node and gateway, and what
// the users noticed. It uses loopback only, keeps everything in one folder, and stops
// everything that it started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/installation"
)

// policy is the policy of one tenant, whose domain is on one server.
const policy = `tenant = %q
[[domain]]
name = %q
backend = [{ address = %q, security = "none" }]
`

// usersEach is how many users of each server are connected.
const usersEach = 10

func main() {
	once := flag.Bool("once", false, "exit after the tour")
	bin := flag.String("bin", "bin", "folder of gateway, policyd and policyctl")
	dir := flag.String("dir", ".cluster-demo", "folder for all files; emptied first")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, *bin, *dir, *once); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "cluster-demo:", err)
		os.Exit(1)
	}
}

// run starts everything, gives the tour, obeys keys unless once is set, and stops
// everything.
func run(ctx context.Context, bin, dir string, once bool) (err error) {
	began := time.Now()
	d := &demo{}
	defer func() {
		if ctx.Err() != nil {
			err = nil // Ctrl-C ends the command that runs, which is no failure
		}
		fmt.Println("Stopping everything.")
		err = errors.Join(err, d.stop(), os.RemoveAll(d.dir))
	}()
	if err := d.start(ctx, bin, dir); err != nil {
		return err
	}
	if err := d.tour(ctx); err != nil {
		return err
	}
	fmt.Printf("\nThe tour took %.0f s, including the start.\n", time.Since(began).Seconds())
	if once || ctx.Err() != nil {
		return nil
	}
	return d.obey(ctx, os.Stdin)
}

// A demo holds the running programs and users.
type demo struct {
	dir     string
	servers map[backend.Kind]*backend.Server
	cluster *installation.Cluster
	load    *load
	screen  *screen
}

// start starts the servers, the cluster and the users.
func (d *demo) start(ctx context.Context, bin, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	d.dir = dir
	d.servers = map[backend.Kind]*backend.Server{}
	domains := map[backend.Kind]string{backend.Prosody: "alpha.test", backend.Ejabberd: "gamma.test"}
	for kind := range domains {
		fmt.Printf("Starting a private %s.\n", kind)
		place := filepath.Join(dir, string(kind))
		if err := os.MkdirAll(place, 0o700); err != nil {
			return err
		}
		d.servers[kind], err = backend.Start(ctx, backend.Config{Kind: kind, Dir: place, Domains: []string{"alpha.test", "gamma.test"}})
		if err != nil {
			return err
		}
	}
	fmt.Println("Starting three policy nodes and two gateways. The log servers elect a leader; that takes some seconds.")
	place := filepath.Join(dir, "postern")
	if err := os.Mkdir(place, 0o700); err != nil {
		return err
	}
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	front := d.servers[backend.Prosody]
	certificate, key := front.FrontCertificate()
	d.cluster, err = installation.StartCluster(ctx, installation.ClusterConfig{
		Bin: bin, Dir: place, Certificate: certificate, Key: key, Domains: front.Hosts(),
	})
	if err != nil {
		return err
	}
	d.load = newLoad(d.cluster, front.CAFile())
	for kind, domain := range domains {
		tenant, _, _ := strings.Cut(domain, ".")
		text := fmt.Sprintf(policy, tenant, domain, d.servers[kind].Addr())
		if _, err := d.cluster.Policyctl(ctx, 0, text, "tenant", "create", "-f", "-"); err != nil {
			return err
		}
		if err := d.load.addUsers(ctx, d.servers[kind], domain, usersEach); err != nil {
			return err
		}
	}
	if err := d.load.start(ctx); err != nil {
		return err
	}
	d.screen = newScreen(d.cluster, d.load)
	return nil
}

// stop stops all that runs, in the reverse order.
func (d *demo) stop() error {
	var errs []error
	if d.load != nil {
		d.load.stop()
	}
	if d.cluster != nil {
		errs = append(errs, d.cluster.Stop())
	}
	for _, s := range d.servers {
		if s != nil {
			errs = append(errs, s.Stop())
		}
	}
	return errors.Join(errs...)
}
