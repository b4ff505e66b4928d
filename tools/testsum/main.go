// Command testsum runs `go test` and shows what a person wants of it: a line for each package, the output
// of what failed, and a summary. It fails when a test failed, when a package did not build, and when a
// package has test files but ran no test: tests that never run look like tests that pass.
//
//	go run ./tools/testsum -tally FILE -name NAME -- -count=1 ./...
//
// What follows -- goes to `go test`. With -tally it adds its counts to a file, which
// `testsum -total FILE` sums up in one line.
//
// No package has a limit of time, because how long it takes depends on the machine. When no test has begun
// or ended for ten minutes (scaled by FLYWHEEL_TEST_PATIENCE), one hangs: testsum then ends the run, and
// the stacks of the tests that ran are in the output.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/patience"
)

// silence is how long no test begins or ends before the run is taken to hang.
const silence = 10 * time.Minute

type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string
	Elapsed                                                float64
}

// tally counts tests; a subtest is a test, and a test with subtests counts as well.
type tally struct{ passed, failed, skipped int }

func (t tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

func main() {
	file := flag.String("tally", "", "file to add the counts to")
	name := flag.String("name", "", "what is tested, for the summary")
	total := flag.String("total", "", "print the sum of the counts in this file and exit")
	flag.Parse()
	if *total != "" {
		os.Exit(sum(*total))
	}
	counts, ok := run(exec.Command("go", append([]string{"test", "-json", "-timeout", "0"}, flag.Args()...)...), patience.Of(silence), os.Stdout)
	fmt.Printf("%s: %s\n", *name, counts)
	if *file != "" {
		if err := add(*file, *name, counts); err != nil {
			fmt.Fprintln(os.Stderr, err)
			ok = false
		}
	}
	if !ok {
		os.Exit(1)
	}
}

// run starts the tests, shows their events, and ends them when they have been silent for too long.
func run(tests *exec.Cmd, silence time.Duration, out io.Writer) (counts tally, ok bool) {
	tests.Stderr = out
	tests.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a signal reaches every test program
	events, err := tests.StdoutPipe()
	if err == nil {
		err = tests.Start()
	}
	if err != nil {
		fmt.Fprintln(out, "FAIL ", err)
		return counts, false
	}
	hung := time.AfterFunc(silence, func() {
		fmt.Fprintf(out, "FAIL  no test began or ended for %s: the run hangs and is ended\n", silence)
		_ = syscall.Kill(-tests.Process.Pid, syscall.SIGQUIT) // Go programs print their stacks
		time.Sleep(10 * time.Second)
		_ = syscall.Kill(-tests.Process.Pid, syscall.SIGKILL)
	})
	counts, ok = read(&heartbeat{events, hung, silence}, out)
	ended := hung.Stop()
	return counts, tests.Wait() == nil && ended && ok
}

// heartbeat puts off the end of a run for as long as it says something.
type heartbeat struct {
	io.Reader
	hung    *time.Timer
	silence time.Duration
}

func (h *heartbeat) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if h.hung.Stop() {
		h.hung.Reset(h.silence)
	}
	return n, err
}

// read shows events as they come and reports whether everything that should run ran and passed.
func read(in io.Reader, out io.Writer) (counts tally, ok bool) {
	ok = true
	output := map[string][]string{} // of a running test, or of a package
	tests := map[string]int{}       // that ran in a package
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		var e event
		if line != "" && json.Unmarshal([]byte(line), &e) != nil {
			fmt.Fprint(out, line) // of the go command itself
			continue
		}
		if err != nil {
			break
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			output[key] = append(output[key], e.Output)
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "build-fail":
			ok = false
		case "pass", "fail", "skip":
			if e.Test == "" {
				ok = finish(out, e, tests[e.Package], output[key]) && ok
				if e.Action == "fail" && tests[e.Package] == 0 { // it did not build, or died before its first test
					counts.failed++
				}
				delete(output, key)
				counts.failed += unfinished(out, e.Package, output)
				continue
			}
			tests[e.Package]++
			switch e.Action {
			case "pass":
				counts.passed++
			case "skip":
				counts.skipped++
				fmt.Fprintf(out, "skip  %s %s: %s\n", short(e.Package), e.Test, reason(output[key]))
			case "fail":
				counts.failed++
				fmt.Fprintf(out, "FAIL  %s %s\n%s", short(e.Package), e.Test, strings.Join(output[key], ""))
			}
			delete(output, key)
		}
	}
	if len(tests) == 0 {
		fmt.Fprintln(out, "FAIL  no test ran at all")
		ok = false
	}
	return counts, ok && counts.failed == 0
}

// unfinished shows what the tests said that had begun and not ended when their package did, as it is when the
// program dies, and counts them.
func unfinished(out io.Writer, pkg string, output map[string][]string) (n int) {
	for _, key := range slices.Sorted(maps.Keys(output)) {
		if of, test, _ := strings.Cut(key, " "); of == pkg {
			fmt.Fprintf(out, "FAIL  %s %s did not end\n%s", short(pkg), test, strings.Join(output[key], ""))
			delete(output, key)
			n++
		}
	}
	return n
}

// finish prints the line of a package that has ended.
func finish(out io.Writer, e event, ran int, output []string) bool {
	name := short(e.Package)
	all := strings.Join(output, "")
	switch {
	case e.Action == "fail":
		fmt.Fprintf(out, "FAIL  %s (%.1f s)\n%s", name, e.Elapsed, all)
		return false
	case e.Action == "skip" || strings.Contains(all, "[no test files]"):
		return true
	case ran == 0 && !strings.Contains(all, "(cached)"):
		fmt.Fprintf(out, "FAIL  %s has test files, but none of its tests ran\n", name)
		return false
	}
	fmt.Fprintf(out, "ok    %s (%d tests, %.1f s)\n", name, ran, e.Elapsed)
	return true
}

func reason(output []string) string {
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}

func short(pkg string) string { return strings.TrimPrefix(pkg, "flywheel.dev/flywheel/") }

func add(file, name string, t tally) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%d %d %d %s\n", t.passed, t.failed, t.skipped, name)
	return err
}

// sum prints the parts and, as the last line, the sum of them in the words that test runners use.
func sum(file string) int {
	content, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var all tally
	for line := range strings.Lines(string(content)) {
		var t tally
		if _, err := fmt.Sscan(line, &t.passed, &t.failed, &t.skipped); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %q is not a count: %v\n", file, line, err)
			return 1
		}
		name := strings.TrimSpace(strings.SplitN(line, " ", 4)[3])
		fmt.Printf("%-24s %s\n", name, t)
		all.passed, all.failed, all.skipped = all.passed+t.passed, all.failed+t.failed, all.skipped+t.skipped
	}
	fmt.Println(all)
	if all.failed > 0 || all.passed == 0 {
		return 1
	}
	return 0
}
