package tofu_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu"
)

// withAndWithout runs a test with the sandbox and with --sandbox=off.
func withAndWithout(t *testing.T, test func(t *testing.T, p *platform)) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		t.Run("sandbox", func(t *testing.T) { test(t, start(t, engine)) })
		t.Run("off", func(t *testing.T) {
			off, err := sandbox.New(sandbox.Options{Off: true})
			if err != nil {
				t.Fatal(err)
			}
			p := start(t, engine)
			p.Sandbox = off
			test(t, p)
		})
	})
}

func TestValidateNamesFileLineAndColumn(t *testing.T) {
	withAndWithout(t, func(t *testing.T, p *platform) {
		for name, c := range map[string]struct{ text, where, says string }{
			"sound":            {`resource "terraform_data" "x" { input = 1 }`, "", ""},
			"unknown argument": {"resource \"terraform_data\" \"x\" {\n  inputt = 1\n}", "main.tf:2:3", "inputt"},
			"syntax":           {"resource \"terraform_data\" \"x\" {\n", "main.tf:", ""},
			"unknown variable": {"output \"x\" {\n  value = var.nope\n}", "main.tf:2:11", "nope"},
		} {
			t.Run(name, func(t *testing.T) {
				problems, err := p.Validate(t.Context(), write(t, f("main.tf", c.text)))
				if err != nil {
					t.Fatal(err)
				}
				if (len(problems) == 0) != (c.where == "") {
					t.Fatalf("problems: %v", problems)
				}
				if c.where != "" {
					first := tofu.Diagnostic{File: problems[0].File, Line: problems[0].Line, Column: problems[0].Column}
					if !strings.HasPrefix(first.Where(), c.where) || !strings.Contains(problems[0].Message, c.says) {
						t.Errorf("problems: %v", problems)
					}
				}
			})
		}
		// Without providers and modules validate finds more, all of which follows from what init named.
		for name, c := range map[string]struct{ text, says string }{
			"a provider that is nowhere": {`resource "random_pet" "x" {}`, "hashicorp/random"},
			"a module that is nowhere":   {"module \"m\" { source = \"./nowhere\" }\noutput \"x\" { value = module.m.x }", "nowhere"},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := p.Validate(t.Context(), write(t, f("main.tf", c.text)))
				if !fault.Is(err, "init.failed") {
					t.Fatalf("error: %v", err)
				}
				for i, field := range fault.From(err).Fields {
					said := field.Path + ": " + field.Message
					if i == 0 && !strings.Contains(said, c.says) || strings.Contains(said, "flywheel-examine-") || strings.Contains(said, ":0") {
						t.Errorf("it says %s", said)
					}
				}
			})
		}
		t.Run("two mistakes", func(t *testing.T) {
			problems, err := p.Validate(t.Context(), write(t, map[string]string{"a.tf": "resource {", "b.tf": "output \"x\" {\n  value = \n}"}))
			if err != nil || len(problems) < 2 || problems[0].File != "a.tf" || problems[0].Line != 1 {
				t.Errorf("problems: %v, %v", problems, err)
			}
			for i, p := range problems {
				if slices.Contains(problems[:i], p) {
					t.Errorf("it is said twice: %v", p)
				}
			}
		})
	})
}

func TestTestsTellPassFromFailure(t *testing.T) {
	withAndWithout(t, func(t *testing.T, p *platform) {
		runs, err := p.Test(t.Context(), write(t, map[string]string{
			"main.tf": "variable \"x\" { default = 1 }\nresource \"terraform_data\" \"x\" { input = var.x }",
			"tests/x.tftest.hcl": `
run "good" {
  assert {
    condition     = terraform_data.x.output == 1
    error_message = "not one"
  }
}
run "bad" {
  command = plan
  assert {
    condition     = terraform_data.x.input == 2
    error_message = "not two"
  }
}`}))
		if err != nil {
			t.Fatal(err)
		}
		if len(runs) != 2 || runs[0].Name != "good" || runs[0].Status != "pass" || runs[1].Status != "fail" ||
			len(runs[1].Problems) != 1 || !strings.Contains(runs[1].Problems[0].Message, "not two") || runs[1].Problems[0].Line != 11 {
			t.Errorf("runs: %+v", runs)
		}
	})
}

func TestATestFileThatCannotBeReadIsNoPass(t *testing.T) {
	withAndWithout(t, func(t *testing.T, p *platform) {
		runs, err := p.Test(t.Context(), write(t, map[string]string{"main.tf": "", "tests/x.tftest.hcl": `run "a" { nope = 1 }`}))
		if err != nil {
			return
		}
		for _, r := range runs {
			if r.Status == "error" && len(r.Problems) > 0 {
				return
			}
		}
		t.Errorf("runs: %+v", runs)
	})
}

func TestAnUncertifiedPatternIsPlannedWithoutSecrets(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		secretFile := filepath.Join(p.runs, "key")
		if err := os.WriteFile(secretFile, []byte("the key"), 0o644); err != nil {
			t.Fatal(err)
		}
		module := map[string]string{"main.tf": `
variable "password" { type = string }
resource "terraform_data" "x" {
  input = [fileexists("` + secretFile + `"), fileexists("/etc/shadow"), var.password]
}`}
		r := p.run(t, "ins_a", module)
		r.Untrusted, r.Secrets = true, map[string]string{"password": "hunter2"}
		result, err := p.Plan(t.Context(), r)
		if err != nil {
			t.Fatalf("%v\n%s", err, logs(r))
		}
		after := result.Plan.Changes[0].After.(map[string]any)["input"].([]any)
		if after[0] != false || after[1] != false {
			t.Errorf("it sees files of the host: %v", after)
		}
		raw, err := p.PlanJSON(r)
		if err != nil || strings.Contains(string(raw), "hunter2") {
			t.Errorf("it was given a secret: %s, %v", raw, err)
		}
		if _, err := p.Apply(t.Context(), r); err == nil {
			t.Error("what is not certified was applied")
		}
	})
}

func TestWhatIsNotCertifiedGetsNoCredential(t *testing.T) {
	engine := engines(t)[0]
	p := start(t, engine)
	certified := p.run(t, "ins_a", map[string]string{"main.tf": `variable "token" { type = string }`})
	certified.Secrets = map[string]string{"token": "plant-token"}
	certified.Environment = map[string]string{"CLOUD_KEY": "plant-key"}
	uncertified := p.run(t, "ins_a", map[string]string{"main.tf": `variable "token" { type = string }`})
	uncertified.Secrets, uncertified.Environment, uncertified.Untrusted = certified.Secrets, certified.Environment, true
	// An engine that notes what it gets.
	p.Engine.Path = script(t, "engine", "{ env; cat /proc/[0-9]*/environ; echo \"$@\"; } >../out/got 2>/dev/null; exit 1\n")
	for _, r := range []tofu.Run{certified, uncertified} {
		if _, err := p.Plan(t.Context(), r); err == nil {
			t.Fatal("the engine made a plan")
		}
		text, err := os.ReadFile(filepath.Join(r.Dir, "out", "got"))
		if err != nil {
			t.Fatalf("%v\n%s", err, logs(r))
		}
		got := string(text)
		for _, want := range []string{"CLOUD_KEY=plant-key", "TF_VAR_token=plant-token"} {
			if strings.Contains(got, want) == r.Untrusted {
				t.Errorf("uncertified: %v; it got %s: %v", r.Untrusted, want, !r.Untrusted)
			}
		}
		if r.Untrusted && (strings.Contains(got, "plant-") || !strings.Contains(got, "TF_VAR_token=flywheel-secret-placeholder")) {
			t.Errorf("what is not certified got %s", got)
		}
	}
}

func TestAnEngineHasANetworkOnlyWhereItIsGranted(t *testing.T) {
	p := start(t, engines(t)[0])
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	runs := []tofu.Run{p.run(t, "ins_a", f("main.tf", "")), p.run(t, "ins_a", f("main.tf", "")), p.run(t, "ins_a", f("main.tf", "")), p.run(t, "ins_a", f("main.tf", ""))}
	p.Engine.Path = script(t, "engine", "readlink /proc/self/ns/net >../out/got; exit 1\n")
	for i, r := range runs {
		r.Untrusted, r.Network = i >= 2, i%2 == 1
		if _, err := p.Plan(t.Context(), r); err == nil {
			t.Fatal("the engine made a plan")
		}
		got, err := os.ReadFile(filepath.Join(r.Dir, "out", "got"))
		if err != nil || (strings.TrimSpace(string(got)) == host) != r.Network {
			t.Errorf("granted: %v; it is in the network %s of %s, %v\n%s", r.Network, got, host, err, logs(r))
		}
	}
}
