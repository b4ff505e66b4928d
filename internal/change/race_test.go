package change_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
)

// interrupted is a change whose merge is on main and not recorded yet, as after a crash in between.
func interrupted(t *testing.T, p *certifytest.Platform) (c change.Change, goOn func()) {
	t.Helper()
	block := make(chan struct{})
	inner := p.Changes.Rollout
	p.Changes.Rollout = func(tx *db.Tx, c change.Change, targets []change.Target) error {
		select {
		case <-block:
			return inner(tx, c, targets)
		default:
			return errors.New("the disk is full")
		}
	}
	c, _ = p.Shop("first", "First", map[string]string{"src/first": "1"})
	p.Reaches(c.ID, change.Merging)
	for deadline := time.Now().Add(patience.Of(patience.Limit)); ; time.Sleep(10 * time.Millisecond) {
		main, err := p.Git.Resolve(t.Context(), shop, "refs/heads/main")
		if err != nil || time.Now().After(deadline) {
			t.Fatal("it was never merged", err)
		}
		if there, err := p.Git.Contains(t.Context(), shop, main, c.Head); err == nil && there {
			break
		}
	}
	return c, func() { close(block) }
}

func TestWhileAMergeIsNotRecordedNobodyComparesWithMainAndNothingStopsIt(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	first, goOn := interrupted(t, p)
	_, err := p.Changes.Close(p.As("dora"), first.ID, "too late")
	refused(t, err, "change.not_open")
	p.Pushed("dora", shop, "first", "") // git clients delete merged branches early

	second, said := p.Shop("second", "Second", map[string]string{"src/second": "2"})
	has(t, said, "waits until the change "+first.ID)
	third := p.Commit("dora", shop, "first", "Third", map[string][]byte{"src/third": []byte("3")})
	next, _ := p.Pushed("dora", shop, "first", third)
	if next.ID == first.ID {
		t.Error("a push changed what is being merged")
	}
	if s := p.Get(second.ID).State; s != change.Checking {
		t.Errorf("the second is %s", s)
	}
	goOn()
	for _, id := range []string{first.ID, second.ID, next.ID} {
		p.Reaches(id, change.Merged)
	}
	d := description(t, p)
	c, _ := p.Shop("nothing", "Nothing", map[string]string{"flywheel.yaml": appFile("~1.0", certifytest.Environments) + "# all\n"})
	c = p.Reaches(c.ID, change.Merged)
	has(t, certifytest.Texts(c), "merging deploys nothing")
	if description(t, p).Source != d.Source {
		t.Error("what is recorded about main is not what main has")
	}
}

func TestAPlatformThatFailsIsNoFailureOfTheChange(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	broken := make(chan struct{})
	p.Plan = func(change.Change, string, app.Desired) (change.Planned, error) {
		select {
		case <-broken:
			return change.Planned{Summary: "1 to update", Digest: "sha256:plan"}, nil
		default:
			return change.Planned{}, errors.New("the network is gone")
		}
	}
	c, _ := p.Shop("more", "More", more("3"))
	for deadline := time.Now().Add(patience.Of(patience.Limit)); p.Get(c.ID).Why == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody says that something is wrong")
		}
	}
	now := p.Get(c.ID)
	has(t, now.Why+now.Remedy, "wrong inside Flywheel", "tried again")
	if strings.Contains(now.Why+now.Remedy, "network") || now.State != change.Checking {
		t.Errorf("%s: %s", now.State, now.Why)
	}
	close(broken)
	p.Reaches(c.ID, change.Merged)
}

func TestAnAppThatCouldNotBeBegunLeavesNothing(t *testing.T) {
	t.Parallel()
	p := certifytest.New(t)
	p.Certified("1.0.0")
	create := func() (string, error) {
		_, id, err := p.Apps.Create(p.As("dora"), app.Create{Name: "storefront", Team: "shop", Pattern: "web-service"})
		return id, err
	}
	opened := p.Apps.Opened
	p.Apps.Opened = func(context.Context, string, string, string) (string, error) { return "", errors.New("gone") }
	if _, err := create(); err == nil {
		t.Fatal("it was created")
	}
	p.Apps.Opened = opened
	if p.Git.Exists(shop) {
		t.Error("its repository is still there")
	}
	id, err := create()
	if err != nil {
		t.Fatal(err)
	}
	p.Reaches(id, change.Merged)
	if _, err := create(); !fault.Is(err, "app.name_taken") || !p.Git.Exists(shop) {
		t.Errorf("a second one: %v", err)
	}
	// As if the process had died between the row and the repository: the name is free again later.
	if err := os.RemoveAll(filepath.Join(p.Git.Root, "apps", "storefront.git")); err != nil {
		t.Fatal(err)
	}
	if _, err := create(); !fault.Is(err, "app.name_taken") {
		t.Errorf("somebody may be at it: %v", err)
	}
	if err := p.DB.Write(account.System(t.Context(), "test"), func(tx *db.Tx) error {
		_, err := tx.Exec(`update app set created_at = $1`, tx.Now().Add(-time.Hour))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if id, err = create(); err != nil {
		t.Fatal(err)
	}
	p.Reaches(id, change.Merged)
}
