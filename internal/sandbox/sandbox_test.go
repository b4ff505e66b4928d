package sandbox

import (
	"bytes"
	"context"
	"testing"
)

func TestACommandRunsAndItsOutputIsKept(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c, err := s.Command(context.Background(), Spec{Args: []string{"sh", "-c", "ls -l /proc/self/fd; grep -i fill /proc/self/status; exit 3"}, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Run()
	t.Log(err, out.String())
}

func BenchmarkStart(b *testing.B) {
	s, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := s.Command(context.Background(), Spec{Args: []string{"true"}})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Run(); err != nil {
			b.Fatal(err)
		}
	}
}
