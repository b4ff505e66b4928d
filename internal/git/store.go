package git

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
)

const newCommitLimit = 10_000 // commits one push may bring

// record notes who moves a branch and which commits that brings, before the branch moves: a crash in
// between names one author too many, never one too few.
func (h *Host) record(ctx context.Context, r Repo, ref, new string) error {
	if h.DB == nil || h.Person == nil {
		return nil
	}
	person := h.Person(ctx)
	if person == "" {
		return nil
	}
	heads, err := h.Heads(ctx, r) // not what the pusher claims to be there
	if err != nil {
		return err
	}
	old := heads[strings.TrimPrefix(ref, "refs/heads/")]
	var brought []string
	if new != zeroOID {
		out, err := h.git(ctx, h.dir(r), nil, "rev-list", "--max-count="+strconv.Itoa(newCommitLimit+1), new, "--not", "--branches", "--tags")
		if err != nil {
			return err
		}
		brought = strings.Fields(string(out))
	}
	if len(brought) > newCommitLimit {
		return fault.New(fault.TooLarge, "git.too_many_commits", "The push brings more than %d new commits.", newCommitLimit).
			Do("Push an older commit of the branch first, then the rest.")
	}
	return h.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into git_push (id, repo, ref, old_commit, new_commit, person, at) values ($1,$2,$3,$4,$5,$6,$7)`,
			db.NewID("psh"), r.String(), ref, old, new, person, tx.Now())
		if err != nil {
			return err
		}
		return insertCommits(tx, r, person, brought)
	})
}

func insertCommits(tx *db.Tx, r Repo, person string, commits []string) error {
	for part := range slices.Chunk(commits, 500) {
		var values []string
		args := []any{r.String(), person}
		for i, sha := range part {
			values = append(values, fmt.Sprintf("($1,$%d,$2)", i+3))
			args = append(args, sha)
		}
		_, err := tx.Exec(`insert into git_commit (repo, sha, person) values `+strings.Join(values, ",")+
			` on conflict (repo, sha, person) do nothing`, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// Pushers returns the ids of the people whom rule of change 10 counts as authors of a branch besides
// its opener: who pushed to it since it was made, and who first brought a commit that it has and main
// has not, by whatever branch. head may be "" if the branch is gone.
func (h *Host) Pushers(ctx context.Context, r Repo, branch, head string) ([]string, error) {
	var commits []string
	if head != "" {
		if err := h.commits(ctx, r, &head); err != nil {
			return nil, err
		}
		out, err := h.git(ctx, h.dir(r), nil, "rev-list", "--max-count="+strconv.Itoa(10*newCommitLimit), head, "^refs/heads/"+Main)
		if err != nil {
			return nil, err
		}
		commits = strings.Fields(string(out))
	}
	people := []string{}
	err := h.DB.Read(ctx, func(tx *db.Tx) error {
		var err error
		people, err = pushers(tx, r, "refs/heads/"+branch, commits)
		return err
	})
	return people, err
}

func pushers(tx *db.Tx, r Repo, ref string, commits []string) ([]string, error) {
	person := func(row db.Row) (p string, err error) { return p, row.Scan(&p) }
	people, err := db.Collect(tx, person, `select distinct person from git_push where repo = $1 and ref = $2 and not exists (
		select 1 from git_push made where made.repo = $1 and made.ref = $2 and made.old_commit = '' and made.at > git_push.at)`, r.String(), ref)
	if err != nil {
		return nil, err
	}
	for part := range slices.Chunk(commits, 500) {
		var places []string
		args := []any{r.String()}
		for i, sha := range part {
			places = append(places, fmt.Sprintf("$%d", i+2))
			args = append(args, sha)
		}
		more, err := db.Collect(tx, person, `select distinct person from git_commit where repo = $1 and sha in (`+strings.Join(places, ",")+`)`, args...)
		if err != nil {
			return nil, err
		}
		people = append(people, more...)
	}
	slices.Sort(people)
	return slices.Compact(people), nil
}

func deletePushes(tx *db.Tx, r Repo) error {
	for _, table := range []string{"git_push", "git_commit"} {
		if _, err := tx.Exec(`delete from `+table+` where repo = $1`, r.String()); err != nil {
			return err
		}
	}
	return nil
}
