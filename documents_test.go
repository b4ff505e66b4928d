package flywheel_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/cli"
	"flywheel.dev/flywheel/internal/demo"
	"flywheel.dev/flywheel/internal/server"
)

// TestEveryCommandThatIsNamedExists looks for command lines in the documents, in what programs say and in the
// pages. A way out that does not exist is worse than none.
func TestEveryCommandThatIsNamedExists(t *testing.T) {
	root := cli.New("test", append(server.Commands("test"), demo.CommandOf("test"))...)
	seen := 0
	check := func(where, line string) {
		seen++
		if why := unknown(root, line); why != "" {
			t.Errorf("%s names `flywheel %s`: %s", where, line, why)
		}
	}
	documents, err := filepath.Glob("*.md")
	must(t, err)
	for _, pattern := range []string{"docs/*.md", "docs/decisions/*.md", "examples/*/*.md", "examples/patterns/*/*.md"} {
		more, err := filepath.Glob(pattern)
		must(t, err)
		documents = append(documents, more...)
	}
	for _, name := range documents {
		text, err := os.ReadFile(name)
		must(t, err)
		fenced := false
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
				continue
			}
			if found := prompt.FindStringSubmatch(line); fenced && found != nil {
				check(name, found[1])
			}
			for _, found := range quoted.FindAllStringSubmatch(line, -1) {
				if !fenced {
					check(name, found[1])
				}
			}
		}
	}
	must(t, filepath.WalkDir("internal", func(name string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			must(t, err)
			for _, pattern := range []*regexp.Regexp{quoted, said} {
				for _, found := range pattern.FindAllStringSubmatch(text, -1) {
					check(name, found[1])
				}
			}
			return true
		})
		return nil
	}))
	must(t, filepath.WalkDir("web/src", func(name string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".tsx") || strings.Contains(name, ".test.") {
			return err
		}
		text, err := os.ReadFile(name)
		must(t, err)
		for _, found := range marked.FindAllStringSubmatch(string(text), -1) {
			check(name, found[1])
		}
		return nil
	}))
	if seen < 150 {
		t.Errorf("only %d command lines were found", seen)
	}
}

var (
	prompt = regexp.MustCompile(`^\s*(?:\$ )?(?:bin/)?flywheel ([a-z].*)$`) // a line of a block
	quoted = regexp.MustCompile("`(?:bin/)?flywheel ([a-z][^`]*)`")         // in a sentence
	said   = regexp.MustCompile(`: flywheel ([a-z][^"]*)`)                  // the way out of a problem
	marked = regexp.MustCompile("<code>flywheel ([a-z][^<{]*)")             // on a page
	ends   = regexp.MustCompile("  #|[|;&<>`]|, |\\. |\\.$| – | — |…|\\)|\n")
	flag   = regexp.MustCompile(`^--?([a-z][a-z-]*)`)
	noun   = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// unknown says what of a command line does not exist, or "".
func unknown(root *cobra.Command, line string) string {
	if at := ends.FindStringIndex(line); at != nil {
		line = line[:at[0]]
	}
	words := strings.Fields(line)
	c := root
	for len(words) > 0 {
		i := slices.IndexFunc(c.Commands(), func(sub *cobra.Command) bool { return sub.Name() == words[0] || sub.HasAlias(words[0]) })
		if i < 0 {
			break
		}
		c, words = c.Commands()[i], words[1:]
	}
	if c == root && strings.HasPrefix(line, "hook ") {
		return "" // git runs it, before there are commands
	}
	if c == root {
		return "there is no such command"
	}
	if !c.Runnable() && len(words) > 0 && noun.MatchString(words[0]) {
		return c.CommandPath() + " has no " + words[0]
	}
	for _, word := range words {
		found := flag.FindStringSubmatch(word)
		if found == nil {
			continue
		}
		if name := found[1]; name == "help" {
			continue // cobra adds it when a command runs
		} else if strings.HasPrefix(word, "--") {
			if c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil {
				return c.CommandPath() + " has no flag --" + name
			}
		} else if c.Flags().ShorthandLookup(name[:1]) == nil && c.InheritedFlags().ShorthandLookup(name[:1]) == nil {
			return c.CommandPath() + " has no flag -" + name
		}
	}
	return ""
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
