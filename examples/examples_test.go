package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"flywheel.dev/flywheel/examples"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/manifest"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu"
)

const digest = "1111111111111111111111111111111111111111111111111111111111111111"

// lay copies folders of the examples over each other, as the demo does.
func lay(t *testing.T, to string, folders ...string) {
	t.Helper()
	for _, folder := range folders {
		from, err := fs.Sub(examples.Files, folder)
		if err != nil {
			t.Fatal(err)
		}
		files := 0
		err = fs.WalkDir(from, ".", func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			files++
			text, err := fs.ReadFile(from, path)
			if err != nil {
				return err
			}
			text = bytes.ReplaceAll(text, []byte("@SEARCH_ARTIFACT@"), []byte(digest))
			file := filepath.Join(to, path)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			return os.WriteFile(file, text, 0o644)
		})
		if err != nil || files == 0 {
			t.Fatalf("%s: %d files, %v", folder, files, err)
		}
	}
}

// versions are the two versions of the pattern, as folders.
func versions(t *testing.T) map[string]string {
	one, two := t.TempDir(), t.TempDir()
	lay(t, one, "patterns/web-service")
	lay(t, two, "patterns/web-service", "_changes/04-pattern")
	return map[string]string{"1.0.0": one, "1.1.0": two}
}

func interfaceOf(t *testing.T, dir string) (pattern.Interface, *manifest.Pattern) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "pattern.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.ParsePattern("pattern.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	i, err := pattern.ReadInterface(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	return i, m
}

func sandboxOf(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.New(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func engines(t *testing.T) map[string]tofu.Engine {
	t.Helper()
	found, box := map[string]tofu.Engine{}, sandboxOf(t)
	for _, name := range []string{os.Getenv("FLYWHEEL_TOFU"), "tofu", "terraform"} {
		if path, err := exec.LookPath(name); err == nil {
			engine, err := tofu.Find(t.Context(), tofu.FindOptions{Path: path, Sandbox: box})
			if err != nil {
				t.Fatal(err)
			}
			found[engine.Name] = engine
		}
	}
	if len(found) == 0 {
		t.Fatal("neither tofu nor terraform is on PATH; run `make tofu`")
	}
	return found
}

func TestBothVersionsOfThePatternPassTheChecksOfACertification(t *testing.T) {
	for version, dir := range versions(t) {
		if problems := tofu.Gate(dir, tofu.Allow{}); len(problems) > 0 {
			t.Errorf("%s: %v", version, problems)
		}
		for name, engine := range engines(t) {
			t.Run(version+" "+name, func(t *testing.T) {
				s := &tofu.Service{Engine: engine, Sandbox: sandboxOf(t), ServeProvider: func(ctx context.Context, socket string, scope tofu.Scope) (string, error) {
					return local.ServeProvider(ctx, socket, &local.Client{Socket: scope.Agent, ReadOnly: true}, scope.Instance)
				}}
				if problems, err := s.Validate(t.Context(), dir); err != nil || len(problems) > 0 {
					t.Fatalf("%v, %v", problems, err)
				}
				runs, err := s.Test(t.Context(), dir)
				if err != nil || len(runs) < 3 {
					t.Fatalf("%v, %v", runs, err)
				}
				for _, r := range runs {
					if r.Status != "pass" {
						t.Errorf("%s %s: %s %v", r.File, r.Name, r.Status, r.Problems)
					}
				}
			})
		}
	}
}

func TestTheSearchIsAMinorVersion(t *testing.T) {
	dirs := versions(t)
	one, _ := interfaceOf(t, dirs["1.0.0"])
	two, _ := interfaceOf(t, dirs["1.1.0"])
	if bump, reasons := pattern.Compare(one, two); bump != "minor" {
		t.Errorf("it is %s: %v", bump, reasons)
	}
}

func TestTheReadmeOfThePatternNamesItsWholeInterface(t *testing.T) {
	for version, dir := range versions(t) {
		i, _ := interfaceOf(t, dir)
		text, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		rows := []string{}
		for line := range strings.Lines(string(text)) {
			if cells := strings.Split(line, "|"); len(cells) > 3 {
				rows = append(rows, strings.TrimSpace(cells[1])+": "+strings.TrimSpace(cells[2]))
			}
		}
		for _, v := range i.Variables {
			if !slices.Contains(rows, v.Name+": "+v.Description) {
				t.Errorf("%s says nothing of the variable %s", version, v.Name)
			}
		}
		for _, output := range i.Outputs {
			if !slices.ContainsFunc(rows, func(r string) bool { return strings.HasPrefix(r, output.Name+": ") }) {
				t.Errorf("%s says nothing of the output %s", version, output.Name)
			}
		}
	}
}

// repository returns a new app's repository with the files of these folders laid over the skeleton.
func repository(t *testing.T, folders ...string) string {
	t.Helper()
	dir := t.TempDir()
	lay(t, dir, "patterns/web-service/skeleton")
	if err := os.Rename(filepath.Join(dir, "go.mod.skeleton"), filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	words := strings.NewReplacer("{{name}}", "storefront", "{{team}}", "shop", "{{pattern}}", "web-service", "{{version}}", "~1.0.0",
		"{{environments}}", "    staging: {}\n    prod: {}")
	for _, name := range []string{"go.mod", "README.md", "flywheel.yaml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(words.Replace(string(text))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lay(t, dir, folders...)
	return dir
}

// run runs a command of the app as a build does: without network, and with nothing to fetch.
func run(t *testing.T, dir string, command string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-trimpath -buildvcs=false -mod=mod", "GOPROXY=off", "GOWORK=off", "GOTOOLCHAIN=local", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func TestTheAppBuildsAndPassesItsTestsAfterEachStep(t *testing.T) {
	steps := []string{"", "storefront", "_changes/02-discount", "_changes/04-app", "_changes/05-broken"}
	for i := range steps {
		t.Run(fmt.Sprintf("step %d %s", i, steps[i]), func(t *testing.T) {
			dir := repository(t, steps[1:i+1]...)
			text, err := os.ReadFile(filepath.Join(dir, "flywheel.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			m, err := manifest.ParseApp("flywheel.yaml", text)
			if err != nil || len(m.Environments) != 2 {
				t.Fatalf("flywheel.yaml: %v, %v", m, err)
			}
			run(t, dir, m.Build.Command)
			run(t, dir, m.Test.Command)
			if _, err := os.Stat(filepath.Join(dir, m.Build.Artifact, "app")); err != nil {
				t.Error(err)
			}
		})
	}
}

// program is a running program of the examples.
type program struct {
	cmd  *exec.Cmd
	url  string
	said bytes.Buffer
}

func start(t *testing.T, path string, env ...string) *program {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	p := &program{cmd: exec.Command(path), url: "http://127.0.0.1:" + port}
	p.cmd.Dir, p.cmd.Env = t.TempDir(), append(env, "PORT="+port)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	for deadline := time.Now().Add(patience.Of(patience.Limit)); ; time.Sleep(20 * time.Millisecond) {
		if r, err := http.Get(p.url + "/healthz"); err == nil {
			r.Body.Close()
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %s", path, p.said.String())
		}
	}
}

func (p *program) get(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := http.Get(p.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

func TestTheShopFindsStoresThroughTheSearch(t *testing.T) {
	searchd := filepath.Join(t.TempDir(), "searchd")
	build(t, ".", searchd, "./searchd")
	dir := repository(t, "storefront", "_changes/02-discount", "_changes/04-app")
	build(t, dir, filepath.Join(dir, "app"), ".")

	search := start(t, searchd)
	shop := start(t, filepath.Join(dir, "app"), "SEARCH_URL="+search.url)
	status, text := shop.get(t, "/stores/near?lat=52.52&lon=13.40")
	var found []struct {
		City string
		Km   float64
	}
	if err := json.Unmarshal([]byte(text), &found); err != nil || len(found) != 3 || found[0].City != "Berlin" || found[0].Km > 1 {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := shop.get(t, "/stores/near"); status != 400 {
		t.Errorf("nowhere is %d", status)
	}
}

func TestTheShopAndTheSearchKnowTheSameStores(t *testing.T) {
	ours, err := os.ReadFile("storefront/stores.json")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile("searchd/stores.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs) {
		t.Error("storefront/stores.json and searchd/stores.json differ")
	}
}

func TestTheShopFinishesItsRequestsWhenItIsToldToEnd(t *testing.T) {
	dir := repository(t, "storefront")
	build(t, dir, filepath.Join(dir, "app"), ".")
	shop := start(t, filepath.Join(dir, "app"))
	r, err := http.Get(shop.url + "/reports/sales?ms=800") // answers with its head at once
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := shop.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r.Body)
	if err != nil || !strings.HasSuffix(string(text), "end\n") {
		t.Errorf("the report ended with %q, %v", text, err)
	}
	if err := shop.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v: %s", err, shop.said.String())
	}
}

// build makes a program. The module of the project needs its dependencies, which are there already.
func build(t *testing.T, dir, to, what string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", to, what)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", what, err, out)
	}
}
