package policyfile

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/postern-im/postern/tenants"
)

// holdWritten checks that what is written is read again as it was, that a
// tenant made of it is the same, and that its own file changes nothing in it.
func holdWritten(t *testing.T, p *File) {
	t.Helper()
	v, err := View(p)
	if err != nil {
		return // it does not stand alone
	}
	want := tenants.Desired(v.Tenant([]byte(p.Tenant)))
	text := Write(p.Tenant, want)
	if len(text) > MaxBytes {
		return
	}
	again, err := Parse("written", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if got := tenants.ApplyTenant(again.Create); again.Tenant != p.Tenant || !reflect.DeepEqual(got, want) {
		t.Fatalf("read %+v\nwrote %+v\n%s", got, want, text)
	}
	holdTold(t, p.Tenant, want)
	for _, f := range []*File{p, again} {
		// The tenant's administrator may apply it too, whoever suspended what.
		admin := tenants.Command{Tenant: p.Tenant, Actor: tenants.Actor{Name: "ann", Tenant: p.Tenant}, ID: "1", Change: tenants.ApplyTenant(f.Create)}
		if plan, err := admin.Check(v); err != nil || len(plan.Events) > 0 {
			t.Fatalf("its own file, by its administrator: %v %v\n%s", plan.Events, err, text)
		}
		if plan, err := tenants.Check(v, p.Tenant, tenants.ApplyTenant(f.Create)); err != nil || len(plan.Events) > 0 {
			t.Fatalf("its own file: %v %v\n%s", plan.Events, err, text)
		}
	}
	v, err = View(again)
	if err != nil {
		t.Fatal(err)
	}
	if second := Write(p.Tenant, tenants.Desired(v.Tenant([]byte(p.Tenant)))); !bytes.Equal(second, text) {
		t.Fatalf("%s\nis written again as\n%s", text, second)
	}
}

// holdTold checks that a file that tells what an operator suspended is read as
// one that does not.
func holdTold(t *testing.T, tenant string, want tenants.ApplyTenant) {
	t.Helper()
	var byOperator []string
	for _, d := range want.Domains {
		if d.Suspended != nil {
			byOperator = append(byOperator, d.Domain)
		}
	}
	for _, m := range want.Members {
		if m.Suspended != nil {
			byOperator = append(byOperator, m.JID)
		}
	}
	text := Write(tenant, want, byOperator...)
	if n := bytes.Count(text, []byte("\nsuspended = true # by the operator\n")); n != len(byOperator) {
		t.Fatalf("%d comments for %v\n%s", n, byOperator, text)
	}
	if again, err := Parse("written", text); err != nil || !reflect.DeepEqual(tenants.ApplyTenant(again.Create), want) {
		t.Fatalf("%v\n%s", err, text)
	}
}

// TestWrite writes every valid file of testdata.
func TestWrite(t *testing.T) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := Parse(file, data); err == nil {
			holdWritten(t, p)
			held++
		}
	}
	if held < 3 {
		t.Errorf("only %d files are valid", held)
	}
}
