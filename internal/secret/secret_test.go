package secret_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gocloud.dev/secrets"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/secret"
	"flywheel.dev/flywheel/internal/web"
)

func keeper(t *testing.T, where string) *secrets.Keeper {
	t.Helper()
	k, err := secret.OpenKeeper(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func open(t *testing.T) (*db.DB, *secret.Service) {
	t.Helper()
	d := dbtest.Open(t)
	s := secret.New(d, keeper(t, filepath.Join(t.TempDir(), "keys", "secret.key")))
	s.Team = func(tx *db.Tx, app, environment string) (string, error) {
		if app != "" && app != "storefront" && app != "billing" {
			return "", fault.Missing("app", app)
		}
		if environment != "prod" {
			return "", fault.Missing("environment", environment)
		}
		return map[string]string{"storefront": "shop", "billing": "money"}[app], nil
	}
	return d, s
}

func as(t *testing.T, role account.Role) context.Context {
	return account.With(t.Context(), account.Actor{ID: "usr_1", Name: "ada", Teams: map[string]account.Role{"shop": role}})
}

func TestASecretIsResolvedButNeverShown(t *testing.T) {
	d, s := open(t)
	ctx := as(t, account.Developer)
	const first, second = "hunter2-first-value", "hunter2-second-value"
	for i, value := range []string{first, second} {
		made, err := s.Set(ctx, "storefront", "prod", "PAYMENT_KEY", value)
		if err != nil || made.Version != int64(i+1) {
			t.Fatal(made, err)
		}
	}
	values, err := s.Resolve(ctx, "storefront", "prod")
	if err != nil || len(values) != 1 || values["PAYMENT_KEY"] != second {
		t.Fatal(values, err)
	}
	list, err := s.List(ctx, "storefront", "prod", "", 50)
	if err != nil || len(list) != 1 || list[0].Version != 2 || list[0].UpdatedBy != "ada" {
		t.Fatal(list, err)
	}
	t.Run("it stands in no table", func(t *testing.T) {
		if err := event.Number(ctx, d); err != nil {
			t.Fatal(err)
		}
		for _, query := range []string{
			"select count(*) from secret where value like '%' || $1 || '%'", "select count(*) from event where data like '%' || $1 || '%'",
			"select count(*) from audit where subject || reason like '%' || $1 || '%'",
		} {
			for _, needle := range []string{"hunter2", base64.StdEncoding.EncodeToString([]byte("hunter2"))[:8]} {
				var n int64
				err := d.Read(ctx, func(tx *db.Tx) error { return tx.QueryRow(query, needle).Scan(&n) })
				if err != nil || n != 0 {
					t.Error(query, needle, n, err)
				}
			}
		}
	})
	t.Run("one that is not set is named", func(t *testing.T) {
		if _, err := s.Resolve(ctx, "storefront", "prod", "PAYMENT_KEY", "OTHER"); !fault.Is(err, "secret.missing") {
			t.Error(err)
		}
	})
	t.Run("a row copied to another app cannot be read there", func(t *testing.T) {
		err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(`insert into secret (app, environment, name, version, value, actor, updated_at)
				select 'billing', environment, name, version, value, actor, updated_at from secret`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Resolve(ctx, "billing", "prod"); !fault.Is(err, "secret.key") {
			t.Error(err)
		}
	})
	t.Run("another key cannot read it", func(t *testing.T) {
		other := secret.New(d, keeper(t, filepath.Join(t.TempDir(), "other.key")))
		if _, err := other.Resolve(ctx, "storefront", "prod"); !fault.Is(err, "secret.key") || strings.Contains(err.Error(), "hunter2") {
			t.Error(err)
		}
	})
	t.Run("deleted, it is gone", func(t *testing.T) {
		if err := s.Delete(ctx, "storefront", "prod", "PAYMENT_KEY"); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(ctx, "storefront", "prod", "PAYMENT_KEY"); !fault.Is(err, "secret.not_found") {
			t.Error(err)
		}
	})
}

func TestWhoMaySetASecret(t *testing.T) {
	_, s := open(t)
	for _, c := range []struct {
		role             account.Role
		app, environment string
		code             string
	}{
		{account.Developer, "storefront", "prod", ""},
		{account.Viewer, "storefront", "prod", "permission.denied"},
		{account.Owner, "billing", "prod", "app.not_found"},
		{account.Owner, "ghost", "prod", "app.not_found"},
		{account.Owner, "storefront", "moon", "environment.not_found"},
	} {
		_, err := s.Set(as(t, c.role), c.app, c.environment, "KEY", "long enough")
		if c.code == "" && err != nil || c.code != "" && !fault.Is(err, c.code) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := s.Set(as(t, account.Owner), "storefront", "prod", "KEY", "abc"); !fault.Is(err, "secret.value") {
		t.Error(err)
	}
}

func TestWhoMaySetASecretOfAnEnvironment(t *testing.T) {
	d, s := open(t)
	const value = "hunter2-of-the-cloud"
	coe := account.With(t.Context(), account.Actor{ID: "usr_2", Name: "olga", Disciplines: []string{account.Operations}})
	admin := account.With(t.Context(), account.Actor{ID: "usr_3", Name: "root", Admin: true})
	for _, c := range []struct {
		who         context.Context
		environment string
		code        string
	}{
		{coe, "prod", ""},
		{admin, "prod", ""},
		{coe, "moon", "environment.not_found"},
		{as(t, account.Owner), "prod", "permission.denied"},
		{as(t, account.Owner), "moon", "permission.denied"},
		{t.Context(), "prod", "session.missing"},
	} {
		_, err := s.Set(c.who, "", c.environment, "CLOUD_KEY", value)
		if c.code == "" && err != nil || c.code != "" && !fault.Is(err, c.code) {
			t.Errorf("set in %s: %v, want %q", c.environment, err, c.code)
		}
	}
	if list, err := s.List(coe, "", "prod", "", 50); err != nil || len(list) != 1 || list[0].Version != 2 || list[0].UpdatedBy != "root" {
		t.Errorf("the Center of Excellence sees its names: %+v, %v", list, err)
	}
	if list, err := s.List(as(t, account.Owner), "", "prod", "", 50); !fault.Is(err, "permission.denied") {
		t.Errorf("a team sees %+v, %v", list, err)
	}
	if values, err := s.Resolve(t.Context(), "", "prod", "CLOUD_KEY"); err != nil || values["CLOUD_KEY"] != value {
		t.Error(values, err)
	}
	if values, err := s.Resolve(t.Context(), "storefront", "prod"); err != nil || len(values) != 0 {
		t.Errorf("an app gets what belongs to the environment: %v, %v", values, err)
	}
	if err := s.Delete(as(t, account.Owner), "", "prod", "CLOUD_KEY"); !fault.Is(err, "permission.denied") {
		t.Error(err)
	}
	// Copied to an app, whose team could have it sent to itself, it cannot be read.
	err := d.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into secret (app, environment, name, version, value, actor, updated_at)
			select 'storefront', environment, name, version, value, actor, updated_at from secret`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve(t.Context(), "storefront", "prod"); !fault.Is(err, "secret.key") {
		t.Error(err)
	}
	if err := s.Delete(coe, "", "prod", "CLOUD_KEY"); err != nil {
		t.Error(err)
	}
	if _, err := s.Resolve(t.Context(), "", "prod", "CLOUD_KEY"); !fault.Is(err, "secret.missing") {
		t.Error(err)
	}
}

func TestNoOperationShowsAValue(t *testing.T) {
	d, s := open(t)
	server, err := web.New(web.Options{
		DB: d, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(r *http.Request) (context.Context, string, error) {
			return account.With(r.Context(), account.From(as(t, account.Developer))), "usr_1", nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Routes(server.API)
	const place = "/api/v1/apps/storefront/environments/prod/secrets"
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", place + "/PAYMENT_KEY", `{"value":"hunter2-value"}`, 200},
		{"GET", place, "", 200},
		{"GET", place + "?limit=1&cursor=%21", "", 422},
		{"PUT", place + "/PAYMENT_KEY", `{"value":["hunter2-value"]}`, 422},
		{"PUT", place + "/PAYMENT_KEY", `{"value":"hunter2-value"`, 400},
		{"PUT", place + "/PAYMENT_KEY", `{"walue":"hunter2-value"}`, 422},
		{"PUT", place + "/1-bad", `{"value":"hunter2-value"}`, 422},
		{"GET", place + "/PAYMENT_KEY", "", 405},
		{"DELETE", place + "/PAYMENT_KEY", "", 204},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code != c.status || strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
}

func TestTheKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "secret.key")
	t.Run("is made once, even by two at the same time, and only its owner may read it", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := secret.OpenKeeper(t.Context(), path); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatal(info, err)
		}
		cipher, err := keeper(t, path).Encrypt(t.Context(), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := keeper(t, path).Decrypt(t.Context(), cipher); err != nil || string(plain) != "x" {
			t.Error(plain, err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) != 0 {
			t.Error(left)
		}
	})
	t.Run("open to others, damaged or unknown is refused", func(t *testing.T) {
		os.Chmod(path, 0o644)
		if _, err := secret.OpenKeeper(t.Context(), path); !fault.Is(err, "secret.key_open") {
			t.Error(err)
		}
		os.Chmod(path, 0o600)
		os.WriteFile(path, []byte("zzz"), 0o600)
		if _, err := secret.OpenKeeper(t.Context(), path); !fault.Is(err, "secret.key_damaged") {
			t.Error(err)
		}
		if _, err := secret.OpenKeeper(t.Context(), "vault9://x"); !fault.Is(err, "secret.keeper") {
			t.Error(err)
		}
	})
	t.Run("may be a URL", func(t *testing.T) {
		keeper(t, "base64key://smGbjm71Nxd1Ig5FS0wj9SlbzAIrnolCz9bQQ6uAhl4=")
	})
}
