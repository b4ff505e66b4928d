package deploy

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
)

func write(t *testing.T, d *db.DB, fn func(tx *db.Tx) error) {
	t.Helper()
	if err := d.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func addApp(t *testing.T, d *db.DB, name, team string) {
	t.Helper()
	write(t, d, func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at)
			values ($1, $2, $2, $3, 'active', '{}', '{}', '', $4)`, db.NewID("app"), name, team, tx.Now())
		return err
	})
}

func TestPagesOfAListShowEachDeploymentOnce(t *testing.T) {
	d := dbtest.Open(t)
	s := &Service{DB: d}
	addApp(t, d, "storefront", "shop")
	addApp(t, d, "billing", "finance")
	number := int64(0)
	admit := func(app string) (id string) {
		write(t, d, func(tx *db.Tx) error {
			number++
			id = db.NewID("dpl")
			return insert(tx, Deployment{ID: id, App: app, Environment: "prod", Instance: "ins_" + app, Number: number, State: Waiting, CreatedAt: tx.Now()})
		})
		return id
	}
	var want []string // all of them within one second
	for i := range 60 {
		if i%3 > 0 {
			admit("billing")
			continue
		}
		want = append([]string{admit("storefront")}, want...)
	}
	ctx := account.With(t.Context(), account.Actor{ID: "usr_1", Teams: map[string]account.Role{"shop": account.Viewer}})
	var got []string
	f := Filter{Limit: 7}
	for {
		page, err := s.List(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page {
			got = append(got, p.ID)
			f.Before = p.ID
		}
		if len(page) < f.Limit {
			break
		}
		admit("storefront") // what comes in between belongs to a first page
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the pages show\n%s\nnot\n%s", got, want)
	}
}

// history fills the table with what was deployed long ago, and with what waits.
func history(t *testing.T, d *db.DB, many int) {
	t.Helper()
	write(t, d, func(tx *db.Tx) error {
		_, err := tx.Exec(`with recursive n (i) as (select 1 union all select i + 1 from n where i < `+fmt.Sprint(many)+`)
			insert into deployment (id, app, environment, instance, number, change, trigger_kind, kind, state, reason, desired, previous, fence, plan, plan_digest, destroys, shown, releases, cancelled_by, evidence, created_by, created_at, started_at, finished_at, was)
			select 'dpl_' || i, 'app-' || (i % 100), 'prod', 'ins-' || (i % 100), i, 'chg_' || i, 'change', 'release', case when i % 10 = 3 then 'waiting' else 'succeeded' end, '', '{}', '{}', 1, 'null', '',
				'[]', 'null', 0, '', '[]', '', $1, $1, $1, '' from n`, tx.Now())
		return err
	})
	if d.Postgres() {
		write(t, d, func(tx *db.Tx) error { _, err := tx.Exec(`analyze deployment`); return err })
	}
}

var indexed = regexp.MustCompile(`Index Cond: .* = `)

func TestNoQueryReadsTheWholeHistory(t *testing.T) {
	d := dbtest.Open(t)
	history(t, d, 20_000)
	queries := map[string][]any{
		selectWaiting: {"ins-7", 1}, selectInState: {"running"}, selectUnwanted: {},
		`select coalesce(max(number), 0) + 1 from deployment where instance = $1`: {"ins-7"},
		selectSucceeded: {"ins-7"}, selectBefore: {"ins-7", int64(9007)},
	}
	for _, f := range []Filter{
		{}, {App: "app-7"}, {App: "app-7", Environment: "prod"}, {App: "app-7", State: Running}, {State: Running}, {State: Held}, {Change: "chg_7"},
	} {
		for _, before := range []string{"", "dpl_7"} {
			f.Before, f.Limit = before, 50
			query, args := f.query()
			queries[query] = args
		}
	}
	for query, args := range queries {
		write(t, d, func(tx *db.Tx) error {
			plan, err := db.Collect(tx, func(r db.Row) (line string, err error) {
				var a, b, c any
				if tx.Postgres() {
					return line, r.Scan(&line)
				}
				return line, r.Scan(&a, &b, &c, &line)
			}, map[bool]string{true: "explain ", false: "explain query plan "}[tx.Postgres()]+query, args...)
			text := strings.Join(plan, "\n")
			// Sorted, or looked for by what the query asks for and not along all ids.
			sorts := strings.Contains(text, "TEMP B-TREE") || strings.Contains(text, "Sort")
			finds := strings.Contains(text, "SEARCH deployment") || indexed.MatchString(text) || !strings.Contains(query, " = ")
			if err == nil && (sorts || !finds) {
				t.Errorf("%s %v\n%s", query, args, text)
			}
			return err
		})
	}
}
