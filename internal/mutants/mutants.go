// Package mutants seeds bugs into the source, so that tests can show that the
// simulator and the end-to-end faults catch them. It also makes programs of a later and
// of an earlier release, so that tests can run releases side by side. It is for tests
// only.
//
// A Mutant replaces one passage of one file. Overlay writes the changed file and the
// description that the go command takes with -overlay, in a folder of the caller's;
// the source itself never changes. Production code therefore needs no hooks.
package mutants

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Mutant is a bug, or one difference between two releases.
type Mutant struct {
	Name string
	File string // from the module's root
	// Old occurs once in the file; New takes its place.
	Old, New string
}

// All are the known bugs. A name that ends in "(model)" is a bug in the simulator's
// own gateway or voter, because the simulator does not run the real code of these;
// the bug without that ending changes the real code.
var All = []Mutant{
	{
		Name: "lease check removed",
		File: "decision/freshness.go",
		Old:  "within(now, f.AskedAt, MaxAge) && within(now, f.ProvenAt, Lease)",
		New:  "within(now, f.AskedAt, MaxAge)",
	},
	{
		Name: "tick believed when sent",
		File: "events/replica/replica.go",
		Old:  "\tr.mu.Unlock()\n\tr.cfg.Sequencer.Offer(appendTick(nil, &t))",
		New:  "\tr.proofs.add(position, t.Challenges, r.cfg.Now())\n\tr.mu.Unlock()\n\tr.cfg.Sequencer.Offer(appendTick(nil, &t))",
	},
	{
		Name: "proof taken ahead of the View",
		File: "events/replica/proof.go",
		Old:  "if p.At <= at {",
		New:  "if true {",
	},
	{
		Name: "proof checked when asked and not at hand-over",
		File: "gateway/session/batch.go",
		Old:  "if e.kind == isStanza && !b.vs[e.q].Fresh(now) {",
		New:  "if e.kind == isStanza && !b.vs[e.q].Fresh(b.vs[e.q].AskedAt) {",
	},
	{
		Name: "proof checked when asked and not at hand-over (model)",
		File: "events/replica/sim_gateway_test.go",
		Old:  "if !v.Fresh(g.clock()) {",
		New:  "if !v.Fresh(v.AskedAt) {",
	},
	{
		Name: "outcome taken from a reply",
		File: "events/replica/append.go",
		Old:  "\tif position <= a.at {\n\t\treturn false, nil",
		New:  "\tif position <= a.at {\n\t\treturn true, nil",
	},
	{
		Name: "loser batch applied",
		File: "events/replica/core.go",
		Old:  "\t\tif i == 0 && c.Position <= s.head.position {\n\t\t\treturn nil\n\t\t}\n",
		New: "\t\tif c.Position <= next.position {\n\t\t\tc.Position, c.Previous, c.TenantVersion = next.position+1, next.hash, uint64(next.position)+1\n" +
			"\t\t\trecord = events.AppendCommit(nil, &c)\n\t\t\trecords[i] = record\n\t\t}\n",
	},
	{
		Name: "cursor saved before records",
		File: "events/replica/replica.go",
		Old:  "\terr := r.cfg.Log.Take(ctx, s.cursor, s.records)\n",
		New: "\tif err := r.cfg.Log.Take(ctx, s.cursor, nil); err != nil {\n\t\treturn err\n\t}\n" +
			"\terr := r.cfg.Log.Take(ctx, s.cursor, s.records)\n",
	},
	{
		Name: "position told before it is durable",
		File: "events/replica/replica.go",
		Old:  "func (r *Replica) state() state {\n\tposition, hash := r.cfg.Log.Durable()\n",
		New:  "func (r *Replica) state() state {\n\tposition, hash := r.cfg.Log.Head()\n",
	},
	{
		Name: "ticks of the process before believed",
		File: "events/replica/replica.go",
		Old:  "if r.caughtUp = r.caughtUp || r.isOwn(&t.tick); !r.caughtUp {",
		New:  "if r.caughtUp = true; !r.caughtUp {",
	},
	{
		Name: "wiped voter under its old name",
		File: "internal/natsserver/logname.go",
		Old:  "rand.Read(random[:]) // never fails",
		New:  "_ = rand.Reader",
	},
	{
		Name: "wiped voter under its old name (model)",
		File: "events/replica/sim_faults_test.go",
		Old:  "n.voter = &voter{node: n, patience:",
		New:  "n.voter = &voter{node: n, votes: true, patience:",
	},
}

// Named returns the bug with a name.
func Named(name string) (Mutant, error) {
	for _, m := range All {
		if m.Name == name {
			return m, nil
		}
	}
	return Mutant{}, fmt.Errorf("mutants: there is no bug %q", name)
}

// Overlay writes the files of a bug to dir, and returns the argument of -overlay.
// root is the module's root.
func (m Mutant) Overlay(root, dir string) (string, error) { return Overlay(root, dir, m) }

// Overlay is like the method, with several changes, in their order. Later changes
// find the files as the earlier ones left them.
func Overlay(root, dir string, all ...Mutant) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("mutants: %w", err)
	}
	replaced := map[string]string{} // the changed file in place of each original
	for _, m := range all {
		original := filepath.Join(root, filepath.FromSlash(m.File))
		from, again := replaced[original]
		if !again {
			from = original
			replaced[original] = filepath.Join(dir, strings.ReplaceAll(m.File, "/", "_"))
		}
		if err := m.change(from, replaced[original]); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": replaced})
	if err != nil {
		return "", fmt.Errorf("mutants: %w", err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return "", fmt.Errorf("mutants: %w", err)
	}
	return overlay, nil
}

// change writes the changed file to another place.
func (m Mutant) change(from, to string) error {
	source, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("mutants: bug %q: %w", m.Name, err)
	}
	if n := strings.Count(string(source), m.Old); n != 1 {
		return fmt.Errorf("mutants: bug %q: its passage is in %s %d times: the source has changed, so change the bug too", m.Name, m.File, n)
	}
	if err := os.WriteFile(to, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o600); err != nil {
		return fmt.Errorf("mutants: bug %q: %w", m.Name, err)
	}
	return nil
}
