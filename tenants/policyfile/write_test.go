package policyfile

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/postern-im/postern/tenants"
)

// holdWritten writes a tenant as a file and parses the file. It checks that the
// command is the same, that the command makes an equal tenant, and that applying
// the file to the tenant itself changes nothing.
func holdWritten(t *testing.T, p *File) {
	t.Helper()
	v, err := View(p)
	if err != nil {
		return // the file is not valid by itself
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
		// The tenant's administrator may apply the file too, even if an operator has
		// suspended parts of the tenant.
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

// holdTold checks that Write marks an operator's suspensions by comments, and
// that Parse ignores these.
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
