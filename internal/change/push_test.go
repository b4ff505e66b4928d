package change_test

import (
	"strings"
	"testing"

	"flywheel.dev/flywheel/internal/certify/certifytest"
	"flywheel.dev/flywheel/internal/change"
	"flywheel.dev/flywheel/internal/git"
)

func TestAFolderIsPushedToTheOwnOpenChange(t *testing.T) {
	t.Parallel()
	p := shopped(t)
	yaml := appFile("~1.0", certifytest.Environments)
	push := func(who, branch string, files map[string]string) (change.Change, error) {
		return p.Changes.PushFolder(p.As(who), git.App("storefront"), change.Folder{Branch: branch, Files: files})
	}
	for _, tt := range []struct {
		name, who, branch, code string
		files                   map[string]string
	}{
		{"of another team", "eve", "", "app.not_found", map[string]string{"flywheel.yaml": yaml}},
		{"by who only approves", "sam", "", "permission.denied", map[string]string{"flywheel.yaml": yaml}},
		{"without a manifest", "dora", "", "manifest.missing", map[string]string{"src/main.txt": "x"}},
		{"of another app", "dora", "", "manifest.name_differs", map[string]string{"flywheel.yaml": strings.ReplaceAll(yaml, "name: storefront", "name: kiosk")}},
		{"to main", "dora", "main", "git.main_protected", map[string]string{"flywheel.yaml": yaml}},
	} {
		t.Log(tt.name)
		_, err := push(tt.who, tt.branch, tt.files)
		refused(t, err, tt.code)
	}
	failed, err := push("dora", "", map[string]string{"flywheel.yaml": yaml, "src/main.txt": "FAILS", "src/more.txt": "x"})
	if err != nil {
		t.Fatal(err)
	}
	failed = p.Reaches(failed.ID, change.Failed)
	has(t, failed.Remedy, "flywheel app push FOLDER --branch "+failed.Branch)
	again, err := push("dora", "", map[string]string{"flywheel.yaml": yaml, "src/main.txt": "works"})
	if err != nil || again.ID != failed.ID || again.Revision != failed.Revision+1 {
		t.Fatalf("%+v, %v", again, err)
	}
	p.Reaches(again.ID, change.Merged)
	if _, err := p.Git.ReadFile(t.Context(), git.App("storefront"), "refs/heads/main", "src/more.txt"); err == nil {
		t.Error("a file that the folder lacks is still there")
	}
	for _, branch := range []string{"one", "two"} {
		if _, err := push("dora", branch, map[string]string{"flywheel.yaml": strings.Replace(yaml, "  environments:", "  merge: manual\n  environments:", 1), "src/main.txt": branch}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = push("dora", "", map[string]string{"flywheel.yaml": yaml, "src/main.txt": "three"})
	refused(t, err, "change.which")
}
