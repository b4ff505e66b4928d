package supervisor

import (
	"io"
	"slices"
)

// lines hands every line of what is written to it to fn, with its end, which Close adds to the last one.
type lines struct {
	fn   func(line []byte)
	rest []byte
}

// longestLine bounds what is kept of a line that does not end; it is handed over in pieces.
const longestLine = 1 << 20

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := slices.Index(p, '\n')
		if i < 0 {
			break
		}
		l.fn(append(l.rest, p[:i+1]...))
		l.rest, p = l.rest[:0], p[i+1:]
	}
	l.rest = append(l.rest, p...)
	if len(l.rest) > longestLine {
		l.fn(l.rest)
		l.rest = l.rest[:0]
	}
	return n, nil
}

func (l *lines) Close() error {
	if len(l.rest) > 0 {
		l.fn(append(l.rest, '\n'))
		l.rest = nil
	}
	return nil
}

var _ io.WriteCloser = (*lines)(nil)
