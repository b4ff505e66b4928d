package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

const (
	commandTimeout = 2 * time.Minute // for a command whose caller set no earlier deadline
	outputLimit    = 64 << 20        // bytes of output a command may give to memory
)

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// exitError is a git command that failed. Its text is for the log, never for a user.
type exitError struct {
	args   []string
	code   int
	stderr string
}

func (e *exitError) Error() string {
	return fmt.Sprintf("git %s: exit %d: %s", strings.Join(e.args, " "), e.code, strings.TrimSpace(e.stderr))
}

// Unwrap returns that the disk is full, where that is what git says in one of its ways.
func (e *exitError) Unwrap() error {
	if strings.Contains(e.stderr, syscall.ENOSPC.Error()) || strings.Contains(strings.ToLower(e.stderr), "no space left") || strings.Contains(e.stderr, "Out of diskspace") {
		return syscall.ENOSPC
	}
	return nil
}

func exitCode(err error) int {
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return -1
}

// config is every setting that git gets from Flywheel, on top of git's defaults.
func (h *Host) config() [][2]string {
	settings := [][2]string{
		{"core.fsync", "objects,derived-metadata,reference"}, // an acknowledged push survives the loss of power
		{"core.quotePath", "false"},
		{"core.logAllRefUpdates", "true"}, // a moved branch can be found again by an operator
		{"core.multiPackIndex", "true"},
		{"safe.directory", "*"}, // the folder may belong to another user, for example after a restore
		{"gc.autoDetach", "false"},
		{"transfer.hideRefs", "refs/flywheel"},
		{"http.receivepack", "true"}, // whether a person may push is decided before git runs
		{"receive.autogc", "false"},
		{"receive.fsckObjects", "true"}, // refuses trees with .git, .. and the like
		{"uploadpack.allowFilter", "true"},
		{"uploadpack.allowAnySHA1InWant", "true"}, // as protocol 2 does; partial clones over older ones need it
		// What a branch says in .gitattributes has no say in how it is shown, merged or packed. Some versions of
		// git read it from HEAD of a bare repository; the empty tree has none.
		{"attr.tree", emptyTree},
		{"core.attributesFile", "/dev/null"},
		{"core.hooksPath", "/dev/null"}, // stays the last one
	}
	if h.hooks != "" {
		settings[len(settings)-1][1] = h.hooks
	}
	return settings
}

// environment returns the whole environment of a git process. Nothing is inherited but PATH: a proxy,
// an editor or an identity of whoever started the server must not reach the repositories.
func (h *Host) environment(extra ...string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_LITERAL_PATHSPECS=1", "GIT_NO_REPLACE_OBJECTS=1",
	}
	settings := h.config()
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(settings)))
	for i, s := range settings {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s[1]))
	}
	return append(env, extra...)
}

// command prepares a git process in a process group of its own; cancelling the context kills the
// whole group, because git leaves real work to its children.
func (h *Host) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// git runs a command on the repository in dir and returns what it printed.
func (h *Host) git(ctx context.Context, dir string, stdin io.Reader, args ...string) ([]byte, error) {
	return h.run(ctx, h.environment("GIT_DIR="+dir), stdin, args...)
}

// run runs a command and returns what it printed.
func (h *Host) run(ctx context.Context, env []string, stdin io.Reader, args ...string) ([]byte, error) {
	out := &limited{max: outputLimit}
	err := h.stream(ctx, env, stdin, out, args...)
	if out.over {
		return nil, fault.New(fault.TooLarge, "git.repository_too_large", "The repository has too many files or commits for this.").
			Because(fmt.Errorf("git %s: more than %d bytes of output", args[0], outputLimit))
	}
	return out.Bytes(), err
}

// stream runs a command and writes what it prints to stdout.
func (h *Host) stream(ctx context.Context, env []string, stdin io.Reader, stdout io.Writer, args ...string) error {
	_, err := h.execute(ctx, env, stdin, stdout, args...)
	return err
}

// execute is stream that also returns what git said beside its output, such as warnings.
func (h *Host) execute(ctx context.Context, env []string, stdin io.Reader, stdout io.Writer, args ...string) (said string, err error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commandTimeout)
		defer cancel()
	}
	cmd := h.command(ctx, env, args...)
	stderr := &limited{max: 8 << 10}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		return "", fmt.Errorf("git %s: %w", args[0], context.Cause(ctx))
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = &exitError{args, exit.ExitCode(), stderr.String()}
	}
	return stderr.String(), err
}

// limited keeps the first bytes written to it and remembers whether there were more.
type limited struct {
	bytes.Buffer
	max  int
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.max - l.Len(); len(p) > room {
		l.over = true
		l.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return l.Buffer.Write(p)
}

// ReadFrom hides bytes.Buffer's, which would read without a limit.
func (l *limited) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{l}, r)
}
