package tofu_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu"
)

// The modules here would not pass the gate. They are run as certified ones all the same: whoever fools the gate
// must find nothing.

// TestWhatACertifiedPatternTriesFailsForANormalUserToo runs the attacks again where the platform is not root.
func TestWhatACertifiedPatternTriesFailsForANormalUserToo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this is the normal user")
	}
	const nobody = 65534
	dir := short(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "tofu.test")
	if err := errors.Join(os.WriteFile(copied, binary, 0o755), os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "-test.v", "-test.run", "^TestACertifiedPattern|^TestAKilledEngine")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "FLYWHEEL_TEST_PATIENCE=" + os.Getenv("FLYWHEEL_TEST_PATIENCE")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if passed := bytes.Count(out, []byte("--- PASS")); err != nil || passed < 30 || bytes.Contains(out, []byte("--- SKIP")) {
		t.Fatalf("%v; %d tests passed\n%s", err, passed, out)
	}
}

// surroundings are what the platform has around a run, each with "hunter2" in it.
type surroundings struct {
	data, key, neighbour, written string
	agent                         string // socket
	port                          int    // of the platform
}

func surround(t *testing.T, p *platform) surroundings {
	t.Helper()
	t.Setenv("FLYWHEEL_KEY", "hunter2-in-the-environment")
	neighbour := exec.Command("sleep", "600") // the kernel shows only what a process was started with
	if err := neighbour.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { neighbour.Process.Kill(); neighbour.Wait() })
	data := t.TempDir()
	s := surroundings{
		data: data, key: filepath.Join(data, "keys", "secret.key"), written: filepath.Join(data, "written"),
		neighbour: filepath.Join(p.runs, "dpl_neighbour", "work", "terraform.tfstate"), agent: filepath.Join(short(t), "agent.sock"),
	}
	state := `{"version":4,"terraform_version":"1.9.0","serial":1,"lineage":"n","outputs":{"password":{"value":"hunter2","type":"string"}},"resources":[]}`
	for path, text := range map[string]string{s.key: "hunter2-of-the-platform", s.neighbour: state} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for network, address := range map[string]string{"unix": s.agent, "tcp": "127.0.0.1:0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			s.port = tcp.Port
		}
		go func() {
			for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
				conn.Write([]byte("hunter2"))
				conn.Close()
			}
		}()
	}
	return s
}

// withoutTheSandbox runs the same with --sandbox=off, where an attack has to work: then it is a sound one.
func withoutTheSandbox(t *testing.T, engine tofu.Engine) *platform {
	t.Helper()
	off, err := sandbox.New(sandbox.Options{Off: true})
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, engine)
	p.Sandbox = off
	return p
}

func TestACertifiedPatternThatReadsFindsNothing(t *testing.T) {
	for _, engine := range engines(t) {
		t.Run(engine.Name, func(t *testing.T) {
			inside, without := start(t, engine), withoutTheSandbox(t, engine)
			s, root := surround(t, inside), os.Getuid() == 0
			self := strconv.Itoa(os.Getpid())
			attacks := map[string]struct {
				expression string
				control    bool // finds something with the sandbox off
			}{
				"the key by file":               {`file("` + s.key + `")`, true},
				"the key by templatefile":       {`templatefile("` + s.key + `", {})`, true},
				"the key by filebase64":         {`base64decode(filebase64("` + s.key + `"))`, true},
				"the key's digest":              {`"hunter2 ${filesha256("` + s.key + `")}"`, true},
				"the key by fileexists":         {`fileexists("` + s.key + `") ? "hunter2" : ""`, true},
				"the data folder by fileset":    {`length(fileset("` + s.data + `", "**")) > 0 ? "hunter2" : ""`, true},
				"all runs by fileset":           {`length([for f in fileset("` + inside.runs + `", "**/terraform.tfstate") : f]) > 0 ? "hunter2" : ""`, true},
				"a neighbour's state":           {`file("` + s.neighbour + `")`, true},
				"a neighbour by way of its own": {`file("${path.cwd}/../../dpl_neighbour/work/terraform.tfstate")`, false},
				"the key by /proc/1/root":       {`file("/proc/1/root` + s.key + `")`, false},
				"the key by /proc/self/root":    {`file("/proc/self/root` + s.key + `")`, true},
				"the environment of process 1":  {`"hunter2 ${length(file("/proc/1/environ"))}"`, false},
				"the environment of all":        {`join("", [for f in fileset("/proc", "*/environ") : try(file("/proc/${f}"), "")])`, true},
				"the platform's command line":   {`"hunter2 ${file("/proc/` + self + `/comm")}"`, true},
				"the agent's socket":            {`fileexists("` + s.agent + `") ? "hunter2" : ""`, false},
				"the shadow file":               {`"hunter2 ${file("/etc/shadow")}"`, root},
				"the host's name":               {`"hunter2 ${file("/etc/hostname")}"`, true},
				"the memory of the kernel":      {`"hunter2 ${filesha256("/proc/kcore")}"`, false},
			}
			var module strings.Builder
			for name, a := range attacks {
				fmt.Fprintf(&module, "output %q {\n  value = { name = %q, found = try(%s, \"\") }\n}\n", "o"+strconv.Itoa(module.Len()), name, a.expression)
			}
			found := func(p *platform) map[string]string {
				r := p.run(t, "ins_a", f("main.tf", module.String()))
				if _, err := p.Plan(t.Context(), r); err != nil {
					t.Fatalf("%v\n%s", err, logs(r))
				}
				text, err := p.PlanJSON(r)
				if err != nil {
					t.Fatal(err)
				}
				var plan struct {
					Changes map[string]struct {
						After struct{ Name, Found string }
					} `json:"output_changes"`
				}
				if err := json.Unmarshal(text, &plan); err != nil || len(plan.Changes) != len(attacks) {
					t.Fatalf("%v: %s", err, text)
				}
				all := map[string]string{}
				for _, c := range plan.Changes {
					all[c.After.Name] = c.After.Found
				}
				return all
			}
			in, out := found(inside), found(without)
			for name, a := range attacks {
				t.Run(name, func(t *testing.T) {
					if strings.Contains(in[name], "hunter2") {
						t.Errorf("inside it finds %s", in[name])
					}
					if a.control && !strings.Contains(out[name], "hunter2") {
						t.Errorf("without the sandbox it finds only %q", out[name])
					}
				})
			}
		})
	}
}

func TestACertifiedPatternThatRunsACommandFindsNothing(t *testing.T) {
	const connects = `timeout 3 bash -c 'exec 3<>/dev/tcp/%s/%d && head -c 7 <&3'`
	for _, engine := range engines(t) {
		t.Run(engine.Name, func(t *testing.T) {
			inside, without := start(t, engine), withoutTheSandbox(t, engine)
			s := surround(t, inside)
			attacks := map[string]struct {
				command string // says hunter2, or makes the file s.written, if it finds something; does no harm without the sandbox
				control bool   // is tried without the sandbox, and finds something there
			}{
				"reads the key":                      {"cat " + s.key, true},
				"searches the data folder":           {"grep -rh hunter2 " + s.data + " " + inside.runs, true},
				"reads every environment":            {"cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep hunter2-in-the-environment", true},
				"reads its own environment":          {"env | grep hunter2", false},
				"sees the platform":                  {"kill -0 " + strconv.Itoa(os.Getpid()) + " && echo hunter2", true},
				"looks for sockets":                  {"test -S " + s.agent + " && echo hunter2", true},
				"looks for the socket of states":     {"test -S " + inside.socket + " && echo hunter2", true},
				"writes to the host":                 {"echo x >" + s.written, true},
				"writes the workspace":               {"echo '# x' >>$(readlink -f main.tf) && echo hunter2", true},
				"replaces a file of the workspace":   {"w=$(dirname $(readlink -f main.tf)) && touch $w/more.tf && echo hunter2", true},
				"writes the engine's configuration":  {"w=$(dirname $(readlink -f main.tf)) && echo >>$w/../engine.tfrc && echo hunter2", true},
				"writes the plan that was judged":    {"echo x >>../out/plan && echo hunter2", true},
				"writes the engine":                  {"test -w " + engine.Path + " && echo hunter2", os.Getuid() == 0},
				"leaves its folder":                  {"touch ../x && rm ../x && test -d ../plan && echo hunter2", true},
				"connects to the platform":           {fmt.Sprintf(connects, "127.0.0.1", s.port), true},
				"connects to port 7270":              {fmt.Sprintf(connects, "127.0.0.1", 7270) + " && echo hunter2", false},
				"connects to the cloud's metadata":   {fmt.Sprintf(connects, "169.254.169.254", 80) + " && echo hunter2", false},
				"connects to the world":              {fmt.Sprintf(connects, "1.1.1.1", 53) + " && echo hunter2", false},
				"has an interface besides its own":   {"tail -n +3 /proc/net/dev | grep -v ' lo:' && echo hunter2", false},
				"becomes somebody else":              {"unshare -U true && echo hunter2", true},
				"mounts":                             {"mkdir m && mount -t tmpfs none m && umount m && echo hunter2", false},
				"opens what the platform has opened": {"for i in $(seq 3 100); do head -c 100 <&$i; done 2>/dev/null | grep -a hunter2", false},
			}
			found := func(p *platform) map[string]string {
				os.Remove(s.written)
				module := f("main.tf", "resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" {\n    command = \"for f in attack-*; do timeout 20 bash ./$f </dev/null >found-$f 2>&1; done; true\"\n  }\n}")
				files := map[string]string{}
				for name, a := range attacks {
					if p == inside || a.control {
						files[name] = fmt.Sprintf("attack-%d", len(files))
						module[files[name]] = "echo tried\n" + a.command + "\n"
					}
				}
				r := p.run(t, "ins_a", module)
				p.deploy(t, r)
				all := map[string]string{}
				for name, file := range files {
					text, err := os.ReadFile(filepath.Join(r.Dir, "work", "found-"+file))
					if err != nil {
						t.Fatal(err)
					}
					all[name] = string(text)
				}
				if exists(s.written) {
					all["writes to the host"] = "hunter2"
				}
				return all
			}
			in, out := found(inside), found(without)
			for name, a := range attacks {
				t.Run(name, func(t *testing.T) {
					if said := in[name]; !strings.HasPrefix(said, "tried\n") || strings.Contains(said, "hunter2") {
						t.Errorf("inside it finds %q", said)
					}
					if a.control && !strings.Contains(out[name], "hunter2") {
						t.Errorf("without the sandbox it finds only %q", out[name])
					}
				})
			}
		})
	}
}

// TestACertifiedPatternThatReadsAnotherStateFails uses what every engine brings with it.
func TestACertifiedPatternThatReadsAnotherStateFails(t *testing.T) {
	for _, engine := range engines(t) {
		t.Run(engine.Name, func(t *testing.T) {
			inside, without := start(t, engine), withoutTheSandbox(t, engine)
			s := surround(t, inside)
			for name, c := range map[string]struct {
				backend, config string
				control         bool
			}{
				"of a file":               {"local", fmt.Sprintf("path = %q", s.neighbour), true},
				"of the platform":         {"http", fmt.Sprintf(`address = "http://127.0.0.1:%d/internal/state/ins_neighbour"`, s.port), false},
				"of the port of any host": {"http", `address = "http://169.254.169.254/latest/meta-data"`, false},
			} {
				t.Run(name, func(t *testing.T) {
					module := f("main.tf", fmt.Sprintf("data \"terraform_remote_state\" \"x\" {\n  backend = %q\n  config  = { %s }\n}\noutput \"x\" { value = data.terraform_remote_state.x.outputs }", c.backend, c.config))
					if c.backend == "http" {
						module["main.tf"] = strings.Replace(module["main.tf"], "config  = { ", "config  = { retry_max = 0, ", 1)
					}
					r := inside.run(t, "ins_a", module)
					if _, err := inside.Plan(t.Context(), r); !fault.Is(err, "engine.failed") {
						text, _ := inside.PlanJSON(r)
						t.Errorf("inside: %v, %s", err, text)
					}
					if c.control {
						r := without.run(t, "ins_a", module)
						if _, err := without.Plan(t.Context(), r); err != nil {
							t.Errorf("without the sandbox: %v", err)
						}
					}
				})
			}
		})
	}
}

// TestACertifiedPatternThatPlantsAFileForRecoveryIsNotBelieved takes up runs whose folder the module has prepared.
func TestACertifiedPatternThatPlantsAFileForRecoveryIsNotBelieved(t *testing.T) {
	p := start(t, engines(t)[0])
	s := surround(t, p)
	for name, plant := range map[string]func(path string) error{
		"a link to the state of a neighbour": func(path string) error { return os.Symlink(s.neighbour, path) },
		"a link to the key":                  func(path string) error { return os.Symlink(s.key, path) },
		"a pipe that nobody writes":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a folder":                           func(path string) error { return os.Mkdir(path, 0o700) },
		"a socket": func(path string) error {
			l, err := net.Listen("unix", filepath.Join(short(t), "s"))
			if err == nil {
				err = os.Rename(l.Addr().String(), path)
			}
			return err
		},
		"a file without an end": func(path string) error {
			f, err := os.Create(path)
			if err == nil {
				err = errors.Join(f.Truncate(1<<40), f.Close())
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := p.run(t, "ins_planted", counter)
			left := filepath.Join(r.Dir, "work", "errored.tfstate")
			if err := errors.Join(os.MkdirAll(filepath.Dir(left), 0o700), plant(left)); err != nil {
				t.Fatal(err)
			}
			if err := p.States.Recover(t.Context(), r); !fault.Is(err, "state.malformed") {
				t.Errorf("recovered: %v", err)
			}
			if state, err := p.States.Current(t.Context(), "ins_planted"); err != nil || len(state) > 0 {
				t.Errorf("state: %s, %v", state, err)
			}
		})
	}
	p.deploy(t, p.run(t, "ins_planted", counter)) // nothing is locked
}

// An engine that only says what it may write and how it is reached.
const nosy = `
for d in . ../out ../plan "$(dirname $(readlink -f main.tf))" "$TF_DATA_DIR" "$(dirname $TF_CLI_CONFIG_FILE)" "$HOME"; do
	touch "$d/probe-$1" 2>/dev/null && echo "$1 writes $d" >&2 && rm "$d/probe-$1"
done
echo "$1 reaches $TF_REATTACH_PROVIDERS in $(readlink /proc/self/ns/net)" >&2
case "$1" in
init) test -z "$HTTPS_PROXY" || echo "init has a proxy" >&2;;
plan) touch ../out/plan;;
show) echo '{"format_version":"1.2"}';;
esac
`

func TestACertifiedPatternWritesOnlyWhatItsCommandNeeds(t *testing.T) {
	p := start(t, engines(t)[0])
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []bool{false, true} {
		r := p.run(t, "ins_a", service)
		r.Network = network
		real := p.Engine.Path
		p.Engine.Path = script(t, "engine", nosy)
		p.deploy(t, r)
		p.Engine.Path = real
		said := logs(r)
		for _, want := range []string{"plan writes ../out\n", "plan writes /tmp\n", "show writes /tmp\n", "apply writes .\n", "apply writes /tmp\n"} {
			if !strings.Contains(said, want) {
				t.Errorf("it does not say %q", want)
			}
		}
		if n := strings.Count(said, " writes "); n != 5 {
			t.Errorf("it writes %d places", n)
		}
		// A port could be reached by whoever has the same network.
		if n := strings.Count(said, `"Network":"unix"`); n != 3 || strings.Contains(said, `"Network":"tcp"`) {
			t.Errorf("the provider is reached %d times on its socket", n)
		}
		if strings.Contains(said, host) != network {
			t.Errorf("granted: %v, the host's network is %s", network, host)
		}
		if t.Failed() {
			t.Fatal(said)
		}
	}
}

// An engine that asks the proxy, if it has one, and goes past it.
const fetching = `exec bash -c '
ask() {
	exec 3<>/dev/tcp/${p%%:*}/${p#*:} && printf "CONNECT $1 HTTP/1.1\r\nHost: $1\r\n\r\n" >&3 && echo "$1: $(head -n1 <&3)" >&2
}
p=${HTTPS_PROXY#http://}
test -n "$p" && ask ALLOWED && ask other.example:443 && ask 127.0.0.1:7270 && ask 169.254.169.254:80
(exec 3<>/dev/tcp/${HOST%%:*}/${HOST#*:}) 2>/dev/null && echo "it goes past the proxy" >&2
exit 1'
`

func TestACertifiedPatternIsInitialisedFromRegistriesOnly(t *testing.T) {
	p := start(t, engines(t)[0])
	s := surround(t, p)
	allowed := fmt.Sprintf("127.0.0.1:%d", s.port)
	p.Engine.Path = script(t, "engine", "HOST="+allowed+" "+strings.ReplaceAll(fetching, "ALLOWED", allowed))
	p.RegistryHosts = []string{allowed}
	for _, registry := range []bool{false, true} {
		p.Registry = registry
		_, err := p.Prepare(t.Context(), digest(counter), write(t, counter))
		if !fault.Is(err, "init.failed") {
			t.Fatal(err)
		}
		said := fmt.Sprint(fault.From(err).Fields)
		for _, c := range []struct {
			says string
			want bool
		}{
			{allowed + ": HTTP/1.1 200", registry}, {"other.example:443: HTTP/1.1 403", registry}, {"127.0.0.1:7270: HTTP/1.1 403", registry},
			{"169.254.169.254:80: HTTP/1.1 403", registry}, {"may not fetch from other.example:443", registry}, {"past the proxy", false},
		} {
			if strings.Contains(said, c.says) != c.want {
				t.Errorf("with the registry: %v; %q is said: %v, in %s", registry, c.says, !c.want, said)
			}
		}
	}
}

func TestACertifiedPatternThatUsesTooMuchIsStoppedWithASentence(t *testing.T) {
	p := start(t, engines(t)[0])
	for _, step := range []string{"plan", "apply"} {
		r := p.run(t, "ins_a", counter)
		real := p.Engine.Path
		p.Engine.Path = script(t, "engine", `
case "$1" in `+step+`) for i in $(seq 700); do sleep 300 & done; wait;;
plan) touch ../out/plan;;
show) echo '{"format_version":"1.2"}';;
esac
`)
		result, err := p.Plan(t.Context(), r)
		want := "sandbox.too_many_processes"
		if step == "apply" {
			want = "engine.interrupted" // nobody knows how far it came
			result, err = p.Apply(t.Context(), r)
		}
		p.Engine.Path = real
		if !fault.Is(err, want) || !strings.Contains(err.Error(), "processes and threads") || result.Outcome == tofu.Succeeded {
			t.Errorf("%s: %+v, %v", step, result, err)
		}
	}
}

func TestWithoutASandboxNoEngineRuns(t *testing.T) {
	p := start(t, engines(t)[0])
	r := p.run(t, "ins_a", counter)
	p.Sandbox = nil
	for name, run := range map[string]func() error{
		"prepare":  func() error { _, err := p.Prepare(t.Context(), digest(slow), write(t, slow)); return err },
		"validate": func() error { _, err := p.Validate(t.Context(), write(t, counter)); return err },
		"test":     func() error { _, err := p.Test(t.Context(), write(t, counter)); return err },
		"plan":     func() error { _, err := p.Plan(t.Context(), r); return err },
	} {
		if err := run(); !fault.Is(err, "sandbox.unavailable") {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := sandbox.New(sandbox.Options{}); !fault.Is(err, "sandbox.unavailable") || !strings.Contains(err.Error(), "Install") {
		t.Errorf("without bubblewrap: %v", err)
	}
}
