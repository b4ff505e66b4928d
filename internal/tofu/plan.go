package tofu

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
	"flywheel.dev/flywheel/internal/redact"
)

// What stands in a plan for a value that nobody may or can know.
const (
	SensitiveValue = redact.Mark
	UnknownValue   = "(known after apply)"
)

// Action is what a plan does to one resource.
type Action string

const (
	NoOp    Action = "no-op"
	Create  Action = "create"
	Read    Action = "read"
	Update  Action = "update"
	Replace Action = "replace"
	Delete  Action = "delete"
	Forget  Action = "forget" // leaves the resource alone and stops managing it
	Import  Action = "import" // nothing but that, see ResourceChange.Import
	Move    Action = "move"   // nothing but that, see ResourceChange.Previous
)

// Plan is what an engine would do, as people may see it: every sensitive value is already hidden.
type Plan struct {
	Engine  string           `json:"engine"` // version of the engine
	Changes []ResourceChange `json:"changes"`
	Drift   []ResourceChange `json:"drift"` // what changed in the world since the last apply
	Outputs []OutputChange   `json:"outputs"`
	Checks  []Check          `json:"checks"` // only those that failed or could not be decided

	Invocations []Invocation `json:"invocations,omitempty"` // actions of providers that run beside the changes
}

// ResourceChange is the planned change of one resource.
type ResourceChange struct {
	Address      string   `json:"address"`
	Previous     string   `json:"previous,omitempty"` // address before a move
	Import       string   `json:"import,omitempty"`   // what is there already and would be managed, as its provider calls it
	Deposed      string   `json:"deposed,omitempty"`  // key of an object that a replacement has left behind
	Type         string   `json:"type"`
	Provider     string   `json:"provider"`
	Data         bool     `json:"data,omitempty"` // a data source
	Action       Action   `json:"action"`
	Reason       string   `json:"reason,omitempty"`        // the engine's word for why
	ReplacePaths []string `json:"replace_paths,omitempty"` // what forces the replacement
	Before       any      `json:"before"`
	After        any      `json:"after"`
}

// Invocation is an action that the change of a resource sets off.
type Invocation struct {
	Address string `json:"address"` // of the action
	For     string `json:"for"`     // the resource
	With    any    `json:"with"`    // its arguments
}

// OutputChange is the planned change of one output.
type OutputChange struct {
	Name   string `json:"name"`
	Action Action `json:"action"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// Check is a check block, a condition or a validation that does not hold.
type Check struct {
	Address  string   `json:"address"`
	Status   string   `json:"status"` // "fail", "error" or "unknown"
	Problems []string `json:"problems"`
}

// ReadPlan reads the output of `show -json`. It takes every format 1.x and refuses other majors. The
// secrets are hidden wherever they occur, also where the module forgot to call them sensitive.
func ReadPlan(data []byte, secrets ...string) (*Plan, error) {
	var format struct {
		Version string `json:"format_version"`
	}
	if err := json.Unmarshal(data, &format); err != nil {
		return nil, fault.New(fault.Invalid, "plan.malformed", "This is not a plan as `show -json` prints it.").Because(err)
	}
	if major, _, _ := strings.Cut(format.Version, "."); major != "1" {
		return nil, fault.New(fault.Invalid, "plan.format", "The plan has format %q; Flywheel reads 1.x.", format.Version).
			Do("Use an engine that Flywheel supports.")
	}
	var raw tfjson.Plan
	raw.UseJSONNumber(true)
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fault.New(fault.Invalid, "plan.malformed", "This is not a plan as `show -json` prints it.").Because(err)
	}
	if n := len(raw.DeferredChanges); n > 0 {
		return nil, fault.New(fault.Invalid, "plan.deferred", "The plan leaves %s for later, so nobody could say what it does.", plain.Count(n, "change", "changes")).
			Do("Let nothing that decides how many resources there are be unknown before the apply.")
	}
	hide := redact.New(append(sensitiveTexts(data), secrets...)...) // what is sensitive in one place is so in all
	p := &Plan{Engine: raw.TerraformVersion, Outputs: []OutputChange{}, Checks: checksOf(raw.Checks, hide)}
	var err error
	if p.Changes, err = changesOf(raw.ResourceChanges, hide); err != nil {
		return nil, err
	}
	if p.Drift, err = changesOf(raw.ResourceDrift, hide); err != nil {
		return nil, err
	}
	for name, c := range raw.OutputChanges {
		action, err := actionOf(c.Actions)
		if err != nil {
			return nil, err
		}
		before, after := masked(c, hide)
		p.Outputs = append(p.Outputs, OutputChange{name, action, before, after})
	}
	for _, a := range raw.ActionInvocations {
		one := Invocation{Address: a.Address, With: mask(a.ConfigValues, a.ConfigUnknown, a.ConfigSensitive, hide)}
		if by := a.LifecycleActionTrigger; by != nil {
			one.For = by.TriggeringResourceAddress
		}
		p.Invocations = append(p.Invocations, one)
	}
	slices.SortFunc(p.Outputs, func(a, b OutputChange) int { return strings.Compare(a.Name, b.Name) })
	return p, nil
}

// Digest names exactly what the plan does and shows. The same plan made again has the same digest,
// whatever the engine's version and the order in which it reports; what changes nothing is left out.
func (p *Plan) Digest() string {
	shown := struct {
		Changes []ResourceChange
		Outputs []OutputChange
		Checks  []Check `json:",omitempty"`

		Invocations []Invocation `json:",omitempty"`
	}{Invocations: slices.Clone(p.Invocations)}
	slices.SortFunc(shown.Invocations, func(a, b Invocation) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), strings.Compare(a.For, b.For))
	})
	for _, c := range p.Changes {
		if c.effective() {
			c.Reason = ""
			shown.Changes = append(shown.Changes, c)
		}
	}
	slices.SortFunc(shown.Changes, func(a, b ResourceChange) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), strings.Compare(a.Deposed, b.Deposed))
	})
	for _, o := range p.Outputs {
		if o.Action != NoOp {
			shown.Outputs = append(shown.Outputs, o)
		}
	}
	for _, c := range p.Checks {
		if c.failed() {
			shown.Checks = append(shown.Checks, c)
		}
	}
	slices.SortFunc(shown.Checks, func(a, b Check) int { return strings.Compare(a.Address, b.Address) })
	text, err := json.Marshal(shown) // sorts the keys of maps
	if err != nil {
		panic("tofu: a plan read from JSON cannot be written as JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Effect names what the plan would change and nothing else: unlike Digest it leaves out what stays as it
// is inside a resource, and which artifact runs. A release in between does not make it another one.
func (p *Plan) Effect(artifact string) string {
	only := Plan{Outputs: p.Outputs, Checks: p.Checks, Invocations: p.Invocations}
	for _, c := range p.Changes {
		switch c.Action {
		case Delete:
			c.Before = nil // the address says what is lost
		default:
			c.Before, c.After = differing(c.Before, c.After)
			c.Before, c.After = without(artifact, c.Before), without(artifact, c.After)
		}
		only.Changes = append(only.Changes, c)
	}
	return only.Digest()
}

// Released leaves out of the drift what is no more than the release of this artifact: Flywheel did that itself,
// beside the engine.
func (p *Plan) Released(artifact string) {
	p.Drift = slices.DeleteFunc(p.Drift, func(c ResourceChange) bool {
		_, after := differing(c.Before, c.After)
		return consistsOf(artifact, after)
	})
}

// consistsOf reports whether every value inside v is the artifact's digest.
func consistsOf(artifact string, v any) bool {
	if inside, ok := v.(map[string]any); ok {
		for _, value := range inside {
			if !consistsOf(artifact, value) {
				return false
			}
		}
		return len(inside) > 0
	}
	return artifact != "" && v == artifact
}

// differing returns the parts of two values that are not the same in both.
func differing(a, b any) (any, any) {
	if x, ok := a.(map[string]any); ok {
		if y, ok := b.(map[string]any); ok {
			before, after := map[string]any{}, map[string]any{}
			for key := range x {
				if !reflect.DeepEqual(x[key], y[key]) {
					before[key], after[key] = differing(x[key], y[key])
				}
			}
			for key := range y {
				if _, there := x[key]; !there {
					after[key] = y[key]
				}
			}
			return before, after
		}
	}
	if x, ok := a.([]any); ok {
		if y, ok := b.([]any); ok && len(x) == len(y) {
			before, after := make([]any, len(x)), make([]any, len(y))
			for i := range x {
				if !reflect.DeepEqual(x[i], y[i]) {
					before[i], after[i] = differing(x[i], y[i])
				}
			}
			return before, after
		}
	}
	return a, b
}

// without returns the value with a word in the place of the artifact's digest.
func without(artifact string, v any) any {
	switch v := v.(type) {
	case string:
		if artifact != "" && v == artifact {
			return "(the artifact)"
		}
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = without(artifact, v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = without(artifact, v[key])
		}
		return out
	}
	return v
}

// Stateful returns the judgement of resource types: everything is stateful unless it is known that a
// new one takes its place without loss. The types in extra are stateful whatever is known of them.
func Stateful(extra []string) func(resourceType string) bool {
	return func(resourceType string) bool {
		return slices.Contains(extra, resourceType) || !slices.Contains(stateless, resourceType)
	}
}

// stateless are types that hold nothing of their own: what they make follows from their arguments.
var stateless = []string{
	"flywheel_service",
	"terraform_data", "null_resource", "time_sleep", "local_file", "local_sensitive_file",
	"kubernetes_deployment", "kubernetes_deployment_v1", "kubernetes_service", "kubernetes_service_v1",
	"kubernetes_config_map", "kubernetes_config_map_v1", "kubernetes_ingress_v1", "kubernetes_network_policy_v1",
	"kubernetes_horizontal_pod_autoscaler_v2", "kubernetes_pod_disruption_budget_v1",
	"aws_iam_policy", "aws_iam_role_policy", "aws_iam_role_policy_attachment", "aws_security_group_rule",
	"aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule", "aws_launch_template",
	"aws_ecs_task_definition", "aws_cloudwatch_metric_alarm",
	"google_project_iam_member", "google_compute_firewall", "azurerm_role_assignment", "azurerm_network_security_rule",
}

// mayExist lists what the plan would create and the state does not know: after an engine was killed,
// these may exist without anyone managing them. Flywheel's own provider creates idempotently, so its
// resources are found again and are not listed.
func (p *Plan) mayExist(state []byte) ([]string, error) {
	known := map[string]bool{}
	if len(state) > 0 {
		var s struct {
			Resources []struct {
				Module, Mode, Type, Name string
				Instances                []struct {
					IndexKey any `json:"index_key"`
				}
			}
		}
		decoder := json.NewDecoder(bytes.NewReader(state))
		decoder.UseNumber()
		if err := decoder.Decode(&s); err != nil {
			return nil, fmt.Errorf("read state: %w", err)
		}
		for _, r := range s.Resources {
			for _, i := range r.Instances {
				address := r.Type + "." + r.Name + indexOf(i.IndexKey)
				if r.Module != "" {
					address = r.Module + "." + address
				}
				known[address] = r.Mode == "managed"
			}
		}
	}
	list := []string{}
	for _, c := range p.Changes {
		creates := c.Action == Create || c.Action == Replace
		if creates && !c.Data && c.Provider != ProviderAddress && (c.Action == Replace || !known[c.Address]) {
			list = append(list, c.Address)
		}
	}
	return list, nil
}

func indexOf(key any) string {
	switch k := key.(type) {
	case nil:
		return ""
	case string:
		return "[" + strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(k)) + "]"
	default:
		return fmt.Sprintf("[%v]", k)
	}
}

func changesOf(raw []*tfjson.ResourceChange, hide *redact.Redactor) ([]ResourceChange, error) {
	list := []ResourceChange{}
	for _, r := range raw {
		if r.Change == nil {
			continue
		}
		action, err := actionOf(r.Change.Actions)
		if err != nil {
			return nil, err
		}
		before, after := masked(r.Change, hide)
		c := ResourceChange{
			Address: r.Address, Previous: r.PreviousAddress, Type: r.Type, Provider: r.ProviderName,
			Import: importOf(r.Change.Importing, hide), Deposed: r.DeposedKey, Data: r.Mode == tfjson.DataResourceMode, Action: action, Reason: string(r.ActionReason), Before: before, After: after,
		}
		for _, path := range r.Change.ReplacePaths {
			c.ReplacePaths = append(c.ReplacePaths, pathOf(path))
		}
		list = append(list, c)
	}
	return list, nil
}

// importOf names what a resource is imported from.
func importOf(from *tfjson.Importing, hide *redact.Redactor) string {
	switch {
	case from == nil:
		return ""
	case from.ID != "":
		return hide.Text(from.ID)
	case from.Identity != nil:
		text, _ := json.Marshal(mask(from.Identity, nil, nil, hide)) // it came from JSON
		return string(text)
	}
	return UnknownValue
}

// actionOf names a list of actions. A list that it does not know is refused: a plan that cannot be
// judged cannot be approved.
func actionOf(actions tfjson.Actions) (Action, error) {
	switch {
	case len(actions) == 1:
		switch a := Action(actions[0]); a {
		case NoOp, Create, Read, Update, Delete, Forget:
			return a, nil
		}
	case actions.Replace():
		return Replace, nil
	case len(actions) == 2 && slices.Contains(actions, tfjson.ActionCreate) && slices.Contains(actions, "forget"):
		return Replace, nil // the old one stays in the world, unmanaged: still a loss for the instance
	}
	return "", fault.New(fault.Invalid, "plan.action", "The plan holds an action that Flywheel does not know: %v.", actions).
		Do("Use an engine that Flywheel supports.")
}

func pathOf(path any) string {
	steps, ok := path.([]any)
	if !ok {
		return fmt.Sprint(path)
	}
	var b strings.Builder
	for _, step := range steps {
		if name, ok := step.(string); ok {
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(name)
			continue
		}
		fmt.Fprintf(&b, "[%v]", step)
	}
	return b.String()
}

func masked(c *tfjson.Change, hide *redact.Redactor) (before, after any) {
	return mask(c.Before, nil, c.BeforeSensitive, hide), mask(c.After, c.AfterUnknown, c.AfterSensitive, hide)
}

// mask walks a value together with its masks, which have its shape down to the place where `true`
// covers everything below.
func mask(value, unknown, sensitive any, hide *redact.Redactor) any {
	if sensitive == true {
		return SensitiveValue
	}
	if unknown == true {
		return UnknownValue
	}
	switch v := value.(type) {
	case string:
		return hide.Text(v)
	case []any:
		unknowns, _ := unknown.([]any)
		sensitives, _ := sensitive.([]any)
		list := make([]any, max(len(v), len(unknowns)))
		for i := range list {
			list[i] = mask(at(v, i), at(unknowns, i), at(sensitives, i), hide)
		}
		return list
	case map[string]any:
		unknowns, _ := unknown.(map[string]any)
		sensitives, _ := sensitive.(map[string]any)
		m := make(map[string]any, len(v))
		for key := range v {
			m[hide.Text(key)] = mask(v[key], unknowns[key], sensitives[key], hide)
		}
		for key := range unknowns { // a value that is wholly unknown is left out of the value itself
			if _, ok := v[key]; !ok && holdsTrue(unknowns[key]) {
				m[key] = mask(nil, unknowns[key], sensitives[key], hide)
			}
		}
		return m
	case nil:
		switch u := unknown.(type) {
		case map[string]any:
			if holdsTrue(u) {
				return mask(map[string]any{}, u, sensitive, hide)
			}
		case []any:
			if holdsTrue(u) {
				return mask([]any{}, u, sensitive, hide)
			}
		}
	}
	return value
}

// sensitiveTexts collects the texts in a plan that are marked as sensitive, for what is made from the raw
// plan. Texts of up to three characters are left out: hiding them would make everything else unreadable.
func sensitiveTexts(planJSON []byte) []string {
	var raw struct {
		Resources []struct{ Change rawChange } `json:"resource_changes"`
		Drift     []struct{ Change rawChange } `json:"resource_drift"`
		Outputs   map[string]rawChange         `json:"output_changes"`
		Actions   []struct {
			Values    any `json:"config_values"`
			Sensitive any `json:"config_sensitive"`
		} `json:"action_invocations"`
	}
	d := json.NewDecoder(bytes.NewReader(planJSON))
	d.UseNumber()
	if d.Decode(&raw) != nil {
		return nil
	}
	list := []string{}
	add := func(c rawChange) {
		collect(c.Before, c.BeforeSensitive, &list)
		collect(c.After, c.AfterSensitive, &list)
	}
	for _, r := range append(raw.Resources, raw.Drift...) {
		add(r.Change)
	}
	for _, o := range raw.Outputs {
		add(o)
	}
	for _, a := range raw.Actions {
		collect(a.Values, a.Sensitive, &list)
	}
	return list
}

type rawChange struct {
	Before, After   any
	BeforeSensitive any `json:"before_sensitive"`
	AfterSensitive  any `json:"after_sensitive"`
}

// shortestNumber is how many digits a sensitive number has at least that is hidden everywhere: no port, no year.
const shortestNumber = 6

func collect(value, sensitive any, list *[]string) {
	switch v := value.(type) {
	case string:
		if sensitive == true && len(v) > 3 {
			*list = append(*list, v)
		}
	case json.Number:
		if sensitive == true && len(v) >= shortestNumber {
			*list = append(*list, v.String())
		}
	case []any:
		marks, _ := sensitive.([]any)
		for i := range v {
			collect(v[i], below(sensitive, at(marks, i)), list)
		}
	case map[string]any:
		marks, _ := sensitive.(map[string]any)
		for key := range v {
			collect(v[key], below(sensitive, marks[key]), list)
		}
	}
}

// below returns the mark of a part: that of the whole if it covers everything.
func below(whole, part any) any {
	if whole == true {
		return true
	}
	return part
}

func holdsTrue(mask any) bool {
	switch m := mask.(type) {
	case bool:
		return m
	case []any:
		return slices.ContainsFunc(m, holdsTrue)
	case map[string]any:
		for _, v := range m {
			if holdsTrue(v) {
				return true
			}
		}
	}
	return false
}

func at(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func checksOf(raw []tfjson.CheckResultStatic, hide *redact.Redactor) []Check {
	list := []Check{}
	for _, r := range raw {
		if r.Status == tfjson.CheckStatusPass {
			continue
		}
		c := Check{Address: r.Address.ToDisplay, Status: string(r.Status), Problems: []string{}}
		for _, i := range r.Instances {
			for _, p := range i.Problems {
				c.Problems = append(c.Problems, hide.Text(p.Message))
			}
		}
		list = append(list, c)
	}
	return list
}
