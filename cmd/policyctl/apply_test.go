package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
)

// policies writes a directory of policy files.
func policies(t testing.TB, tenants, members int) string {
	dir := t.TempDir()
	for i := range tenants {
		var b strings.Builder
		fmt.Fprintf(&b, "tenant = \"t%d\"\n\n[[role]]\nname = \"kiosk\"\ninherits = [\"prosody:guest\"]\ndeny = [\"xmpp:account:messages:write\"]\n\n[[domain]]\nname = \"t%d.example\"\n", i, i)
		for m := range members {
			fmt.Fprintf(&b, "\n[[member]]\njid = \"user%d@t%d.example\"\nrole = \"kiosk\"\n", m, i)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("t%d.toml", i)), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestConcurrentApplies: of several concurrent applies, each is carried out
// completely or not at all. A plan that is out of date is refused.
func TestConcurrentApplies(t *testing.T) {
	socket := startPolicyd(t)
	dir := policies(t, 1, 20)
	first := filepath.Join(dir, "t0.toml")
	text, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	policyctl := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"--socket", socket}, args...), strings.NewReader(""), &out, &out)
		return code, out.String()
	}
	if code, out := policyctl("apply", "-f", first, "--yes"); code != exitDone {
		t.Fatal(out)
	}
	const racers = 8
	codes, outs := make([]int, racers), make([]string, racers)
	var wg sync.WaitGroup
	for i := range racers {
		name := filepath.Join(t.TempDir(), "t0.toml")
		own := strings.ReplaceAll(string(text), "messages:write", []string{"omemo:read", "omemo:write", "pep:read", "pep:write", "history:read", "history:write", "profile:read", "profile:write"}[i])
		own = strings.Replace(own, "tenant = \"t0\"\n", fmt.Sprintf("tenant = \"t0\"\nname = \"racer %d\"\n", i), 1)
		if err := os.WriteFile(name, []byte(own), 0o644); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { codes[i], outs[i] = policyctl("apply", "-f", name, "--yes") })
	}
	wg.Wait()
	client := api.NewClient(socket)
	defer client.Close()
	won := 0
	for i, code := range codes {
		switch {
		case code == exitDone:
			won++
		case code != exitError || !strings.Contains(outs[i], "plan again"):
			t.Errorf("exit %d: %s", code, outs[i])
		}
	}
	tenant, err := client.Tenant(t.Context(), "t0")
	if err != nil || won == 0 || tenant.Version != uint64(1+won) {
		t.Fatalf("%d applied, version %d, %v", won, tenant.Version, err)
	}
	log, err := client.Log(t.Context(), api.LogQuery{Tenant: "t0", Limit: 0})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range log.Entries[1:] {
		if len(e.Events) != 2 { // the name and the role
			t.Errorf("half of a policy: %v", e.Events)
		}
	}

	a := &app{client: client, in: strings.NewReader("")}
	plans, err := planAll(t.Context(), a, first)
	if err != nil {
		t.Fatal(err)
	}
	var c applyCmd
	if _, err := c.apply(t.Context(), a, &plans[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := c.apply(t.Context(), a, &plans[0]); err == nil || !strings.Contains(err.Error(), "plan again") {
		t.Errorf("a plan used twice: %v", err)
	}
}

// TestApplyInAnotherLog: a plan made on one log is not applied to another log,
// even if the tenant has the same version there.
func TestApplyInAnotherLog(t *testing.T) {
	dir := policies(t, 1, 20)
	var clients []*api.Client
	for range 2 {
		client := api.NewClient(startPolicyd(t))
		defer client.Close()
		if _, err := client.Do(t.Context(), "t0", api.TenantCreate{}, api.CommandMeta{}); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
	}
	plans, err := planAll(t.Context(), &app{client: clients[0], in: strings.NewReader("")}, dir)
	if err != nil {
		t.Fatal(err)
	}
	var c applyCmd
	_, err = c.apply(t.Context(), &app{client: clients[1]}, &plans[0])
	if err == nil || !strings.Contains(err.Error(), "another log") || !strings.Contains(err.Error(), "plan again") {
		t.Errorf("in another log: %v", err)
	}
	if got, err := clients[1].Tenant(t.Context(), "t0"); err != nil || got.Version != 1 {
		t.Errorf("the other log's tenant is at version %d, %v", got.Version, err)
	}
	if _, err := c.apply(t.Context(), &app{client: clients[0]}, &plans[0]); err != nil {
		t.Errorf("in the log it was planned on: %v", err)
	}
}

// BenchmarkPlanUnchanged plans 1,000 tenants with 100 members each, which match
// their files, at a real policy node.
func BenchmarkPlanUnchanged(b *testing.B) {
	socket := startPolicyd(b)
	dir := policies(b, 1000, 100)
	policyctl := func(want int, args ...string) {
		var out bytes.Buffer
		args = append([]string{"--socket", socket, "--timeout", "5m"}, args...)
		if code := run(context.Background(), args, strings.NewReader(""), &out, &out); code != want {
			b.Fatalf("exit %d: %.2000s", code, out.String())
		}
	}
	policyctl(exitDone, "apply", "-f", dir, "--yes")
	for b.Loop() {
		policyctl(exitDone, "plan", "-f", dir)
	}
}

// TestExportApplies: applying an export changes nothing, and the next export has
// the same bytes.
func TestExportApplies(t *testing.T) {
	socket := startPolicyd(t)
	policyctl := func(args ...string) {
		t.Helper()
		var out bytes.Buffer
		if code := run(t.Context(), append([]string{"--socket", socket}, args...), strings.NewReader(""), &out, &out); code != exitDone {
			t.Fatalf("%v: exit %d: %s", args, code, out.String())
		}
	}
	policyctl("apply", "-f", "testdata/sessions/policies", "--yes")
	policyctl("member", "suspend", "bob@alpha.test")
	first, second := filepath.Join(t.TempDir(), "policies"), t.TempDir() // export creates the first folder
	policyctl("export", "--all", "-o", first)
	policyctl("plan", "-f", first)
	policyctl("apply", "-f", first, "--yes")
	policyctl("export", "--all", "-o", second)
	for _, name := range []string{"acme.toml", "beta.toml"} {
		a, errA := os.ReadFile(filepath.Join(first, name))
		b, errB := os.ReadFile(filepath.Join(second, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: %v %v\n%s\n%s", name, errA, errB, a, b)
		}
	}
}
