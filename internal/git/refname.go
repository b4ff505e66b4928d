package git

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/plain"
)

const branchLimit = 200 // bytes of a branch's name: with `.lock` it must fit into the name of a file

var (
	objectPattern = regexp.MustCompile(`^([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$`)
	pseudoPattern = regexp.MustCompile(`(?i)^(([a-z]+_)?head|auto_merge|merge_autostash|bisect_expected_rev|notes_merge_(ref|partial))$`) // HEAD, FETCH_HEAD, …
	// Where git looks for short names: its refs, those of a clone, and the files around them.
	spacePattern   = regexp.MustCompile(`(?i)^(refs|heads|tags|remotes|origin|stash|bisect|notes|replace|rewritten|prefetch|worktrees?|main-worktree|logs)$`)
	versionTag     = regexp.MustCompile(`(?i)^v\d+\.\d+\.\d+([-+].*)?$`) // what Flywheel tags, now or later
	shellCharacter = "$`\"'\\;|&<>(){}!*?[]~^:% "                        // people paste the commands that name a branch
)

// branchRefusal returns why a branch may not have the name, or "". It refuses what git or a person could take
// for something else than this one branch: git resolves short names by a list of places, so a branch called
// refs/heads/main makes `main` ambiguous.
func branchRefusal(name string) string {
	first, _, _ := strings.Cut(name, "/")
	folded := strings.ToLower(norm.NFKC.String(name))
	word, mixed := plain.Mixed(name)
	switch {
	case name == "":
		return "the branch has no name"
	case strings.ContainsFunc(name, func(c rune) bool { return plain.Hidden(c) || unicode.IsSpace(c) }):
		return "the branch's name has a character that is not shown: " + plain.Line(name)
	case len(name) > branchLimit:
		return "the branch's name is too long: use at most 200 bytes"
	case strings.ContainsAny(name, shellCharacter):
		return "the branch's name has a character that a shell reads as something else: use letters, digits and - . _ / # + @ = ,"
	case strings.ContainsAny(name[:1], "-+#="):
		return "the branch's name begins with " + name[:1] + ", so commands take it for something else"
	case name == "@" || pseudoPattern.MatchString(name):
		return "git has a meaning of its own for the name " + name
	case spacePattern.MatchString(first):
		return "a branch's name may not begin with " + first + ": git would take it for another ref; did you mean " + lastOf(name) + "?"
	case objectPattern.MatchString(name):
		return "the branch's name looks like the id of a commit"
	case versionTag.MatchString(name):
		return "the branch's name looks like the tag of a version, which Flywheel makes"
	case first == "flywheel":
		return "names that begin with flywheel are for Flywheel itself"
	case !norm.NFC.IsNormalString(name):
		return "the branch's name is not in the usual form of Unicode (NFC), so it looks like another one"
	case mixed:
		return "the branch's name mixes letters of several scripts that look alike, in " + word
	case folded == Main:
		return "the branch's name is " + Main + " in other letters"
	case strings.HasPrefix(folded, Main+"/"):
		return "a branch cannot be below " + Main + ", which is a branch itself"
	}
	return ""
}

// lastOf is what remains of a name without the places where git looks for refs.
func lastOf(name string) string {
	for first, rest, more := strings.Cut(name, "/"); more && spacePattern.MatchString(first); first, rest, more = strings.Cut(name, "/") {
		name = rest
	}
	return name
}

var refPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+@/-]*$`)

// checkRefName allows the safe part of what git allows.
func checkRefName(what, name string) error {
	bad := len(name) > branchLimit || !refPattern.MatchString(name) || strings.Contains(name, "..") ||
		strings.Contains(name, "//") || strings.Contains(name, "/.") || strings.Contains(name, "@{") ||
		strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".")
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return fault.New(fault.Invalid, "git.name_invalid", "%q cannot be the name of a %s.", display(name), what).
			Do("Use letters, digits, dots, hyphens and slashes.")
	}
	return nil
}

func checkBranch(name string) error {
	if name == Main {
		return fault.New(fault.Forbidden, "git.main_protected", "%s.", mainProtected)
	}
	if err := checkRefName("branch", name); err != nil {
		return err
	}
	if why := branchRefusal(name); why != "" {
		return fault.New(fault.Invalid, "git.branch_name", "%s.", sentence(why)).Do("Use another name.")
	}
	return nil
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// refs returns the id of every ref of a repository, by its full name. git leaves out, with a mere warning, a
// ref that it cannot read: that is an error here.
func (h *Host) refs(ctx context.Context, dir string) (map[string]string, error) {
	var out bytes.Buffer
	args := []string{"for-each-ref", "--format=%(objectname) %(refname)"}
	warned, err := h.execute(ctx, h.environment("GIT_DIR="+dir), nil, &out, args...)
	if err == nil && strings.Contains(warned, "ignoring") {
		err = &exitError{args, 0, warned}
	}
	return parseRefs(out.Bytes()), err
}

// parseRefs reads lines of an id, a space and the name of a ref.
func parseRefs(out []byte) map[string]string {
	refs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if sha, ref, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			refs[ref] = sha
		}
	}
	return refs
}
