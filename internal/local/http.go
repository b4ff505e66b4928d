package local

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

// apiVersion is the version of the agent's HTTP API. A server that finds an agent with another one says
// so; it never replaces an agent, and thereby the apps, on its own.
const apiVersion = 2

// AgentHealth is what an agent says about itself.
type AgentHealth struct {
	API      int    `json:"api"`     // version of its HTTP API
	Version  string `json:"version"` // of the binary it was started from
	Pid      int    `json:"pid"`
	Services int    `json:"services"`
}

const (
	fenceHeader    = "Flywheel-Fence"
	instanceHeader = "Flywheel-Instance" // whose services and volumes the request may name
)

// routes is the agent's whole API. Whoever can open its socket may use all of it.
func (a *agent) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, verb func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r = r.WithContext(web.ForRequest(r.Context(), r.Header.Get(web.RequestHeader)))
			if r.Method != http.MethodGet {
				a.log.InfoContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path)
			}
			answer, err := verb(r)
			a.answer(w, r, answer, err)
		})
	}
	handle("GET /v1/health", func(*http.Request) (any, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return AgentHealth{API: apiVersion, Version: a.options.Version, Pid: os.Getpid(), Services: len(a.services)}, nil
	})
	handle("GET /v1/usage", func(*http.Request) (any, error) { return a.usage(), nil })
	handle("POST /v1/stop", func(*http.Request) (any, error) {
		a.stopping()
		return nil, nil
	})
	handle("GET /v1/artifacts/{digest}", func(r *http.Request) (any, error) {
		digest := r.PathValue("digest")
		if err := a.artifacts.settle(r.Context(), digest); err != nil {
			return nil, err
		}
		if !a.artifacts.has(digest) {
			return nil, artifactMissing(digest)
		}
		return nil, nil
	})
	handle("PUT /v1/artifacts/{digest}", func(r *http.Request) (any, error) {
		err := a.artifacts.put(r.Context(), r.PathValue("digest"), r.Body)
		// A client that still sends would lose the answer with the connection.
		io.Copy(io.Discard, io.LimitReader(r.Body, 2*maxArtifactBytes))
		return nil, err
	})
	handle("PUT /v1/secrets/{instance}", func(r *http.Request) (any, error) {
		values, err := decode[map[string]string](r)
		if err != nil {
			return nil, err
		}
		return nil, a.putSecrets(r.PathValue("instance"), values, fenceOf(r))
	})
	handle("POST /v1/instances/{instance}/cancel", func(r *http.Request) (any, error) {
		return nil, a.cancel(r.PathValue("instance"), fenceOf(r))
	})
	handle("GET /v1/addresses", func(r *http.Request) (any, error) {
		return a.addresses(instanceOf(r)), nil
	})
	handle("GET /v1/services", func(r *http.Request) (any, error) {
		return a.list(r.FormValue("instance")), nil
	})
	handle("POST /v1/services", func(r *http.Request) (any, error) {
		service, err := decode[Service](r)
		if err != nil {
			return nil, err
		}
		return a.apply(service, fenceOf(r))
	})
	handle("POST /v1/services/{id}/release", func(r *http.Request) (any, error) {
		body, err := decode[releaseRequest](r)
		if err != nil {
			return nil, err
		}
		return a.release(instanceOf(r), r.PathValue("id"), body, fenceOf(r))
	})
	handle("POST /v1/services/{id}/prepare", func(r *http.Request) (any, error) {
		body, err := decode[struct{ Artifact string }](r)
		if err != nil {
			return nil, err
		}
		return nil, a.prepare(instanceOf(r), r.PathValue("id"), body.Artifact)
	})
	handle("GET /v1/services/{id}", func(r *http.Request) (any, error) {
		return a.get(instanceOf(r), r.PathValue("id"))
	})
	handle("DELETE /v1/services/{id}", func(r *http.Request) (any, error) {
		return nil, a.delete(instanceOf(r), r.PathValue("id"), fenceOf(r))
	})
	mux.HandleFunc("GET /v1/services/{id}/logs", func(w http.ResponseWriter, r *http.Request) {
		s, err := a.own(instanceOf(r), r.PathValue("id"))
		if err != nil {
			a.answer(w, r, nil, err)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		s.log.copyTo(r.Context(), flushing{w}, r.FormValue("follow") == "true")
	})
	handle("GET /v1/volumes", func(r *http.Request) (any, error) {
		return a.listVolumes(r.FormValue("instance"))
	})
	handle("POST /v1/volumes", func(r *http.Request) (any, error) {
		volume, err := decode[Volume](r)
		if err != nil {
			return nil, err
		}
		return a.applyVolume(volume, fenceOf(r))
	})
	handle("GET /v1/volumes/{id}", func(r *http.Request) (any, error) {
		return a.ownVolume(instanceOf(r), r.PathValue("id"))
	})
	handle("DELETE /v1/volumes/{id}", func(r *http.Request) (any, error) {
		return nil, a.deleteVolume(instanceOf(r), r.PathValue("id"), fenceOf(r))
	})
	return mux
}

// releaseRequest is the body of a release.
type releaseRequest struct {
	Artifact string            `json:"artifact"`
	Secrets  map[string]string `json:"secrets"` // of the instance, by their names
}

// wireFault is a fault on its way to the client.
type wireFault struct {
	Kind    fault.Kind    `json:"kind"`
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Remedy  string        `json:"remedy,omitempty"`
	Fields  []fault.Field `json:"fields,omitempty"`
}

func (a *agent) answer(w http.ResponseWriter, r *http.Request, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		f := fault.From(err)
		a.log.WarnContext(r.Context(), "a request failed", "method", r.Method, "path", r.URL.Path, "code", f.Code, "error", err, "cause", f.Unwrap())
		w.WriteHeader(http.StatusUnprocessableEntity) // the kind is in the body; the client reads nothing else
		json.NewEncoder(w).Encode(wireFault{f.Kind, f.Code, f.Message, f.Remedy, f.Fields})
		return
	}
	if answer == nil {
		answer = struct{}{}
	}
	json.NewEncoder(w).Encode(answer)
}

func decode[T any](r *http.Request) (T, error) {
	var value T
	if err := json.NewDecoder(io.LimitReader(r.Body, 8<<20)).Decode(&value); err != nil {
		return value, fault.New(fault.Invalid, "agent.malformed", "The request cannot be read.").
			Do("Use a server and an agent of the same version.").Because(err)
	}
	return value, nil
}

func instanceOf(r *http.Request) string { return r.Header.Get(instanceHeader) }

func fenceOf(r *http.Request) int64 {
	fence, _ := strconv.ParseInt(r.Header.Get(fenceHeader), 10, 64)
	return fence
}

// flushing sends each write at once.
type flushing struct{ http.ResponseWriter }

func (w flushing) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	http.NewResponseController(w.ResponseWriter).Flush()
	return n, err
}
