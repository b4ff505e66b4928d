package change

import (
	"fmt"
	"strings"

	"flywheel.dev/flywheel/internal/manifest"
)

// weaker returns how a change of flywheel.yaml lets an app be tested less than main does, a sentence each: its build
// moves to an outer CI, whose word is taken for it, or a command that tests it goes or becomes another one. What comes
// after a command with && can only make it stricter.
func weaker(main, merged *manifest.App) (texts []string) {
	note := func(format string, args ...any) { texts = append(texts, fmt.Sprintf(format, args...)) }
	switch old, new := main.Build.Outer, merged.Build.Outer; {
	case old == "" && new != "":
		note("the outer CI %s builds and tests it from now on: what it says is believed", new)
	case old != new && new != "":
		note("the outer CI that builds and tests it changes from %s to %s", old, new)
	case old != "" && new == "" && merged.Test.Command == "":
		note("the outer CI %s tests it no longer, and spec.test.command is empty", old)
	}
	for _, t := range []struct{ field, old, new string }{
		{"spec.test.command", main.Test.Command, merged.Test.Command},
		{"spec.test.smoke", main.Test.Smoke, merged.Test.Smoke},
	} {
		old, new := strings.TrimSpace(t.old), strings.TrimSpace(t.new)
		switch {
		case old == "" || stricter(old, new):
		case t.field == "spec.test.command" && main.Build.Outer == "" && merged.Build.Outer != "": // said above
		case new == "":
			note("%s is taken out, before it was %q", t.field, old)
		default:
			note("%s becomes %q, before it was %q", t.field, new, old)
		}
	}
	return texts
}

// stricter reports whether the new command fails wherever the old one does.
func stricter(old, new string) bool {
	more, begins := strings.CutPrefix(new, old)
	if more = strings.TrimSpace(more); !begins || more == "" {
		return new == old
	}
	next, and := strings.CutPrefix(more, "&&")
	return and && !strings.ContainsAny(strings.ReplaceAll(next, "&&", ""), ";|&\n\r`")
}
