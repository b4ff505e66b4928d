package cli

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestTheShellCompletesNamesFromTheServer(t *testing.T) {
	page := func(items ...any) map[string]any { return map[string]any{"items": items} }
	_, url := serve(t, map[string]any{
		"GET /api/v1/apps?limit=200":                                      page(map[string]any{"name": "storefront", "team": "shop"}, map[string]any{"name": "search", "team": "shop"}),
		"GET /api/v1/apps?limit=200&q=st":                                 page(map[string]any{"name": "storefront", "team": "shop"}),
		"GET /api/v1/environments?limit=200":                              page(map[string]any{"name": "staging", "class": "staging"}, map[string]any{"name": "prod", "class": "production"}),
		"GET /api/v1/users?limit=200":                                     page(map[string]any{"name": "dana", "title": "Dana Developer"}),
		"GET /api/v1/teams?limit=200":                                     page(map[string]any{"name": "shop", "title": "Web shop"}),
		"GET /api/v1/patterns?limit=200":                                  page(map[string]any{"name": "web-service", "title": "Web service"}),
		"GET /api/v1/patterns/web-service":                                map[string]any{"versions": []any{map[string]any{"version": "1.1.0", "state": "certified"}}},
		"GET /api/v1/stories?limit=200":                                   page(map[string]any{"key": "STY-1", "title": "Shops near me"}),
		"GET /api/v1/deployments?limit=200":                               page(map[string]any{"id": "dpl_1", "app": "storefront", "environment": "prod", "state": "succeeded"}),
		"GET /api/v1/changes?limit=200":                                   page(map[string]any{"id": "chg_1", "subject": "storefront", "state": "deployed", "title": "One"}, map[string]any{"id": "chg_2", "subject": "storefront", "state": "ready", "title": "Two"}),
		"GET /api/v1/changes/chg_1":                                       map[string]any{"checks": []any{map[string]any{"name": "tests", "state": "passed", "log": "x"}, map[string]any{"name": "lane", "state": "passed"}}},
		"GET /api/v1/apps/storefront/form":                                map[string]any{"environments": []any{map[string]any{"name": "prod", "schema": map[string]any{"properties": map[string]any{"instances": map[string]any{"description": "How many"}}}}}},
		"GET /api/v1/changes?limit=200&state=ready":                       page(map[string]any{"id": "chg_2", "subject": "storefront", "state": "ready", "title": "Two"}),
		"GET /api/v1/apps/storefront/environments/prod/secrets?limit=200": page(map[string]any{"name": "payment_key"}),
	})
	for _, c := range []struct{ typed, want string }{
		{"app show ", "storefront\tshop search\tshop"},
		{"app show st", "storefront\tshop"},
		{"app show storefront ", ""},
		{"app create ", "--pattern\tcertified pattern it runs on --team\tteam that owns it"}, // a new name is made up
		{"app create x --team ", "shop\tWeb shop"},
		{"app create x --pattern ", "web-service\tWeb service"},
		{"app create x --environment ", "staging\tstaging prod\tproduction"},
		{"app give storefront ", "shop\tWeb shop"},
		{"deployment rollback storefront ", "staging\tstaging prod\tproduction"},
		{"deployment rollback storefront prod --to ", "dpl_1\tstorefront/prod succeeded"},
		{"deployment list --app ", "storefront\tshop search\tshop"},
		{"deployment list --change chg_2", "chg_2\tstorefront ready: Two"},
		{"change show chg_", "chg_1\tstorefront deployed: One chg_2\tstorefront ready: Two"},
		{"change merge ", "chg_2\tstorefront ready: Two"},
		{"change log chg_1 ", "tests\tpassed"},
		{"change create storefront --set ", "prod.instances=\tHow many"},
		{"change create storefront --story ", "STY-1\tShops near me"},
		{"pattern show web-service ", "1.1.0\tcertified"},
		{"pattern create ", ""},
		{"team show ", "shop\tWeb shop"},
		{"team create ", ""},
		{"team add shop ", "dana\tDana Developer"},
		{"team add shop dana --role o", "owner operator"},
		{"user show ", "dana\tDana Developer"},
		{"token list --user ", "dana\tDana Developer"},
		{"secret remove storefront prod ", "payment_key"},
		{"environment update ", "staging\tstaging prod\tproduction"},
		{"environment create ", "--class\tdevelopment, staging or production"},
		{"environment create x --class p", "production"},
		{"-o ", "table json yaml"},
	} {
		t.Run(c.typed, func(t *testing.T) {
			r := tell(t, url, "", append([]string{"__complete"}, strings.Split(c.typed, " ")...)...)
			lines := strings.Split(strings.TrimSpace(r.out), "\n")
			got := strings.Join(lines[:len(lines)-1], " ") // the last one says that files are not meant
			if r.code != Done || got != c.want {
				t.Errorf("code %d, offered %q, want %q\n%s", r.code, got, c.want, r.err)
			}
		})
	}
}

func TestCompletionIsQuietWhenThereIsNobodyToAsk(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	stuck := httptest.NewServer(nil)
	defer stuck.Close()
	for name, env := range map[string][2]string{"signed out": {stuck.URL, ""}, "a server that is away": {gone.URL, "fly_test"}, "a server that is another": {stuck.URL, "fly_test"}} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			t.Setenv("FLYWHEEL_URL", env[0])
			t.Setenv("FLYWHEEL_TOKEN", env[1])
			for _, typed := range []string{"app show ", "change create storefront --set ", "pattern show web ", "change log chg_1 ", "secret remove a b "} {
				r := raw(t, "", append([]string{"__complete"}, strings.Split(typed, " ")...)...)
				if r.code != Done || strings.Contains(r.out, "\n:") || strings.Contains(r.err, "Error") {
					t.Errorf("%s: code %d\n%s%s", typed, r.code, r.out, r.err)
				}
			}
			if r := raw(t, "", "__complete", "team", "add", "shop", "dana", "--role", "v"); !strings.HasPrefix(r.out, "viewer") {
				t.Errorf("what needs no server is not offered: %s", r.out)
			}
		})
	}
}

// What an argument or flag is stands in its word, so a word that nobody knows would complete nothing.
func TestEveryWordOfEveryUseLineIsOneThatCompletes(t *testing.T) {
	madeUp := map[string]bool{"NAME": true, "TITLE": true, "URL": true, "FOLDER": true} // by the person, or no name of the platform
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Hidden || !c.Runnable() || c.HasSubCommands() {
			return
		}
		for _, word := range arguments(c) {
			if meant(c, word) == nil && !madeUp[word] && !(c.Name() == "create" && word == strings.ToUpper(c.Parent().Name())) {
				t.Errorf("%s: nothing completes %s", c.CommandPath(), word)
			}
		}
	}
	walk(build(&shell{now: time.Now}))
}
