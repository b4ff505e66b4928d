package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"sort"
	"strings"
	"sync"
)

// shortest is the length from which a value can be kept out of logs without making them unreadable;
// shorter values are refused when they are set.
const shortest = 4

// Redactor takes secret values out of text. It also knows them as base64, in JSON and in URLs; a value
// of several lines is taken out line by line.
type Redactor struct{ replacer *strings.Replacer }

// NewRedactor returns a redactor for these values.
func NewRedactor(values ...string) *Redactor {
	set := map[string]bool{}
	add := func(v string) {
		if len(v) >= shortest {
			set[v] = true
		}
	}
	for _, value := range values {
		for line := range strings.SplitSeq(value, "\n") {
			line = strings.TrimSpace(line)
			add(line)
			add(url.QueryEscape(line))
			add(url.PathEscape(line))
		}
		quoted, _ := json.Marshal(value) // a string never fails
		add(strings.Trim(string(quoted), `"`))
		add(base64.StdEncoding.EncodeToString([]byte(value)))
		add(base64.URLEncoding.EncodeToString([]byte(value)))
		add(strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(value)), "="))
	}
	list := make([]string, 0, len(set))
	for v := range set {
		list = append(list, v)
	}
	// The longest first: of two values that begin alike, the whole of the longer must go.
	sort.Slice(list, func(i, j int) bool { return len(list[i]) > len(list[j]) })
	pairs := make([]string, 0, 2*len(list))
	for _, v := range list {
		pairs = append(pairs, v, "[secret]")
	}
	return &Redactor{strings.NewReplacer(pairs...)}
}

// Redact returns text without the secrets.
func (r *Redactor) Redact(text string) string {
	if r == nil {
		return text
	}
	return r.replacer.Replace(text)
}

// Writer returns a writer that passes whole lines on to w without the secrets. Close passes on what is
// left of an unfinished line; it does not close w.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser { return &redacting{r: r, w: w} }

// longestLine bounds the memory that a stream without line ends can take.
const longestLine = 1 << 20

type redacting struct {
	mu  sync.Mutex
	r   *Redactor
	w   io.Writer
	buf bytes.Buffer
}

func (x *redacting) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.buf.Write(p)
	end := bytes.LastIndexByte(x.buf.Bytes(), '\n') + 1
	if end == 0 && x.buf.Len() > longestLine {
		end = x.buf.Len()
	}
	if end > 0 {
		if _, err := io.WriteString(x.w, x.r.Redact(string(x.buf.Next(end)))); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (x *redacting) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, err := io.WriteString(x.w, x.r.Redact(string(x.buf.Next(x.buf.Len()))))
	return err
}
