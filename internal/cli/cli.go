// Package cli is the command line: `flywheel <noun> <verb>`, one file a noun.
//
// It speaks HTTP and nothing else, so that everything it does a script with curl can do. Data goes to
// standard output, progress and questions to standard error. `-o json` and `-o yaml` show exactly what
// the server answered; tables are for people and may change. The exit code says how it ended (see the
// constants); an error says what to do next.
//
// A command is a value of cobra.Command made by a function named after it; what every command needs,
// flags, streams and the clock, is in shell. Commands that run inside the machine (serve, backup, …)
// are handed to New by cmd/flywheel.
//
// Deliberately absent: any rule of the platform. Of the feature packages it uses two functions that work
// on files alone: manifest.Check, so that editors and hooks can call `validate` without a server, and
// local.PackDir, so that an uploaded folder has the digest it would have anywhere else.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flywheel.dev/flywheel/internal/fault"
)

// Exit codes.
const (
	Done    = 0
	Failed  = 1
	Usage   = 2
	Denied  = 4 // not signed in, or not allowed
	Waiting = 8 // somebody has to decide
)

// shell is what every command needs.
type shell struct {
	url     string
	output  string
	version string
	now     func() time.Time
}

// New returns the command tree of a program of this version, with the commands that extra adds.
func New(version string, extra ...*cobra.Command) *cobra.Command {
	return build(&shell{version: version, now: time.Now}, extra...)
}

func build(s *shell, extra ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "flywheel",
		Short: "Continuous innovation at enterprise scale",
		Long: `Flywheel runs the loop from an idea to its measured effect. Every change finds its own lane, and
a lane asks for exactly as much governance as the change needs.

Start with: flywheel login http://127.0.0.1:7270`,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&s.url, "url", "", "address of the server (default $FLYWHEEL_URL, else where you are signed in)")
	flags.StringVarP(&s.output, "output", "o", "table", "what to print: table, json or yaml")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddGroup(&cobra.Group{ID: "work", Title: "Work:"}, &cobra.Group{ID: "govern", Title: "Govern:"}, &cobra.Group{ID: "account", Title: "Account:"}, &cobra.Group{ID: "machine", Title: "This machine:"})
	group := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("work", s.appCommand(), s.changeCommand(), s.deploymentCommand(), s.secretCommand(), s.waiverCommand(), s.storyCommand(), s.artifactCommand(), s.validateCommand())
	group("govern", s.patternCommand(), s.environmentCommand(), s.auditCommand(), s.consumerCommand())
	group("account", s.loginCommand(), s.logoutCommand(), s.whoamiCommand(), s.userCommand(), s.teamCommand(), s.tokenCommand(), s.sessionCommand(), s.settingsCommand())
	group("machine", s.versionCommand(), s.gitCredentialCommand())
	for _, c := range extra {
		if c.GroupID == "" {
			c.GroupID = "machine"
		}
		root.AddCommand(c)
	}
	root.SetCompletionCommandGroupID("machine")
	root.SetHelpCommandGroupID("machine")
	root.InitDefaultCompletionCmd("completion")
	prepare(root)
	s.complete(root)
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch s.output {
		case "table", "json", "yaml":
			return nil
		}
		return usage("-o %s is not known. Use table, json or yaml.", s.output)
	}
	return root
}

// prepare makes wrong use of any command a usageError, and a noun without a verb show its verbs.
func prepare(c *cobra.Command) {
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &usageError{err.Error(), c.CommandPath()} })
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{fmt.Sprintf("Write `%s`; you gave %s.", strings.TrimSuffix(c.UseLine(), " [flags]"), first(strings.Join(args, " "), "nothing")), c.CommandPath()}
			}
			return nil
		}
	}
	if !c.Runnable() && c.HasSubCommands() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			message := fmt.Sprintf("%s has no command %q.", c.CommandPath(), args[0])
			c.SuggestionsMinimumDistance = 2
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				message += " Did you mean " + strings.Join(near, " or ") + "?"
			}
			return &usageError{message, c.CommandPath()}
		}
	}
	for _, sub := range c.Commands() {
		prepare(sub)
	}
}

// Main runs a command line and returns the exit code.
func Main(ctx context.Context, root *cobra.Command, args []string, in io.Reader, out, err io.Writer) int {
	shown, said := newTerminal(out), newTerminal(err)
	defer shown.Close()
	defer said.Close()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(shown)
	root.SetErr(said)
	command, failed := root.ExecuteContextC(ctx)
	var wrong *usageError
	if errors.As(failed, &wrong) && wrong.command == "" {
		wrong.command = command.CommandPath()
	}
	// Cobra has no type for these two.
	if failed != nil && (strings.HasPrefix(failed.Error(), "required flag") || strings.HasPrefix(failed.Error(), "if any flags")) {
		failed = &usageError{capital(failed.Error()), command.CommandPath()}
	}
	return report(said, failed)
}

// usageError is wrong use of a command.
type usageError struct{ message, command string }

func (e *usageError) Error() string { return e.message }

func usage(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// waitingError ends a command because somebody has to decide first; what has been printed already.
type waitingError struct{ sentence, remedy string }

func (e *waitingError) Error() string { return e.sentence }

// exitError ends a command whose output says everything already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// report prints what went wrong for a person and returns the exit code.
func report(w io.Writer, err error) int {
	paint := painter(w)
	var wrong *usageError
	var waiting *waitingError
	var exit exitError
	switch {
	case err == nil:
		return Done
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &waiting):
		fmt.Fprintln(w, paint(yellow, "Waiting: ")+waiting.sentence)
		if waiting.remedy != "" {
			fmt.Fprintln(w, waiting.remedy)
		}
		return Waiting
	case errors.As(err, &wrong):
		fmt.Fprintln(w, paint(red, "Error: ")+wrong.message)
		command := wrong.command
		if command == "" {
			command = "flywheel"
		}
		fmt.Fprintf(w, "`%s --help` shows how to use it.\n", command)
		return Usage
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, paint(red, "Interrupted. ")+"What was asked of the server goes on there.")
		return Failed
	}
	var f *fault.Fault
	if !errors.As(err, &f) { // an error of this machine: files, terminal, the command tree
		f = fault.New(fault.Invalid, "", "%s", capital(err.Error())).Do("Correct that and try again.")
		var path *os.PathError
		if errors.As(err, &path) {
			f.Code = "cli.file"
			f.Do("Check the path %s.", path.Path)
		}
	}
	fmt.Fprintln(w, paint(red, "Error: ")+f.Message)
	for _, field := range f.Fields {
		field.Path = strings.TrimPrefix(field.Path, "body.")
		if !strings.Contains(f.Message, field.Message) { // one field's message is the sentence itself
			fmt.Fprintf(w, "  %s\n", strings.TrimPrefix(field.Path+": "+field.Message, ": "))
		}
	}
	if f.Remedy != "" {
		fmt.Fprintln(w, f.Remedy)
	}
	if f.Code != "" {
		fmt.Fprintln(w, paint(dim, "("+f.Code+")"))
	}
	if f.Kind == fault.Unauthenticated || f.Kind == fault.Forbidden {
		return Denied
	}
	return Failed
}

func capital(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
