package main

import (
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/patience"
)

func TestTheSummarySaysWhatRan(t *testing.T) {
	for _, c := range []struct {
		name, events string
		want         tally
		ok           bool
	}{
		{"tests that pass", `{"Action":"pass","Package":"a","Test":"T"}
{"Action":"skip","Package":"a","Test":"U"}
{"Action":"pass","Package":"a"}
{"Action":"skip","Package":"b"}
`, tally{1, 0, 1}, true},
		{"a test that fails", `{"Action":"fail","Package":"a","Test":"T"}
{"Action":"fail","Package":"a"}
`, tally{0, 1, 0}, false},
		{"a package that does not build", `{"Action":"build-fail","ImportPath":"a"}
{"Action":"fail","Package":"a"}
{"Action":"pass","Package":"b","Test":"T"}
{"Action":"pass","Package":"b"}
`, tally{1, 1, 0}, false},
		{"a package whose tests never run", `{"Action":"output","Package":"a","Output":"testing: warning: no tests to run\n"}
{"Action":"pass","Package":"a"}
{"Action":"pass","Package":"b","Test":"T"}
{"Action":"pass","Package":"b"}
`, tally{1, 0, 0}, false},
		{"a test whose program dies", `{"Action":"pass","Package":"a","Test":"T"}
{"Action":"output","Package":"a","Test":"U","Output":"panic"}
{"Action":"fail","Package":"a"}
`, tally{1, 1, 0}, false},
		{"nothing at all", "", tally{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := read(strings.NewReader(c.events), io.Discard); got != c.want || ok != c.ok {
				t.Errorf("got %v %v, want %v %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestATotalWithAFailureFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tally")
	for _, counts := range []tally{{5, 0, 1}, {2, 0, 0}} {
		if err := add(file, "on SQLite", counts); err != nil {
			t.Fatal(err)
		}
	}
	if code := sum(file); code != 0 {
		t.Error("a good total fails")
	}
	if err := add(file, "pages", tally{0, 1, 0}); err != nil {
		t.Fatal(err)
	}
	if code := sum(file); code == 0 {
		t.Error("a bad total passes")
	}
}

func TestARunThatHangsIsEndedAndFails(t *testing.T) {
	var out strings.Builder
	hanging := exec.Command("sh", "-c", `echo '{"Action":"pass","Package":"a","Test":"T"}'; trap 'exit 2' QUIT; sleep 600 & wait`)
	counts, ok := run(hanging, 300*time.Millisecond, &out)
	if ok || counts.passed != 1 || !strings.Contains(out.String(), "the run hangs") {
		t.Errorf("got %v %v and %q", counts, ok, out.String())
	}
}

func TestARunThatSpeaksIsNotEnded(t *testing.T) {
	speaking := exec.Command("sh", "-c", `for i in 1 2 3; do echo '{"Action":"pass","Package":"a","Test":"T"}'; sleep 0.1; done; echo '{"Action":"pass","Package":"a"}'`)
	if counts, ok := run(speaking, patience.Of(time.Minute), io.Discard); !ok || counts.passed != 3 {
		t.Errorf("got %v %v", counts, ok)
	}
}

func TestARunThatEndsWithAnErrorFails(t *testing.T) {
	failing := exec.Command("sh", "-c", `echo '{"Action":"pass","Package":"a","Test":"T"}'; echo '{"Action":"pass","Package":"a"}'; exit 1`)
	if _, ok := run(failing, patience.Of(time.Minute), io.Discard); ok {
		t.Error("it passed")
	}
}
