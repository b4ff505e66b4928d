package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Range is a range of pattern versions as people write it.
type Range struct{ constraint *semver.Constraints }

// Holds reports whether a version is in the range.
func (r Range) Holds(v *semver.Version) bool { return r.constraint.Check(v) }

var (
	pessimistic = regexp.MustCompile(`~>\s*v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([^\s,|]*)`)
	compared    = regexp.MustCompile(`(=>|=<|>=|<=|!=|=|>|<|~>|~|\^)?\s*v?([0-9]+|[xX*])(\.(?:[0-9]+|[xX*]))?(\.(?:[0-9]+|[xX*]))?(-[^\s,|]+)?`)
)

// ParseRange reads a range of versions. Its operators mean what they mean to npm and Cargo, and ~> what it means
// to Terraform. What these tools read differently is refused with the ways to write either.
func ParseRange(text string) (r Range, err error) {
	for _, m := range compared.FindAllStringSubmatch(text, -1) {
		operator, major, minor, patch := m[1], m[2], m[3], m[4]
		whole := patch != "" && !strings.ContainsAny(major+minor+patch, "xX*")
		version := major + minor
		if minor == "" {
			version += ".0"
		}
		if patch == "" {
			version += ".0"
		}
		near := "~" + major + strings.Trim(minor, "xX*")
		switch {
		case behindAny.MatchString(major + minor + patch):
			return r, fmt.Errorf("%q has a number behind one that may be any; write for example ~1.4, ^1.2 or 1.4.2", strings.TrimSpace(m[0]))
		case m[5] != "" && !hyphen.MatchString(text):
			return r, fmt.Errorf("%q names a pre-release, and no pattern has one; write for example ~1.4, ^1.2 or 1.4.2", text)
		case operator == "~>" && strings.ContainsAny(major+minor+patch, "xX*"):
			return r, fmt.Errorf("%q is not a range of versions; write for example ~> 1.4", text)
		case operator != "" && strings.Contains("xX*", major):
			return r, fmt.Errorf("%q compares with no version; write * for every version", strings.TrimSpace(m[0]))
		case operator == "~>" && minor == "":
			return r, fmt.Errorf("%q has no upper end in Terraform; write >= %s for that, or ^%s for %s.x", strings.TrimSpace(m[0]), version, major, major)
		case whole || strings.ContainsAny(major+minor+patch, "xX*"):
		case operator == "" && strings.Contains(text, ","): // a list of Terraform's
			return r, fmt.Errorf("%q is only %s to Terraform and each %s to npm; write %s or %s", m[0], version, major+minor+".x", version, near)
		case operator == "=":
			return r, fmt.Errorf("%q is only %s to Terraform and each %s to npm; write %s or %s", m[0], version, major+minor+".x", version, near)
		case operator == "!=":
			return r, fmt.Errorf("%q leaves out %s in Terraform and each %s in npm; write != %s or != %s", m[0], version, major+minor+".x", version, major+minor+".x")
		case operator == ">":
			return r, fmt.Errorf("%q begins after %s in Terraform and after each %s in npm; write > %s or >= %s", m[0], version, major+minor+".x", version, after(major, minor))
		case operator == "<=" || operator == "=<":
			return r, fmt.Errorf("%q ends with %s in Terraform and with the last %s in npm; write <= %s or < %s", m[0], version, major+minor+".x", version, after(major, minor))
		}
	}
	plain := pessimistic.ReplaceAllStringFunc(text, func(one string) string {
		m := pessimistic.FindStringSubmatch(one)
		major, minor, patch, more := m[1], m[2], m[3], m[4]
		if more != "" { // what stands behind the number is no version
			return one + "?"
		}
		if patch == "" {
			return fmt.Sprintf(">= %s.%s.0, < %s", major, minor, after(major, ""))
		}
		return fmt.Sprintf(">= %s.%s.%s, < %s", major, minor, patch, after(major, "."+minor))
	})
	if r.constraint, err = semver.NewConstraint(plain); err != nil {
		return r, fmt.Errorf("%q is not a range of versions; write for example ~1.4, ^1.2 or 1.4.2", text)
	}
	return r, nil
}

// behindAny finds 1.x.2 and *.4.
var behindAny = regexp.MustCompile(`[xX*]\.[0-9]`)

// hyphen finds `1.2 - 1.4`, in which the hyphen begins no pre-release.
var hyphen = regexp.MustCompile(`^\s*v?[0-9.]+\s+-\s+v?[0-9.]+\s*$`)

// after returns the first version after all that begin with these numbers.
func after(major, minor string) string {
	if minor = strings.TrimPrefix(minor, "."); minor == "" {
		n, _ := strconv.ParseUint(major, 10, 63)
		return fmt.Sprintf("%d.0.0", n+1)
	}
	n, _ := strconv.ParseUint(minor, 10, 63)
	return fmt.Sprintf("%s.%d.0", major, n+1)
}
