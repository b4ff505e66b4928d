package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
)

func TestEnvironmentsAreArrangedByWhatTheyComeAfter(t *testing.T) {
	list := []Environment{{Name: "prod", After: "staging"}, {Name: "dev"}, {Name: "staging", After: "dev"}, {Name: "lab"}}
	if err := arrange(list); err != nil {
		t.Fatal(err)
	}
	order := []string{}
	for _, e := range InOrder(list) {
		order = append(order, fmt.Sprint(e.Name, e.Order))
	}
	if got := strings.Join(order, " "); got != "dev1 lab1 staging2 prod3" {
		t.Errorf("order %s", got)
	}
}

func TestACircleOfEnvironmentsIsNamed(t *testing.T) {
	for name, list := range map[string][]Environment{
		"itself": {{Name: "prod", After: "prod"}},
		"two":    {{Name: "prod", After: "staging"}, {Name: "staging", After: "prod"}},
		"beside": {{Name: "dev"}, {Name: "a1", After: "a2"}, {Name: "a2", After: "a3"}, {Name: "a3", After: "a2"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := arrange(list)
			if !fault.Is(err, "environment.cycle") || !strings.Contains(err.Error(), " after ") {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := arrange([]Environment{{Name: "prod", After: "nowhere"}}); !fault.Is(err, "environment.after_unknown") {
		t.Errorf("got %v", err)
	}
}

func TestWhatMeansTheSameIsTheSame(t *testing.T) {
	for _, tt := range []struct {
		a, b any
		same bool
	}{
		{3, 3.0, true}, {uint64(3), 3, true}, {3, "3", false}, {nil, map[string]any{}, true}, {[]any{1, 2}, []any{1.0, 2.0}, true}, {[]any{1, 2}, []any{2, 1}, false},
		{map[string]any{"a": 1}, map[string]any{"a": 1.0}, true}, {true, "true", false}, {nil, "", false},
	} {
		if SameValue(tt.a, tt.b) != tt.same {
			t.Errorf("%#v and %#v: same is not %v", tt.a, tt.b, tt.same)
		}
	}
}

func TestATeamCannotSetAValueOfTheEnvironment(t *testing.T) {
	d := Description{Pin: Pin{Pattern: "web-service", Version: "1.0.0", Digest: "sha256:one"}, Source: "sha256:code",
		Environments: map[string]manifest.Values{"prod": {"instances": 2, "vpc_id": "mine"}}}
	e := Environment{Name: "prod", Values: map[string]any{"vpc_id": "theirs"}}
	got := d.Desired(e, "sha256:artifact")
	if got.Variables["vpc_id"] != "theirs" || got.Variables["instances"] != 2 || d.Environments["prod"]["vpc_id"] != "mine" {
		t.Errorf("%+v of %+v", got, d)
	}
	if !d.Desired(Environment{Name: "staging"}, "sha256:artifact").IsZero() {
		t.Error("an environment that is not selected has a desired state")
	}
	other := got
	other.Artifact, other.Source = "sha256:newer", "sha256:newer"
	if !got.SameInfrastructure(other) || got.Hash() == other.Hash() || got.Hash() != d.Desired(e, "sha256:artifact").Hash() {
		t.Error("an artifact is no infrastructure, but it is part of what an approval binds to")
	}
}

func TestANameFitsIntoAURLAHostAndAFolder(t *testing.T) {
	for _, good := range []string{"ab", "storefront", "web-2", strings.Repeat("a", 40)} {
		if err := CheckName("app", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a", "Shop", "-shop", "shop-", "a--b", "../x", "a b", "2nd", "schön", strings.Repeat("a", 41), "shop\n"} {
		if err := CheckName("app", bad); !fault.Is(err, "app.name_invalid") || !strings.Contains(err.Error(), "of an app") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestASkeletonIsFilledWithTheAppsOwnWords(t *testing.T) {
	files := map[string][]byte{
		"flywheel.yaml":     []byte("name: {{name}} team: {{team}} pattern: {{pattern}} {{version}}\n{{environments}}\n"),
		"src/page.html":     []byte("{{name}} and {{title}}\n"),
		"cmd/{{name}}.conf": []byte("team={{team}}"),
		"logo.png":          {0, '{', '{', 'n', 'a', 'm', 'e', '}', '}'},
		"latin.txt":         {0xe9, '{', '{', 'n', 'a', 'm', 'e', '}', '}'},
	}
	files, err := Fill(files, Create{Name: "storefront", Team: "shop", Pattern: "web-service", Version: "~1.4", Environments: []string{"staging", "prod"}})
	if got := string(files["flywheel.yaml"]); got != "name: storefront team: shop pattern: web-service ~1.4\n    staging: {}\n    prod: {}\n" {
		t.Errorf("filled in: %s", got)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"src/page.html": "storefront and {{title}}\n", "cmd/storefront.conf": "team=shop", "logo.png": "\x00{{name}}", "latin.txt": "\xe9{{name}}",
	} {
		if got := string(files[name]); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	_, err = Fill(map[string][]byte{"{{name}}": nil, "storefront": nil}, Create{Name: "storefront"})
	if !fault.Is(err, "pattern.skeleton_names") {
		t.Errorf("two files of one name: %v", err)
	}
}

func TestWhoEditsAnEnvironmentThatSomebodyElseChangedIsRefused(t *testing.T) {
	s := &Service{DB: dbtest.Open(t)}
	sam := account.With(t.Context(), account.Actor{ID: "usr_sam", Name: "sam", Disciplines: []string{"security"}})
	olga := account.With(t.Context(), account.Actor{ID: "usr_olga", Name: "olga", Disciplines: []string{"operations"}})
	read, err := s.SaveEnvironment(sam, Environment{Name: "staging", Class: "staging"}, true, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SaveEnvironment(sam, Environment{Name: "prod", Class: "production", After: "staging"}, true, ""); err != nil {
		t.Fatal(err)
	}
	edited := read
	edited.Values = map[string]any{"vpc_id": "vpc-1"}
	if edited, err = s.SaveEnvironment(olga, edited, false, read.etag()); err != nil {
		t.Fatalf("that another environment was made meanwhile is in the way: %v", err)
	}
	read.Network = true
	if _, err := s.SaveEnvironment(sam, read, false, read.etag()); !fault.Is(err, "edit.stale") || !strings.HasPrefix(err.Error(), "olga has changed this") {
		t.Errorf("sam, who read it before olga changed it, is told: %v", err)
	}
	now, err := s.GetEnvironment(sam, "staging")
	if err != nil || now.Network || now.UpdatedBy != "olga" || now.etag() != edited.etag() {
		t.Errorf("%+v, %v", now, err)
	}
	if _, err := s.SaveEnvironment(sam, now, false, now.etag()); err != nil {
		t.Errorf("who read it anew is refused: %v", err)
	}
}

func TestOnlyAnAdminTakesAnEnvironmentWithAppsOutOfProduction(t *testing.T) {
	s := &Service{DB: dbtest.Open(t)}
	olga := account.With(t.Context(), account.Actor{ID: "usr_olga", Name: "olga", Disciplines: []string{"operations"}})
	root := account.With(t.Context(), account.Actor{ID: "usr_root", Name: "root", Admin: true})
	save := func(ctx context.Context, class string, create bool) error {
		_, err := s.SaveEnvironment(ctx, Environment{Name: "prod", Class: class}, create, "")
		return err
	}
	if err := errors.Join(save(olga, "production", true), save(olga, "staging", false), save(olga, "production", false)); err != nil {
		t.Fatalf("an environment without apps: %v", err)
	}
	err := s.DB.Write(olga, func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at) values ('app_1','shop','','shop','active','{}',$1,'',$2)`,
			`{"environments":{"prod":{}}}`, time.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range []string{"staging", "development"} {
		if err := save(olga, class, false); !fault.Is(err, "environment.production") {
			t.Errorf("by the Center of Excellence to %s: %v", class, err)
		}
	}
	if err := errors.Join(save(olga, "production", false), save(root, "staging", false)); err != nil {
		t.Errorf("by an admin: %v", err)
	}
}

func TestADeletedEnvironmentLeavesNoSecretsAndNoWaiversToALaterOneOfItsName(t *testing.T) {
	s := &Service{DB: dbtest.Open(t)}
	sam := account.With(t.Context(), account.Actor{ID: "usr_sam", Name: "sam", Disciplines: []string{"security"}})
	for _, e := range []Environment{{Name: "staging", Class: "staging"}, {Name: "prod", Class: "production", After: "staging"}} {
		if _, err := s.SaveEnvironment(sam, e, true, ""); err != nil {
			t.Fatal(err)
		}
	}
	write := func(sql string, args ...any) {
		t.Helper()
		if err := s.DB.Write(sam, func(tx *db.Tx) error { _, err := tx.Exec(sql, args...); return err }); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	write(`insert into app (id, name, title, team, state, pin, description, created_by, created_at) values ('app_1','shop','','shop','active','{}',$1,'',$2)`,
		`{"environments":{"prod":{}}}`, now)
	write(`insert into secret (app, environment, name, version, value, actor, updated_at) values ('','prod','key',1,'','',$1), ('','staging','key',1,'','',$1)`, now)
	for id, state := range map[string]WaiverState{"wvr_1": Granted, "wvr_2": Requested, "wvr_3": Declined} {
		write(`insert into waiver (id, app, environment, variable, value, bound, reason, state, until, asked_by, asked_name, created_at, updated_at)
			values ($1,'shop','prod','x','1','','',$2,$3,'','',$4,$4)`, id, state, now.Add(time.Hour), now)
	}
	for name, code := range map[string]string{"staging": "environment.has_next", "prod": "environment.in_use", "lab": "environment.not_found"} {
		if err := s.DeleteEnvironment(sam, name); !fault.Is(err, code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if remedy := fault.From(s.DeleteEnvironment(sam, "staging")).Remedy; !strings.HasSuffix(remedy, "flywheel environment update prod --after ''") {
		t.Errorf("the way out is %q", remedy)
	}
	if err := s.DeleteEnvironment(account.With(t.Context(), account.Actor{ID: "usr_dana", Name: "dana"}), "prod"); !fault.Is(err, "permission.denied") {
		t.Error(err)
	}
	write(`update app set description = '{}'`)
	write(`insert into instance (id, app, environment, state, deployed, updated_at) values ('ins_1','shop','prod','degraded','{}',$1)`, now)
	if err := s.DeleteEnvironment(sam, "prod"); !fault.Is(err, "environment.in_use") { // main does not select it, and it still runs there
		t.Error(err)
	}
	write(`update instance set state = 'removed'`)
	if err := s.DeleteEnvironment(sam, "prod"); err != nil {
		t.Fatal(err)
	}
	err := s.DB.Read(sam, func(tx *db.Tx) error {
		secrets, err := db.Collect(tx, func(r db.Row) (name string, err error) { return name, r.Scan(&name) }, `select environment from secret`)
		if err != nil || !slices.Equal(secrets, []string{"staging"}) {
			t.Errorf("secrets of %v, %v", secrets, err)
		}
		waivers, err := Waivers(tx, "shop")
		for _, w := range waivers {
			want := map[string]WaiverState{"wvr_1": Revoked, "wvr_2": Declined, "wvr_3": Declined}[w.ID]
			if w.State != want || w.InForce || (w.EndedAt != nil) != (want == Revoked) {
				t.Errorf("%+v", w)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
