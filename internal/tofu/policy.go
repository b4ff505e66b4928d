package tofu

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/redact"
)

//go:embed policy/*.rego
var shipped embed.FS

// Enforcement says what a policy that fails does.
type Enforcement string

const (
	Advisory      Enforcement = "advisory"       // it is shown
	SoftMandatory Enforcement = "soft-mandatory" // it stops, unless somebody with the right overrides it
	HardMandatory Enforcement = "hard-mandatory" // it stops
)

// Policy is one policy in Rego. Its package is `flywheel`, or `main` as Conftest has it; its rules are
// `deny`, `violation` and `warn`, with a suffix like deny_size where there are several: sets of texts or of objects with msg, address and enforcement. What
// `warn` holds is advisory.
type Policy struct {
	ID          string
	Rego        string
	Libraries   map[string]string // further modules that it imports, by file name
	Enforcement Enforcement       // of deny and violation, unless the object says otherwise
}

// PolicyResult is what one policy says about one plan, or about one address in it.
type PolicyResult struct {
	ID          string      `json:"id"`
	Pass        bool        `json:"pass"`
	Message     string      `json:"message,omitempty"`
	Address     string      `json:"address,omitempty"`
	Enforcement Enforcement `json:"enforcement"`
}

// Policies are compiled policies, ready for many plans. They are safe for concurrent use.
type Policies struct{ list []compiled }

type compiled struct {
	Policy
	query rego.PreparedEvalQuery
}

// policyTime is what one policy may take for one plan.
const policyTime = 10 * time.Second

// ruleForm is how the rules are called that say something, as Conftest has it: deny, or deny_some_name.
var ruleForm = regexp.MustCompile(`^(deny|violation|warn)(_[a-zA-Z0-9_]+)?$`)

// unsafeCalls are what a policy must not do: it judges a plan and nothing else.
var unsafeCalls = map[string]struct{}{
	"http.send": {}, "net.lookup_ip_addr": {}, "opa.runtime": {}, "rego.parse_module": {}, "trace": {},
}

// ShippedPolicies returns the policies that come with Flywheel.
func ShippedPolicies() []Policy {
	list := []Policy{}
	names, err := fs.Glob(shipped, "policy/*.rego")
	if err != nil || len(names) == 0 {
		panic("tofu: no policies are embedded")
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		text, err := shipped.ReadFile(name)
		if err != nil {
			panic("tofu: " + err.Error())
		}
		id := "flywheel." + strings.TrimSuffix(path.Base(name), ".rego")
		list = append(list, Policy{ID: id, Rego: string(text), Enforcement: HardMandatory})
	}
	return list
}

// CompilePolicies compiles policies. The fault policy.malformed names the policy, line and column.
func CompilePolicies(ctx context.Context, policies []Policy) (*Policies, error) {
	all := &Policies{}
	for _, p := range policies {
		if p.Enforcement == "" {
			p.Enforcement = HardMandatory
		}
		module, err := parsePolicy(p.ID+".rego", p.Rego)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(module.Rules, func(r *ast.Rule) bool { return ruleForm.MatchString(r.Head.Ref()[0].String()) }) {
			return nil, fault.New(fault.Invalid, "policy.malformed", "The policy %s has no rule deny, violation or warn, so it would always pass.", p.ID).
				Do("Give it one of these rules.")
		}
		where := module.Package.Path.String()
		if where != "data.flywheel" && where != "data.main" {
			return nil, fault.New(fault.Invalid, "policy.malformed", "The policy %s is in package %s, where nobody asks it.", p.ID, strings.TrimPrefix(where, "data.")).
				Do("Use package flywheel, or package main as Conftest has it.")
		}
		options := []func(*rego.Rego){
			rego.Query("rules = " + where), rego.ParsedModule(module), rego.UnsafeBuiltins(unsafeCalls), rego.StrictBuiltinErrors(true),
		}
		for name, text := range p.Libraries {
			library, err := parsePolicy(name, text)
			if err != nil {
				return nil, err
			}
			options = append(options, rego.ParsedModule(library))
		}
		query, err := rego.New(options...).PrepareForEval(ctx)
		if err != nil {
			return nil, malformed(p.ID, err)
		}
		all.list = append(all.list, compiled{p, query})
	}
	return all, nil
}

// parsePolicy reads today's Rego, or else the older language in which many Conftest policies are.
func parsePolicy(name, text string) (*ast.Module, error) {
	module, err := ast.ParseModuleWithOpts(name, text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err == nil {
		return module, nil
	}
	if older, oldErr := ast.ParseModuleWithOpts(name, text, ast.ParserOptions{RegoVersion: ast.RegoV0}); oldErr == nil {
		return older, nil
	}
	return nil, malformed(name, err)
}

func malformed(name string, err error) error {
	return fault.New(fault.Invalid, "policy.malformed", "The policy %s cannot be compiled.", name).
		Do("Correct what the message names.").At(name, "%s", clip(err.Error())).Because(err)
}

// Judge asks every policy about a plan in the form of `show -json`. A policy that says nothing passes; one
// that cannot be evaluated fails, for it has not said that the plan is good. Secrets, and what the plan
// calls sensitive, are hidden in what the policies say.
func (p *Policies) Judge(ctx context.Context, planJSON []byte, secrets ...string) ([]PolicyResult, error) {
	decoder := json.NewDecoder(bytes.NewReader(planJSON))
	decoder.UseNumber()
	var input any
	if err := decoder.Decode(&input); err != nil {
		return nil, fault.New(fault.Invalid, "plan.malformed", "This is not a plan as `show -json` prints it.").Because(err)
	}
	value, err := ast.InterfaceToValue(input) // once for all policies
	if err != nil {
		return nil, fmt.Errorf("plan as policy input: %w", err)
	}
	hide := redact.New(append(sensitiveTexts(planJSON), secrets...)...)
	results := []PolicyResult{}
	for _, c := range p.list {
		found := c.judge(ctx, value)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		for i := range found {
			found[i].Message, found[i].Address = hide.Text(found[i].Message), hide.Text(found[i].Address)
		}
		results = append(results, found...)
	}
	return results, nil
}

func (c compiled) judge(ctx context.Context, input ast.Value) []PolicyResult {
	ctx, cancel := context.WithTimeout(ctx, policyTime)
	defer cancel()
	answer, err := c.query.Eval(ctx, rego.EvalParsedInput(input))
	if err != nil {
		return []PolicyResult{{ID: c.ID, Message: "The policy could not be evaluated: " + err.Error(), Enforcement: c.Enforcement}}
	}
	if len(answer) != 1 {
		return []PolicyResult{{ID: c.ID, Message: "The policy gave no answer.", Enforcement: c.Enforcement}}
	}
	rules, _ := answer[0].Bindings["rules"].(map[string]any)
	results := []PolicyResult{}
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		if !ruleForm.MatchString(rule) {
			continue
		}
		enforcement := c.Enforcement
		if strings.HasPrefix(rule, "warn") {
			enforcement = Advisory
		}
		results = append(results, said(c.ID, rules[rule], enforcement)...)
	}
	if len(results) == 0 {
		return []PolicyResult{{ID: c.ID, Pass: true, Enforcement: c.Enforcement}}
	}
	return results
}

// said reads the members of a rule: texts or objects.
func said(id string, rule any, enforcement Enforcement) []PolicyResult {
	members, _ := rule.([]any)
	list := []PolicyResult{}
	for _, member := range members {
		r := PolicyResult{ID: id, Enforcement: enforcement}
		switch m := member.(type) {
		case string:
			r.Message = m
		case map[string]any:
			text := func(names ...string) string {
				for _, name := range names {
					if s, ok := m[name].(string); ok {
						return s
					}
				}
				return ""
			}
			r.Message, r.Address = text("msg", "message"), text("address")
			if e := Enforcement(text("enforcement")); e == Advisory || e == SoftMandatory || e == HardMandatory {
				r.Enforcement = e
			}
		default:
			r.Message = fmt.Sprint(m)
		}
		list = append(list, r)
	}
	return list
}
