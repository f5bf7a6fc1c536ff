package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/postern-im/postern/"
)

// file is one Go file of the module.
type file struct {
	name string // its path from the root
	pkg  string // its folder from the root
	test bool
	ast  *ast.File
	fset *token.FileSet
}

// at names a place in f.
func (f *file) at(n ast.Node) string {
	return f.name + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

// imports returns the import paths of f.
func (f *file) imports() (all []string) {
	for _, spec := range f.ast.Imports {
		if s, err := strconv.Unquote(spec.Path.Value); err == nil {
			all = append(all, s)
		}
	}
	return all
}

// calls calls visit with each selector of a package or value that is called,
// as in time.Sleep or wg.Go, and each go statement ("go").
func (f *file) calls(in ast.Node, visit func(n ast.Node, what string)) {
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			visit(n, "go")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				visit(n, x.Name+"."+n.Sel.Name)
			} else {
				visit(n, "."+n.Sel.Name)
			}
		}
		return true
	})
}

// files parses every Go file of the module.
func files(t *testing.T) (all []*file) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != root && (d.Name() == "testdata" || d.Name() == "node_modules" || d.Name()[0] == '.' || d.Name()[0] == '_'):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go"):
			return nil
		}
		f, err := parse(p)
		if err == nil {
			all = append(all, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("%d Go files: not the module's root?", len(all))
	}
	return all
}

func parse(p string) (*file, error) {
	name, err := filepath.Rel(root, p)
	if err != nil {
		return nil, err
	}
	name = filepath.ToSlash(name)
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
	return &file{name: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), ast: tree, fset: fset}, err
}

// TestArchitecture reads the module once and applies each rule to it.
func TestArchitecture(t *testing.T) {
	all := files(t)
	for name, check := range map[string]func(*testing.T, []*file){
		"imports":       checkImports,
		"unused edges":  checkUnusedEdges,
		"never reached": checkNeverReached,
		"doc comments":  checkDocComments,
		"goroutines":    checkGoroutines,
		"forbidden":     checkForbidden,
		"pure":          checkPure,
		"english":       checkEnglish,
	} {
		t.Run(name, func(t *testing.T) { check(t, all) })
	}
}

// among reports whether pkg is in list, a list as in the tables.
func among(list, pkg string) bool {
	for _, item := range strings.Fields(list) {
		base, below := strings.CutSuffix(item, "/...")
		if item == "*" || pkg == base || below && strings.HasPrefix(pkg, base+"/") {
			return true
		}
	}
	return false
}

// allowed returns the key of pkg's line in the table, and the line.
func allowed(pkg string) (key, list string, ok bool) {
	if list, ok := imports[pkg]; ok {
		return pkg, list, true
	}
	for key, list := range imports {
		if among(key, pkg) {
			return key, list, true
		}
	}
	return "", "", false
}

// support reports whether all of pkg is there for tests.
func support(pkg string) bool { return among(testOnly, pkg) }

func checkImports(t *testing.T, all []*file) {
	for _, f := range all {
		_, list, known := allowed(f.pkg)
		if !known {
			t.Errorf("%s: package %s is not in the table; give it a line", f.name, f.pkg)
			continue
		}
		if f.test {
			continue
		}
		for _, imp := range f.imports() {
			local, ok := strings.CutPrefix(imp, module)
			switch {
			case !ok:
			case support(local) && !support(f.pkg):
				t.Errorf("%s imports %s: only tests may", f.name, local)
			case !among(list, local):
				t.Errorf("%s imports %s: not allowed", f.name, local)
			}
		}
	}
}

// checkUnusedEdges reports what the table allows and no file uses, so that a new
// import needs a reviewed line. A package that does not exist yet may have one.
func checkUnusedEdges(t *testing.T, all []*file) {
	exists := map[string]bool{}   // key of a line → it has a package
	used := map[string][]string{} // key of a line → local imports of its packages
	for _, f := range all {
		key, _, known := allowed(f.pkg)
		if f.test || !known {
			continue
		}
		exists[key] = true
		for _, imp := range f.imports() {
			if local, ok := strings.CutPrefix(imp, module); ok {
				used[key] = append(used[key], local)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(exists)) {
		for _, edge := range strings.Fields(imports[key]) {
			if !slices.ContainsFunc(used[key], func(local string) bool { return among(edge, local) }) {
				t.Errorf("no file of %s imports %s: remove it from the line", key, edge)
			}
		}
	}
}

func checkNeverReached(t *testing.T, all []*file) {
	edges := map[string]map[string]bool{} // package → local imports
	for _, f := range all {
		if f.test {
			continue
		}
		if edges[f.pkg] == nil {
			edges[f.pkg] = map[string]bool{}
		}
		for _, imp := range f.imports() {
			if local, ok := strings.CutPrefix(imp, module); ok {
				edges[f.pkg][local] = true
			}
		}
	}
	for _, rule := range never {
		by := map[string]string{rule.from: ""} // reached → by which importer
		for queue := []string{rule.from}; len(queue) > 0; queue = queue[1:] {
			for _, next := range slices.Sorted(maps.Keys(edges[queue[0]])) {
				if _, seen := by[next]; !seen {
					by[next] = queue[0]
					queue = append(queue, next)
				}
			}
		}
		for _, pkg := range slices.Sorted(maps.Keys(by)) {
			if pkg != rule.from && among(rule.to, pkg) {
				t.Errorf("%s reaches %s by way of %s: %s", rule.from, pkg, by[pkg], rule.reason)
			}
		}
	}
}

func checkDocComments(t *testing.T, all []*file) {
	documented := map[string]bool{}
	for _, f := range all {
		doc := f.ast.Doc.Text()
		if doc != "" && f.ast.Name.Name != "main" && !f.test && !strings.HasPrefix(doc, "Package "+f.ast.Name.Name+" ") {
			t.Errorf("%s: the doc comment does not begin with %q", f.name, "Package "+f.ast.Name.Name)
		}
		documented[f.pkg] = documented[f.pkg] || doc != ""
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("%s has no doc comment: what it is, promises, never does", pkg)
		}
	}
}

// checkGoroutines: constructors start nothing. Only Run and Serve do, and what
// their bodies are split into; they join what they start.
func checkGoroutines(t *testing.T, all []*file) {
	used := map[string]bool{}
	for _, f := range all {
		if f.test || support(f.pkg) || strings.HasPrefix(f.pkg, "cmd/") {
			continue
		}
		for _, decl := range f.ast.Decls {
			name := "a variable's value"
			if fn, ok := decl.(*ast.FuncDecl); ok {
				name = fn.Name.Name
			}
			f.calls(decl, func(n ast.Node, what string) {
				if what != "go" && !strings.HasSuffix(what, ".Go") || mayStart(name) {
					return
				}
				used[f.pkg+"."+name] = true
				if starts[f.pkg+"."+name] == "" {
					t.Errorf("%s: %s starts a goroutine; only Run and Serve may", f.at(n), name)
				}
			})
		}
	}
	for name := range starts {
		if !used[name] {
			t.Errorf("%s starts no goroutine any more: take its line out", name)
		}
	}
}

func mayStart(function string) bool {
	lower := strings.ToLower(function)
	return strings.HasPrefix(lower, "run") || strings.HasPrefix(lower, "serve")
}

// checkForbidden refuses three things. A test must not sleep: testing/synctest has
// the time. Nothing may run before main. Only tests may read with encoding/xml.
func checkForbidden(t *testing.T, all []*file) {
	for _, f := range all {
		// Code in test/ waits for real processes, whose time is real.
		if f.test || support(f.pkg) && !among("test/...", f.pkg) {
			f.calls(f.ast, func(n ast.Node, what string) {
				if what == "time.Sleep" {
					t.Errorf("%s: time.Sleep in a test", f.at(n))
				}
			})
		}
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init function", f.at(fn))
			}
		}
		if !f.test && !among("test/...", f.pkg) && slices.Contains(f.imports(), "encoding/xml") {
			t.Errorf("%s imports encoding/xml, which reads otherwise than the servers' parser", f.name)
		}
	}
}

// checkPure: a pure package has no I/O, no clock, no goroutine and no log; a
// clockless one has no clock and no goroutine.
func checkPure(t *testing.T, all []*file) {
	for _, f := range all {
		if f.test || !among(pure+" "+clockless, f.pkg) {
			continue
		}
		for _, imp := range f.imports() {
			if among(pure, f.pkg) && among(impureImports, imp) {
				t.Errorf("%s imports %s: the package is pure", f.name, imp)
			}
		}
		f.calls(f.ast, func(n ast.Node, what string) {
			if among(impureCalls, what) || what == "go" || strings.HasSuffix(what, ".Go") {
				t.Errorf("%s: %s: the package is pure, or has no clock", f.at(n), what)
			}
		})
	}
}
