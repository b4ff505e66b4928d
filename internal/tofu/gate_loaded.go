package tofu

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// loaded compares what the engine has found to load, as init wrote it down, with what the gate reads: every
// module of the pattern must be one that the gate follows. What was downloaded is judged here, because it
// could not be read before.
func loaded(module, data string, allow Allow) ([]Problem, error) {
	text, err := os.ReadFile(filepath.Join(data, "modules", "modules.json"))
	if os.IsNotExist(err) {
		return nil, nil // it uses no module
	}
	if err != nil {
		return nil, err
	}
	var list struct {
		Modules []struct{ Key, Source, Dir string }
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("the engine's list of modules: %w", err)
	}
	g := newGate(module, Allow{})
	g.module(".")
	unread := newGate(module, Allow{})
	problems := []Problem{}
	for _, l := range list.Modules {
		dir := l.Dir
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(module, dir)
		}
		if inside, ok := lies(module, dir); ok && g.folders[inside] {
			continue
		}
		if _, ok := lies(filepath.Join(data, "modules"), dir); !ok {
			unread.refuse("unread", hcl.Range{}, "The engine loads %q from %s, which the gate has not read.", l.Source, l.Dir)
			continue
		}
		d := newGate(dir, allow)
		d.downloaded = true
		d.module(".")
		for _, p := range d.found() {
			p.File = strings.Trim(l.Key+"/"+p.File, "/")
			problems = append(problems, p)
		}
	}
	return append(unread.found(), problems...), nil
}

// lies returns the path from one folder to another that lies in it.
func lies(folder, dir string) (string, bool) {
	rel, err := filepath.Rel(folder, dir)
	rel = filepath.ToSlash(rel)
	return rel, err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
