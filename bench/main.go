// Bench measures what the README and the decisions state about speed, on this machine and in one run,
// each figure beside its goal. It is a measurement, not a test: a missed goal is marked and does not fail.
//
//	go run ./bench -flywheel bin/flywheel            # everything, about three minutes
//	go run ./bench -only release -profile cpu.pprof  # one part, with a CPU profile
//
// Ratios compare two things that took turns in the same run, so that a loaded machine slows both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/fault"
)

// bench is one run.
type bench struct {
	flywheel string // the built binary
	dir      string // of everything that the run writes
	log      *slog.Logger
	rows     []row
}

// row is one measured figure. A row without a goal is there to be read beside the others.
type row struct {
	what, value, goal string
	missed            bool
}

// atLeast and atMost say whether a figure reached its goal.
func (b *bench) atLeast(what string, value, goal float64, unit string) {
	b.rows = append(b.rows, row{what, figure(value, unit), "≥ " + figure(goal, unit), value < goal})
}

func (b *bench) atMost(what string, value, goal float64, unit string) {
	b.rows = append(b.rows, row{what, figure(value, unit), "≤ " + figure(goal, unit), value > goal})
}

func (b *bench) note(what string, value float64, unit string) {
	b.rows = append(b.rows, row{what: what, value: figure(value, unit)})
}

func figure(v float64, unit string) string {
	format := "%.0f %s"
	switch {
	case v < 10:
		format = "%.2f %s"
	case v < 100:
		format = "%.1f %s"
	}
	return strings.TrimSpace(fmt.Sprintf(format, v, unit))
}

func (b *bench) print(parts []string) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nFIGURE\tVALUE\tGOAL\t\n")
	for _, r := range b.rows {
		mark := "ok"
		switch {
		case r.missed:
			mark = "MISSED"
		case r.goal == "":
			mark = ""
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.what, r.value, r.goal, mark)
	}
	w.Flush()
	fmt.Printf("\n%d cores, load %s, %s; measured: %s\n", runtime.NumCPU(), load(), runtime.Version(), strings.Join(parts, ", "))
}

// load is how busy the machine is: the average number of runnable processes in the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// cpu is the processor time that this program has used: a figure that other programs do not change much.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(all []time.Duration) time.Duration { return percentile(all, 50) }

// percentile sorts its argument.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)*p/100, len(all)-1)]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// parts are what can be measured, in their order.
var parts = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"start", (*bench).start},
	{"release", (*bench).release},
	{"blast", (*bench).blast},
	{"engine", (*bench).engine},
	{"storefront", (*bench).storefront},
}

func main() {
	b := &bench{log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	names := []string{}
	for _, p := range parts {
		names = append(names, p.name)
	}
	only := flag.String("only", strings.Join(names, ","), "parts to measure")
	profile := flag.String("profile", "", "file for a CPU profile of this program")
	flag.StringVar(&b.flywheel, "flywheel", "", "the built binary (default: build one)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(account.System(context.Background(), "bench"), os.Interrupt)
	defer stop()
	if err := b.measure(ctx, strings.Split(*only, ","), *profile); err != nil {
		fmt.Fprintln(os.Stderr, err)
		var f *fault.Fault
		if errors.As(err, &f) {
			fmt.Fprintln(os.Stderr, f.Fields)
		}
		os.Exit(1)
	}
}

func (b *bench) measure(ctx context.Context, only []string, profile string) (err error) {
	if b.dir, err = os.MkdirTemp("", "fwb"); err != nil { // short: sockets are made in it
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.flywheel == "" {
		b.flywheel = filepath.Join(b.dir, "flywheel")
		if out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.flywheel, "./cmd/flywheel").CombinedOutput(); err != nil {
			return fmt.Errorf("flywheel cannot be built: %w\n%s", err, out)
		}
	}
	if b.flywheel, err = filepath.Abs(b.flywheel); err != nil {
		return err
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	measured := []string{}
	for _, p := range parts {
		if !slices.Contains(only, p.name) {
			continue
		}
		began := time.Now()
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		measured = append(measured, fmt.Sprintf("%s in %.0f s", p.name, time.Since(began).Seconds()))
		fmt.Fprintln(os.Stderr, measured[len(measured)-1])
	}
	b.print(measured)
	return nil
}

// folder returns a new folder of the run.
func (b *bench) folder(name string) (string, error) { return os.MkdirTemp(b.dir, name) }
