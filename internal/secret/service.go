package secret

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"gocloud.dev/secrets"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/redact"
	"flywheel.dev/flywheel/internal/web"
)

// Service keeps the secrets of apps and environments.
type Service struct {
	db     *db.DB
	keeper *secrets.Keeper

	// Team returns the team of an app, none for no app, or a fault.Missing if the app or the environment is
	// not known. Apps come later in the order of packages. Without it no app is known.
	Team func(tx *db.Tx, app, environment string) (string, error)
}

// New returns the secrets of a database.
func New(d *db.DB, keeper *secrets.Keeper) *Service { return &Service{db: d, keeper: keeper} }

// sealed is what is encrypted.
type sealed struct {
	App         string `json:"app"`
	Environment string `json:"environment"`
	Name        string `json:"name"`
	Value       string `json:"value"`
}

// Set gives a secret a value, new or again. What runs keeps the old value until its next deployment.
func (s *Service) Set(ctx context.Context, app, environment, name, value string) (secret Secret, err error) {
	if len(value) < redact.Shortest || strings.IndexByte(value, 0) >= 0 {
		return secret, fault.New(fault.Invalid, "secret.value", "A secret has at least %d characters and no NUL.", redact.Shortest).
			Do("Choose a longer one: a shorter one could be guessed and could not be kept out of logs.").At("body.value", "at least %d characters", redact.Shortest)
	}
	// Encrypted first: a keeper may be a service on the network, and a transaction must not wait for it.
	cipher, err := s.keeper.Encrypt(ctx, []byte(db.JSON(sealed{app, environment, name, value})))
	if err != nil {
		return secret, fault.New(fault.Unavailable, "secret.keeper", "The keeper of secrets does not answer.").Do("Try again.").Because(err)
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := s.require(tx, manage(app), app, environment); err != nil {
			return err
		}
		actor := account.From(ctx)
		secret = Secret{Name: name, UpdatedAt: tx.Now(), UpdatedBy: actor.Name}
		touch(tx, app)
		err := tx.QueryRow(`insert into secret (app, environment, name, version, value, actor, updated_at) values ($1, $2, $3, 1, $4, $5, $6)
			on conflict (app, environment, name) do update set version = secret.version + 1, value = excluded.value,
			actor = excluded.actor, updated_at = excluded.updated_at returning version`,
			app, environment, name, base64.StdEncoding.EncodeToString(cipher), actor.Name, tx.Now()).Scan(&secret.Version)
		if err != nil {
			return err
		}
		return record(tx, "set", app, environment, name)
	})
	return secret, err
}

// List returns what may be known about the secrets of an app in an environment, by name, after a cursor.
func (s *Service) List(ctx context.Context, app, environment, after string, limit int) (list []Secret, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		see := account.ViewApp
		if app == "" {
			see = account.ViewCredentials
		}
		if err := s.require(tx, see, app, environment); err != nil {
			return err
		}
		list, err = db.Collect(tx, func(row db.Row) (x Secret, err error) {
			err = row.Scan(&x.Name, &x.Version, &x.UpdatedAt, &x.UpdatedBy)
			return x, err
		}, "select name, version, updated_at, actor from secret where app = $1 and environment = $2 and name > $3 order by name limit $4", app, environment, after, limit)
		return err
	})
	return list, err
}

// Delete removes a secret.
func (s *Service) Delete(ctx context.Context, app, environment, name string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if err := s.require(tx, manage(app), app, environment); err != nil {
			return err
		}
		touch(tx, app)
		n, err := tx.Exec("delete from secret where app = $1 and environment = $2 and name = $3", app, environment, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return fault.Missing("secret", name)
		}
		return record(tx, "deleted", app, environment, name)
	})
}

// touch tells the pages that secrets of an app have changed, or without an app those of an environment, which only
// those see who see everything. Of which name is not said: no page shows one alone.
func touch(tx *db.Tx, app string) { web.Touch(tx, web.Topic{Noun: web.NounSecret, App: app}) }

// DeleteAll removes the secrets of an app in one environment, or in all when it is empty, together with what the
// app ran there: in its transaction and on the decision that released the removal.
func DeleteAll(tx *db.Tx, app, environment string) error {
	touch(tx, app)
	_, err := tx.Exec("delete from secret where app = $1 and (environment = $2 or $2 = '')", app, environment)
	return err
}

// Resolve returns the values of the named secrets, or of all when none is named. It asks for no
// permission: only what starts a process calls it, and passes the values to nothing else.
func (s *Service) Resolve(ctx context.Context, app, environment string, names ...string) (map[string]string, error) {
	type row struct{ name, value string }
	var rows []row
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		rows, err = db.Collect(tx, func(r db.Row) (x row, err error) {
			err = r.Scan(&x.name, &x.value)
			return x, err
		}, "select name, value from secret where app = $1 and environment = $2", app, environment)
		return err
	})
	if err != nil {
		return nil, err
	}
	stored := make(map[string]string, len(rows))
	for _, r := range rows {
		stored[r.name] = r.value
	}
	if len(names) == 0 {
		for name := range stored {
			names = append(names, name)
		}
	}
	values := make(map[string]string, len(names))
	for _, name := range names {
		text, ok := stored[name]
		if !ok && app == "" {
			return nil, fault.New(fault.Conflict, "secret.missing", "The environment %s has no secret %q.", environment, name).
				Do("Somebody of the Center of Excellence sets it: flywheel environment secret set %s %s.", environment, name)
		}
		if !ok {
			return nil, fault.New(fault.Conflict, "secret.missing", "%s has no secret %q in %s.", app, name, environment).
				Do("Set it: flywheel secret set %s %s %s.", app, environment, name)
		}
		if values[name], err = s.open(ctx, text, app, environment, name); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// Has reports whether a secret is set.
func Has(tx *db.Tx, app, environment, name string) (bool, error) {
	var n int64
	err := tx.QueryRow("select count(*) from secret where app = $1 and environment = $2 and name = $3", app, environment, name).Scan(&n)
	return n > 0, err
}

func (s *Service) open(ctx context.Context, text, app, environment, name string) (string, error) {
	damaged := fault.New(fault.Unavailable, "secret.key", "The secret %q of %s cannot be decrypted with this key.", name, place(app, environment)).
		Do("Restore the key that belongs to this database, or set the secret anew.")
	cipher, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", damaged.Because(err)
	}
	plain, err := s.keeper.Decrypt(ctx, cipher)
	if err != nil {
		return "", damaged.Because(err)
	}
	var x sealed
	if err := json.Unmarshal(plain, &x); err != nil || x.App != app || x.Environment != environment || x.Name != name {
		return "", damaged
	}
	return x.Value, nil
}

func (s *Service) require(tx *db.Tx, p account.Permission, app, environment string) error {
	if s.Team == nil {
		return fault.Missing("app", app)
	}
	if app == "" {
		if err := account.From(tx.Context()).Require(p, ""); err != nil {
			return err
		}
		_, err := s.Team(tx, app, environment)
		return err
	}
	team, err := s.Team(tx, app, environment)
	if err != nil {
		return err
	}
	return account.From(tx.Context()).RequireOf(p, team, "app", app)
}

// manage is the permission to set and delete what belongs there.
func manage(app string) account.Permission {
	if app == "" {
		return account.ManageEnvironments
	}
	return account.ManageSecrets
}

// place names where a secret belongs.
func place(app, environment string) string {
	if app == "" {
		return environment
	}
	return app + "/" + environment
}

func record(tx *db.Tx, predicate, app, environment, name string) error {
	of := event.OfSecret{App: app, Environment: environment, Name: name}
	var told event.Fact = event.SecretSet{OfSecret: of}
	if predicate == "deleted" {
		told = event.SecretDeleted{OfSecret: of}
	}
	if err := event.Emit(tx, told); err != nil {
		return err
	}
	return account.Audit(tx, account.Entry{
		Action: "secret." + map[string]string{"set": "set", "deleted": "delete"}[predicate], Subject: place(app, environment) + "/" + name, Decision: "done",
	})
}
