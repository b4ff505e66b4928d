package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/local"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu"
	"flywheel.dev/flywheel/internal/web"
)

// Inner runs the program as one of the processes that Flywheel starts itself, which must begin within
// milliseconds: git's hooks and the supervisor of engines. (The first process in a sandbox is quicker
// still: package sandbox/first takes over before main.) It reports whether args asked for one, and its
// exit code.
func Inner(args []string) (code int, inner bool) {
	if len(args) < 1 {
		return 0, false
	}
	switch args[0] {
	case "hook":
		return git.RunHook(args[1:]), true
	case "engine-run":
		if len(args) != 2 {
			return 2, true
		}
		return tofu.RunSupervisor(args[1], tofu.Hooks{ServeProvider: ServeProvider, Sandbox: func(off bool) (*sandbox.Sandbox, error) {
			return sandbox.New(sandbox.Options{Off: off})
		}}), true
	}
	return 0, false
}

// Commands returns the commands that run on the server's own machine.
func Commands(version string) []*cobra.Command {
	return []*cobra.Command{serveCommand(version), agentCommand(version), backupCommand(), restoreCommand(), openapiCommand(version)}
}

func serveCommand(version string) *cobra.Command {
	o := Options{Version: version}
	var logFormat string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run Flywheel on this machine",
		Long: `Run Flywheel: the pages, the API, git hosting and everything behind them.

Each flag can also be an environment variable (--database-url is FLYWHEEL_DATABASE_URL) or a key of
the configuration file (database-url: …). The command line wins over the environment, and the
environment over the file.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := configure(c); err != nil {
				return err
			}
			o.Log = logger(c.ErrOrStderr(), logFormat)
			return serve(c.Context(), o, c.OutOrStdout())
		},
	}
	serverFlags(c.Flags(), &o)
	c.Flags().StringVar(&logFormat, "log", "text", "format of the log: text or json")
	c.Flags().String("config", "", "configuration file in YAML")
	return c
}

func serverFlags(f *pflag.FlagSet, o *Options) {
	f.StringVar(&o.Data, "data", defaultData(), "folder of repositories, artifacts, keys and the SQLite database")
	f.StringVar(&o.DatabaseURL, "database-url", "", "postgres://… (default: SQLite in the data folder)")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:7270", "address to listen on")
	f.StringVar(&o.PublicURL, "public-url", "", "how people reach it (default: http:// and the address)")
	f.StringVar(&o.Replica, "replica", "main", "name of this replica, unique among those on one database")
	f.StringVar(&o.Engine, "engine", "", "path of tofu or terraform (default: as found on PATH)")
	f.StringVar(&o.Key, "key", "", "key file, or URL of the keeper of secrets (default: keys/secret.key in the data folder)")
	f.StringVar(&o.Agent, "agent", "", "folder of the local agent (default: agent in the data folder)")
	f.Int64Var(&o.PushLimit, "push-limit", 512, "MiB that a push may have")
	f.StringSliceVar(&o.FetchHosts, "fetch-host", []string{"proxy.golang.org", "sum.golang.org", "registry.npmjs.org"}, "host that the fetch command of a build may reach; repeatable")
	f.StringSliceVar(&o.Providers, "provider", nil, "provider that a pattern may use besides Flywheel's own; repeatable")
	f.StringVar(&o.Mirror, "provider-mirror", "", "folder with provider plugins")
	f.BoolVar(&o.Registry, "registry", false, "let the engine download allowed providers and modules")
	f.Var(sandboxFlag{&o.SandboxOff}, "sandbox", "on, or off to run untrusted code without isolation (audited)")
}

// sandboxFlag reads --sandbox=off.
type sandboxFlag struct{ off *bool }

func (s sandboxFlag) String() string {
	if s.off != nil && *s.off {
		return "off"
	}
	return "on"
}
func (s sandboxFlag) Type() string { return "on|off" }
func (s sandboxFlag) Set(v string) error {
	if v != "on" && v != "off" {
		return errors.New("say on or off")
	}
	*s.off = v == "off"
	return nil
}

func defaultData() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "flywheel")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "flywheel-data"
	}
	return filepath.Join(home, ".local", "share", "flywheel")
}

// configure sets every flag that the command line did not from the environment, else from the file.
func configure(c *cobra.Command) error {
	// Not those of the whole program: FLYWHEEL_URL is where the command line finds a server.
	flags := c.LocalNonPersistentFlags()
	if c.InheritedFlags().Changed("url") {
		return fault.New(fault.Invalid, "configuration.unknown", "--url is where the command line finds a server.").Do("`flywheel serve --public-url` says how people reach this one.")
	}
	values := map[string]any{}
	file, _ := flags.GetString("config")
	if file == "" {
		file = os.Getenv("FLYWHEEL_CONFIG")
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return fault.New(fault.Invalid, "configuration.unreadable", "The configuration file %s cannot be read.", file).Because(err)
		}
		if err := yaml.Unmarshal(text, &values); err != nil {
			return fault.New(fault.Invalid, "configuration.malformed", "The configuration file %s is not YAML: %s", file, yaml.FormatError(err, false, false))
		}
		for key := range values {
			if flags.Lookup(key) == nil {
				return fault.New(fault.Invalid, "configuration.unknown", "The configuration file %s has an unknown key %q.", file, key).Do("`flywheel serve --help` lists the keys: they are the flags without dashes before them.")
			}
		}
	}
	var failure error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || failure != nil {
			return
		}
		value, set := os.LookupEnv("FLYWHEEL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")))
		if !set {
			v, inFile := values[f.Name]
			if !inFile {
				return
			}
			if list, isList := v.([]any); isList {
				words := []string{}
				for _, w := range list {
					words = append(words, fmt.Sprint(w))
				}
				v = strings.Join(words, ",")
			}
			value = fmt.Sprint(v)
		}
		if err := flags.Set(f.Name, value); err != nil {
			failure = fault.New(fault.Invalid, "configuration.invalid", "%q is not a value for %s: %v.", value, f.Name, err)
		}
	})
	return failure
}

func logger(w io.Writer, format string) *slog.Logger {
	var handler slog.Handler = slog.NewTextHandler(w, nil)
	if format == "json" {
		handler = slog.NewJSONHandler(w, nil)
	}
	return slog.New(web.LogHandler(handler))
}

// serve runs until a signal ends it.
func serve(ctx context.Context, o Options, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := New(ctx, o)
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		s.Stop()
		return err
	}
	fmt.Fprintf(out, "Flywheel is ready at %s\n", s.URL())
	if s.SignIn[0] != "" {
		fmt.Fprintf(out, "Sign in as %s with the password %s (shown only now)\n", s.SignIn[0], s.SignIn[1])
	}
	<-ctx.Done()
	o.Log.Info("stopping")
	s.Stop()
	return nil
}

func agentCommand(version string) *cobra.Command {
	o := local.AgentOptions{Version: version}
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the local agent, which runs apps on this machine",
		Long:  "Run the local agent. `flywheel serve` starts one by itself; an init system can do so instead, so that apps begin with the machine.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			o.Log = logger(c.ErrOrStderr(), "text")
			return local.RunAgent(ctx, o)
		},
	}
	c.Flags().StringVar(&o.Data, "data", filepath.Join(defaultData(), "agent"), "folder of the agent")
	c.Flags().Var(sandboxFlag{&o.SandboxOff}, "sandbox", "on, or off to run apps without isolation")
	return c
}

// openapiCommand prints the description of the API, from a server that is made and never started.
func openapiCommand(version string) *cobra.Command {
	return &cobra.Command{
		Use: "openapi", Short: "Print the OpenAPI description of the API", Args: cobra.NoArgs, Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := web.New(web.Options{Version: "1"})
			if err != nil {
				return err
			}
			Describe(api.API)
			document, err := api.API.Document()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n", document)
			return err
		},
	}
}
