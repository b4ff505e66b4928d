package cli

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// The shell completes names from the server. What an argument is stands in the command's Use line
// ("show APP"), what a flag is in its own name (--app), so that a new command completes by itself. Signed
// out, or with a server that does not answer at once, it offers nothing and says nothing.

// completionTime is what a person at a shell would wait.
const completionTime = 1500 * time.Millisecond

// completionLimit is more than anybody reads.
const completionLimit = 500

// offer asks the server for what an argument or a flag may be; args are the arguments before it, and begun is
// what was typed of it. Each is a name, with a word about it after a tab.
type offer func(ctx context.Context, api *client, args []string, begun string) []cobra.Completion

// offers by the word in a Use line. The flag of a noun has the noun's name in small letters.
var offers = map[string]offer{
	"APP":         apps,
	"ENVIRONMENT": listed("environments", nil, func(v thing) (string, string) { return v.Name, v.Class }),
	"PATTERN":     listed("patterns", nil, func(v thing) (string, string) { return v.Name, v.Title }),
	"VERSION":     versions,
	"TEAM":        listed("teams", nil, func(v thing) (string, string) { return v.Name, v.Title }),
	"PERSON":      listed("users", nil, func(v thing) (string, string) { return v.Name, v.Title }),
	"CHANGE":      changes(""),
	"DEPLOYMENT":  listed("deployments", nil, func(v thing) (string, string) { return v.ID, v.App + "/" + v.Environment + " " + v.State }),
	"STORY":       listed("stories", nil, func(v thing) (string, string) { return v.Key, v.Title }),
	"WAIVER":      listed("waivers", nil, func(v thing) (string, string) { return v.ID, v.App + " " + v.State }),
	"REQUEST":     listed("pattern-requests", nil, func(v thing) (string, string) { return v.ID, v.State + " " + v.Title }),
	"TOKEN":       listed("tokens", nil, func(v thing) (string, string) { return v.ID, v.Name }),
	"SESSION":     listed("sessions", nil, func(v thing) (string, string) { return v.ID, v.Browser }),
	"CONSUMER":    listed("consumers", nil, func(v thing) (string, string) { return v.Consumer, v.Event }),
	"CHECK":       checks,
	"SECRET":      secrets,

	"ROLLED-BACK-CHANGE": changes("rolled_back"),
	"DISCIPLINE":         fixed("security", "operations", "development"),
	"ROLE":               fixed("owner", "operator", "developer", "viewer"),
	"CLASS":              fixed("development", "staging", "production"),
	"SCOPE":              fixed("read", "write", "admin"),
	"ON-NEWER":           fixed("queue", "replace-pending"),
	"OUTCOME":            fixed("fails", "needs_value", "out_of_bounds", "destroys", "replaces", "updates", "unplanned", "unchanged"),
}

// asOffered are the flags that mean one of the offers under another name.
var asOffered = map[string]string{"user": "PERSON", "after": "ENVIRONMENT", "to": "DEPLOYMENT"}

// waitsFor says in which state a change is that a verb is for.
var waitsFor = map[string]string{"merge": "ready", "release": "held", "approve": "review", "request-changes": "review", "reject": "review"}

// thing is what is read of anything in a list.
type thing struct {
	ID, Name, Title, Team, Class, State, App, Environment, Key, Subject, Browser, Version, Consumer, Event string
}

// argument matches a word in a Use line that stands for an argument.
var argument = regexp.MustCompile(`^[A-Z][A-Z-]*$`)

// arguments returns the words of a command's Use line that stand for its arguments.
func arguments(c *cobra.Command) []string {
	words := []string{}
	for _, word := range strings.Fields(c.Use)[1:] {
		if word = strings.Trim(word, "[]"); !argument.MatchString(word) {
			break // flags come after the arguments
		}
		words = append(words, word)
	}
	return words
}

// complete lets the shell complete the arguments and flags of a command and of those below it.
func (s *shell) complete(c *cobra.Command) {
	for _, sub := range c.Commands() {
		s.complete(sub)
	}
	if c.Runnable() && !c.HasSubCommands() && c.ValidArgsFunction == nil && len(arguments(c)) > 0 {
		c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			words := arguments(c)
			if len(args) >= len(words) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return s.offer(c, meant(c, words[len(args)]), args, begun)
		}
	}
	for name, flag := range flagsOf(c) {
		if _, there := c.GetFlagCompletionFunc(name); there || flag == nil {
			continue
		}
		must(c.RegisterFlagCompletionFunc(name, func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return s.offer(c, flag, args, begun)
		}))
	}
}

// meant returns what a word of the Use line of this command stands for, or nil for what a person makes up.
func meant(c *cobra.Command, word string) offer {
	noun := strings.ToUpper(c.Parent().Name())
	switch {
	case c.Name() == "create" && (word == "NAME" || word == noun):
		return nil
	case word == "NAME" && noun == "USER":
		word = "PERSON"
	case word == "NAME" && noun == "SECRET":
		word = "SECRET"
	case word == "CHANGE" && noun == "CHANGE" && waitsFor[c.Name()] != "":
		return changes(waitsFor[c.Name()])
	}
	return offers[word]
}

// flagsOf returns what the flags of a command may be, by their names.
func flagsOf(c *cobra.Command) map[string]offer {
	flags, found := c.LocalNonPersistentFlags(), map[string]offer{}
	for word, of := range offers {
		if name := strings.ToLower(word); flags.Lookup(name) != nil && word != "VERSION" { // a range, not a version
			found[name] = of
		}
	}
	for word, means := range asOffered {
		if flags.Lookup(word) != nil {
			found[word] = offers[means]
		}
	}
	if words := arguments(c); len(words) > 0 && words[0] == "APP" && flags.Lookup("set") != nil {
		found["set"] = variables
	}
	return found
}

// offer answers the shell with what there is and begins as what was typed.
func (s *shell) offer(c *cobra.Command, of offer, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	if of == nil {
		return nil, directive
	}
	var api *client
	if base, token, err := s.server(); err == nil && token != "" {
		if api, err = newClient(base, token); err == nil {
			api.impatient = true
		}
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTime)
	defer cancel()
	found := slices.DeleteFunc(of(ctx, api, args, begun), func(one cobra.Completion) bool { return !strings.HasPrefix(one, begun) })
	if len(found) > 0 && strings.HasSuffix(strings.SplitN(found[0], "\t", 2)[0], "=") {
		directive |= cobra.ShellCompDirectiveNoSpace // a value follows
	}
	return found, directive
}

// listed offers what a list of the API has; about returns the name and a word about it.
func listed(noun string, q url.Values, about func(thing) (name, text string)) offer {
	return func(ctx context.Context, api *client, _ []string, _ string) []cobra.Completion {
		return each(ctx, api, path(noun), q, about)
	}
}

// apps asks for those with what was typed in them, as there may be many more than are read.
func apps(ctx context.Context, api *client, _ []string, begun string) []cobra.Completion {
	return each(ctx, api, path("apps"), query("q", begun), func(v thing) (string, string) { return v.Name, v.Team })
}

func each(ctx context.Context, api *client, where string, q url.Values, about func(thing) (name, text string)) []cobra.Completion {
	if api == nil {
		return nil
	}
	raw, err := api.list(ctx, where, q, completionLimit)
	if err != nil {
		return nil
	}
	found := []cobra.Completion{}
	for _, one := range raw {
		var v thing
		if json.Unmarshal(one, &v) == nil {
			name, text := about(v)
			found = append(found, cobra.CompletionWithDesc(name, clip(text, 60)))
		}
	}
	return found
}

func changes(state string) offer {
	return listed("changes", query("state", state), func(v thing) (string, string) { return v.ID, v.Subject + " " + v.State + ": " + v.Title })
}

func fixed(values ...string) offer {
	return func(context.Context, *client, []string, string) []cobra.Completion { return slices.Clone(values) }
}

// versions offers those of the pattern that was named before.
func versions(ctx context.Context, api *client, args []string, _ string) (found []cobra.Completion) {
	var v struct{ Versions []thing }
	if api == nil || len(args) == 0 || api.get(ctx, path("patterns", args[len(args)-1]), &v) != nil {
		return nil
	}
	for _, one := range v.Versions {
		found = append(found, cobra.CompletionWithDesc(one.Version, one.State))
	}
	return found
}

// checks offers those of the change that was named before that have a log.
func checks(ctx context.Context, api *client, args []string, _ string) (found []cobra.Completion) {
	var v changePage
	if api == nil || len(args) == 0 || api.get(ctx, path("changes", args[0]), &v) != nil {
		return nil
	}
	for _, k := range v.Checks {
		if k.Log != "" {
			found = append(found, cobra.CompletionWithDesc(k.Name, k.State))
		}
	}
	return found
}

// secrets offers the names of those of the app in the environment that were named before.
func secrets(ctx context.Context, api *client, args []string, _ string) []cobra.Completion {
	if len(args) < 2 {
		return nil
	}
	return each(ctx, api, path("apps", args[0], "environments", args[1], "secrets"), nil, func(v thing) (string, string) { return v.Name, "" })
}

// variables offers ENVIRONMENT.VARIABLE= for what the team of the app that was named before may set.
func variables(ctx context.Context, api *client, args []string, _ string) (found []cobra.Completion) {
	var v struct {
		Environments []struct {
			Name   string
			Schema struct {
				Properties map[string]struct{ Description string }
			}
		}
	}
	if api == nil || len(args) == 0 || api.get(ctx, path("apps", args[0], "form"), &v) != nil {
		return nil
	}
	for _, e := range v.Environments {
		for _, name := range slices.Sorted(maps.Keys(e.Schema.Properties)) {
			found = append(found, cobra.CompletionWithDesc(e.Name+"."+name+"=", clip(e.Schema.Properties[name].Description, 60)))
		}
	}
	return found
}
