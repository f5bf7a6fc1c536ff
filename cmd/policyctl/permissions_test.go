package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/postern-im/postern/permission"
)

const permissionsPage = "../../docs/PERMISSIONS.md"

// TestPermissionsPage: docs/PERMISSIONS.md is the page that --markdown prints.
func TestPermissionsPage(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"permissions", "--markdown"}, nil, &out, &errOut); code != exitDone {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	if *update {
		if err := os.WriteFile(permissionsPage, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(permissionsPage)
	if err != nil {
		t.Fatal(err)
	}
	compareLines(t, out.String(), string(want))
}

// TestPermissionsListAll: each output format names every permission, and some
// built-in role gives each permission.
func TestPermissionsListAll(t *testing.T) {
	for _, args := range [][]string{{"permissions"}, {"permissions", "--json"}, {"permissions", "--markdown"}} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &errOut); code != exitDone {
			t.Fatalf("%v: exit %d: %s", args, code, errOut.String())
		}
		for p := range permission.All() {
			if !strings.Contains(out.String(), p.Name()) {
				t.Errorf("%v does not name %s", args, p)
			}
		}
		for line := range strings.Lines(out.String()) {
			if line != "\n" && strings.TrimRight(line, " \n")+"\n" != line {
				t.Errorf("%v: blanks at the end of %q", args, line)
			}
		}
	}
	for _, p := range permissionTables().Permissions {
		if p.From == "" {
			t.Errorf("no built-in role gives %s", p.Name)
		}
	}
}
