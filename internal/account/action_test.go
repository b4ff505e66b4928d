package account_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/account"
)

// audited finds what the code writes into the audit log: a literal action, or a noun to which a state is added.
var audited = regexp.MustCompile(`(?:Action: |\bof\()"([a-z_]+\.)([a-z_]*)"`)

func TestEveryActionOfTheAuditLogIsInTheList(t *testing.T) {
	found := map[string]bool{}
	nouns := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, m := range audited.FindAllStringSubmatch(string(content), -1) {
			found[m[1]+m[2]] = true
			nouns[m[1]] = nouns[m[1]] || m[2] == ""
			if m[2] != "" && !slices.Contains(account.Actions(), m[1]+m[2]) {
				t.Errorf("%s writes %s, which is not in the list", path, m[1]+m[2])
			}
		}
		return err
	})
	if err != nil || len(found) < 30 {
		t.Fatal(len(found), err)
	}
	if !slices.IsSorted(account.Actions()) {
		t.Error("the list is not sorted")
	}
	for _, a := range account.Actions() {
		noun, _, _ := strings.Cut(a, ".")
		if !found[a] && !nouns[noun+"."] {
			t.Errorf("nothing writes %s", a)
		}
	}
}

func TestAFilterForAnActionThatThereIsNotIsRefusedWithTheList(t *testing.T) {
	p := start(t)
	admin := p.signIn("admin", p.password)
	for _, action := range []string{"change.approve", "chang", "change.approved.", "user.Create", "*"} {
		status, answer, _ := p.call(admin, "GET", "/audit?action="+action, nil)
		if remedy, _ := answer["remedy"].(string); status != 422 || answer["code"] != "audit.action_unknown" || !strings.Contains(remedy, "change.approved") {
			t.Errorf("%s: %d %v", action, status, answer)
		}
	}
	for _, action := range []string{"change.approved", "change", "user", "user.create", "session.create"} {
		p.must(admin, "GET", "/audit?action="+action, nil)
	}
}

func TestWhoSignsInAndWhoIsRefusedStandsInTheAuditLog(t *testing.T) {
	p := start(t)
	admin := p.signIn("admin", p.password)
	dora := p.person(admin, "dora")
	for range 40 {
		p.refused(dora, "POST", "/users", map[string]any{"name": "eve"}, 403, "permission.denied")
	}
	items := func(query string) []any { return p.must(admin, "GET", "/audit?limit=200&"+query, nil)["items"].([]any) }
	if n := len(items("action=session.create&person=dora")); n != 1 {
		t.Errorf("dora signed in %d times", n)
	}
	refused := items("action=permission.refused&person=dora")
	if len(refused) < 1 || len(refused) > 12 {
		t.Fatalf("40 refusals are %d entries", len(refused))
	}
	e := refused[0].(map[string]any)
	if e["subject"] != "POST /api/v1/users" || e["decision"] != "refused" || !strings.Contains(e["reason"].(string), "permission.denied") {
		t.Error(e)
	}
	if broken := p.must(admin, "GET", "/audit/verify", nil)["broken"]; broken != nil {
		t.Error(broken)
	}
}
