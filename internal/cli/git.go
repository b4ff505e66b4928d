package cli

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/fault"
)

// helpGit tells git to ask this program for the sign-in at one server. It is the person's own
// configuration of git, so it is written only when they ask for it.
func helpGit(c *cobra.Command, base string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// git hands a helper that begins with ! to a shell.
	helper := "!'" + strings.ReplaceAll(self, "'", `'\''`) + "' git-credential"
	said, err := exec.CommandContext(c.Context(), "git", "config", "--global", "credential."+base+".helper", helper).CombinedOutput()
	if err != nil {
		return fault.New(fault.Unavailable, "cli.git", "You are signed in, but git could not be told: %s.", first(strings.TrimSpace(string(said)), err.Error())).
			Do("Give git a token as the password: flywheel token create git.").Because(err)
	}
	note(c, "git signs in as you there, too.")
	return nil
}

// gitCredentialCommand is what git calls when a repository asks for a sign-in.
func (s *shell) gitCredentialCommand() *cobra.Command {
	return &cobra.Command{
		Use: "git-credential get|store|erase", Short: "Answer git's question for a sign-in", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] != "get" {
				return nil // the token is kept by login and logout
			}
			asked := map[string]string{}
			for in := bufio.NewScanner(c.InOrStdin()); in.Scan(); {
				if key, v, found := strings.Cut(in.Text(), "="); found {
					asked[key] = v
				}
			}
			base, token, err := s.server()
			if err != nil {
				return err
			}
			u, err := url.Parse(base)
			if err != nil || token == "" || u.Scheme != asked["protocol"] || u.Host != asked["host"] {
				return nil // git asks the next helper, or the person
			}
			stored, err := readLogin()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "username=%s\npassword=%s\n", first(stored.Name, "token"), token)
			return err
		},
	}
}
