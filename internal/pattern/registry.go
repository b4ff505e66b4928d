package pattern

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"gocloud.dev/gcerrors"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

// registry serves the module registry protocol, so that plain Terraform and OpenTofu use a certified
// pattern as a module: source = "flywheel.example.com/patterns/web-service/flywheel". The engines ask for
// it over HTTPS only, so a proxy with TLS stands in front.
//
// The engines send their token when they ask for versions, but not when they fetch the archive: for that an
// authenticated answer gives them a ticket.
func (s *Service) registry(api *web.API) {
	api.Router.Get("/.well-known/terraform.json", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"modules.v1": "/v1/modules/"})
	})
	module := "/v1/modules/patterns/{pattern}/flywheel"
	handle := func(route string, do func(w http.ResponseWriter, r *http.Request) error) {
		api.Router.Get(route, func(w http.ResponseWriter, r *http.Request) {
			ctx, _, err := api.Authenticate(r)
			if err == nil {
				err = do(w, r.WithContext(ctx))
			}
			if err != nil {
				web.Fail(w, r, err)
			}
		})
	}
	handle(module+"/versions", s.registryVersions)
	handle(module+"/{version}/download", s.registryDownload)
	api.Router.Get("/v1/modules/archives/{ticket}/{digest}.tar.gz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.registryArchive(r.Context(), chi.URLParam(r, "ticket"), chi.URLParam(r, "digest"), w); err != nil {
			web.Fail(w, r, err)
		}
	})
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // the reader may be gone
}

type registryVersion struct {
	Version     string               `json:"version"`
	Deprecation *registryDeprecation `json:"deprecation,omitempty"`
}

type registryDeprecation struct {
	Reason string `json:"reason"`
}

func (s *Service) registryVersions(w http.ResponseWriter, r *http.Request) error {
	p, err := s.Get(r.Context(), chi.URLParam(r, "pattern"))
	if err != nil {
		return err
	}
	list := []registryVersion{}
	for _, v := range p.Versions {
		one := registryVersion{Version: v.Version}
		if v.State == Deprecated {
			one.Deprecation = &registryDeprecation{"This version is deprecated; move to a recommended one."}
			if p.Recommended != "" {
				one.Deprecation.Reason = "This version is deprecated; " + p.Recommended + " is recommended."
			}
		}
		if v.State.Deployable() {
			list = append(list, one)
		}
	}
	answer(w, map[string]any{"modules": []any{map[string]any{"versions": list}}})
	return nil
}

func (s *Service) registryDownload(w http.ResponseWriter, r *http.Request) error {
	v, err := s.GetVersion(r.Context(), chi.URLParam(r, "pattern"), chi.URLParam(r, "version"))
	if err != nil {
		return err
	}
	if !v.State.Deployable() {
		return missingVersion(v.Pattern + " " + v.Version)
	}
	ticket := rand.Text()
	err = s.DB.Write(r.Context(), func(tx *db.Tx) error { return saveTicket(tx, hashOf(ticket), v.Digest, tx.Now().Add(ticketLasts)) })
	if err != nil {
		return err
	}
	w.Header().Set("X-Terraform-Get", "/v1/modules/archives/"+ticket+"/"+strings.TrimPrefix(v.Digest, "sha256:")+".tar.gz")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ticketLasts is how long what a download answered can be fetched.
const ticketLasts = 10 * time.Minute

func hashOf(ticket string) string {
	sum := sha256.Sum256([]byte(ticket))
	return hex.EncodeToString(sum[:])
}

// registryArchive hands out the module to whoever has a ticket for it. To know its digest, which stands in many
// logs, is not enough.
func (s *Service) registryArchive(ctx context.Context, ticket, digest string, w http.ResponseWriter) error {
	digest = "sha256:" + digest
	var v Version
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if err = checkTicket(tx, hashOf(ticket), digest); err == nil {
			v, err = byDigest(tx, digest)
		}
		return err
	})
	if err != nil {
		return err
	}
	if !v.State.Deployable() {
		return missingVersion(digest)
	}
	content, err := s.Blobs.NewReader(ctx, key(v.Digest), nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fault.New(fault.Unavailable, "pattern.content_missing", "The content of %s %s is not in the blob store.", v.Pattern, v.Version).Do("Restore the folder blobs from a backup.")
	}
	if err != nil {
		return err
	}
	defer content.Close()
	w.Header().Set("Content-Type", "application/gzip")
	_, _ = io.Copy(w, content) // the reader may be gone
	return nil
}
