package manifest

import (
	"slices"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
	goversion "github.com/hashicorp/go-version"
)

var someVersions = []string{"0.9.0", "1.0.0", "1.0.1", "1.0.9", "1.1.0", "1.4.0", "1.4.2", "1.5.0", "1.10.0", "2.0.0", "2.1.0", "3.0.0"}

func TestARangeMeansWhatItMeansToTheToolsPeopleKnow(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"~> 1.0", "1.0.0 1.0.1 1.0.9 1.1.0 1.4.0 1.4.2 1.5.0 1.10.0"},
		{"~>1.0", "1.0.0 1.0.1 1.0.9 1.1.0 1.4.0 1.4.2 1.5.0 1.10.0"},
		{"~> v1.4", "1.4.0 1.4.2 1.5.0 1.10.0"},
		{"~> 1.0.0", "1.0.0 1.0.1 1.0.9"},
		{"~> 1.0.1", "1.0.1 1.0.9"},
		{"~> 1.0, != 1.4.2", "1.0.0 1.0.1 1.0.9 1.1.0 1.4.0 1.5.0 1.10.0"},
		{"~> 1.4.0 || ~> 2.0", "1.4.0 1.4.2 2.0.0 2.1.0"},
		{"~1.4", "1.4.0 1.4.2"},
		{"~1", "1.0.0 1.0.1 1.0.9 1.1.0 1.4.0 1.4.2 1.5.0 1.10.0"},
		{"~1.4.2", "1.4.2"},
		{"^1.4", "1.4.0 1.4.2 1.5.0 1.10.0"},
		{"^1.4.2", "1.4.2 1.5.0 1.10.0"},
		{"^0.9", "0.9.0"},
		{"1.4.2", "1.4.2"},
		{"v1.4.2", "1.4.2"},
		{"= 1.4.2", "1.4.2"},
		{"1.4", "1.4.0 1.4.2"},
		{"1.4.x", "1.4.0 1.4.2"},
		{"1.4.*", "1.4.0 1.4.2"},
		{"2.x", "2.0.0 2.1.0"},
		{"*", strings.Join(someVersions, " ")},
		{"=1.4.2", "1.4.2"},
		{" v1.4 ", "1.4.0 1.4.2"},
		{"x", strings.Join(someVersions, " ")},
		{"1.*.*", "1.0.0 1.0.1 1.0.9 1.1.0 1.4.0 1.4.2 1.5.0 1.10.0"},
		{"^1.x", "1.0.0 1.0.1 1.0.9 1.1.0 1.4.0 1.4.2 1.5.0 1.10.0"},
		{"> 1.x", "2.0.0 2.1.0 3.0.0"},
		{"<= 1.0.x", "0.9.0 1.0.0 1.0.1 1.0.9"},
		{"!= 1.x", "0.9.0 2.0.0 2.1.0 3.0.0"},
		{"^0.9.0", "0.9.0"},
		{"1.4.2+build.5", "1.4.2"},
		{"1.0 - 1.4", "1.0.0 1.0.1 1.0.9 1.1.0 1.4.0 1.4.2"},
		{"1.0.0 - 1.0.1 || 2.x", "1.0.0 1.0.1 2.0.0 2.1.0"},
		{"1.4.2, != 1.5.0", "1.4.2"},
		{">=1.4\n<2", "1.4.0 1.4.2 1.5.0 1.10.0"},
		{">= 1.4, < 2", "1.4.0 1.4.2 1.5.0 1.10.0"},
		{">=1.4 <1.10.0", "1.4.0 1.4.2 1.5.0"},
		{">= 1.4.0, <= 1.5.0", "1.4.0 1.4.2 1.5.0"},
		{"> 1.4.2, < 2.0.0", "1.5.0 1.10.0"},
		{"1.4.0 - 1.5.0", "1.4.0 1.4.2 1.5.0"},
		{"0.9.0 || >= 3.0.0", "0.9.0 3.0.0"},
	} {
		r, err := ParseRange(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		got := slices.DeleteFunc(slices.Clone(someVersions), func(v string) bool { return !r.Holds(semver.MustParse(v)) })
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q holds %v, want %s", c.text, got, c.want)
		}
		if !strings.Contains(c.text, "~>") || strings.Contains(c.text, "||") {
			continue
		}
		theirs := goversion.MustConstraints(goversion.NewConstraint(c.text))
		for _, v := range someVersions {
			if ours := slices.Contains(got, v); ours != theirs.Check(goversion.Must(goversion.NewVersion(v))) {
				t.Errorf("%q: Terraform disagrees about %s", c.text, v)
			}
		}
	}
}

func TestARangeThatToolsReadDifferentlyIsRefusedWithBothWaysToWriteIt(t *testing.T) {
	for text, want := range map[string]string{
		"= 1.4":            "write 1.4.0 or ~1.4",
		"!= 1.4":           "write != 1.4.0 or != 1.4.x",
		"> 1.4":            "write > 1.4.0 or >= 1.5.0",
		"> 1":              "write > 1.0.0 or >= 2.0.0",
		"<= 1.4":           "write <= 1.4.0 or < 1.5.0",
		">= 1.0, <= 1":     "write <= 1.0.0 or < 2.0.0",
		"~> 1":             "write >= 1.0.0 for that, or ^1 for 1.x",
		"~> 1.0.0-beta":    "names a pre-release",
		">= 1.0.0-0":       "names a pre-release",
		"1.4.2-rc.1":       "names a pre-release",
		"^*":               `"^*" compares with no version; write * for every version`,
		"> x":              `"> x" compares with no version`,
		"<=*":              `"<=*" compares with no version`,
		"!= *":             `"!= *" compares with no version`,
		"1.x.2":            `"1.x.2" has a number behind one that may be any`,
		"*.4":              `"*.4" has a number behind one that may be any`,
		"~1.X.0":           "has a number behind one that may be any",
		"1.4, != 1.4.2":    "write 1.4.0 or ~1.4",
		"1,4":              "write 1.0.0 or ~1",
		"1.4.2 || 1.5.0-b": "names a pre-release",
		"1.4-1.5":          "names a pre-release",
		"==1.4.0":          "is not a range of versions",
		"~>1.4<2":          "is not a range of versions",
		"1.4 ||":           "is not a range of versions",
		"> = 1.4.0":        "is not a range of versions",
		"newest":           "is not a range of versions",
		"":                 "is not a range of versions",
		"~> 1.0.0.0":       "is not a range of versions",
		"~> x":             "is not a range of versions",
		"1.4.2.1":          "is not a range of versions",
		"~> 1.0 and a bit": "is not a range of versions",
	} {
		if _, err := ParseRange(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	got := problems(t, Check("flywheel.yaml", []byte(strings.Replace(goodApp, `"~1.4"`, `"> 1.4"`, 1))))
	if want := `flywheel.yaml:5:41: "> 1.4" begins after 1.4.0 in Terraform`; len(got) != 1 || !strings.HasPrefix(got[0], want) {
		t.Errorf("got %q, want %s", got, want)
	}
}

func FuzzARangeNeverPanics(f *testing.F) {
	f.Add("~> 1.0, < 2 || ^3.x")
	f.Fuzz(func(_ *testing.T, text string) {
		if r, err := ParseRange(text); err == nil {
			r.Holds(semver.MustParse("1.0.0"))
		}
	})
}
