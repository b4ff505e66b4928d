package tofu

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
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

// Where says the place of a problem, as far as it is known.
func (p Problem) Where() string {
	switch {
	case p.File == "" || p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

func (p Problem) String() string {
	if at := p.Where(); at != "" {
		return at + ": " + p.Message
	}
	return p.Message
}

// Gate reads a module, without running any of it, and returns what it must not do: bring commands that
// run on the platform, read files outside of itself, keep its state elsewhere, or use providers and
// modules that nobody allowed. An empty list lets it pass. It follows what the engines load and refuses
// what it cannot follow to the end: a name or a path that a value decides could become anything later.
func Gate(dir string, allow Allow) []Problem {
	g := newGate(dir, allow)
	g.files()
	g.module(".")
	g.underRoots()
	g.locked()
	return g.found()
}

// largestSource is what a file of configuration may measure.
const largestSource = 4 << 20

// builtin are the providers that every module may use. The built-in one runs nothing but
// terraform_remote_state, which has a rule of its own.
var builtin = []string{ProviderAddress, "terraform.io/builtin/terraform"}

// forbiddenTypes are resource types that read or run what is not the module's.
var forbiddenTypes = map[string]string{
	"external":               "runs a program",
	"local_command":          "runs a program",
	"http":                   "reaches the network while planning",
	"terraform_remote_state": "reads the state of others",
}

type gate struct {
	root       string
	allow      Allow
	folders    map[string]bool // of configuration that were read
	templates  map[string]bool // that were read
	rooted     map[string]rootedTemplate
	downloaded bool      // the engine names the modules inside, so they are not looked for
	foreign    hcl.Range // where a provider that is allowed, but not built in, is first named
	problems   []Problem
}

func newGate(dir string, allow Allow) *gate {
	return &gate{root: dir, allow: allow, folders: map[string]bool{}, templates: map[string]bool{}, rooted: map[string]rootedTemplate{}, problems: []Problem{}}
}

// found returns the problems in the order of their places.
func (g *gate) found() []Problem {
	slices.SortFunc(g.problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message))
	})
	return slices.Compact(g.problems)
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

// module reads one folder and, through it, the folders of the modules that it uses. The tests are part of
// the pattern's own folder: names of providers mean the same in them.
func (g *gate) module(dir string) {
	if g.folders[dir] {
		return
	}
	g.folders[dir] = true
	m := &gatedModule{gate: g, dir: dir, sources: map[string][]string{}, declared: map[string]bool{}}
	m.readAll(dir, configuration)
	if dir == "." && !g.downloaded {
		m.readAll(".", tests)
		m.readAll("tests", tests)
		g.values(".")
		g.values("tests")
	}
	m.check()
}

// gatedModule is one folder of configuration; names of providers mean something only inside of it.
type gatedModule struct {
	*gate
	dir      string
	bodies   []hcl.Body
	sources  map[string][]string // local name of a provider → every source that a file gives it
	declared map[string]bool     // names of providers that were looked at
}

// readAll reads the files of a kind in a folder. A missing folder is for init to say.
func (m *gatedModule) readAll(dir string, want kind) {
	entries, err := os.ReadDir(filepath.Join(m.root, dir))
	if err != nil {
		return
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch k, why := kindOf(e.Name()); {
		case !e.Type().IsRegular():
		case k == want:
			m.read(name)
		case k == refused && want == configuration, k == refused && dir == "tests":
			m.refuse("file", hcl.Range{Filename: name}, "%s", why)
		}
	}
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
		e, d := hcljson.ParseExpression(text, name)
		if diagnostics = append(diagnostics, d...); !d.HasErrors() {
			m.jsonValue("", e, scope{})
		}
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
		m.blocks(body)
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
		{Type: "import"},
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
	moduleSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}, {Name: "providers"}}}
	importSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "provider"}}}
	runSchema    = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "providers"}}, Blocks: []hcl.BlockHeaderSchema{{Type: "module"}, {Type: "backend", LabelNames: []string{"type"}}}}
	mockSchema   = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}}
)

// check looks at the blocks, first at those that give names to providers.
func (m *gatedModule) check() {
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
				m.required(name, a)
			}
		case "encryption":
			m.refuse("encryption", inner.DefRange, "The state is encrypted by Flywheel; an encryption block can run programs.")
		default:
			m.refuse("backend", inner.DefRange, "The state of a pattern belongs to Flywheel: a %s block has no place in it.", inner.Type)
		}
	}
}

// required notes the source that an entry of required_providers gives to a name. It reads the entry key by
// key, as the engines do: configuration_aliases is no value.
func (m *gatedModule) required(name string, a *hcl.Attribute) {
	if version, plain := plainText(a.Expr); plain && version != "" {
		m.sources[name] = append(m.sources[name], implied(name)) // the old form has the version alone
		m.provider(name, a.NameRange)
		return
	}
	pairs, diagnostics := hcl.ExprMap(a.Expr)
	if diagnostics.HasErrors() {
		m.refuse("provider_source", a.Expr.Range(), "The provider %s must be written as an object with source and version.", name)
		return
	}
	source := implied(name)
	for _, pair := range pairs {
		key, plain := plainText(pair.Key)
		if plain && key == "source" {
			source, plain = plainText(pair.Value)
		}
		if !plain {
			m.refuse("provider_source", pair.Value.Range(), "The source of the provider %s must be a plain text.", name)
			return
		}
	}
	m.sources[name] = append(m.sources[name], source)
	m.provider(name, a.NameRange)
}

// plainText returns the text that an expression is, if it is the same as a text and as a template: the
// engines differ in what they take a JSON text for.
func plainText(e hcl.Expression) (string, bool) {
	texts := [2]string{}
	for i, context := range []*hcl.EvalContext{nil, {}} {
		v, diagnostics := e.Value(context)
		if diagnostics.HasErrors() || v.Type() != cty.String || v.IsNull() || !v.IsKnown() {
			return "", false
		}
		texts[i] = v.AsString()
	}
	return texts[0], texts[0] == texts[1]
}

func (m *gatedModule) block(b *hcl.Block) {
	switch b.Type {
	case "provider":
		m.provider(b.Labels[0], b.DefRange)
		m.arguments(b, b.Labels[0])
	case "mock_provider":
		m.provider(b.Labels[0], b.DefRange)
		m.mocks(b)
	case "resource", "data", "ephemeral", "action":
		m.resource(b)
	case "removed":
		m.commands(b)
	case "import":
		content, _, _ := b.Body.PartialContent(importSchema)
		if a := content.Attributes["provider"]; a != nil {
			m.reference(a.Expr)
		}
	case "check":
		content, _, _ := b.Body.PartialContent(checkSchema)
		for _, inner := range content.Blocks {
			m.resource(inner)
		}
	case "module":
		m.source(b, m.dir)
	case "run":
		content, _, _ := b.Body.PartialContent(runSchema)
		m.passed(content.Attributes["providers"])
		for _, inner := range content.Blocks {
			if inner.Type == "backend" {
				m.refuse("backend", inner.DefRange, "A test of a pattern keeps no state: a backend block has no place in it.")
				continue
			}
			m.source(inner, ".") // modules of tests are found from the pattern's own folder
		}
	}
}

func (m *gatedModule) resource(b *hcl.Block) {
	if why := forbiddenTypes[b.Labels[0]]; why != "" && b.Type != "resource" {
		m.refuse("data_source", b.DefRange, "%s %s, so no pattern may use it.", b.Labels[0], why)
	}
	name, _, _ := strings.Cut(b.Labels[0], "_")
	content, _, _ := b.Body.PartialContent(resourceSchema)
	if a := content.Attributes["provider"]; a != nil {
		name = m.reference(a.Expr)
	} else {
		m.provider(name, b.DefRange)
	}
	m.arguments(b, name)
	m.commands(b)
}

// reference looks at the provider that an expression names, such as aws, aws.west or aws.by_region[each.key],
// and returns its local name.
func (m *gatedModule) reference(e hcl.Expression) string {
	native, at := e, e.Range()
	if text, ok := plainText(e); ok && hcljson.IsJSONExpression(e) {
		if parsed, d := hclsyntax.ParseExpression([]byte(text), at.Filename, at.Start); !d.HasErrors() {
			native = parsed
		}
	}
	if index, ok := native.(*hclsyntax.IndexExpr); ok {
		native = index.Collection
	}
	traversal, d := hcl.AbsTraversalForExpr(native)
	if _, quoted := native.(*hclsyntax.TemplateExpr); quoted || d.HasErrors() {
		m.refuse("provider_source", at, "A provider must be named as it is declared, without quotes or a value that decides.")
		return ""
	}
	m.provider(traversal.RootName(), at)
	return traversal.RootName()
}

// passed looks at the providers that a module or a test is given.
func (m *gatedModule) passed(a *hcl.Attribute) {
	if a == nil {
		return
	}
	pairs, d := hcl.ExprMap(a.Expr)
	if d.HasErrors() {
		m.refuse("provider_source", a.Expr.Range(), "The providers that a module gets must be written out.")
		return
	}
	for _, pair := range pairs {
		m.reference(pair.Value)
	}
}

func (m *gatedModule) commands(b *hcl.Block) {
	content, _, _ := b.Body.PartialContent(resourceSchema)
	for _, inner := range content.Blocks {
		m.refuse("provisioner", inner.DefRange, "A %s runs commands outside of the engine's control, so no pattern may have one.", inner.Type)
	}
}

// mocks reads the files of made-up values that tests take from a folder.
func (m *gatedModule) mocks(b *hcl.Block) {
	content, _, _ := b.Body.PartialContent(mockSchema)
	a := content.Attributes["source"]
	if a == nil {
		return
	}
	source, plain := plainText(a.Expr)
	if !plain || !within(source) {
		m.refuse("path", a.Expr.Range(), "This must be a path inside the pattern.")
		return
	}
	for _, dir := range []string{path.Clean(source), path.Join("tests", source)} {
		if !m.folders["mocks of "+dir] {
			m.folders["mocks of "+dir] = true
			m.readAll(dir, mocks)
		}
	}
}

// provider refuses a provider that is not allowed, once for each name. If several files give a name a
// source, each must be allowed: which one holds depends on the engine and its rules of precedence.
func (m *gatedModule) provider(name string, at hcl.Range) {
	sources := m.sources[name]
	if len(sources) == 0 {
		sources = []string{implied(name)}
	}
	for _, source := range sources {
		allowed := func(list []string) bool {
			return slices.ContainsFunc(list, func(a string) bool { return fullSource(a) == fullSource(source) })
		}
		key := name + " " + source
		switch {
		case m.declared[key]:
		case allowed(builtin):
		case allowed(m.allow.Providers):
			if m.foreign.Filename == "" {
				m.foreign = at
			}
		default:
			m.refuse("provider", at, "The provider %s is not on the list of allowed providers; ask the CoE to add it.", source)
		}
		m.declared[key] = true
	}
}

// isForeign reports whether a name stands for a provider that is not Flywheel's and not built in.
func (m *gatedModule) isForeign(name string) bool {
	sources := m.sources[name]
	if len(sources) == 0 {
		sources = []string{implied(name)}
	}
	return slices.ContainsFunc(sources, func(s string) bool {
		return !slices.ContainsFunc(builtin, func(b string) bool { return fullSource(b) == fullSource(s) })
	})
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

// implied is the source of a provider that no file gives one.
func implied(name string) string {
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

// localSource is a module of the pattern itself, written in the one way that both engines and every
// system read alike.
var localSource = regexp.MustCompile(`^\.\.?(/[A-Za-z0-9_.-]+)*/?$`)

// remoteSource has no character that a URL, git or a shell could take for something else.
var remoteSource = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:/@~+-]*(\?ref=[A-Za-z0-9_][A-Za-z0-9_./-]*)?$`)

// source judges where a module comes from and follows it if it is part of this one, found from the folder base.
func (m *gatedModule) source(b *hcl.Block, base string) {
	content, _, _ := b.Body.PartialContent(moduleSchema)
	m.passed(content.Attributes["providers"])
	a := content.Attributes["source"]
	if a == nil {
		return
	}
	source, plain := plainText(a.Expr)
	switch {
	case !plain:
		m.refuse("module_source", a.Expr.Range(), "The source of a module must be a plain text.")
	case strings.HasPrefix(source, ".") && !localSource.MatchString(source):
		m.refuse("module_source", a.Expr.Range(), "The module %q must be a path such as ./modules/network, of letters, digits, dots, dashes and underscores between single slashes.", source)
	case strings.HasPrefix(source, "."):
		target := path.Join(base, source)
		switch {
		case m.downloaded:
		case !within(target):
			m.refuse("module_source", a.Expr.Range(), "The module %q lies outside of the pattern.", source)
		default:
			m.module(target)
		}
	case strings.Contains(source, "..") || !remoteSource.MatchString(source) ||
		!slices.ContainsFunc(m.allow.Modules, func(p string) bool { return beginsWith(source, p) }):
		m.refuse("module_source", a.Expr.Range(), "The module source %q is not on the list of allowed sources; ask the CoE to add it.", source)
	}
}

// beginsWith reports whether a source lies under an allowed one. After a host alone only a slash ends it, or
// the colon of user@host: what else follows could be another host.
func beginsWith(source, prefix string) bool {
	rest, ok := strings.CutPrefix(source, prefix)
	if !ok || prefix == "" {
		return false
	}
	if rest == "" || strings.HasSuffix(prefix, "/") || rest[0] == '/' || rest[0] == '?' {
		return true
	}
	address := prefix
	if i := strings.Index(prefix, "://"); i >= 0 {
		address = prefix[i+len("://"):]
	}
	host, _, hasPath := strings.Cut(address, "/")
	if rest[0] == ':' {
		return !hasPath && strings.Contains(host, "@") && !strings.Contains(host, ":") && !strings.Contains(prefix, "://")
	}
	return hasPath && (rest == ".git" || strings.HasPrefix(rest, ".git/") || strings.HasPrefix(rest, ".git?"))
}

func within(p string) bool {
	return p != "" && !path.IsAbs(p) && !strings.HasPrefix(p, "~") && !slices.Contains(strings.Split(p, "/"), "..")
}
