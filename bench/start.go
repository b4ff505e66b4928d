package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/local"
)

// start measures how soon the server answers, what it holds while nothing happens, and its size.
func (b *bench) start(ctx context.Context) error {
	const times = 5
	var first, second []time.Duration
	var idle, agent float64
	for i := range times {
		dir, err := b.folder("data")
		if err != nil {
			return err
		}
		s, err := b.serve(ctx, dir)
		if err != nil {
			return err
		}
		first = append(first, s.ready)
		s.stop()
		if s, err = b.serve(ctx, dir); err != nil {
			return err
		}
		second = append(second, s.ready)
		health, err := untilAgent(ctx, dir)
		if err == nil && i == times-1 {
			time.Sleep(5 * time.Second)
			idle, err = resident(s.cmd.Process.Pid)
			if err == nil {
				agent, err = resident(health.Pid)
			}
		}
		s.stop()
		stopAgent(dir)
		if err != nil {
			return err
		}
	}
	info, err := os.Stat(b.flywheel)
	if err != nil {
		return err
	}
	b.atMost("Server: first start until it answers (migrations, key, first admin)", millis(median(first)), 500, "ms")
	b.atMost("  a later start", millis(median(second)), 500, "ms")
	b.atMost("  resident memory, idle for 5 s", idle, 100, "MB")
	b.note("  resident memory of the agent", agent, "MB")
	b.note("  size of the binary", float64(info.Size())/1e6, "MB")
	return nil
}

// serving is a running `flywheel serve`.
type serving struct {
	cmd   *exec.Cmd
	url   string
	ready time.Duration // from its start until it answered
}

func (b *bench) serve(ctx context.Context, dir string) (*serving, error) {
	s := &serving{cmd: exec.CommandContext(ctx, b.flywheel, "serve", "--data", dir, "--listen", "127.0.0.1:0")}
	s.cmd.Env = environment()
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, url, found := strings.Cut(lines.Text(), "Flywheel is ready at "); found {
			s.url = url
			break
		}
	}
	if status, err := get(ctx, http.DefaultClient, s.url+"/healthz"); err != nil || status != http.StatusOK {
		s.stop()
		return nil, fmt.Errorf("the server did not start: %d %w", status, err)
	}
	s.ready = time.Since(began)
	return s, nil
}

// environment keeps what this shell says to engines away from what is measured.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
}

func get(ctx context.Context, client *http.Client, url string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// untilAgent waits until the agent of a data folder answers.
func untilAgent(ctx context.Context, dir string) (health local.AgentHealth, err error) {
	for range 5000 {
		if health, err = agentOf(dir).Health(ctx); err == nil {
			return health, nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return health, err
}

func (s *serving) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait() // how it ended does not matter to the measurement
}

func agentOf(dir string) *local.Client {
	return &local.Client{Socket: filepath.Join(dir, "agent", "agent.sock")}
}

func stopAgent(dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := agentOf(dir).Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "the agent could not be stopped:", err)
	}
}

// resident returns the memory of a process that is not shared or swapped out, in MB.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kb, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("process %d tells no memory", pid)
}
