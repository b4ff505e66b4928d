package flywheel_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const internal = "flywheel.dev/flywheel/internal/"

func architecture(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// order returns the packages in the order that ARCHITECTURE.md states.
func order(t *testing.T) []string {
	t.Helper()
	_, rest, _ := strings.Cut(architecture(t), "<!-- order -->")
	line, _, _ := strings.Cut(rest, "<!-- /order -->")
	names := []string{}
	for _, name := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(line, -1) {
		names = append(names, name[1])
	}
	if len(names) < 10 {
		t.Fatalf("ARCHITECTURE.md states no import order: %q", names)
	}
	return names
}

// goFiles parses the Go files of a package folder, tests excluded.
func goFiles(t *testing.T, dir string, mode parser.Mode) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files := []*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

func TestEveryPackageHasItsPlaceInTheImportOrder(t *testing.T) {
	places := order(t)
	entries, err := os.ReadDir("internal")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "deps" { // holds no code: it keeps modules in go.mod
			continue
		}
		if e.IsDir() && !slices.Contains(places, e.Name()) {
			t.Errorf("internal/%s has no place in ARCHITECTURE.md", e.Name())
		}
	}
	for _, name := range places {
		if _, err := os.Stat(filepath.Join("internal", name)); err != nil {
			t.Errorf("ARCHITECTURE.md orders %s, which is not there", name)
		}
	}
}

func TestPackagesImportOnlyWhatStandsBeforeThem(t *testing.T) {
	places := order(t)
	dirs := map[string]bool{}
	err := filepath.WalkDir("internal", func(file string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if strings.HasSuffix(file, ".go") {
			dirs[filepath.Dir(file)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		own := strings.Split(filepath.ToSlash(dir), "/")[1]
		for _, file := range goFiles(t, dir, parser.ImportsOnly) {
			for _, spec := range file.Imports {
				imported, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), internal)
				imported, _, _ = strings.Cut(imported, "/")
				if !ours || imported == own || own == "deps" {
					continue
				}
				if slices.Index(places, imported) > slices.Index(places, own) {
					t.Errorf("%s imports %s, which stands after it", dir, imported)
				}
			}
		}
	}
}

func TestTheCommandLineKnowsNoFeatureButTheirFiles(t *testing.T) {
	allowed := []string{"fault", "plain", "manifest", "local"} // plain is no feature: it judges text
	for _, file := range goFiles(t, filepath.Join("internal", "cli"), parser.ImportsOnly) {
		for _, spec := range file.Imports {
			if imported, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), internal); ours && !slices.Contains(allowed, imported) {
				t.Errorf("cli imports %s: it speaks HTTP", imported)
			}
		}
	}
}

// symbols returns what a package declares: names, Type.method and Type.field, exported or not.
func symbols(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, file := range goFiles(t, filepath.Join("internal", pkg), 0) {
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					name = receiver(d.Recv.List[0].Type) + "." + name
				}
				found[name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					declared(found, spec)
				}
			}
		}
	}
	return found
}

func declared(found map[string]bool, spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range s.Names {
			found[name.Name] = true
		}
	case *ast.TypeSpec:
		found[s.Name.Name] = true
		if st, ok := s.Type.(*ast.StructType); ok {
			for _, field := range st.Fields.List {
				for _, name := range field.Names {
					found[s.Name.Name+"."+name.Name] = true
				}
			}
		}
	}
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func TestEverythingThatARCHITECTURENamesIsThere(t *testing.T) {
	text := architecture(t)
	places := order(t)
	known := map[string]map[string]bool{}
	checked := 0
	for _, match := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
		name := match[1]
		pkg, symbol, dotted := strings.Cut(name, ".")
		switch {
		case dotted && slices.Contains(places, pkg) && !strings.Contains(name, "/") && !strings.HasSuffix(name, ".go"):
			if known[pkg] == nil {
				known[pkg] = symbols(t, pkg)
			}
			if !known[pkg][symbol] {
				t.Errorf("ARCHITECTURE.md names %s, which is not declared", name)
			}
			checked++
		case regexp.MustCompile(`^(internal|web|examples|docs|e2e|scripts|cmd)(/|$)`).MatchString(name) || name == "architecture_test.go":
			if _, err := os.Stat(path.Clean(name)); err != nil {
				t.Errorf("ARCHITECTURE.md names %s, which is not there", name)
			}
			checked++
		}
	}
	if checked < 40 {
		t.Errorf("only %d names were found to check", checked)
	}
}

// A func field that a constructor elsewhere fills is feedback; it belongs into the table.
func TestEveryFuncFieldThatServerFillsIsListed(t *testing.T) {
	text := architecture(t)
	for _, file := range goFiles(t, filepath.Join("internal", "server"), 0) {
		ast.Inspect(file, func(n ast.Node) bool {
			assign, ok := n.(*ast.AssignStmt)
			if !ok || len(assign.Lhs) != 1 {
				return true
			}
			field, ok := assign.Lhs[0].(*ast.SelectorExpr)
			if !ok || !ast.IsExported(field.Sel.Name) {
				return true
			}
			_, literal := assign.Rhs[0].(*ast.FuncLit)
			value, method := assign.Rhs[0].(*ast.SelectorExpr)
			if literal || (method && ast.IsExported(value.Sel.Name) && field.Sel.Name != "Now" && strings.HasPrefix(exprString(field.X), "s.")) {
				if !strings.Contains(text, "."+field.Sel.Name+"`") {
					t.Errorf("server fills %s.%s, which ARCHITECTURE.md does not list", exprString(field.X), field.Sel.Name)
				}
			}
			return true
		})
	}
}

func exprString(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return exprString(e.X) + "." + e.Sel.Name
	}
	return ""
}

func TestNoCommittedFileTellsWhereItWasMade(t *testing.T) {
	out, err := exec.Command("git", "grep", "-lE", `(/root/|/home/[a-z]+/|/work/(main|shared|notes))`, "--", ":!*_test.go").Output()
	if err != nil && len(out) == 0 {
		return // nothing found, or not a checkout
	}
	t.Errorf("these files hold a path of one machine:\n%s", out)
}
