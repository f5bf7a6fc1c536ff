package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
)

// TestManyTenants: the plan of many tenants is a summary. It shows each change
// only with --details. JSON has all changes.
func TestManyTenants(t *testing.T) {
	socket := startPolicyd(t)
	ctl := func(want int, args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := run(t.Context(), append([]string{"--socket", socket}, args...), strings.NewReader(""), &out, &errOut); code != want {
			t.Fatalf("%v: exit %d: %s%s", args, code, out.String(), errOut.String())
		}
		return out.String()
	}
	dir := policies(t, maxDetailed+1, 3)
	summary := fmt.Sprintf("%[1]d of %[1]d tenants to change: %[1]d new, 0 changed, 0 removed\n", maxDetailed+1)
	out := ctl(exitChanges, "plan", "-f", dir)
	for _, want := range []string{summary, "      63  + member roles set\n", "      21  + tenant created\n",
		"  permissions are gained: 63 members, and every other account of 21 domains\n", "Give --details to see each change.\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("without %q: %s", want, out)
		}
	}
	if strings.Contains(out, "user1@t1.example") {
		t.Errorf("the summary has details: %s", out)
	}
	for _, flag := range []string{"--details", "-v"} {
		if out := ctl(exitChanges, "plan", "-f", dir, flag); !strings.HasPrefix(out, summary) || strings.Count(out, "+ member roles set user1@t") != maxDetailed+1 {
			t.Errorf("%s: %.2000s", flag, out)
		}
	}
	if out := ctl(exitChanges, "plan", "-f", dir, "--json"); strings.Count(out, "member roles set user1@t") != maxDetailed+1 {
		t.Errorf("JSON: %.2000s", out)
	}
	if out := ctl(exitDone, "apply", "-f", dir, "--yes"); !strings.HasPrefix(out, summary) || strings.Count(out, " applied (position ") != maxDetailed+1 {
		t.Errorf("apply: %.2000s", out)
	}

	// Remove most files. Their tenants are named one by one, and removed.
	for i := range maxDetailed {
		if err := os.Remove(filepath.Join(dir, fmt.Sprintf("t%d.toml", i))); err != nil {
			t.Fatal(err)
		}
	}
	if out := ctl(exitDone, "plan", "-f", dir); !strings.Contains(out, "nothing to change: 1 tenant matches its file") {
		t.Errorf("without --prune: %s", out)
	}
	ctl(exitDone, "tenant", "create", "one-more")
	out = ctl(exitChanges, "plan", "-f", dir, "--prune")
	if !strings.Contains(out, "21 of 22 tenants to change: 0 new, 0 changed, 21 removed\n") ||
		!strings.Contains(out, "  sessions end: 60 members, and every other account of 20 domains\n") ||
		strings.Count(out, "  - tenant removed: t") != maxDetailed || !strings.Contains(out, "  - tenant removed: one-more\n") {
		t.Errorf("with --prune: %s", out)
	}
	ctl(exitUsage, "apply", "-f", dir, "--prune")
	if out := ctl(exitDone, "tenant", "list"); strings.Count(out, "\nt") != maxDetailed+1 {
		t.Errorf("nobody was asked, and there are: %s", out)
	}
	ctl(exitDone, "apply", "-f", dir, "--prune", "--yes")
	if out := ctl(exitDone, "tenant", "list"); !strings.Contains(out, "t20") || strings.Contains(out, "t0 ") || strings.Contains(out, "one-more") {
		t.Errorf("left: %s", out)
	}
}

// TestPruneIsAsked: on a terminal the user must type how many tenants are removed.
func TestPruneIsAsked(t *testing.T) {
	t.Setenv("TERM", "dumb")
	socket := startPolicyd(t)
	client := api.NewClient(socket)
	defer client.Close()
	for _, id := range []string{"t0", "old", "older"} {
		if _, err := client.Do(t.Context(), id, api.TenantCreate{}, api.CommandMeta{}); err != nil {
			t.Fatal(err)
		}
	}
	dir := policies(t, 1, 1)
	args := []string{"--socket", socket, "apply", "-f", dir, "--prune"}
	there := func(id string) bool {
		_, err := client.Tenant(t.Context(), id)
		return err == nil
	}
	question := regexp.MustCompile(`removes 2 tenants for good, with domains and members: old,\s+older\.\s+Type remove 2 to confirm: `)
	for _, typed := range []string{"yes\n", "y\n", "remove 1\n", "\n"} {
		out, code := onTerminal(t, 200, typed, args...)
		if code != exitError || !question.MatchString(out) || !there("old") || !there("older") {
			t.Errorf("%q: exit %d: %s", typed, code, out)
		}
	}
	if out, code := onTerminal(t, 200, "remove 2\n", args...); code != exitDone || there("old") || there("older") || !there("t0") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestPruneComesLast: no tenant is removed if another could not be changed. A
// tenant that has changed since the plan is not removed either.
func TestPruneComesLast(t *testing.T) {
	socket := startPolicyd(t)
	client := api.NewClient(socket)
	defer client.Close()
	do := func(id string, cmd api.Command) {
		t.Helper()
		if _, err := client.Do(t.Context(), id, cmd, api.CommandMeta{}); err != nil {
			t.Fatal(err)
		}
	}
	do("t0", api.TenantCreate{})
	do("old", api.TenantCreate{})
	a := &app{client: client, in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	c := applyCmd{consent: consent{Yes: true}}
	c.File, c.Prune = policies(t, 1, 1), true

	plans, err := c.plan(t.Context(), a)
	if err != nil || len(plans) != 2 || !plans[1].removes {
		t.Fatalf("%+v, %v", plans, err)
	}
	do("t0", api.TenantRename{DisplayName: "meanwhile"})
	do("old", api.TenantRename{DisplayName: "meanwhile"})
	if err := c.all(t.Context(), a, plans); err == nil || !strings.Contains(err.Error(), "t0") || !strings.Contains(err.Error(), "tenants not removed, because an earlier change failed: old") {
		t.Errorf("after a refusal: %v", err)
	}
	if err := c.all(t.Context(), a, plans[1:]); err == nil || !strings.Contains(err.Error(), "plan again") {
		t.Errorf("a tenant that changed: %v", err)
	}
	if _, err := client.Tenant(t.Context(), "old"); err != nil {
		t.Error(err)
	}
}
