package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob/memblob"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/pattern"
)

const (
	fewer   = 1000
	crowded = 10_000
	teams   = 40
	rounds  = 5
)

const wideManifest = `apiVersion: flywheel.dev/v1
kind: Pattern
metadata: {name: wide, title: Wide, owner: coe}
spec:
  variables:
    db_version: {control: team, enum: [%s]}
    instances:  {control: team, minimum: 1, maximum: 10, classes: {production: {minimum: 2}}}
    size:       {control: team, enum: [small, medium, large]}
    host:       {control: team, pattern: "^[a-z.]+$", maxLength: 60}
    vpc_id:     {control: coe}
  artifact: {variable: artifact}
  release: {driver: noop}
`

const wideModule = `variable "artifact" { type = string }
variable "db_version" { type = string }
variable "instances" { type = number }
variable "size" { type = string }
variable "host" { type = string }
variable "vpc_id" {
  type    = string
  default = ""
}
`

// blast measures how long it takes until the blast radius of a pattern change is known: what its interface
// and bounds make of every live instance, stored, counted by outcome, class and team, with the first page.
func (b *bench) blast(ctx context.Context) error {
	if err := b.blastOn(ctx, "SQLite", func() (string, func(), error) {
		dir, err := b.folder("db")
		return filepath.Join(dir, "flywheel.db"), func() {}, err
	}); err != nil {
		return err
	}
	base := os.Getenv("FLYWHEEL_TEST_DATABASE_URL")
	if base == "" {
		return nil
	}
	return b.blastOn(ctx, "PostgreSQL", func() (string, func(), error) { return freshPostgres(ctx, base) })
}

func (b *bench) blastOn(ctx context.Context, engine string, fresh func() (string, func(), error)) error {
	few, _, _, err := b.blastOf(ctx, fresh, fewer)
	if err != nil {
		return err
	}
	many, spent, shown, err := b.blastOf(ctx, fresh, crowded)
	if err != nil {
		return err
	}
	b.atMost(fmt.Sprintf("%s: blast radius of a pattern change, %d instances", engine, crowded), millis(many), 1000, "ms")
	b.note("  processor time of it, in this program", millis(spent), "ms")
	b.note(fmt.Sprintf("  the same, %d instances", fewer), millis(few), "ms")
	b.note(fmt.Sprintf("  %d / %d instances (tenfold is linear)", crowded, fewer), float64(many)/float64(few), "×")
	b.note("  shown again from what is stored", millis(shown), "ms")
	return nil
}

// blastOf returns the median time from a known interface to the counts and the first page, its processor
// time, and the time of showing both again.
func (b *bench) blastOf(ctx context.Context, fresh func() (string, func(), error), n int) (known, spent, shown time.Duration, err error) {
	database, drop, err := fresh()
	if err != nil {
		return 0, 0, 0, err
	}
	defer drop()
	d, err := db.Open(ctx, database)
	if err != nil {
		return 0, 0, 0, err
	}
	defer d.Close()
	dir, err := b.folder("blast")
	if err != nil {
		return 0, 0, 0, err
	}
	patterns := &pattern.Service{DB: d, Blobs: memblob.OpenBucket(nil), Dir: filepath.Join(dir, "patterns")}
	v, err := addPattern(ctx, d, patterns, filepath.Join(dir, "wide"), map[string]string{"pattern.yaml": fmt.Sprintf(wideManifest, `"15", "16"`), "main.tf": wideModule})
	if err != nil {
		return 0, 0, 0, err
	}
	if err := populate(ctx, d, v, n); err != nil {
		return 0, 0, 0, err
	}
	narrow := filepath.Join(dir, "narrow")
	if err := os.MkdirAll(narrow, 0o700); err != nil {
		return 0, 0, 0, err
	}
	for name, text := range map[string]string{"pattern.yaml": fmt.Sprintf(wideManifest, `"16"`), "main.tf": wideModule + "variable \"region\" { type = string }\n"} {
		if name == "pattern.yaml" {
			text = strings.Replace(text, "    vpc_id:", "    region:     {control: coe}\n    vpc_id:", 1)
		}
		if err := os.WriteFile(filepath.Join(narrow, name), []byte(text), 0o600); err != nil {
			return 0, 0, 0, err
		}
	}
	next, err := patterns.Propose(ctx, "wide", narrow)
	if err != nil {
		return 0, 0, 0, err
	}
	s := &certify.Service{DB: d, Changes: &change.Service{DB: d, Log: b.log}, Log: b.log}
	var first, work, second []time.Duration
	for revision := 1; revision <= rounds; revision++ {
		c := change.Change{ID: "chg_blast", Kind: change.OfPattern, Subject: "wide", Revision: revision}
		if err := d.Write(ctx, func(tx *db.Tx) error { return checking(tx, c) }); err != nil {
			return 0, 0, 0, err
		}
		began, used := time.Now(), cpu()
		if err := s.Foresee(ctx, c, next); err != nil {
			return 0, 0, 0, err
		}
		found, err := s.Get(ctx, c)
		if err != nil {
			return 0, 0, 0, err
		}
		first, work = append(first, time.Since(began)), append(work, cpu()-used)
		if r := found.Radius; r.Instances != n || r.Outcomes[certify.NeedsValue] != n/2 || r.Outcomes[certify.OutOfBounds] != n/4 || len(r.Teams) != teams {
			return 0, 0, 0, fmt.Errorf("the blast radius is %+v", r)
		}
		began = time.Now()
		if _, err := s.Get(ctx, c); err != nil {
			return 0, 0, 0, err
		}
		second = append(second, time.Since(began))
	}
	return median(first), median(work), median(second), nil
}

// populate makes n live instances: half of them in prod and half in staging, where the new value is given;
// every other one on the database version that the new bounds exclude.
func populate(ctx context.Context, d *db.DB, v pattern.Version, n int) error {
	for _, e := range []app.Environment{{Name: "staging", Class: "staging", Values: map[string]any{"region": "eu"}}, {Name: "prod", Class: "production", After: "staging"}} {
		if _, err := (&app.Service{DB: d}).SaveEnvironment(ctx, e, true, ""); err != nil {
			return err
		}
	}
	return d.Write(account.System(ctx, "bench"), func(tx *db.Tx) error {
		for i := range n {
			name := fmt.Sprintf("app-%d", i/2)
			if i%2 == 0 {
				if _, err := tx.Exec(`insert into app (id, name, title, team, state, pin, description, created_by, created_at)
					values ($1, $2, $2, $3, 'active', '{}', '{}', '', $4)`, db.NewID("app"), name, fmt.Sprintf("team-%d", i/2%teams), tx.Now()); err != nil {
					return err
				}
			}
			instance, err := app.EnsureInstance(tx, name, []string{"staging", "prod"}[i%2])
			if err != nil {
				return err
			}
			runs := app.Desired{Pattern: "wide", Version: v.Version, Digest: v.Digest, Artifact: fmt.Sprintf("sha256:%064x", i), Variables: map[string]any{
				"db_version": []string{"15", "16"}[i/2%2], "instances": 2 + i%5, "size": "medium", "host": fmt.Sprintf("shop.%c.example", 'a'+i%26),
			}}
			if err := app.Arrive(tx, &instance, runs, "", ""); err != nil {
				return err
			}
		}
		return nil
	})
}

// checking stores a change of a pattern of which a revision is being checked.
func checking(tx *db.Tx, c change.Change) error {
	_, err := tx.Exec(`insert into change (id, kind, subject, team, branch, title, body, state, why, remedy, lane, reasons, effects, revision, head, main,
		merged, story, needs, reverts, revert, fix, opener, authors, merge_requested, released, proposal, opened_at, updated_at)
		values ($1,$2,$3,'','','','','checking','','','pattern','[]','[]',$4,'','','','','','','','','','[]',false,'','null',$5,$5)
		on conflict (id) do update set revision = excluded.revision`, c.ID, c.Kind, c.Subject, c.Revision, tx.Now())
	return err
}
