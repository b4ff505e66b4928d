package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"flywheel.dev/flywheel/internal/fault"
)

// pages serves the built pages. Every path that is not a file is index.html, whose script knows the
// path. Files under assets/ carry a hash in their name and are kept by browsers forever; all others
// are asked for again each time.
type pages struct {
	files fs.FS
	cache sync.Map // path → *asset; the set of files is fixed, so it cannot grow beyond them
}

type asset struct {
	kind    string
	tag     string
	plain   []byte
	brotli  []byte // if the build made it
	gzipped []byte // if it is worth it
}

func ui(files fs.FS) http.Handler { return &pages{files: files} }

func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	hashed := strings.HasPrefix(name, "assets/")
	a := p.load(name)
	if a == nil && hashed {
		Fail(w, r, fault.New(fault.NotFound, "request.path", "There is nothing at %s.", r.URL.Path))
		return
	}
	if a == nil {
		name = "index.html"
		if a = p.load(name); a == nil {
			Fail(w, r, fault.New(fault.NotFound, "ui.not_built", "The pages are not part of this build.").
				Do("Build them with make build, or use the API and the command line."))
			return
		}
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", a.tag)
	if hashed {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	if r.Header.Get("If-None-Match") == a.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	content, encodings := a.plain, r.Header.Get("Accept-Encoding")
	switch {
	case a.brotli != nil && accepts(encodings, "br"):
		content = a.brotli
		h.Set("Content-Encoding", "br")
	case a.gzipped != nil && accepts(encodings, "gzip"):
		content = a.gzipped
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method != http.MethodHead {
		w.Write(content)
	}
}

// load returns a file, compressed once, or nil if there is none of that name.
func (p *pages) load(name string) *asset {
	if p.files == nil || name == "" || strings.HasSuffix(name, ".br") || strings.HasPrefix(path.Base(name), ".") {
		return nil
	}
	if a, ok := p.cache.Load(name); ok {
		return a.(*asset)
	}
	file, err := p.files.Open(name)
	if err != nil {
		return nil
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.IsDir() {
		return nil
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return nil
	}
	a := &asset{kind: mime.TypeByExtension(path.Ext(name)), plain: content, tag: ETag(string(content))}
	if a.kind == "" {
		a.kind = http.DetectContentType(content)
	}
	if len(content) > 1024 && !strings.HasPrefix(a.kind, "image/png") && !strings.HasPrefix(a.kind, "font/woff2") {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // a valid level never fails
		z.Write(content)
		z.Close()
		if b.Len() < len(content) {
			a.gzipped = b.Bytes()
		}
		a.brotli, _ = fs.ReadFile(p.files, name+".br")
	}
	p.cache.Store(name, a)
	return a
}

// accepts reports whether an Accept-Encoding header allows an encoding.
func accepts(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, quality, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), encoding) {
			quality = strings.ReplaceAll(quality, " ", "")
			return quality != "q=0" && quality != "q=0.0"
		}
	}
	return false
}
