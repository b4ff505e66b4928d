package local

import (
	"io/fs"
	"path/filepath"
	"sync"
	"time"
)

// Usage is what the agent's apps take of this machine.
type Usage struct {
	Processes map[Health]int `json:"processes"` // wanted ones, by how they do
	Restarts  int64          `json:"restarts"`  // of processes that ended by themselves, since the agent was started
	Artifacts int64          `json:"artifacts"` // bytes, when they were last measured
	Volumes   int64          `json:"volumes"`   // bytes
	Measured  time.Time      `json:"measured"`  // zero until the first time
}

// measureEvery is how often folders are measured at most: there are many files below them.
const measureEvery = 5 * time.Minute

// measurement keeps the bytes of folders, which are counted beside the work and only when somebody asks.
type measurement struct {
	mu      sync.Mutex
	running bool
	last    Usage
}

// usage returns what is known now and has the folders measured for the next time if that is due.
func (a *agent) usage() Usage {
	m := &a.measured
	m.mu.Lock()
	u := m.last
	if !m.running && time.Since(u.Measured) > measureEvery {
		m.running = true
		go func() {
			next := Usage{Artifacts: bytesBelow(filepath.Join(a.dir, "artifacts")), Volumes: bytesBelow(filepath.Join(a.dir, "volumes")), Measured: time.Now().UTC()}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.last, m.running = next, false
		}()
	}
	m.mu.Unlock()
	u.Restarts, u.Processes = a.restarts.Load(), map[Health]int{Healthy: 0, Progressing: 0, Degraded: 0, Missing: 0}
	for _, s := range a.list("") {
		for _, p := range s.Processes {
			u.Processes[p.Health]++
		}
	}
	return u
}

// bytesBelow returns how much the files below a folder hold. Those that vanish meanwhile do not count.
func bytesBelow(dir string) (used int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			used += info.Size()
		}
		return nil
	})
	return used
}
