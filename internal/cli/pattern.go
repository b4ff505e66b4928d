package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/manifest"
)

type pattern struct {
	Name, Title, Owner, Recommended, Repository string
	Versions                                    []patternVersion
}

type patternVersion struct {
	Pattern, Version, Digest, State, Readme, Commit, Change, Breaking string
	Recommended                                                       bool
	Interface                                                         struct {
		Variables []variable
		Outputs   []struct {
			Name, Description, Deprecated string
			Sensitive, Ephemeral          bool
		}
		Credentials []string
	}
	CreatedAt time.Time
}

type variable struct {
	Name, Type, Description, Control, Deprecated string
	Required, Sensitive, Secret, Ephemeral       bool
	Nullable                                     *bool
	Default                                      any
	Bounds                                       manifest.Values
	Classes                                      map[string]manifest.Values
}

func (s *shell) patternCommand() *cobra.Command {
	c := &cobra.Command{Use: "pattern", Short: "Patterns: the catalogue, versions, requests"}
	c.AddCommand(s.patternList(), s.patternShow(), s.patternVersions(), s.patternCreate(), s.push("a pattern", "patterns", "pattern.yaml"),
		s.patternMove("recommend", "recommended", "Recommend a certified version to new apps"),
		s.patternMove("deprecate", "deprecated", "Deprecate a version: it still runs, and new apps do not get it"),
		s.patternMove("certify", "certified", "Certify a deprecated version again"),
		s.patternMove("retire", "retired", "Retire a deprecated version: nothing may be deployed on it"),
		s.requestCommand())
	return c
}

func (s *shell) patternList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the catalogue", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("patterns"), nil, 0)
				if err != nil {
					return err
				}
				return many(s, c, raw, "The catalogue is empty. Add a pattern: flywheel pattern create NAME --from FOLDER",
					[]string{"PATTERN", "RECOMMENDED", "VERSIONS", "TITLE", "OWNER"}, func(_ *page, v pattern) []string {
						return []string{v.Name, v.Recommended, fmt.Sprint(len(v.Versions)), v.Title, v.Owner}
					})
			})
		},
	}
}

func (s *shell) patternShow() *cobra.Command {
	return &cobra.Command{
		Use: "show PATTERN [VERSION]", Short: "Show a pattern, or the variables and bounds of a version", Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if len(args) == 2 {
					if err := api.get(ctx, path("patterns", args[0], "versions", args[1]), &raw); err != nil {
						return err
					}
					return one(s, c, raw, versionDetail)
				}
				if err := api.get(ctx, path("patterns", args[0]), &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v pattern) {
					p.fields("pattern", v.Name, "title", v.Title, "owner", v.Owner, "recommended", v.Recommended, "repository", v.Repository)
					if len(v.Versions) == 0 {
						p.line("\nNo version is published yet. What is under way: flywheel change list --pattern %s", v.Name)
						return
					}
					p.line("")
					p.table(versionHeaders, versionRows(p, v.Versions))
				})
			})
		},
	}
}

var versionHeaders = []string{"VERSION", "STATE", "", "DIGEST", "CHANGE", "SINCE"}

func versionRows(p *page, list []patternVersion) [][]string {
	rows := [][]string{}
	for _, v := range list {
		recommended := ""
		if v.Recommended {
			recommended = "recommended"
		}
		if v.Breaking != "" {
			recommended = strings.TrimSpace(recommended + " breaking")
		}
		rows = append(rows, []string{v.Version, p.state(v.State), recommended, short(v.Digest), v.Change, p.ago(v.CreatedAt)})
	}
	return rows
}

func versionDetail(p *page, v patternVersion) {
	recommended := ""
	if v.Recommended {
		recommended = "yes"
	}
	since := "published"
	if v.State == "draft" || v.State == "in_review" {
		since = "proposed"
	}
	p.fields("pattern", v.Pattern, "version", v.Version, "state", p.state(v.State), "recommended", recommended, "digest", v.Digest, "commit", v.Commit, "change", v.Change, since, p.ago(v.CreatedAt))
	rows := [][]string{}
	for _, x := range v.Interface.Variables {
		fallback := value(x.Default)
		if x.Required {
			fallback = "(required)"
		}
		limits := bounds(x.Bounds, x.Classes)
		if x.Secret {
			limits = map[string]string{"team": "a secret of the app", "coe": "a secret of the environment"}[x.Control]
		}
		rows = append(rows, []string{x.Name, x.Type, x.Control, clip(fallback, 24), limits, clip(marked(x.Description, x.Deprecated, x.Sensitive, x.Ephemeral, x.Nullable != nil && !*x.Nullable), 80)})
	}
	if len(rows) > 0 {
		p.heading("Variables")
		p.table([]string{"NAME", "TYPE", "CONTROL", "DEFAULT", "BOUNDS", ""}, rows)
	}
	if len(v.Interface.Outputs) > 0 {
		p.heading("Outputs")
		rows := [][]string{}
		for _, o := range v.Interface.Outputs {
			rows = append(rows, []string{o.Name, clip(marked(o.Description, o.Deprecated, o.Sensitive, o.Ephemeral, false), 80)})
		}
		p.table([]string{"NAME", ""}, rows)
	}
	if len(v.Interface.Credentials) > 0 {
		p.heading("Credentials")
		p.line("%s", strings.Join(v.Interface.Credentials, ", "))
	}
}

// marked adds what the module calls a variable or an output to its description.
func marked(description, deprecated string, sensitive, ephemeral, notNull bool) string {
	words := []string{}
	if sensitive {
		words = append(words, "sensitive")
	}
	if ephemeral {
		words = append(words, "ephemeral")
	}
	if notNull {
		words = append(words, "not null")
	}
	if deprecated != "" {
		words = append(words, "deprecated: "+deprecated)
	}
	if len(words) == 0 {
		return description
	}
	return strings.TrimSpace("(" + strings.Join(words, ", ") + ") " + description)
}

// bounds says the bounds of a variable, and what a class of environments has instead.
func bounds(keywords manifest.Values, classes map[string]manifest.Values) string {
	parts := []string{}
	least, most := keywords["minimum"], keywords["maximum"]
	switch {
	case least != nil && most != nil:
		parts = append(parts, value(least)+" to "+value(most))
	case least != nil:
		parts = append(parts, "at least "+value(least))
	case most != nil:
		parts = append(parts, "at most "+value(most))
	}
	for _, key := range slices.Sorted(maps.Keys(keywords)) {
		switch key {
		case "minimum", "maximum":
		case "enum":
			allowed, _ := keywords[key].([]any)
			words := make([]string, len(allowed))
			for i, v := range allowed {
				words[i] = value(v)
			}
			parts = append(parts, "one of "+strings.Join(words, ", "))
		case "pattern":
			parts = append(parts, "matches "+asText(keywords[key]))
		default:
			parts = append(parts, key+" "+value(keywords[key]))
		}
	}
	text := strings.Join(parts, ", ")
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		text = strings.TrimPrefix(text+"; ", "; ") + "in " + class + " " + bounds(classes[class], nil)
	}
	return text
}

func (s *shell) patternVersions() *cobra.Command {
	return &cobra.Command{
		Use: "versions PATTERN", Short: "List the versions of a pattern", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var v struct{ Versions []json.RawMessage }
				if err := api.get(ctx, path("patterns", args[0]), &v); err != nil {
					return err
				}
				return many(s, c, v.Versions, args[0]+" has no version yet.", versionHeaders, func(p *page, v patternVersion) []string {
					return versionRows(p, []patternVersion{v})[0]
				})
			})
		},
	}
}

func (s *shell) patternCreate() *cobra.Command {
	var title, from string
	c := &cobra.Command{
		Use: "create NAME [--from FOLDER]", Short: "Add a pattern to the catalogue, with its repository",
		Long: `Add a pattern to the catalogue. With --from, the folder (pattern.yaml beside the module) becomes the first
content of its repository and a change that the Center of Excellence certifies.`,
		Example: "  flywheel pattern create web-service --from examples/patterns/web-service", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			files := map[string]string{}
			if from != "" {
				var err error
				if files, err = readFolder(from); err != nil {
					return err
				}
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.post(ctx, path("patterns"), map[string]any{"name": args[0], "title": title, "files": files}, &raw); err != nil {
					return err
				}
				return one(s, c, raw, func(p *page, v struct{ Name, Change string }) {
					p.fields("pattern", v.Name, "change", v.Change)
					if v.Change != "" {
						p.line("\nFollow its certification: flywheel change watch %s", v.Change)
					} else {
						p.line("\nClone its repository, push pattern.yaml and the module on a branch: flywheel pattern show %s", v.Name)
					}
				})
			})
		},
	}
	c.Flags().StringVar(&title, "title", "", "what people call it")
	c.Flags().StringVar(&from, "from", "", "folder with the first content")
	return c
}

// readFolder returns the text files of a folder by path, without what tools keep there.
func readFolder(dir string) (map[string]string, error) {
	files := map[string]string{}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	total := 0
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == ".terraform" {
				return filepath.SkipDir
			}
			return nil
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		content, err := root.ReadFile(relative) // a link out of the folder is refused
		if err != nil {
			return err
		}
		if total += len(content); !utf8.Valid(content) || total > 4<<20 {
			return fault.New(fault.Invalid, "cli.folder", "%s cannot be sent in a form: it is not text, or the folder is larger than 4 MiB.", relative).
				Do("Create the pattern without --from, clone its repository and push the content.")
		}
		files[filepath.ToSlash(relative)] = string(content)
		return nil
	})
	return files, err
}

func (s *shell) patternMove(verb, state, text string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " PATTERN VERSION", Short: text, Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.post(ctx, path("patterns", args[0], "versions", args[1], "state"), map[string]string{"state": state}, &raw); err != nil {
					return err
				}
				return one(s, c, raw, versionDetail)
			})
		},
	}
}

type request struct {
	ID, Pattern, Title, Body, State, Reason, Change, Story, AskedBy, Discipline string
	CreatedAt                                                                   time.Time
}

func (s *shell) requestCommand() *cobra.Command {
	c := &cobra.Command{Use: "request", Short: "Ask for a pattern or a change to one, in words"}
	c.AddCommand(s.requestCreate(), s.requestList(), s.requestShow(),
		s.requestAnswer("accept", "accepted", "Accept a request"),
		s.requestAnswer("develop", "developing", "Say that a request is being developed"),
		s.requestAnswer("finish", "done", "Say that a request is fulfilled"),
		s.requestAnswer("decline", "declined", "Decline a request, with the reason"))
	return c
}

func requestDetail(p *page, v request) {
	p.fields("request", v.ID, "title", v.Title, "pattern", v.Pattern, "state", p.state(v.State), "reason", v.Reason, "change", v.Change,
		"story", v.Story, "discipline", v.Discipline, "asked by", v.AskedBy, "asked", p.ago(v.CreatedAt))
	if v.Body != "" {
		p.line("\n%s", v.Body)
	}
}

func (s *shell) requestCreate() *cobra.Command {
	var body struct {
		Pattern    string `json:"pattern,omitempty"`
		Title      string `json:"title"`
		Body       string `json:"body,omitempty"`
		Story      string `json:"story,omitempty"`
		Discipline string `json:"discipline,omitempty"`
	}
	c := &cobra.Command{
		Use: "create TITLE", Short: "Ask for a pattern, or for a change to one", Args: cobra.ExactArgs(1),
		Example: "  flywheel pattern request create 'Search near a place' --pattern web-service --story STY-12",
		RunE: func(c *cobra.Command, args []string) error {
			body.Title = args[0]
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.post(ctx, path("pattern-requests"), body, &raw); err != nil {
					return err
				}
				return one(s, c, raw, requestDetail)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&body.Pattern, "pattern", "", "pattern to change (default a new one)")
	f.StringVar(&body.Body, "body", "", "what it should do, and for whom")
	f.StringVar(&body.Story, "story", "", "story that needs it")
	f.StringVar(&body.Discipline, "discipline", "", "for whom you ask: security, operations or development")
	return c
}

func (s *shell) requestList() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use: "list", Short: "List requests for patterns", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				raw, err := api.list(ctx, path("pattern-requests"), query("state", state), 0)
				if err != nil {
					return err
				}
				return many(s, c, raw, none(state, "Nobody has asked for a pattern yet. Ask: flywheel pattern request create TITLE", "No request is "+state+"."), []string{"REQUEST", "PATTERN", "STATE", "TITLE", "ASKED"}, func(p *page, v request) []string {
					return []string{v.ID, first(v.Pattern, "(new)"), p.state(v.State), clip(v.Title, 60), p.ago(v.CreatedAt)}
				})
			})
		},
	}
	c.Flags().StringVar(&state, "state", "", "open, accepted, developing, done or declined")
	completes(c, "state", "open", "accepted", "developing", "done", "declined")
	return c
}

func (s *shell) requestShow() *cobra.Command {
	return &cobra.Command{
		Use: "show REQUEST", Short: "Show a request with its answer", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.get(ctx, path("pattern-requests", args[0]), &raw); err != nil {
					return err
				}
				return one(s, c, raw, requestDetail)
			})
		},
	}
}

func (s *shell) requestAnswer(verb, state, text string) *cobra.Command {
	var why, change, story string
	c := &cobra.Command{
		Use: verb + " REQUEST", Short: text, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if state == "declined" && why == "" {
				return usage("--reason is needed: who asked is told why.")
			}
			return s.act(c, func(ctx context.Context, api *client) error {
				body := map[string]string{"state": state}
				for key, v := range map[string]string{"reason": why, "change": change, "story": story} {
					if v != "" {
						body[key] = v
					}
				}
				var raw json.RawMessage
				if err := api.post(ctx, path("pattern-requests", args[0], "answer"), body, &raw); err != nil {
					return err
				}
				return one(s, c, raw, requestDetail)
			})
		},
	}
	c.Flags().StringVar(&why, "reason", "", "why")
	c.Flags().StringVar(&change, "change", "", "pattern change that fulfils it")
	c.Flags().StringVar(&story, "story", "", "story it serves")
	return c
}
