package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// calm is how long the tour watches the undisturbed cluster.
	calm = 4 * time.Second
	// broken is how long a fault lasts. It is longer than an election.
	broken = 10 * time.Second
	// recovery bounds the wait until all programs are ready again.
	recovery = time.Minute
)

// A breakage is one fault, which a step of the tour and a key cause.
type breakage struct {
	key   string
	title string
	// harmless: users must notice nothing but a delay.
	harmless bool
	do, mend func(ctx context.Context, d *demo, node int) error
	// leading: the fault strikes the leader.
	leading bool
}

func killNode(_ context.Context, d *demo, node int) error {
	return d.cluster.Nodes[node].Program.Kill()
}

func startNode(ctx context.Context, d *demo, node int) error { return d.cluster.StartNode(ctx, node) }

func mendLinks(_ context.Context, d *demo, _ int) error {
	d.cluster.Mend()
	return nil
}

var breakages = []breakage{
	{key: "k", title: "A node that does not lead is killed", harmless: true, do: killNode, mend: startNode},
	{key: "l", title: "The leader is killed", harmless: true, leading: true, do: killNode, mend: startNode},
	{
		key: "h", title: "A node hangs: its connections stay open, and it does nothing", harmless: true,
		do:   func(_ context.Context, d *demo, node int) error { return d.cluster.Nodes[node].Program.Pause() },
		mend: func(_ context.Context, d *demo, node int) error { return d.cluster.Nodes[node].Program.Resume() },
	},
	{
		key: "c", title: "A node is cut off from the other nodes, but gateways still reach it", harmless: true,
		do:   func(_ context.Context, d *demo, node int) error { d.cluster.Isolate(node); return nil },
		mend: mendLinks,
	},
	{
		key: "g", title: "A gateway is killed: its users connect to the other one",
		do:   func(_ context.Context, d *demo, _ int) error { return d.cluster.Gateways[1].Program.Kill() },
		mend: func(ctx context.Context, d *demo, _ int) error { return d.cluster.StartGateway(ctx, 1) },
	},
}

// tour shows the cluster in peace, then each breakage, and a revocation.
func (d *demo) tour(ctx context.Context) error {
	fmt.Printf("\n1. %d users are connected and ask %.0f times a second each\n", len(d.load.users), 1/askEach.Seconds())
	fmt.Println("   proof age: how long ago a node proved that it knew the whole log; gateways take no answer with a proof older than 20 s")
	d.load.take()
	d.screen.watch(ctx, calm)
	fmt.Println("   users saw:", d.load.take())
	fmt.Println("\n2. A permission is taken at one node; the command returns when it is in force at all nodes")
	if err := d.revoke(ctx); err != nil {
		return err
	}
	for i, b := range breakages {
		fmt.Printf("\n%d. %s\n", i+3, b.title)
		if err := d.strike(ctx, b, broken); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// revoke takes a role from a user and shows what policyctl says.
func (d *demo) revoke(ctx context.Context) error {
	args := []string{"member", "set-role", "user1@alpha.test", "prosody:guest", "-t", "alpha", "--wait"}
	fmt.Println("   $ policyctl", strings.Join(args, " "))
	out, err := d.cluster.Policyctl(ctx, 1, "", args...)
	for line := range strings.Lines(out) {
		fmt.Println("  ", strings.TrimRight(line, "\n"))
	}
	if err != nil {
		return err
	}
	fmt.Println("   the session of user1 ends, because it began with more rights; the user connects again")
	pause(ctx, calm)
	fmt.Println("   users saw:", d.load.take())
	return d.awaitReady(ctx)
}

// strike breaks the cluster, shows it, and mends it.
func (d *demo) strike(ctx context.Context, b breakage, lasting time.Duration) error {
	leader, err := d.leader(ctx)
	if err != nil {
		return err
	}
	node := leader
	if !b.leading {
		node = (leader + 1) % len(d.cluster.Nodes)
	}
	fmt.Printf("   the leader is %s", d.cluster.Nodes[leader].ID)
	if b.key != "g" {
		fmt.Printf("; the fault strikes %s", d.cluster.Nodes[node].ID)
	}
	fmt.Println()
	d.load.take()
	if err := b.do(ctx, d, node); err != nil {
		return err
	}
	d.screen.watch(ctx, lasting)
	if err := b.mend(ctx, d, node); err != nil {
		return err
	}
	if err := d.awaitReady(ctx); err != nil {
		return err
	}
	seen := d.load.take()
	fmt.Println("   users saw:", seen)
	if b.harmless && seen.ends+seen.refusals > 0 {
		return errors.New("users must not notice this fault")
	}
	return ctx.Err()
}

// awaitReady waits until all nodes decide and all users are connected.
func (d *demo) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	for i := range d.cluster.Nodes {
		if err := d.cluster.AwaitNode(ctx, i); err != nil {
			return err
		}
	}
	for d.load.sessions() < len(d.load.users) {
		if ctx.Err() != nil {
			return fmt.Errorf("only %d of %d users are connected again", d.load.sessions(), len(d.load.users))
		}
		pause(ctx, againAfter)
	}
	return nil
}

// leader returns the index of the node that leads the log.
func (d *demo) leader(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	for {
		for i := range d.cluster.Nodes {
			out, err := d.cluster.Policyctl(ctx, i, "", "cluster", "status", "--json")
			var status struct {
				Leader string `json:"leader"`
			}
			if err != nil || json.Unmarshal([]byte(out), &status) != nil {
				continue
			}
			for at, n := range d.cluster.Nodes {
				if status.Leader == n.ID {
					return at, nil
				}
			}
		}
		if ctx.Err() != nil {
			return 0, errors.New("no node names the leader")
		}
		pause(ctx, againAfter)
	}
}

// obey breaks the cluster on keys until q, the end of the input, or Ctrl-C.
func (d *demo) obey(ctx context.Context, in io.Reader) error {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			select {
			case lines <- strings.TrimSpace(s.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		fmt.Println("\nType a letter and Enter:")
		for _, b := range breakages {
			fmt.Printf("   %s  %s\n", b.key, b.title)
		}
		fmt.Println("   w  watch for a while")
		fmt.Println("   q  stop everything")
		var line string
		var ok bool
		select {
		case line, ok = <-lines:
		case <-ctx.Done():
		}
		if !ok || line == "q" {
			return nil
		}
		if line == "w" {
			d.screen.watch(ctx, broken)
			continue
		}
		for _, b := range breakages {
			if b.key == line {
				if err := d.strike(ctx, b, broken); err != nil {
					fmt.Println("  ", err)
				}
			}
		}
	}
}
