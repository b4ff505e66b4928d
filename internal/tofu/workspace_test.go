package tofu_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/tofu"
)

func TestManyWhoPrepareAtOnceGetOneWorkspace(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		other := p.another()
		dir := write(t, counter)
		var all sync.WaitGroup
		for i := range 6 {
			s := p.Service
			if i%2 == 1 {
				s = other
			}
			all.Go(func() {
				if _, err := s.Prepare(t.Context(), digest(counter), dir); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		entries, err := os.ReadDir(p.Dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("left in the folder: %v, %v", entries, err)
		}
		var runs [3]tofu.Run
		for i := range runs {
			runs[i] = p.run(t, "ins_"+string(rune('a'+i)), counter)
		}
		for _, r := range runs { // all of them at once, in one workspace
			all.Go(func() {
				if result, err := p.Plan(t.Context(), r); err != nil {
					t.Errorf("plan: %v\n%s", err, logs(r))
				} else if _, err := p.Apply(t.Context(), r); err != nil || result.Plan == nil {
					t.Errorf("apply: %v\n%s", err, logs(r))
				}
			})
		}
		all.Wait()
	})
}

func TestAFailedPreparationLeavesNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		for name, c := range map[string]struct {
			module map[string]string
			says   string
		}{
			"syntax":                 {f("main.tf", "resource {"), "main.tf:1:"},
			"a provider not allowed": {f("main.tf", `resource "random_pet" "x" {}`), "hashicorp/random"},
			"a module not there":     {f("main.tf", `module "m" { source = "./m" }`), "m"},
		} {
			_, err := p.Prepare(t.Context(), digest(c.module), write(t, c.module))
			if !fault.Is(err, "init.failed") {
				t.Errorf("%s: %v", name, err)
				continue
			}
			first := fault.From(err).Fields[0]
			if said := first.Path + ": " + first.Message; !strings.Contains(said, c.says) || strings.Contains(said, p.Dir) || strings.Contains(said, ":0") {
				t.Errorf("%s: %s", name, said)
			}
		}
		if entries, err := os.ReadDir(p.Dir); err != nil || len(entries) != 0 {
			t.Errorf("left in the folder: %v, %v", entries, err)
		}
	})
}

func TestAModuleWithLinksIsNotPrepared(t *testing.T) {
	dir := write(t, counter)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "passwd")); err != nil {
		t.Fatal(err)
	}
	p := start(t, engines(t)[0])
	if _, err := p.Prepare(t.Context(), digest(counter), dir); !fault.Is(err, "module.link") {
		t.Errorf("error: %v", err)
	}
}

func TestAModulesOwnBackendIsOverridden(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_a", f("main.tf", "terraform {\n  backend \"local\" {}\n}\nresource \"terraform_data\" \"x\" {}"))
		p.deploy(t, r)
		if state, err := p.States.Current(t.Context(), "ins_a"); err != nil || len(state) == 0 {
			t.Errorf("the state is elsewhere: %v", err)
		}
	})
}

func TestALockFileThatDoesNotFitIsRefused(t *testing.T) {
	module := map[string]string{
		"main.tf":             "terraform {\n  required_providers {\n    random = { source = \"hashicorp/random\" }\n  }\n}",
		".terraform.lock.hcl": "provider \"registry.example.com/x/y\" {\n  version = \"1.0.0\"\n}\n",
	}
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		if _, err := p.Prepare(t.Context(), digest(module), write(t, module)); !fault.Is(err, "init.failed") {
			t.Errorf("error: %v", err)
		}
	})
}
