package pattern_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/pattern"
	"flywheel.dev/flywheel/internal/web"
)

// Plain Terraform and OpenTofu, as found on PATH, fetch a certified version over TLS with a token.
func TestPlainTerraformUsesAPatternAsAModule(t *testing.T) {
	c := newCatalogue(t)
	c.create()
	first := c.publish(files(), "")
	c.publish(files("main.tf", module+"output \"more\" { value = 1 }\n"), "")
	if _, err := c.Move(as(t, olga), "web-service", "1.0.0", pattern.Deprecated); err != nil {
		t.Fatal(err)
	}
	server, err := web.New(web.Options{
		DB: c.DB, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(r *http.Request) (context.Context, string, error) {
			switch r.Header.Get("Authorization") {
			case "":
				return r.Context(), "", nil
			case "Bearer danas-token":
				return account.With(r.Context(), dana), dana.ID, nil
			}
			return nil, "", fault.New(fault.Unauthenticated, "token.unknown", "This token is not known.")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Routes(server.API)
	h := httptest.NewTLSServer(server)
	t.Cleanup(h.Close)
	host := strings.TrimPrefix(h.URL, "https://")
	get := func(path, token string) (int, http.Header) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", h.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := h.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode, response.Header
	}
	base := "/v1/modules/patterns/web-service/flywheel"
	_, answer := get(base+"/1.0.0/download", "danas-token")
	archive := answer.Get("X-Terraform-Get")
	_, answer = get(base+"/1.1.0/download", "danas-token")
	other := strings.Split(answer.Get("X-Terraform-Get"), "/")[4]
	digest := strings.TrimPrefix(first.Digest, "sha256:")
	for _, x := range []struct {
		path, token string
		status      int
	}{
		{base + "/versions", "", 401}, {base + "/versions", "nobodys", 401}, {base + "/versions", "danas-token", 200},
		{"/v1/modules/patterns/nothing/flywheel/versions", "danas-token", 404},
		{base + "/1.0.0/download", "", 401}, {base + "/1.0.0/download", "danas-token", 204}, {base + "/9.0.0/download", "danas-token", 404},
		{archive, "", 200},
		{"/v1/modules/archives/" + digest + ".tar.gz", "", 404},
		{"/v1/modules/archives/ABCDEFGHIJKLMNOPQRSTUVWXYZ/" + digest + ".tar.gz", "", 404},
		{"/v1/modules/archives/" + other + "/" + digest + ".tar.gz", "", 404},
	} {
		if status, _ := get(x.path, x.token); status != x.status {
			t.Errorf("%s with %q answers %d, not %d", x.path, x.token, status, x.status)
		}
	}

	err = c.DB.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec("update module_ticket set until = $1", tx.Now().Add(-time.Second))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := get(archive, ""); status != 404 {
		t.Errorf("a ticket that is over answers %d", status)
	}

	dir := t.TempDir()
	certificate := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(dir, "cli.tfrc")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "credentials %q {\n  token = \"danas-token\"\n}\n", host), 0o600); err != nil {
		t.Fatal(err)
	}
	engines := 0
	for _, engine := range []string{"terraform", "tofu"} {
		program, err := exec.LookPath(engine)
		if err != nil {
			continue
		}
		engines++
		t.Run(engine, func(t *testing.T) {
			work := t.TempDir()
			main := fmt.Sprintf("module \"shop\" {\n  source   = \"%s/patterns/web-service/flywheel\"\n  version  = \"~> 1.0\"\n  artifact = \"a\"\n}\n", host)
			if err := os.WriteFile(filepath.Join(work, "main.tf"), []byte(main), 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience.Of(patience.Limit))
			defer cancel()
			cmd := exec.CommandContext(ctx, program, "init", "-no-color", "-input=false")
			cmd.Dir = work
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SSL_CERT_FILE=" + certificate, "TF_CLI_CONFIG_FILE=" + settings, "CHECKPOINT_DISABLE=1"}
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			text, err := os.ReadFile(filepath.Join(work, ".terraform/modules/shop/main.tf"))
			if err != nil || !strings.Contains(string(text), `output "more"`) {
				t.Errorf("it did not get 1.1.0: %v\n%s", err, text)
			}
		})
	}
	if engines == 0 {
		t.Fatal("There is neither terraform nor tofu on PATH. Run `make tofu`.")
	}
}
