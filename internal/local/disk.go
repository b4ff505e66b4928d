package local

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"flywheel.dev/flywheel/internal/sandbox"
)

// DefaultHomeMB is how much the home of one process may hold.
const DefaultHomeMB = 1024

// disks is what the last look at volumes and homes found.
type disks struct {
	folders map[string]*sandbox.Folders // by their path
	over    map[string]string           // id of a volume → what is wrong with it
}

// watchDisks looks at what volumes and homes hold, and has the processes that fill them stopped: the disk is
// everybody's. Looking takes at most a twentieth of the time.
func (a *agent) watchDisks() {
	for pause := time.Second; sleep(a.ctx, pause); {
		began := time.Now()
		a.lookAtDisks()
		pause = max(time.Second, 20*time.Since(began))
	}
}

func (a *agent) lookAtDisks() {
	a.mu.Lock()
	last, starting := a.disks, slices.Clone(a.starting)
	services := make([]*service, 0, len(a.services))
	for _, id := range sortedKeys(a.services) {
		services = append(services, a.services[id])
	}
	a.mu.Unlock()
	processes := starting
	for _, s := range services {
		s.mu.Lock()
		processes = append(processes, s.fleet.processes...)
		s.mu.Unlock()
	}
	now := disks{map[string]*sandbox.Folders{}, map[string]string{}}
	measure := func(dir string) (int64, error) {
		if now.folders[dir] = last.folders[dir]; now.folders[dir] == nil {
			now.folders[dir] = &sandbox.Folders{}
		}
		return now.folders[dir].Measure(dir)
	}
	looked := map[string]bool{}
	for _, p := range processes {
		for _, target := range sortedKeys(p.service.Volumes) {
			id := p.service.Volumes[target]
			if !looked[id] {
				looked[id] = true
				var v Volume
				if a.store.load("volumes", id, &v) != nil {
					continue // it went away meanwhile
				}
				used, err := measure(a.volumePath(id))
				if why := tooFull(used, v.SizeMB, err); why != "" {
					now.over[id] = fmt.Sprintf("its volume %s %s: give it a larger size_mb, or have the app keep less", v.Name, why)
				}
			}
			if why := now.over[id]; why != "" {
				p.stopFull(why, false)
			}
		}
		used, err := measure(a.home(p.id))
		if why := tooFull(used+p.removed(), a.options.HomeMB, err); why != "" {
			p.stopFull(fmt.Sprintf("its home %s: have the app write less there, or to a volume", why), true)
		}
	}
	a.mu.Lock()
	a.disks = now
	a.mu.Unlock()
}

// tooFull says what is wrong with a folder that may hold so much, "" if nothing is.
func tooFull(used int64, limitMB int, err error) string {
	switch {
	case err != nil:
		return "hides what it holds"
	case used > int64(limitMB)<<20:
		return fmt.Sprintf("holds %d MB and may hold %d MB", (used+1<<20-1)>>20, limitMB)
	}
	return ""
}

// overfull is why a process is stopped that fills the disk.
type overfull struct {
	why  string
	home bool // its own home is full, which is emptied before it begins again
}

// stopFull ends a process that fills the disk.
func (p *process) stopFull(why string, home bool) {
	select {
	case p.full <- overfull{why, home}:
	default: // it knows
	}
}

// room returns an error as long as a volume of the service holds more than it may: nothing starts that would fill it
// further.
func (a *agent) room(s Service) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, target := range sortedKeys(s.Volumes) {
		if why := a.disks.over[s.Volumes[target]]; why != "" {
			return errors.New(why)
		}
	}
	return nil
}

// removed returns the bytes of files that the process removed and keeps open.
func (p *process) removed() int64 {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return 0
	}
	return cmd.Removed()
}
