package tofu

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
)

// Allow says what a module may use besides its own files, Flywheel's provider and the built-in one.
type Allow struct {
	Providers []string // source addresses, "hashicorp/random" or with a host
	Modules   []string // beginnings of module sources, up to a separator: "git::https://git.example.com/coe"
}

// Problem is a place in a module that keeps it from being used.
type Problem struct {
	Code    string `json:"code"` // stable, for example "gate.provisioner"
	Message string `json:"message"`
	File    string `json:"file,omitempty"` // relative to the module
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
}

// Gate reads a module, without running any of it, and returns what it must not do: bring commands that
// run on the platform, read files outside of itself, keep its state elsewhere, or use providers and
// modules that nobody allowed. An empty list lets it pass. What a file function reads must be plain to
// see, because a value given later could be any path.
func Gate(dir string, allow Allow) []Problem {
	g := &gate{root: dir, allow: allow, seen: map[string]bool{}, problems: []Problem{}}
	g.files()
	g.module(".")
	g.module("tests")
	g.locked()
	slices.SortFunc(g.problems, func(a, b Problem) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return (a.Line-b.Line)*1000 + a.Column - b.Column
	})
	return slices.Compact(g.problems)
}

// largestSource is what a file of configuration may measure.
const largestSource = 4 << 20

// builtin are the providers that every module may use. The built-in one runs nothing but
// terraform_remote_state, which has a rule of its own.
var builtin = []string{ProviderAddress, "terraform.io/builtin/terraform"}

// forbiddenTypes are resource types that read or run what is not the module's.
var forbiddenTypes = map[string]string{
	"external":               "runs a program",
	"http":                   "reaches the network while planning",
	"terraform_remote_state": "reads the state of others",
}

// fileFunctions read the file that their first argument names.
var fileFunctions = []string{
	"file", "filebase64", "fileexists", "fileset", "filemd5", "filesha1", "filesha256", "filesha512",
	"filebase64sha256", "filebase64sha512", "filebase64gzip", "templatefile",
}

var configEnds = []string{".tf", ".tofu", ".tf.json", ".tofu.json", ".tftest.hcl", ".tftest.json", ".tofutest.hcl", ".tofutest.json", ".tfmock.hcl", ".tfmock.json"}

type gate struct {
	root     string
	allow    Allow
	seen     map[string]bool // folders and templates that were read
	foreign  hcl.Range       // where a provider that is allowed, but not built in, is first named
	problems []Problem
}

func (g *gate) refuse(code string, r hcl.Range, format string, args ...any) {
	g.problems = append(g.problems, Problem{Code: "gate." + code, Message: fmt.Sprintf(format, args...), File: r.Filename, Line: r.Start.Line, Column: r.Start.Column})
}

// files refuses what is no plain file, and what would replace something that init makes.
func (g *gate) files() {
	err := filepath.WalkDir(g.root, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(g.root, full)
		if err != nil {
			return err
		}
		at := hcl.Range{Filename: filepath.ToSlash(rel)}
		switch {
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.IsDir() && d.Name() == ".terraform":
			g.refuse("engine_data", at, "The folder .terraform belongs to the engine and cannot be part of a pattern.")
			return fs.SkipDir
		case !d.IsDir() && !d.Type().IsRegular():
			g.refuse("link", at, "Only files and folders can be part of a pattern; a link can point anywhere.")
		}
		return nil
	})
	if err != nil {
		g.refuse("unreadable", hcl.Range{}, "The module cannot be read.")
	}
}

// module reads one folder and, through it, the folders of the modules that it uses.
func (g *gate) module(dir string) {
	if g.seen[dir] {
		return
	}
	g.seen[dir] = true
	entries, err := os.ReadDir(filepath.Join(g.root, dir))
	if err != nil {
		return // tests need not be there, and a missing module is for init to say
	}
	m := &gatedModule{gate: g, dir: dir, providers: map[string]string{}}
	for _, e := range entries {
		if e.Type().IsRegular() && slices.ContainsFunc(configEnds, func(end string) bool { return strings.HasSuffix(e.Name(), end) }) {
			m.read(path.Join(dir, e.Name()))
		}
	}
	m.check()
}

// gatedModule is one folder of configuration; names of providers mean something only inside of it.
type gatedModule struct {
	*gate
	dir       string
	bodies    []hcl.Body
	providers map[string]string // local name → source
	declared  map[string]hcl.Range
}

func (m *gatedModule) read(name string) {
	at := hcl.Range{Filename: name}
	text, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil || len(text) > largestSource {
		m.refuse("unreadable", at, "The file cannot be read, or is larger than %d MB.", largestSource>>20)
		return
	}
	var file *hcl.File
	var diagnostics hcl.Diagnostics
	if strings.HasSuffix(name, ".json") {
		file, diagnostics = hcljson.Parse(text, name)
		m.jsonStrings(text, name)
	} else {
		file, diagnostics = hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	}
	for _, d := range diagnostics {
		if d.Severity == hcl.DiagError && d.Subject != nil {
			m.refuse("syntax", *d.Subject, "%s. %s", strings.TrimSuffix(d.Summary, "."), d.Detail)
		}
	}
	if file == nil || diagnostics.HasErrors() {
		return
	}
	if body, ok := file.Body.(*hclsyntax.Body); ok {
		m.functions(body)
	}
	m.bodies = append(m.bodies, file.Body)
}

// Schemas name only what the gate looks at; everything else is for the engine to judge.
var (
	rootSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "terraform"}, {Type: "provider", LabelNames: []string{"name"}}, {Type: "module", LabelNames: []string{"name"}},
		{Type: "resource", LabelNames: []string{"type", "name"}}, {Type: "data", LabelNames: []string{"type", "name"}},
		{Type: "ephemeral", LabelNames: []string{"type", "name"}}, {Type: "check", LabelNames: []string{"name"}}, {Type: "removed"},
		{Type: "action", LabelNames: []string{"type", "name"}}, {Type: "run", LabelNames: []string{"name"}}, {Type: "mock_provider", LabelNames: []string{"name"}},
	}}
	terraformSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "required_providers"}, {Type: "backend", LabelNames: []string{"type"}}, {Type: "cloud"}, {Type: "encryption"},
		{Type: "state_store", LabelNames: []string{"type"}},
	}}
	resourceSchema = &hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "provider"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "provisioner", LabelNames: []string{"type"}}, {Type: "connection"}},
	}
	checkSchema  = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "data", LabelNames: []string{"type", "name"}}}}
	moduleSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
	runSchema    = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "module"}, {Type: "backend", LabelNames: []string{"type"}}}}
	mockSchema   = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
)

// check looks at the blocks, first at those that give names to providers.
func (m *gatedModule) check() {
	m.declared = map[string]hcl.Range{}
	var blocks hcl.Blocks
	for _, body := range m.bodies {
		content, _, _ := body.PartialContent(rootSchema)
		blocks = append(blocks, content.Blocks...)
	}
	for _, b := range blocks {
		if b.Type == "terraform" {
			m.settings(b)
		}
	}
	for _, b := range blocks {
		m.block(b)
	}
}

// settings reads a terraform block.
func (m *gatedModule) settings(b *hcl.Block) {
	content, _, _ := b.Body.PartialContent(terraformSchema)
	for _, inner := range content.Blocks {
		switch inner.Type {
		case "required_providers":
			attributes, _ := inner.Body.JustAttributes()
			for name, a := range attributes {
				m.providers[name] = sourceOf(a.Expr, name)
				m.provider(name, a.NameRange)
			}
		case "encryption":
			m.refuse("encryption", inner.DefRange, "The state is encrypted by Flywheel; an encryption block can run programs.")
		default:
			m.refuse("backend", inner.DefRange, "The state of a pattern belongs to Flywheel: a %s block has no place in it.", inner.Type)
		}
	}
}

func (m *gatedModule) block(b *hcl.Block) {
	switch b.Type {
	case "provider", "mock_provider":
		m.provider(b.Labels[0], b.DefRange)
		if b.Type == "mock_provider" {
			content, _, _ := b.Body.PartialContent(mockSchema)
			if a := content.Attributes["source"]; a != nil {
				m.inside(a)
			}
		}
	case "resource", "data", "ephemeral", "action":
		m.resource(b)
	case "removed":
		m.commands(b)
	case "check":
		content, _, _ := b.Body.PartialContent(checkSchema)
		for _, inner := range content.Blocks {
			m.resource(inner)
		}
	case "module":
		m.source(b)
	case "run":
		content, _, _ := b.Body.PartialContent(runSchema)
		for _, inner := range content.Blocks {
			if inner.Type == "backend" {
				m.refuse("backend", inner.DefRange, "A test of a pattern keeps no state: a backend block has no place in it.")
				continue
			}
			m.source(inner)
		}
	}
}

func (m *gatedModule) resource(b *hcl.Block) {
	if why := forbiddenTypes[b.Labels[0]]; why != "" && b.Type != "resource" {
		m.refuse("data_source", b.DefRange, "The data source %s %s, so no pattern may use it.", b.Labels[0], why)
	}
	name, _, _ := strings.Cut(b.Labels[0], "_")
	at := b.DefRange
	content, _, _ := b.Body.PartialContent(resourceSchema)
	if a := content.Attributes["provider"]; a != nil {
		if traversal, d := hcl.AbsTraversalForExpr(a.Expr); !d.HasErrors() {
			name, at = traversal.RootName(), a.Range
		}
	}
	m.provider(name, at)
	m.commands(b)
}

func (m *gatedModule) commands(b *hcl.Block) {
	content, _, _ := b.Body.PartialContent(resourceSchema)
	for _, inner := range content.Blocks {
		m.refuse("provisioner", inner.DefRange, "A %s runs commands outside of the engine's control, so no pattern may have one.", inner.Type)
	}
}

// provider refuses a provider that is not allowed, once for each name.
func (m *gatedModule) provider(name string, at hcl.Range) {
	if _, done := m.declared[name]; done {
		return
	}
	m.declared[name] = at
	source := m.providers[name]
	if source == "" {
		source = sourceOf(nil, name)
	}
	allowed := func(list []string) bool {
		return slices.ContainsFunc(list, func(a string) bool { return fullSource(a) == fullSource(source) })
	}
	switch {
	case allowed(builtin):
	case allowed(m.allow.Providers):
		if m.foreign.Filename == "" {
			m.foreign = at
		}
	default:
		m.refuse("provider", at, "The provider %s is not on the list of allowed providers; ask the CoE to add it.", source)
	}
}

// locked refuses a pattern whose providers nobody has pinned: each of its runs could get others.
func (g *gate) locked() {
	if g.foreign.Filename == "" {
		return
	}
	if _, err := os.Stat(filepath.Join(g.root, lockFile)); err != nil {
		g.refuse("unlocked", g.foreign, "The versions of the providers are not pinned; run `tofu providers lock` or `terraform providers lock`, and commit %s.", lockFile)
	}
}

// sourceOf returns the source of a provider from its entry in required_providers, which may be left out.
func sourceOf(e hcl.Expression, name string) string {
	if e != nil {
		if v, d := e.Value(nil); !d.HasErrors() && v.Type().IsObjectType() && v.Type().HasAttribute("source") {
			if s := v.GetAttr("source"); s.Type() == cty.String && s.IsKnown() && !s.IsNull() {
				return s.AsString()
			}
		}
	}
	if name == "terraform" {
		return "terraform.io/builtin/terraform"
	}
	return "hashicorp/" + name
}

// fullSource adds the host, whose default differs between the engines and means the same provider.
func fullSource(source string) string {
	source = strings.ToLower(source)
	source = strings.TrimPrefix(strings.TrimPrefix(source, "registry.terraform.io/"), "registry.opentofu.org/")
	if strings.Count(source, "/") == 0 {
		source = "hashicorp/" + source
	}
	return source
}

// source judges where a module comes from and follows it if it is part of this one.
func (m *gatedModule) source(b *hcl.Block) {
	content, _, _ := b.Body.PartialContent(moduleSchema)
	a := content.Attributes["source"]
	if a == nil {
		return
	}
	v, d := a.Expr.Value(nil)
	if d.HasErrors() || v.Type() != cty.String || v.IsNull() || !v.IsKnown() {
		m.refuse("module_source", a.Expr.Range(), "The source of a module must be a plain text.")
		return
	}
	source := v.AsString()
	if strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../") {
		// Modules of tests are found from the root, those of modules from their own folder.
		base := m.dir
		if b.Type == "module" && len(b.Labels) == 0 {
			base = "."
		}
		target := path.Join(base, source)
		if target == ".." || strings.HasPrefix(target, "../") {
			m.refuse("module_source", a.Expr.Range(), "The module %q lies outside of the pattern.", source)
			return
		}
		m.module(target)
		return
	}
	if strings.Contains(source, "..") || !slices.ContainsFunc(m.allow.Modules, func(p string) bool { return beginsWith(source, p) }) {
		m.refuse("module_source", a.Expr.Range(), "The module source %q is not on the list of allowed sources; ask the CoE to add it.", source)
	}
}

func beginsWith(source, prefix string) bool {
	rest, ok := strings.CutPrefix(source, prefix)
	return ok && prefix != "" && (rest == "" || strings.ContainsAny(rest[:1], "/?.:@") || strings.HasSuffix(prefix, "/"))
}

// inside refuses a path attribute that leaves the module.
func (m *gatedModule) inside(a *hcl.Attribute) {
	v, d := a.Expr.Value(nil)
	if d.HasErrors() || v.Type() != cty.String || v.IsNull() || !within(v.AsString()) {
		m.refuse("path", a.Expr.Range(), "This must be a path inside the pattern.")
	}
}

// functions looks at every call of a function that reads files. In a block whose for_each lists files of
// the module, each.key and each.value are such files.
func (m *gatedModule) functions(file *hclsyntax.Body) {
	for _, b := range file.Blocks {
		a := b.Body.Attributes["for_each"]
		m.calls(b.Body, a != nil && listsFiles(a.Expr))
	}
}

// calls does not look at the for_each of inner blocks: each means the one of the outer block.
func (m *gatedModule) calls(body *hclsyntax.Body, listed bool) {
	for _, a := range body.Attributes {
		m.expression(a.Expr, listed)
	}
	for _, b := range body.Blocks {
		m.calls(b.Body, listed)
	}
}

func (m *gatedModule) expression(e hclsyntax.Expression, listed bool) {
	hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		call, ok := n.(*hclsyntax.FunctionCallExpr)
		if !ok {
			return nil
		}
		name := strings.TrimPrefix(call.Name, "core::")
		if name == "templatestring" {
			m.refuse("path", call.Range(), "templatestring makes a template of a value, and with OpenTofu a template reads any file; use templatefile with a file of the pattern.")
			return nil
		}
		if !slices.Contains(fileFunctions, name) {
			return nil
		}
		where, known := "", len(call.Args) > 0 && !call.ExpandFinal
		if known {
			where, known = plainPath(call.Args[0], listed && name != "templatefile")
		}
		if known && name == "fileset" {
			pattern, plain := "", len(call.Args) == 2
			if plain {
				pattern, plain = plainPath(call.Args[1], false)
			}
			where, known = where+"/"+pattern, plain && within(pattern)
		}
		if !known || !within(where) {
			m.refuse("path", call.Range(), "%s may read only files of the pattern, by a path that is written out, for example \"${path.module}/file\".", name)
		} else if name == "templatefile" {
			m.template(where, call.Range())
		}
		return nil
	})
}

// template reads a template file, because templates may call functions too.
func (m *gatedModule) template(name string, at hcl.Range) {
	// path.module is this folder, path.root and a bare path are the root's: look at every one that exists.
	for _, full := range []string{path.Join(m.dir, name), path.Clean(name)} {
		if m.seen[full] {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.root, full))
		if err != nil {
			continue
		}
		m.seen[full] = true
		e, d := hclsyntax.ParseTemplate(text, full, hcl.InitialPos)
		if d.HasErrors() {
			m.refuse("syntax", at, "The template %s cannot be read: %s.", name, d[0].Summary)
			continue
		}
		m.expression(e, false)
	}
}

// jsonStrings looks at the strings of a JSON file, each of which may be a template with calls.
func (m *gatedModule) jsonStrings(text []byte, name string) {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	for {
		token, err := decoder.Token()
		if err != nil {
			return // the end, or what the parser has already refused
		}
		s, ok := token.(string)
		if !ok || !strings.Contains(s, "{") {
			continue
		}
		before := string(text[:decoder.InputOffset()])
		start := hcl.Pos{Line: strings.Count(before, "\n") + 1, Column: max(1, len(before)-strings.LastIndexByte(before, '\n')-len(s)-1), Byte: 0}
		if e, d := hclsyntax.ParseTemplate([]byte(s), name, start); !d.HasErrors() {
			m.expression(e, false)
		}
	}
}

// plainPath returns the path that an expression stands for, relative to the module, if that can be told
// from the text alone. A part that lists the module's own files is taken for one plain name.
func plainPath(e hclsyntax.Expression, listed bool) (string, bool) {
	switch e := e.(type) {
	case *hclsyntax.ParenthesesExpr:
		return plainPath(e.Expression, listed)
	case *hclsyntax.TemplateWrapExpr:
		return plainPath(e.Wrapped, listed)
	case *hclsyntax.LiteralValueExpr:
		if e.Val.Type() == cty.String && !e.Val.IsNull() {
			return e.Val.AsString(), true
		}
	case *hclsyntax.ScopeTraversalExpr:
		switch name := dotted(e.Traversal); {
		case name == "path.module", name == "path.root":
			return ".", true
		case listed && (name == "each.key" || name == "each.value"):
			return "x", true
		}
	case *hclsyntax.TemplateExpr:
		var b strings.Builder
		for _, part := range e.Parts {
			text, ok := plainPath(part, listed)
			if !ok {
				return "", false
			}
			b.WriteString(text)
		}
		return b.String(), true
	}
	return "", false
}

func listsFiles(e hclsyntax.Expression) bool {
	call, ok := e.(*hclsyntax.FunctionCallExpr)
	if !ok {
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

func within(p string) bool {
	return p != "" && !path.IsAbs(p) && !strings.HasPrefix(p, "~") && !slices.Contains(strings.Split(p, "/"), "..")
}
