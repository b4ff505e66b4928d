package tofu

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// scope is what names mean at a place in the configuration.
type scope struct {
	listed   bool     // each.key and each.value are names of the module's own files
	template bool     // inside a template file: every name is one that its caller gives
	bound    []string // those of roots that a for expression or a dynamic block gives another meaning
}

// means reports whether a name still means what the engine defines.
func (s scope) means(root string) bool { return !s.template && !slices.Contains(s.bound, root) }

// blocks looks at every call of a function that reads files. In a block whose for_each lists files of the
// module, each.key and each.value are such files.
func (m *gatedModule) blocks(file *hclsyntax.Body) {
	for _, a := range file.Attributes {
		m.expression(a.Expr, scope{})
	}
	for _, b := range file.Blocks {
		m.body(b.Body, scope{listed: listed(b.Body)})
	}
}

func listed(body *hclsyntax.Body) bool {
	a := body.Attributes["for_each"]
	return a != nil && listsFiles(a.Expr)
}

// body does not look at the for_each of inner blocks: each means the one of the outer block. A dynamic block
// has a name of its own for its elements, which may hide any other.
func (m *gatedModule) body(body *hclsyntax.Body, s scope) {
	for _, a := range body.Attributes {
		m.expression(a.Expr, s)
	}
	for _, b := range body.Blocks {
		m.body(b.Body, s.inside(b))
	}
}

func (s scope) inside(b *hclsyntax.Block) scope {
	if b.Type != "dynamic" {
		return s
	}
	s = s.hiding(b.Labels...)
	if a := b.Body.Attributes["iterator"]; a != nil {
		s = s.hiding(iterator(a.Expr)...)
	}
	return s
}

// roots are the names from which a path may be made: see pieces and madeHere. No other one needs to be remembered.
var roots = []string{"path", "each", "data", "archive_file", "local_file", "local_sensitive_file"}

// hiding returns the scope inside of what gives these names another meaning.
func (s scope) hiding(names ...string) scope {
	for _, name := range names {
		if slices.Contains(roots, name) && !slices.Contains(s.bound, name) {
			s.bound = append(slices.Clone(s.bound), name)
		}
	}
	return s
}

// iterator is the name that a dynamic block gives its elements, if the engines can read it.
func iterator(e hcl.Expression) []string {
	traversal, d := hcl.AbsTraversalForExpr(e)
	if d.HasErrors() {
		return nil
	}
	return []string{traversal.RootName()}
}

func (m *gatedModule) expression(e hclsyntax.Expression, s scope) {
	hclsyntax.Walk(e, &calls{module: m, scope: s})
}

// calls looks at the function calls of an expression.
type calls struct {
	module *gatedModule
	scope  scope
	outer  []scope
}

func (c *calls) Enter(n hclsyntax.Node) hcl.Diagnostics {
	switch n := n.(type) {
	case hclsyntax.ChildScope: // a for expression, also one of a template
		c.outer = append(c.outer, c.scope)
		c.scope = c.scope.hiding(slices.Collect(maps.Keys(n.LocalNames))...)
	case *hclsyntax.FunctionCallExpr:
		c.module.call(n, c.scope)
	}
	return nil
}

func (c *calls) Exit(n hclsyntax.Node) hcl.Diagnostics {
	if _, ok := n.(hclsyntax.ChildScope); ok {
		last := len(c.outer) - 1
		c.scope, c.outer = c.outer[last], c.outer[:last]
	}
	return nil
}

// call judges one function call.
func (m *gatedModule) call(call *hclsyntax.FunctionCallExpr, s scope) {
	name := strings.TrimPrefix(call.Name, "core::")
	if of, ok := strings.CutPrefix(name, "provider::"); ok {
		provider, function, _ := strings.Cut(of, "::")
		function = function[strings.LastIndex(function, ":")+1:] // after an alias, which OpenTofu knows
		m.provider(provider, call.Range())
		if m.isForeign(provider) && readsFiles(function) {
			if _, known := m.path(argument(call, 0), s, true); !known {
				m.refusePath(call.Range(), function)
			}
		}
		return
	}
	switch {
	case name == "templatestring":
		m.refuse("path", call.Range(), "templatestring makes a template of a value, and a template reads any file; use templatefile with a file of the pattern.")
		return
	case !strings.Contains(name, "file"): // no other built-in function reads one
		return
	}
	where, known := m.path(argument(call, 0), s, name != "templatefile")
	if known && name == "fileset" {
		known = ownPattern(argument(call, 1), s)
	}
	switch {
	case !known:
		m.refusePath(call.Range(), name)
	case name == "templatefile":
		m.template(where, call.Range())
		if pieces, _ := s.pieces(argument(call, 0)); pieces[0].root == "root" {
			m.rooted[where] = rootedTemplate{m, call.Range()}
		}
	}
}

// rootedTemplate is a template that a module names from path.root.
type rootedTemplate struct {
	module *gatedModule
	at     hcl.Range
}

const mostUnderRoots = 100_000 // files that are looked for

// underRoots reads the templates of path.root in every folder of configuration too: a test can make each the root.
func (g *gate) underRoots() {
	for rel, t := range g.rooted {
		if len(g.rooted)*len(g.folders) > mostUnderRoots {
			g.refuse("path", t.at, "So many templates of path.root cannot be looked for in so many folders; name them from path.module.")
			return
		}
		for dir := range g.folders {
			name := path.Join(dir, rel)
			if _, err := os.Stat(filepath.Join(g.root, name)); err == nil {
				t.module.template(name, t.at)
			}
		}
	}
}

func (g *gate) refusePath(at hcl.Range, what string) {
	g.refuse("path", at, "%s may read only files of the pattern, by a path that is written out, for example \"${path.module}/file\".", what)
}

// argument returns an argument of a call, or nil if it is not plain to see.
func argument(call *hclsyntax.FunctionCallExpr, i int) hclsyntax.Expression {
	if call.ExpandFinal || i >= len(call.Args) {
		return nil
	}
	return call.Args[i]
}

// template reads a template file, because templates may call functions too.
func (m *gatedModule) template(name string, at hcl.Range) {
	if m.templates[name] {
		return
	}
	m.templates[name] = true
	text, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil || len(text) > largestSource {
		m.refuse("path", at, "The template %s is not there, or is larger than %d MB.", name, largestSource>>20)
		return
	}
	e, d := hclsyntax.ParseTemplate(text, name, hcl.InitialPos)
	if d.HasErrors() {
		m.refuse("syntax", at, "The template %s cannot be read: %s.", name, d[0].Summary)
		return
	}
	m.expression(e, scope{template: true})
}

// jsonValue looks at the strings of a JSON file. Each may be a template with calls; some, such as the target of an import,
// are expressions without a mark around them. name is the key that the value stands under.
func (m *gatedModule) jsonValue(name string, e hcl.Expression, s scope) {
	s = s.below(name, e)
	if pairs, d := hcl.ExprMap(e); !d.HasErrors() {
		keys := map[string]bool{}
		for _, pair := range pairs {
			key, _ := literal(pair.Key)
			if keys[key] {
				m.refuse("syntax", pair.Key.Range(), "The key %q is written twice here, and readers differ in which one they take.", key)
			}
			keys[key] = true
			m.jsonValue("", pair.Key, s)
			m.jsonValue(key, pair.Value, s)
		}
		return
	}
	if items, d := hcl.ExprList(e); !d.HasErrors() {
		for _, item := range items {
			m.jsonValue("", item, s)
		}
		return
	}
	text, ok := literal(e)
	if !ok {
		return
	}
	start := e.StartRange().Start
	start.Column++ // after the quote
	for _, parse := range []func([]byte, string, hcl.Pos) (hclsyntax.Expression, hcl.Diagnostics){hclsyntax.ParseTemplate, hclsyntax.ParseExpression} {
		if native, d := parse([]byte(text), e.Range().Filename, start); !d.HasErrors() {
			m.expression(native, s)
		}
	}
}

// literal is the text of a string as it is written.
func literal(e hcl.Expression) (string, bool) {
	v, d := e.Value(nil)
	if d.HasErrors() || v.IsNull() || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}

// below is the scope inside a value of a JSON file, where a dynamic block hides names as it does in the other syntax.
func (s scope) below(name string, e hcl.Expression) scope {
	if items, d := hcl.ExprList(e); !d.HasErrors() && name == "dynamic" {
		for _, item := range items {
			s = s.below(name, item)
		}
		return s
	}
	pairs, _ := hcl.ExprMap(e)
	for _, pair := range pairs {
		key, _ := literal(pair.Key)
		if name == "dynamic" {
			s = s.hiding(key)
		}
		if key == "iterator" {
			s = s.hiding(iterator(pair.Value)...)
		}
	}
	return s
}

// path returns the file or folder that an expression names, relative to the pattern, if that can be told from
// the text alone and lies inside: a text, or path.module or path.root and a text after it. The name of a
// listed file stands for itself after a slash.
func (m *gatedModule) path(e hclsyntax.Expression, s scope, mayList bool) (string, bool) {
	s.listed = s.listed && mayList
	pieces, ok := s.pieces(e)
	if !ok || len(pieces) == 0 {
		return "", false
	}
	if m.downloaded && pieces[0].root != "module" {
		return "", false // it names a file of whoever uses the module, which was not read with it
	}
	base, text := ".", ""
	if first := pieces[0].root; first != "" {
		pieces = pieces[1:]
		if first == "module" {
			base = m.dir
		}
		switch {
		case len(pieces) == 0:
			return base, true
		case !strings.HasPrefix(pieces[0].text, "/"):
			return "", false
		}
		pieces[0].text = strings.TrimLeft(pieces[0].text, "/")
		text = "./"
	}
	for _, p := range pieces {
		switch {
		case p.root != "" || p.file && !strings.HasSuffix(text, "/"):
			return "", false
		case p.file:
			text += "x"
		default:
			text += p.text
		}
	}
	return path.Join(base, text), within(text)
}

// piece is a part of a path: a text, the folder that a root names, or a listed file.
type piece struct {
	text string
	root string // "module" or "root"
	file bool
}

func (s scope) pieces(e hclsyntax.Expression) ([]piece, bool) {
	switch e := e.(type) {
	case *hclsyntax.ParenthesesExpr:
		return s.pieces(e.Expression)
	case *hclsyntax.TemplateWrapExpr:
		return s.pieces(e.Wrapped)
	case *hclsyntax.LiteralValueExpr:
		if e.Val.Type() == cty.String && !e.Val.IsNull() {
			return []piece{{text: e.Val.AsString()}}, true
		}
	case *hclsyntax.ScopeTraversalExpr:
		switch name := dotted(e.Traversal); {
		case !s.means(e.Traversal.RootName()):
		case name == "path.module", name == "path.root":
			return []piece{{root: strings.TrimPrefix(name, "path.")}}, true
		case s.listed && (name == "each.key" || name == "each.value"):
			return []piece{{file: true}}, true
		}
	case *hclsyntax.TemplateExpr:
		all := []piece{}
		for _, part := range e.Parts {
			pieces, ok := s.pieces(part)
			if !ok {
				return nil, false
			}
			all = append(all, pieces...)
		}
		return all, true
	}
	return nil, false
}

// choices are the alternatives of a pattern of files, which could be put together to "..".
var choices = regexp.MustCompile(`\{[A-Za-z0-9_-]+(,[A-Za-z0-9_-]+)*\}`)

// ownPattern reports whether a pattern of files stays below the folder that it is for.
func ownPattern(e hclsyntax.Expression, s scope) bool {
	text := ""
	pieces, ok := s.pieces(e)
	for _, p := range pieces {
		ok = ok && p.root == "" && !p.file
		text += p.text
	}
	plain := choices.ReplaceAllString(text, "x")
	return ok && within(plain) && !strings.ContainsAny(plain, "{}[]\\")
}

func listsFiles(e hclsyntax.Expression) bool {
	call, ok := e.(*hclsyntax.FunctionCallExpr)
	if !ok || call.ExpandFinal {
		return false
	}
	return call.Name == "fileset" || call.Name == "toset" && len(call.Args) == 1 && listsFiles(call.Args[0])
}

func dotted(t hcl.Traversal) string {
	names := []string{}
	for _, step := range t {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			names = append(names, s.Name)
		case hcl.TraverseAttr:
			names = append(names, s.Name)
		default:
			return ""
		}
	}
	return strings.Join(names, ".")
}

// fileArgument are names by which providers call a path on the machine where the engine runs.
var fileArgument = regexp.MustCompile(`^(file|filename|filepath|source_file|source_dir|output_path|kubeconfig(_path)?|(.*_)?(cert|certificate|key|ca|chart|config|credentials|token|file)_paths?|.*_(files?|filename|dir))$`)

// sourceIsFile are types whose source is the file that they copy.
var sourceIsFile = regexp.MustCompile(`_(file|object|blob)$`)

func readsFiles(function string) bool {
	return strings.Contains(function, "file") || strings.HasPrefix(function, "dir")
}

// arguments refuses arguments of foreign providers that would have them read a file which is not the pattern's.
// Names are all that there is to go by: the sandbox is what holds.
func (m *gatedModule) arguments(b *hcl.Block, provider string) {
	if provider == "" || !m.isForeign(provider) {
		return
	}
	isPath := fileArgument.MatchString
	if b.Type != "provider" && sourceIsFile.MatchString(b.Labels[0]) {
		isPath = func(name string) bool { return name == "source" || fileArgument.MatchString(name) }
	}
	if body, ok := b.Body.(*hclsyntax.Body); ok {
		m.nativeArguments(body, scope{listed: listed(body)}, isPath, b.Type == "provider")
		return
	}
	attributes, _ := b.Body.JustAttributes()
	for name, a := range attributes {
		m.value(name, a.Expr, scope{}, isPath, true)
	}
}

func (m *gatedModule) nativeArguments(body *hclsyntax.Body, s scope, isPath func(string) bool, deep bool) {
	for name, a := range body.Attributes {
		m.value(name, a.Expr, s, isPath, deep)
	}
	for _, b := range body.Blocks {
		m.nativeArguments(b.Body, s.inside(b), isPath, deep)
	}
}

// value looks at an argument, and into an object if it may be one that a provider defines.
func (m *gatedModule) value(name string, e hcl.Expression, s scope, isPath func(string) bool, deep bool) {
	if isPath(name) {
		m.argument(name, e, s)
		return
	}
	if !deep {
		return
	}
	s = s.below(name, e)
	if pairs, d := hcl.ExprMap(e); !d.HasErrors() {
		for _, pair := range pairs {
			key, _ := literal(pair.Key)
			m.value(key, pair.Value, s, isPath, deep)
		}
	} else if items, d := hcl.ExprList(e); !d.HasErrors() {
		for _, item := range items {
			m.value("", item, s, isPath, deep)
		}
	}
}

// argument refuses a path of a provider that is neither written out and inside the pattern, nor what another
// resource has just made of such a path.
func (m *gatedModule) argument(name string, e hcl.Expression, s scope) {
	if items, d := hcl.ExprList(e); !d.HasErrors() {
		for _, item := range items {
			m.argument(name, item, s)
		}
		return
	}
	native, ok := e.(hclsyntax.Expression)
	if !ok {
		v, d := e.Value(nil)
		if d.HasErrors() || v.IsNull() || v.Type() != cty.String {
			return // no path
		}
		parsed, d := hclsyntax.ParseTemplate([]byte(v.AsString()), e.Range().Filename, e.Range().Start)
		if d.HasErrors() {
			return // the engine will say so
		}
		native = parsed
	}
	if wrapped, ok := native.(*hclsyntax.TemplateWrapExpr); ok {
		native = wrapped.Wrapped
	}
	if literal, ok := native.(*hclsyntax.LiteralValueExpr); ok && (literal.Val.IsNull() || literal.Val.Type() != cty.String) {
		return
	}
	if t, ok := native.(*hclsyntax.ScopeTraversalExpr); ok && madeHere.MatchString(dotted(t.Traversal)) && s.means(t.Traversal.RootName()) {
		return
	}
	if _, known := m.path(native, s, true); !known {
		m.refusePath(e.Range(), name)
	}
}

// madeHere are files that a resource of the same module has made.
var madeHere = regexp.MustCompile(`^(data\.)?(archive_file\.[^.]+\.output_path|local_(sensitive_)?file\.[^.]+\.filename)$`)
