package tofu_test

import (
	"os"
	"path/filepath"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/tofu"
)

func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindSaysHowToGetAnEngine(t *testing.T) {
	answer := func(version string) string { return `echo '{"terraform_version":"` + version + `"}'` }
	for name, c := range map[string]struct{ path, code, engine string }{
		"nothing there":   {filepath.Join(t.TempDir(), "tofu"), "engine.missing", ""},
		"something else":  {script(t, "tofu", "echo hello"), "engine.unusable", ""},
		"it fails":        {script(t, "tofu", "exit 1"), "engine.unusable", ""},
		"too old":         {script(t, "terraform", answer("1.3.9")), "engine.old", ""},
		"an OpenTofu":     {script(t, "tofu", answer("1.12.6")), "", "tofu"},
		"a Terraform":     {script(t, "terraform", answer("1.11.4")), "", "terraform"},
		"a named version": {script(t, "tofu-1.12", answer("1.12.6")), "", "tofu"},
	} {
		t.Run(name, func(t *testing.T) {
			engine, err := tofu.Find(t.Context(), tofu.FindOptions{Path: c.path, Sandbox: box(t)})
			if c.code == "" && err != nil || c.code != "" && !fault.Is(err, c.code) {
				t.Errorf("error: %v, want %s", err, c.code)
			}
			if c.code != "" && fault.From(err).Remedy == "" {
				t.Error("it does not say what to do")
			}
			if engine.Name != c.engine {
				t.Errorf("engine: %+v", engine)
			}
		})
	}
	t.Run("the one that make tofu has built", func(t *testing.T) {
		t.Setenv("PATH", "/nowhere")
		cache := t.TempDir()
		path := filepath.Join(cache, "tofu-1.12.6", "tofu")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+answer("1.12.6")), 0o755); err != nil {
			t.Fatal(err)
		}
		if engine, err := tofu.Find(t.Context(), tofu.FindOptions{Cache: cache, Sandbox: box(t)}); err != nil || engine.Path != path {
			t.Errorf("%+v, %v", engine, err)
		}
		if _, err := tofu.Find(t.Context(), tofu.FindOptions{Cache: t.TempDir(), Sandbox: box(t)}); !fault.Is(err, "engine.missing") {
			t.Errorf("an empty cache: %v", err)
		}
	})
}
