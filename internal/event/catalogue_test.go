package event

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/events.md anew")

// sentences returns what the catalogue says about each kind, by the name of its struct.
func sentences(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "catalogue.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	facts, found := map[string]bool{}, map[string]string{}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "head" {
			facts[f.Recv.List[0].Type.(*ast.Ident).Name] = true
		}
	}
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
			if name := g.Specs[0].(*ast.TypeSpec).Name.Name; facts[name] {
				found[name] = strings.Join(strings.Fields(strings.TrimPrefix(g.Doc.Text(), name+" ")), " ")
			}
		}
	}
	if len(facts) != len(found) || len(found) < 40 {
		t.Fatalf("%d kinds have a head, %d a comment", len(facts), len(found))
	}
	return found
}

func TestEveryKindOfFactIsInTheCatalogueOnce(t *testing.T) {
	listed, types := []string{}, map[string]string{}
	for _, kind := range kinds {
		name := reflect.TypeOf(kind).Name()
		listed = append(listed, name)
		if other := types[TypeOf(kind)]; other != "" {
			t.Errorf("%s and %s are both %s", other, name, TypeOf(kind))
		}
		types[TypeOf(kind)] = name
		if kind.head().audience == CoE && !strings.HasPrefix(name, "Secret") {
			t.Errorf("%s does not say who may see it", name)
		}
	}
	for name, sentence := range sentences(t) {
		if !slices.Contains(listed, name) {
			t.Errorf("%s is not among the kinds", name)
		}
		if !strings.HasPrefix(sentence, "says ") {
			t.Errorf("the comment of %s does not say what it says: %s", name, sentence)
		}
	}
}

func TestEveryFactIsWrittenThroughTheCatalogue(t *testing.T) {
	emitted := map[string]bool{}
	made := regexp.MustCompile(`\bevent\.([A-Z]\w+)\{`)
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || filepath.Dir(path) == "../event" {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "event.Append(") {
			t.Errorf("%s writes an event beside the catalogue: use event.Emit", path)
		}
		for _, m := range made.FindAllStringSubmatch(string(text), -1) {
			emitted[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		if name := reflect.TypeOf(kind).Name(); !emitted[name] {
			t.Errorf("nothing writes %s", name)
		}
	}
}

const drawing = "../../docs/events.md"

func TestTheTableOfFactsIsThatOfTheCatalogue(t *testing.T) {
	want := draw(sentences(t))
	if *update {
		if err := os.WriteFile(drawing, []byte(want), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(drawing)
	if err != nil || string(have) != want {
		t.Errorf("docs/events.md is not drawn from the catalogue (%v): go test ./internal/event -run TheTable -update", err)
	}
}

// draw returns docs/events.md.
func draw(sentences map[string]string) string {
	var b strings.Builder
	b.WriteString(`# Facts

<!-- Drawn from internal/event/catalogue.go by its tests: go test ./internal/event -run TheTable -update -->

A fact is something that became true. It is written once, in the transaction that made it true, at a transition and
never because a row was saved again. Outside it is an event in the format CloudEvents 1.0: its type is in the first
column, its data are the fields in the last. Words in italics stand for the fields in [Shared data](#shared-data). ` + "`GET /api/v1/events`" + ` lists them, ` + "`GET /api/v1/events/stream`" + ` follows them, and
the schema ` + "`Facts`" + ` in ` + "`openapi.json`" + ` has the data of each type. Facts are kept for ever.

| Type | It says | Seen by | Data |
|---|---|---|---|
`)
	for _, kind := range kinds {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", TypeOf(kind), upper(strings.TrimPrefix(sentences[reflect.TypeOf(kind).Name()], "says ")), seenBy(kind), strings.Join(fields(reflect.TypeOf(kind)), ", "))
	}
	b.WriteString(`
## Shared data

| | Fields |
|---|---|
`)
	for _, part := range []struct {
		name string
		of   any
	}{{"change", OfChange{}}, {"deployment", OfDeployment{}}, {"move", Moved{}}, {"success", Brought{}}, {"request", OfRequest{}}, {"waiver", OfWaiver{}}, {"secret", OfSecret{}}, {"account", OfAccount{}}} {
		fmt.Fprintf(&b, "| *%s* | %s |\n", part.name, strings.Join(fields(reflect.TypeOf(part.of)), ", "))
	}
	b.WriteString(`
## What things wait for

Where a change or a deployment stands still, the fact says for what: ` + "`waitsFor`" + ` from then on, ` + "`waitedFor`" + ` until then, and
` + "`since`" + ` when that began.

| Code | It waits for |
|---|---|
`)
	for _, c := range causes {
		fmt.Fprintf(&b, "| `%s` | %s |\n", c.cause, c.means)
	}
	return b.String()
}

func upper(s string) string {
	s = strings.TrimPrefix(s, "that ")
	return strings.ToUpper(s[:1]) + strings.ReplaceAll(s[1:], "|", `\|`)
}

func seenBy(kind Fact) string {
	h := kind.head()
	if reflect.TypeOf(kind).Field(0).Name == "OfChange" {
		return "who sees the app; of a pattern: everybody"
	}
	switch h.audience {
	case OfApp:
		return "who sees the app"
	case CoE:
		return "who sees the app; of an environment: the Center of Excellence"
	case Everybody:
		if reflect.TypeOf(kind).Field(0).Name == "OfAccount" {
			return "everybody; what is a person's own: that person"
		}
		return "everybody"
	}
	return "the team"
}

// shared are the words for what several kinds embed.
var shared = map[string]string{
	"OfChange": "change", "OfDeployment": "deployment", "Moved": "move", "Brought": "success", "OfRequest": "request", "OfWaiver": "waiver", "OfSecret": "secret", "OfAccount": "account",
}

// fields returns the names of the data of a kind, and the words for what it embeds.
func fields(kind reflect.Type) (names []string) {
	for i := range kind.NumField() {
		f := kind.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name = "`" + name + "`"; f.Anonymous {
			name = "*" + shared[f.Name] + "*"
		}
		names = append(names, name)
	}
	return names
}
