package certify_test

import (
	"context"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/certify"
	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
)

var inactive, active = false, true

// What becomes of an approver between the approval and the publication.
var lapses = map[string]struct {
	happens func(p *certifytest.Platform, id string)
	says    string // why sam's approval does not count any more; "" if it does
}{
	"is deactivated":              {func(p *certifytest.Platform, _ string) { p.Becomes("sam", &inactive, nil) }, "sam is not active any more"},
	"loses the discipline":        {func(p *certifytest.Platform, _ string) { p.Becomes("sam", nil, &[]string{}) }, "sam does not belong to security any more"},
	"moves to another discipline": {func(p *certifytest.Platform, _ string) { p.Becomes("sam", nil, &[]string{account.Operations}) }, "sam does not belong to security any more"},
	"becomes an author":           {func(p *certifytest.Platform, id string) { writes(p, id, "usr_sam") }, "sam is an author of the change by now"},
	"gains another discipline": {func(p *certifytest.Platform, _ string) {
		p.Becomes("sam", nil, &[]string{account.Security, account.Operations})
	}, ""},
	"comes into a team":            {func(p *certifytest.Platform, _ string) { joins(p, "sam", "shop") }, ""},
	"signs out and ends the token": {func(p *certifytest.Platform, _ string) { signsOut(p, "usr_sam") }, ""},
	"leaves and comes back": {func(p *certifytest.Platform, _ string) {
		p.Becomes("sam", &inactive, nil)
		p.Becomes("sam", &active, nil)
	}, ""},
}

// writes makes a person an author without a new revision: no push does, and nothing else must help.
func writes(p *certifytest.Platform, id, person string) {
	p.T.Helper()
	edit(p, id, func(c *change.Change) { c.Authors = append(c.Authors, person) })
}

func edit(p *certifytest.Platform, id string, edit func(c *change.Change)) {
	p.T.Helper()
	err := p.DB.Write(account.System(context.Background(), "test"), func(tx *db.Tx) error {
		c, err := change.Take(tx, id)
		if err != nil {
			return err
		}
		edit(&c)
		return change.Save(tx, c)
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

func joins(p *certifytest.Platform, name, team string) {
	p.T.Helper()
	if _, err := account.New(p.DB).PutMember(p.As("root"), team, name, "", account.Developer); err != nil {
		p.T.Fatal(err)
	}
}

func signsOut(p *certifytest.Platform, person string) {
	p.T.Helper()
	err := p.DB.Write(account.System(context.Background(), "test"), func(tx *db.Tx) error {
		_, err := tx.Exec(`delete from session where person = $1`, person)
		if err == nil {
			_, err = tx.Exec(`delete from token where person = $1`, person)
		}
		return err
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

func TestApprovalsAreCountedWhenTheLastOneComes(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	for name, tt := range lapses {
		c := addSearch(p, strings.ReplaceAll(name, " ", "-"))
		approve(p, c.ID, "sam", "otto")
		tt.happens(p, c.ID)
		// The last approval: of development.
		if _, err := p.Certify.Approve(p.As("dev"), c.ID, certify.Vote{Discipline: "development", Digest: certification(p, c.ID).Digest}); err != nil {
			t.Fatal(name, err)
		}
		if tt.says == "" {
			p.Reaches(c.ID, change.Merged)
		} else {
			s := p.Reaches(c.ID, change.Review)
			has(t, s.Why, "waits for the approval of security", "does not count: "+tt.says)
			found := certification(p, c.ID)
			if missing := strings.Join(found.Missing(), " "); missing != "security" || found.Approvals[0].Lapsed != tt.says {
				t.Errorf("%s: missing %s, %+v", name, missing, found.Approvals)
			}
			// It waits for another person of the discipline, and for nobody else.
			approve(p, c.ID, "sue")
			p.Reaches(c.ID, change.Merged)
		}
		p.Becomes("sam", &active, &[]string{account.Security})
	}
}

func TestApprovalsAreCountedAgainBeforeTheMerge(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	for name, tt := range lapses {
		c := addSearch(p, strings.ReplaceAll(name, " ", "-"))
		approve(p, c.ID, "sam", "otto")
		// As if the process had died between the last approval and the merge.
		digest := certification(p, c.ID).Digest
		stored(p, c, "dev", "development", digest)
		edit(p, c.ID, func(c *change.Change) { c.State = change.Merging })
		tt.happens(p, c.ID)
		if err := p.Changes.Sweep(account.System(t.Context(), "test"), false); err != nil {
			t.Fatal(err)
		}
		if tt.says != "" {
			s := p.Reaches(c.ID, change.Review)
			has(t, s.Why, "waits for the approval of security", "does not count: "+tt.says)
			if main, err := p.Git.Contains(t.Context(), webService, "refs/heads/main", s.Head); err != nil || main {
				t.Fatalf("%s: main has what is not approved: %v", name, err)
			}
			approve(p, c.ID, "sue")
		}
		p.Reaches(c.ID, change.Merged)
		p.Becomes("sam", &active, &[]string{account.Security})
	}
}

// stored writes an approval without concluding anything from it.
func stored(p *certifytest.Platform, c change.Change, name, discipline, digest string) {
	p.T.Helper()
	err := p.DB.Write(account.System(context.Background(), "test"), func(tx *db.Tx) error {
		_, err := tx.Exec(`insert into approval (change, revision, discipline, person, name, decision, reason, digest, at) values ($1,$2,$3,$4,$5,'approved','',$6,$7)`,
			c.ID, c.Revision, discipline, "usr_"+name, name, digest, tx.Now())
		return err
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

func TestAChangeSaysByItselfThatAnApprovalDoesNotCountAnyMore(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	approve(p, c.ID, "sam")
	p.Becomes("sam", &inactive, nil)
	if err := p.Certify.Sweep(account.System(t.Context(), "test")); err != nil {
		t.Fatal(err)
	}
	has(t, p.Get(c.ID).Why, "waits for the approval of security, operations, development", "sam is not active any more")
}

func TestWhoChangedTheDisciplineMayDecideForTheOtherOne(t *testing.T) {
	t.Parallel()
	p := certifying(t)
	c := addSearch(p, "search")
	approve(p, c.ID, "otto")
	p.Becomes("otto", nil, &[]string{account.Security})
	security := account.With(t.Context(), account.Actor{ID: "usr_otto", Name: "otto", Disciplines: []string{account.Security}})
	if _, err := p.Certify.Approve(security, c.ID, certify.Vote{Discipline: "security", Digest: certification(p, c.ID).Digest}); err != nil {
		t.Fatal(err)
	}
	// One person counts for one discipline: what otto said for operations is replaced.
	if found := certification(p, c.ID); strings.Join(found.Missing(), " ") != "operations development" || len(found.Approvals) != 1 {
		t.Errorf("missing %v, approvals %+v", found.Missing(), found.Approvals)
	}
}
