package change_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/account"
	"flywheel.dev/flywheel/internal/app"
	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/event"
)

func TestAWaiverLetsARefusedValuePassUntilItEnds(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	forty := appFile("~1.0", strings.ReplaceAll(certifytest.Environments, "instances: 2", "instances: 40"))
	c, said := p.Shop("forty", "Run forty", map[string]string{"flywheel.yaml": forty})
	has(t, said, "flywheel waiver request storefront --set prod.instances=40")
	p.Reaches(c.ID, change.Refused)

	end := p.DB.Now().Add(48 * time.Hour)
	ask := app.AskWaiver{App: "storefront", Environment: "prod", Variable: "instances", Value: 40, Reason: "Black Friday", Until: &end}
	for code, in := range map[string]app.AskWaiver{
		"app.not_found":         {App: "nowhere", Environment: "prod", Variable: "instances", Value: 40, Reason: "x"},
		"environment.not_found": {App: "storefront", Environment: "nowhere", Variable: "instances", Value: 40, Reason: "x"},
		"waiver.reason_missing": {App: "storefront", Environment: "prod", Variable: "instances", Value: 40, Reason: " "},
		"waiver.needless":       {App: "storefront", Environment: "prod", Variable: "instances", Value: 3, Reason: "x"},
		"waiver.impossible":     {App: "storefront", Environment: "prod", Variable: "vpc_id", Value: "mine", Reason: "x"},
	} {
		_, err := p.Apps.RequestWaiver(p.As("dora"), in)
		refused(t, err, code)
	}
	_, err := p.Apps.RequestWaiver(p.As("eve"), ask)
	refused(t, err, "app.not_found")
	w, err := p.Apps.RequestWaiver(p.As("dora"), ask)
	if err != nil {
		t.Fatal(err)
	}
	has(t, w.Bound, "allowed 2 to 10 in production")
	_, err = p.Apps.RequestWaiver(p.As("dan"), ask)
	refused(t, err, "waiver.exists")

	// Nobody of the team decides, and nobody decides about what they asked for.
	_, err = p.Apps.GrantWaiver(p.As("dora"), w.ID, nil, "")
	refused(t, err, "permission.denied")
	_, err = p.Apps.GrantWaiver(p.As("eve"), w.ID, nil, "")
	refused(t, err, "waiver.not_found")
	if w, err = p.Apps.GrantWaiver(p.As("sam"), w.ID, nil, "for the sale"); err != nil || !w.InForce || w.DecidedBy != "sam" {
		t.Fatalf("%+v, %v", w, err)
	}
	_, err = p.Apps.DeclineWaiver(p.As("otto"), w.ID, "late")
	refused(t, err, "waiver.state")

	// What was refused goes on by itself, and the reason names who accepted it.
	c = p.Reaches(c.ID, change.Merged)
	reasons := ""
	for _, r := range c.Reasons {
		reasons += r.Text + "\n"
	}
	has(t, reasons, "prod.instances 2 → 40", "40 is outside its bounds", "Accepted by sam until "+end.Format(time.DateOnly), w.ID)
	if c.Lane != change.Variable {
		t.Errorf("lane %s", c.Lane)
	}
	rolled(t, p, "prod 1.0.0 map[db_version:15 instances:40]")

	// It accepts one value, not every one.
	other, _ := p.Shop("fifty", "Run fifty", map[string]string{"flywheel.yaml": strings.ReplaceAll(forty, "40", "50")})
	p.Reaches(other.ID, change.Refused)

	// After its end the next change is refused, and what runs is left alone and shown.
	if _, err = p.Apps.RevokeWaiver(p.As("otto"), w.ID, "the sale is over"); err != nil {
		t.Fatal(err)
	}
	code, _ := p.Shop("code", "Greet", map[string]string{"src/main.txt": "hello again\n"})
	has(t, p.Reaches(code.ID, change.Refused).Why, "prod.instances: 40 is outside its bounds")
	d, err := p.Apps.Get(p.As("dora"), "storefront")
	if err != nil || len(d.Waivers) != 1 || d.Waivers[0].InForce || d.Waivers[0].State != app.Revoked {
		t.Errorf("%+v, %v", d.Waivers, err)
	}
	if prod := d.Instances[len(d.Instances)-1]; len(prod.Outside) != 1 || prod.Outside[0].Waiver != w.ID || prod.Outside[0].Variable != "instances" {
		t.Errorf("the instance does not say that it is outside its bounds: %+v", prod)
	}
	if n := p.Audited("waiver.granted", "allowed") + p.Audited("waiver.requested", "allowed") + p.Audited("waiver.revoked", "allowed"); n != 3 {
		t.Errorf("%d of 3 decisions are in the audit log", n)
	}
	if list, err := p.Apps.ListWaivers(p.As("eve"), app.WaiverFilter{}, "", 10); err != nil || len(list) != 0 {
		t.Errorf("somebody else sees %v, %v", list, err)
	}
	_, err = p.Apps.Waiver(context.Background(), w.ID)
	refused(t, err, "session.missing")
}

func TestThatTheEndOfAWaiverHasComeIsToldOnce(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	forty := appFile("~1.0", strings.ReplaceAll(certifytest.Environments, "instances: 2", "instances: 40"))
	c, _ := p.Shop("forty", "Run forty", map[string]string{"flywheel.yaml": forty})
	c = p.Reaches(c.ID, change.Refused)
	if len(c.Reasons) != 1 || c.Reasons[0].Environment != "prod" || c.Reasons[0].Variable != "instances" || string(c.Reasons[0].Value) != "40" {
		t.Errorf("what could be asked for is not told: %+v", c.Reasons)
	}
	end := p.DB.Now().Add(48 * time.Hour)
	w, err := p.Apps.RequestWaiver(p.As("dora"), app.AskWaiver{App: "storefront", Environment: "prod", Variable: "instances", Value: 40, Reason: "Black Friday", Until: &end})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Apps.GrantWaiver(p.As("sam"), w.ID, nil, ""); err != nil {
		t.Fatal(err)
	}
	p.Reaches(c.ID, change.Merged)
	told := func() (n int) {
		t.Helper()
		if err := p.Apps.EndWaivers(account.System(t.Context(), "waiver")); err != nil {
			t.Fatal(err)
		}
		if err := event.Number(t.Context(), p.DB); err != nil {
			t.Fatal(err)
		}
		err := p.DB.Read(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRow(`select count(*) from event where subject = $1 and type = $2`, w.ID, event.Own("waiver", "ended")).Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	listed := func(filter app.WaiverFilter) int {
		t.Helper()
		list, err := p.Apps.ListWaivers(p.As("dora"), filter, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if told() != 0 {
		t.Error("the end of a waiver in force is told")
	}
	if granted, ended := listed(app.WaiverFilter{State: app.Granted}), listed(app.WaiverFilter{State: app.Ended}); granted != 1 || ended != 0 {
		t.Errorf("%d are listed as granted and %d as ended while it is in force", granted, ended)
	}
	if prod, staging := listed(app.WaiverFilter{Environment: "prod"}), listed(app.WaiverFilter{App: "storefront", Environment: "staging"}); prod != 1 || staging != 0 {
		t.Errorf("%d are listed for prod and %d for staging", prod, staging)
	}
	past := p.DB.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	err = p.DB.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(`update waiver set until = $2 where id = $1`, w.ID, past)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if first, second := told(), told(); first != 1 || second != 1 {
		t.Errorf("it is told %d times and then %d times", first, second)
	}
	if granted, ended := listed(app.WaiverFilter{State: app.Granted}), listed(app.WaiverFilter{State: app.Ended}); granted != 0 || ended != 1 {
		t.Errorf("%d are listed as granted and %d as ended after it has ended", granted, ended)
	}
	d, err := p.Apps.Get(p.As("dora"), "storefront")
	if err != nil {
		t.Fatal(err)
	}
	outside := d.Instances[len(d.Instances)-1].Outside
	if len(outside) != 1 || !outside[0].Since.Equal(past) {
		t.Errorf("%+v is not since %s", outside, past)
	}
	code, _ := p.Shop("code", "Greet", map[string]string{"src/main.txt": "hello again\n"})
	has(t, p.Reaches(code.ID, change.Refused).Why, "prod.instances: 40 is outside its bounds")
}

func TestAWaiverNeverLiftsATypeAndAnAdminMayGrantOne(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	end := p.DB.Now().Add(48 * time.Hour)
	_, err := p.Apps.RequestWaiver(p.As("dora"), app.AskWaiver{App: "storefront", Environment: "prod", Variable: "instances", Value: "many", Reason: "x"})
	refused(t, err, "waiver.impossible")
	c, said := p.Shop("many", "Run many", map[string]string{"flywheel.yaml": appFile("~1.0", strings.ReplaceAll(certifytest.Environments, "instances: 2", "instances: many"))})
	p.Reaches(c.ID, change.Refused)
	if strings.Contains(said, "waiver request") {
		t.Errorf("a waiver is offered for a wrong type: %s", said)
	}
	w, err := p.Apps.RequestWaiver(p.As("dora"), app.AskWaiver{App: "storefront", Environment: "prod", Variable: "instances", Value: 12, Reason: "x", Until: &end})
	if err != nil {
		t.Fatal(err)
	}
	root := account.With(t.Context(), account.Actor{ID: "usr_root", Name: "root", Admin: true})
	if _, err := p.Apps.GrantWaiver(account.With(t.Context(), account.Actor{ID: "usr_root", Name: "root", Admin: true, Service: true}), w.ID, nil, ""); err == nil {
		t.Error("a machine granted a waiver")
	}
	if w, err = p.Apps.GrantWaiver(root, w.ID, nil, ""); err != nil || !w.InForce {
		t.Errorf("%+v, %v", w, err)
	}
}
