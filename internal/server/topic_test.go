package server

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/web"
)

// sources calls visit for every file of the product's packages.
func sources(t *testing.T, visit func(files *token.FileSet, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err == nil {
			visit(files, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryNounIsTouchedAndEveryTopicSaysWhoMayHearOfIt reads the source of all packages.
func TestEveryNounIsTouchedAndEveryTopicSaysWhoMayHearOfIt(t *testing.T) {
	touched := map[string]bool{}
	sources(t, func(files *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			name, ok := lit.Type.(*ast.SelectorExpr)
			if !ok || name.Sel.Name != "Topic" {
				return true
			}
			noun, said := "", false
			for _, e := range lit.Elts {
				field := e.(*ast.KeyValueExpr)
				key := field.Key.(*ast.Ident).Name
				if value, ok := field.Value.(*ast.SelectorExpr); ok && key == "Noun" {
					noun = value.Sel.Name
				}
				said = said || slices.Contains([]string{"App", "Team", "Person", "Everybody"}, key)
			}
			touched[noun] = true
			if !said && noun != "NounAudit" { // which only those read who see everything
				t.Errorf("%s makes a topic and does not say who may hear of it", files.Position(lit.Pos()))
			}
			return true
		})
	})
	for _, noun := range web.Nouns() {
		if name := "Noun" + strings.ToUpper(string(noun[:1])) + string(noun[1:]); !touched[name] {
			t.Errorf("nobody touches the noun %s", noun)
		}
	}
}

// unseen are the tables that no page shows, so that who writes them touches nothing.
var unseen = []string{
	"idempotency", "event", "event_unnumbered", "replica", "attempt", "known_client", "module_ticket", "git_push", "git_commit",
	"state_token", "state_lock", "state_version", "artifact", "upload", "opened_file",
	"consumer", // only its command shows it
	"rollout",  // the way of a change, which its deployments and its state show
}

// untouched are the functions that write what pages show and touch nothing, each with its reason.
var untouched = map[string]string{
	"extendSession": "every page does it by being open",
	"setPassword":   "no page shows it",
	"lockToken":     "it changes nothing",
	"putMember":     "touchTeam follows",
	"deleteMember":  "touchTeam follows",
	"writeUndo":     "no page shows it",
	"chain":         "Audit touches",
	"Certify":       "setState touches",
}

var writes = regexp.MustCompile(`(?s)^\s*(?:insert into|update|delete from)\s+([a-z_]+)`)

// TestWhoWritesWhatPagesShowTouchesIt reads the source of all packages: each function with a statement that writes
// into a table also touches, unless it or the table is listed above.
func TestWhoWritesWhatPagesShowTouchesIt(t *testing.T) {
	found, used := 0, map[string]bool{}
	sources(t, func(files *token.FileSet, file *ast.File) {
		if file.Name.Name == "db" || file.Name.Name == "cli" {
			return
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			table, touches := "", false
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if m := writes.FindStringSubmatch(strings.Trim(n.Value, "`\"")); n.Kind == token.STRING && m != nil && !slices.Contains(unseen, m[1]) {
						table = m[1]
					}
				case *ast.CallExpr:
					name := ""
					switch f := n.Fun.(type) {
					case *ast.Ident:
						name = f.Name
					case *ast.SelectorExpr:
						name = f.Sel.Name
					}
					touches = touches || strings.HasPrefix(strings.ToLower(name), "touch")
				}
				return true
			})
			if table == "" {
				continue
			}
			found++
			used[fn.Name.Name] = true
			if !touches && untouched[fn.Name.Name] == "" {
				t.Errorf("%s writes into %s and touches nothing: pages that show it would not read it again", files.Position(fn.Pos()), table)
			}
		}
	})
	if found < 40 {
		t.Errorf("only %d functions were found that write", found)
	}
	for name := range untouched {
		if !used[name] {
			t.Errorf("%s is listed and writes nothing", name)
		}
	}
}

func TestATopicIsHeardByThoseOnlyWhoMaySeeWhatItNames(t *testing.T) {
	d := dbtest.Open(t)
	s := &Server{DB: d}
	shop, press := map[string]account.Role{"shop": account.Viewer}, map[string]account.Role{"press": account.Owner}
	actors := map[string]account.Actor{
		"otto": {ID: "usr_otto", Name: "otto"}, "dana": {ID: "usr_dana", Name: "dana", Teams: shop}, "pia": {ID: "usr_pia", Name: "pia", Teams: press},
		"sam": {ID: "usr_sam", Name: "sam", Disciplines: []string{account.Security}}, "admin": {ID: "usr_admin", Name: "admin", Admin: true},
	}
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at) values ('app_1','store','Store','shop','active','{}','{}','',$1)`, tx.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		topic web.Topic
		heard []string
	}{
		"the audit log":              {web.Topic{Noun: web.NounAudit}, nil},
		"a secret of an environment": {web.Topic{Noun: web.NounSecret, App: ""}, nil},
		"what says nothing":          {web.Topic{Noun: web.NounDeployment, ID: "dpl_1"}, nil},
		"an app":                     {web.Topic{Noun: web.NounDeployment, ID: "dpl_2", App: "store"}, []string{"dana"}},
		"an app that is not there":   {web.Topic{Noun: web.NounDeployment, ID: "dpl_3", App: "gone"}, nil},
		"an app that was given away": {web.Topic{Noun: web.NounApp, ID: "store", App: "store", Team: "press"}, []string{"dana", "pia"}},
		"a story":                    {web.Topic{Noun: web.NounStory, ID: "sty_1", Team: "press"}, []string{"pia"}},
		"a token":                    {web.Topic{Noun: web.NounToken, ID: "tok_1", Person: "usr_otto"}, []string{"otto"}},
		"a pattern":                  {web.Topic{Noun: web.NounPattern, ID: "web", Everybody: true}, []string{"dana", "otto", "pia"}},
	}
	for name, c := range cases {
		heard := []string{}
		for who, actor := range actors {
			seen, err := s.visibleTopics(account.With(context.Background(), actor), []web.Topic{c.topic})
			if err != nil {
				t.Fatal(err)
			}
			if len(seen) > 0 {
				heard = append(heard, who)
			}
		}
		want := append([]string{"admin", "sam"}, c.heard...)
		slices.Sort(want)
		slices.Sort(heard)
		if !slices.Equal(heard, want) {
			t.Errorf("of %s hear %v, want %v", name, heard, want)
		}
	}
}
