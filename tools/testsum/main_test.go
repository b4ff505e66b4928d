package main

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
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
