package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/postern-im/postern/api"
)

// A takeList is what would be given up if the cluster continued with one node's
// history.
type takeList struct {
	Node       string    `json:"node"`
	Cluster    string    `json:"cluster"`
	Generation string    `json:"generation"`
	LogID      string    `json:"log_id"`
	Position   uint64    `json:"position"` // of the node's newest commit
	Time       time.Time `json:"time"`
	// LogServers are the ones that have a copy of the order. They are not used again.
	LogServers []string   `json:"log_servers"`
	Others     []takeFrom `json:"others"`
	File       string     `json:"file"`
}

// A takeFrom is another node's part of a takeList.
type takeFrom struct {
	Node     string         `json:"node"`
	Common   uint64         `json:"common"` // the last position that both nodes have in common
	Position uint64         `json:"position"`
	GivenUp  []api.LogEntry `json:"given_up"`
	More     uint64         `json:"more"`             // later commits that are not in GivenUp
	Missed   string         `json:"missed,omitempty"` // why the nodes could not be compared
}

// list compares the log of the node that answers with the logs of the other nodes, and
// writes what only these have.
func (c *clusterResolve) list(ctx context.Context, a *app) (err error) {
	s, err := a.client.Cluster(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w. To list what is given up, policyd must run on %s; if it cannot, skip the list: "+
			"each other node lists its commits when they are discarded", err, c.Take)
	case !s.Clustered:
		return fmt.Errorf("node %s is stand-alone, so there is no other history: its configuration has no section [cluster]", s.Node)
	case s.Node != c.Take:
		return fmt.Errorf("node %s answers, not %s: give the command on %[2]s", s.Node, c.Take)
	}
	t := takeList{Node: s.Node, Cluster: s.Name, Generation: s.Generation, LogID: s.LogID, Time: s.Time, LogServers: []string{}, Others: []takeFrom{}, File: c.File}
	for _, copied := range s.Copies {
		t.LogServers = append(t.LogServers, copied.Server)
	}
	for _, n := range s.Nodes {
		if n.Node == s.Node {
			t.Position = n.Position
			continue
		}
		t.Others = append(t.Others, compareWith(ctx, a.client, n.Node))
	}
	file, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists: give the name of a new file (--file)", c.File)
	}
	if err != nil {
		return fmt.Errorf("write what is given up: %w", err)
	}
	p := &page{}
	t.write(p, math.MaxInt, math.MaxInt)
	_, err = file.WriteString(p.String())
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write what is given up: %w", err)
	}
	return a.print(t, func(w io.Writer) {
		t.write(w, givenUpShown, maxEvents)
		t.next(w)
	})
}

// compareWith returns what another node has more than the one that answers.
func compareWith(ctx context.Context, client *api.Client, node string) takeFrom {
	from := takeFrom{Node: node, GivenUp: []api.LogEntry{}}
	d, err := client.ClusterDiff(ctx, node)
	if err == nil && len(d.Sides) != 2 {
		err = errors.New("the answer does not name two nodes")
	}
	if err != nil {
		from.Missed = err.Error()
		return from
	}
	side := d.Sides[1]
	from.Common, from.Position, from.More = d.Common, side.Position, side.More
	from.GivenUp = append(from.GivenUp, side.Only...)
	return from
}

// write writes the list, with at most this many commits of a node, and events of a
// commit.
func (t *takeList) write(w io.Writer, commits, events int) {
	head := &table{}
	head.add("cluster", t.Cluster)
	head.add("generation", t.Generation)
	head.add("log", t.LogID)
	head.add("log servers", orNone(t.LogServers))
	head.add("time", t.Time.UTC().Format(time.DateTime)+" UTC")
	head.add("continue with", fmt.Sprintf("node %s, up to position %d", t.Node, t.Position))
	head.write(w)
	for _, o := range t.Others {
		fmt.Fprintln(w)
		switch {
		case o.Missed != "":
			fmt.Fprintf(w, "%s was not compared: %s\n", o.Node, o.Missed)
			continue
		case len(o.GivenUp) == 0:
			fmt.Fprintf(w, "%s has no other commits; the last position in common is %d\n", o.Node, o.Common)
			continue
		}
		shown := o.GivenUp[:min(len(o.GivenUp), commits)]
		fmt.Fprintf(w, "given up, because only %s has these commits after position %d:\n", o.Node, o.Common)
		entryTable(shown, true, events).write(w)
		if more := o.More + uint64(len(o.GivenUp)-len(shown)); more > 0 {
			fmt.Fprintf(w, "and %d later ones\n", more)
		}
	}
}

// next writes the commands that end the fork.
func (t *takeList) next(w io.Writer) {
	fmt.Fprintf(w, "\nNothing was changed. The list is in %s.\n", t.File)
	fmt.Fprintf(w, "To continue with %s:\n", t.Node)
	fmt.Fprintf(w, "  1. stop policyd on all nodes\n")
	fmt.Fprintf(w, "  2. on %s: policyctl cluster resolve --take %[1]s --data DIR --position %d\n", t.Node, t.Position)
	for _, o := range t.Others {
		note := ""
		if o.Missed != "" {
			note = "   (lists all its commits)"
		}
		fmt.Fprintf(w, "  3. on %s: policyctl cluster resolve --discard --data DIR --position %d%s\n", o.Node, o.Common, note)
	}
	fmt.Fprintf(w, "  4. start policyd on all nodes, and on each: policyctl cluster join\n")
	fmt.Fprintf(w, "  5. repeat the commits of the list that are right, revocations first\n")
}
