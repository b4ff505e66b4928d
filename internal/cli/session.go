package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"flywheel.dev/flywheel/internal/fault"
)

func (s *shell) loginCommand() *cobra.Command {
	var name string
	var fromStdin, forGit bool
	c := &cobra.Command{
		Use: "login [URL]", Short: "Sign in and keep a token on this machine",
		Long: `Sign in with name and password and keep a token, valid for 90 days, in
$XDG_CONFIG_HOME/flywheel/config.yaml. Scripts set FLYWHEEL_URL and FLYWHEEL_TOKEN instead. With --git,
your git gets the same token from this program when it clones from and pushes to this server.`,
		Example: "  flywheel login http://127.0.0.1:7270 --git\n  flywheel login https://flywheel.example.com --name grace --password-stdin < password",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				s.url = args[0]
			}
			base, _, err := s.server()
			if err != nil {
				return err
			}
			in := bufio.NewReader(c.InOrStdin())
			if name == "" {
				if fromStdin {
					return usage("--password-stdin needs --name as well.")
				}
				if name, err = ask(c, in, "Name: "); err != nil {
					return err
				}
			}
			password, err := askSecret(c, in, "Password: ", fromStdin)
			if err != nil {
				return err
			}
			if err := s.login(c, base, name, password); err != nil || !forGit {
				return err
			}
			return helpGit(c, base)
		},
	}
	c.Flags().StringVar(&name, "name", "", "name to sign in with")
	c.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	c.Flags().BoolVar(&forGit, "git", false, "let git sign in as you at this server")
	return c
}

// login exchanges name and password for a token. The session it needs for that ends at once.
func (s *shell) login(c *cobra.Command, base, name, password string) error {
	api, err := newClient(base, "")
	if err != nil {
		return err
	}
	ctx := c.Context()
	credentials, err := json.Marshal(map[string]string{"name": name, "password": password})
	if err != nil {
		return err
	}
	response, err := api.send(ctx, http.MethodPost, path("session"), http.Header{"Content-Type": {"application/json"}}, credentials)
	if err != nil {
		return err
	}
	response.Body.Close()
	api.cookies = response.Cookies()
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed machine"
	}
	var made struct {
		ID        string    `json:"id"`
		User      string    `json:"user"`
		Secret    string    `json:"secret"`
		ExpiresAt time.Time `json:"expiresAt"`
	}
	// A person at the command line decides and approves like at the page, so the token is not narrower.
	request := map[string]any{"name": clip("command line on "+host, 100), "scopes": []string{"read", "write", "admin"}}
	err = api.post(ctx, path("tokens"), request, &made)
	err = errors.Join(err, api.call(ctx, http.MethodDelete, path("session"), nil, nil))
	if err != nil {
		return err
	}
	if err := (login{URL: base, Name: made.User, Token: made.Secret, TokenID: made.ID}).write(); err != nil {
		return err
	}
	note(c, "Signed in to %s as %s until %s.", base, made.User, made.ExpiresAt.Format("2 January 2006"))
	return nil
}

func (s *shell) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Delete the token of this machine", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			stored, err := readLogin()
			if err != nil {
				return err
			}
			if stored.Token == "" {
				note(c, "Nobody is signed in on this machine.")
				return nil
			}
			api, err := newClient(stored.URL, stored.Token)
			if err != nil {
				return err
			}
			failed := api.call(c.Context(), http.MethodDelete, path("tokens", stored.TokenID), nil, nil)
			if err := forgetLogin(); err != nil {
				return err
			}
			if f := fault.From(failed); f != nil && f.Kind != fault.Unauthenticated && f.Kind != fault.NotFound {
				return fault.New(f.Kind, "cli.logout", "This machine forgot its token, but the server still knows it: %s", f.Message).
					Do("Delete it there later: flywheel token revoke %s.", stored.TokenID)
			}
			note(c, "Signed out of %s.", stored.URL)
			return nil
		},
	}
}

func (s *shell) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show who you are here and what you may do", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.act(c, func(ctx context.Context, api *client) error {
				var raw json.RawMessage
				if err := api.get(ctx, path("me"), &raw); err != nil {
					return err
				}
				type me struct {
					Name, Title string
					Admin       bool
					Disciplines []string
					Teams       map[string]string
					Service     bool
				}
				return one(s, c, raw, func(p *page, v me) {
					roles := []string{}
					if v.Admin {
						roles = append(roles, "admin")
					}
					for _, d := range v.Disciplines {
						roles = append(roles, "coe:"+d)
					}
					teams := []string{}
					for _, team := range slices.Sorted(maps.Keys(v.Teams)) {
						teams = append(teams, team+" ("+v.Teams[team]+")")
					}
					kind := ""
					if v.Service {
						kind = "service token: it cannot approve"
					}
					p.fields("name", v.Name, "full name", v.Title, "roles", strings.Join(roles, ", "), "teams", strings.Join(teams, ", "), "token", kind, "server", api.base)
				})
			})
		},
	}
}

// ask reads a line from a person.
func ask(c *cobra.Command, in *bufio.Reader, question string) (string, error) {
	fmt.Fprint(c.ErrOrStderr(), question)
	line, err := in.ReadString('\n')
	line = strings.TrimSpace(line)
	if line == "" && err != nil {
		return "", usage("There is nobody to ask for it: give the answer as a flag.")
	}
	return line, nil
}

// askSecret reads a secret: without showing it from a terminal, else all of standard input.
func askSecret(c *cobra.Command, in *bufio.Reader, question string, fromStdin bool) (string, error) {
	if f, ok := c.InOrStdin().(*os.File); ok && !fromStdin && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(c.ErrOrStderr(), question)
		secret, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(c.ErrOrStderr())
		return string(secret), err
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if secret == "" {
		return "", usage("Standard input holds no secret. Pipe it in, or run this at a terminal.")
	}
	return secret, nil
}

// confirm asks before something that binds. Without a terminal nobody can answer.
func confirm(c *cobra.Command, question string) (bool, error) {
	if !isTerminal(c.InOrStdin()) {
		return false, nil
	}
	answer, err := ask(c, bufio.NewReader(c.InOrStdin()), question+" [y/N] ")
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), err
}
