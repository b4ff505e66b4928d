package runlog

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestASecretIsHiddenEvenWhenItArrivesInTwoPieces(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	w, err := s.Open("dpl_1", "hunter2hunter2")
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{"password=hunter2", "hunter2 ok\n", "last line"} {
		if _, err := w.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Read(t.Context(), "dpl_1", &out, false, nil); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Contains(got, "hunter2") || !strings.Contains(got, "password=(sensitive) ok") || !strings.Contains(got, "last line") {
		t.Errorf("the log says %q", got)
	}
}

func TestALogIsFollowedToItsEnd(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	looked := 0
	over := func() bool {
		looked++
		if looked == 2 { // written between two looks: must still be seen
			w, err := s.Open("run")
			if err != nil {
				t.Error(err)
				return true
			}
			w.Write([]byte("the end\n"))
			w.Close()
		}
		return looked > 2
	}
	var out bytes.Buffer
	if err := s.Read(context.Background(), "run", &out, true, over); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "the end") {
		t.Errorf("the log says %q", out.String())
	}
}

func TestANameCannotLeaveTheFolder(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	if _, err := s.Open("../key"); err == nil {
		t.Error("a log outside its folder was opened")
	}
	if err := s.Read(t.Context(), "../key", &bytes.Buffer{}, false, nil); err == nil {
		t.Error("a file outside the folder was read")
	}
}
