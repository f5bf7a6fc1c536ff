package archtest

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// proofs matches a package, or e2e, and the names that follow it in a row of
// docs/GUARANTEES.md. A program is named without cmd/.
var (
	proofs   = regexp.MustCompile("(?:`([a-z0-9/]+)`|(e2e)) ((?:(?:Test|Fuzz)[A-Z]\\w*|testdata/[\\w.]+)[^`;|]*)")
	testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*|testdata/[\w.]+`)
)

// TestGuarantees: each test and file that docs/GUARANTEES.md names exists.
func TestGuarantees(t *testing.T) {
	exists := map[string]bool{}
	for _, f := range files(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test {
				exists[strings.TrimPrefix(f.pkg, "cmd/")+" "+fn.Name.Name] = true
				exists[f.pkg+" "+fn.Name.Name] = true
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/GUARANTEES.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, m := range proofs.FindAllStringSubmatch(string(text), -1) {
		pkg := m[1]
		if m[2] != "" {
			pkg = "test/e2e"
		}
		for _, name := range testName.FindAllString(m[3], -1) {
			named++
			if _, err := os.Stat(filepath.Join(root, pkg, name)); err != nil && !exists[pkg+" "+name] {
				t.Errorf("%s has no %s", pkg, name)
			}
		}
	}
	if all := len(testName.FindAllString(string(text), -1)); named != all || named < 100 {
		t.Errorf("%d of %d tests belong to a package", named, all)
	}
}
