package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"flywheel.dev/flywheel/internal/fault"
)

// limits holds one sandbox under its limits.
type limits struct {
	root        int // process
	memory      int64
	tasks       int
	memoryGroup string // folder; "" when the process tree is watched instead
	tasksGroup  string
	groups      []string
}

var groupNumber atomic.Int64

// limit puts the process under limits. Its children inherit them.
func (g Settings) limit(pid int, memory int64, tasks int) (*limits, error) {
	l := &limits{root: pid, memory: memory, tasks: tasks}
	name := fmt.Sprintf("flywheel-%d-%d", os.Getpid(), groupNumber.Add(1))
	if memory > 0 && g.Memory != "" {
		dir := filepath.Join(g.Memory, name)
		if l.enter(dir, func() bool { return limitMemory(dir, memory) }) {
			l.memoryGroup = dir
		}
	}
	if tasks > 0 && g.Tasks != "" {
		dir := filepath.Join(g.Tasks, name)
		if l.enter(dir, func() bool { return write(dir, "pids.max", itoa(tasks)) }) {
			l.tasksGroup = dir
		}
	}
	if watched := memory > 0 && l.memoryGroup == "" || tasks > 0 && l.tasksGroup == ""; watched {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid())); err != nil {
			l.close()
			return nil, fault.New(fault.Unavailable, "sandbox.unavailable", "This kernel cannot limit what a sandbox uses.").
				Do("Make cgroups writable for Flywheel, or use a kernel with CONFIG_PROC_CHILDREN.").Because(err)
		}
	}
	return l, nil
}

// enter makes a group, limits it and moves the process there. It reports whether all of this went well.
func (l *limits) enter(dir string, limit func() bool) bool {
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		l.groups = append(l.groups, dir)
	}
	return (err == nil || os.IsExist(err)) && limit() && write(dir, "cgroup.procs", itoa(l.root))
}

func limitMemory(dir string, bytes int64) bool {
	if write(dir, "memory.max", itoa(bytes)) { // version 2
		write(dir, "memory.swap.max", "0")
		write(dir, "memory.oom.group", "1")
		return true
	}
	if write(dir, "memory.limit_in_bytes", itoa(bytes)) {
		write(dir, "memory.memsw.limit_in_bytes", itoa(bytes))
		return true
	}
	return false
}

func (l *limits) any() bool { return l.memory > 0 || l.tasks > 0 }

// exceeded returns the fault of the limit that was gone over.
func (l *limits) exceeded() error {
	memory, tasks := l.used()
	switch {
	case l.memory > 0 && memory:
		return fault.New(fault.Invalid, "sandbox.out_of_memory", "The command needed more than its %d MB of memory.", l.memory>>20).
			Do("Give it more, or have it use less.")
	case l.tasks > 0 && tasks:
		return fault.New(fault.Invalid, "sandbox.too_many_processes", "The command ran more than its %d processes and threads.", l.tasks).
			Do("Give it more, or have it start fewer at a time.")
	}
	return nil
}

// used reports which limits were gone over.
func (l *limits) used() (memory, tasks bool) {
	if l.memoryGroup != "" {
		memory = counter(l.memoryGroup, "memory.events", "oom_kill") > 0 || counter(l.memoryGroup, "memory.oom_control", "oom_kill") > 0
	}
	if l.tasksGroup != "" {
		tasks = counter(l.tasksGroup, "pids.events", "max") > 0
	}
	if l.memory > 0 && l.memoryGroup == "" || l.tasks > 0 && l.tasksGroup == "" {
		bytes, count := treeUse(l.root)
		memory = memory || l.memoryGroup == "" && bytes > l.memory
		tasks = tasks || l.tasksGroup == "" && count > l.tasks
	}
	return memory, tasks
}

// close removes the groups. The last process has ended, but may not yet have left them.
func (l *limits) close() {
	for _, dir := range l.groups {
		for pause := time.Millisecond; pause < time.Second && os.Remove(dir) != nil; pause *= 2 {
			time.Sleep(pause)
		}
	}
}

// treeUse returns what a process and all that came of it use: memory of their own, shared memory, and tasks.
// Memory that forked processes still share is counted for each: the limit is reached sooner, never later.
func treeUse(pid int) (bytes int64, tasks int) {
	dir := "/proc/" + itoa(pid)
	status, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "RssAnon", "RssShmem":
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			bytes += kb << 10
		case "Threads":
			n, _ := strconv.Atoi(strings.TrimSpace(value))
			tasks += n
		}
	}
	threads, _ := os.ReadDir(dir + "/task")
	for _, thread := range threads {
		children, _ := os.ReadFile(dir + "/task/" + thread.Name() + "/children")
		for _, field := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(field); err == nil {
				b, t := treeUse(child)
				bytes, tasks = bytes+b, tasks+t
			}
		}
	}
	return bytes, tasks
}

// findCgroups looks for folders of each controller where groups can be made, from the platform's own
// group upwards: the nearest keeps the platform's own limits over its sandboxes.
func findCgroups() (found Settings) {
	for _, h := range hierarchies() {
		for dir := h.dir; strings.HasPrefix(dir, h.mount); dir = filepath.Dir(dir) {
			sweep(dir)
			write(dir, "cgroup.subtree_control", "+memory +pids") // version 2; fails where it may not be
			probe := filepath.Join(dir, fmt.Sprintf("flywheel-%d-%d", os.Getpid(), groupNumber.Add(1)))
			if os.Mkdir(probe, 0o755) == nil {
				if found.Memory == "" && limitMemory(probe, 1<<30) {
					found.Memory = dir
				}
				if found.Tasks == "" && write(probe, "pids.max", "100") {
					found.Tasks = dir
				}
				os.Remove(probe)
			}
		}
	}
	return found
}

// sweep removes the groups that platforms left which were killed.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "flywheel-*-*"))
	for _, group := range left {
		pid := strings.Split(filepath.Base(group), "-")[1]
		if _, err := os.Stat("/proc/" + pid); os.IsNotExist(err) {
			os.Remove(group)
		}
	}
}

type hierarchy struct{ mount, dir string }

// hierarchies returns where this process is in each cgroup file system that can limit.
func hierarchies() (found []hierarchy) {
	own := map[string]string{} // controller, or "" for version 2 → path
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 {
			for _, controller := range strings.Split(parts[1], ",") {
				own[controller] = parts[2]
			}
		}
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(kind) < 3 {
			continue
		}
		controllers := []string{""}
		if kind[0] == "cgroup" {
			controllers = strings.Split(kind[2], ",")
		} else if kind[0] != "cgroup2" {
			continue
		}
		for _, controller := range controllers {
			path, ok := own[controller]
			if ok && (controller == "" || controller == "memory" || controller == "pids") {
				root, mount := place[3], place[4]
				found = append(found, hierarchy{mount, filepath.Join(mount, strings.TrimPrefix(path, root))})
			}
		}
	}
	return found
}

func write(dir, file, text string) bool {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	_, err = f.WriteString(text)
	return f.Close() == nil && err == nil
}

// counter returns the number after a name in a file of counters, 0 without one.
func counter(dir, file, name string) int64 {
	text, _ := os.ReadFile(filepath.Join(dir, file))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}
