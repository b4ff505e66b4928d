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
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/git"
	"flywheel.dev/flywheel/internal/local"
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
		return tofu.RunSupervisor(args[1], ServeProvider), true
	}
	return 0, false
}

// Commands returns the commands that run on the server's own machine.
func Commands(version string) []*cobra.Command {
	return []*cobra.Command{serveCommand(version), agentCommand(version), backupCommand(), restoreCommand(), openapiCommand(version)}
}

// KeepPrivate makes everything that this process and those it starts will write readable for its own user only,
// whatever the umask of the shell was. Inside sandboxes the usual one holds.
func KeepPrivate() { unix.Umask(0o077) }

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
			if err := configure(c, c.LocalNonPersistentFlags()); err != nil {
				return err
			}
			o.Log = logger(c.ErrOrStderr(), logFormat)
			return serve(c.Context(), o, c.OutOrStdout())
		},
	}
	serverFlags(c.Flags(), &o, &logFormat)
	return c
}

// serverFlags are the settings of a server: a flag, an environment variable and a key of the file each.
func serverFlags(f *pflag.FlagSet, o *Options, logFormat *string) {
	f.String("config", "", "configuration file in YAML")
	*logFormat = "text"
	f.Var(choice{logFormat, []string{"text", "json"}}, "log", "format of the log: text or json")
	f.StringVar(&o.Data, "data", defaultData(), "folder of repositories, artifacts, keys and the SQLite database")
	f.StringVar(&o.DatabaseURL, "database-url", "", "postgres://… (default: SQLite in the data folder)")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:7270", "address to listen on")
	f.StringVar(&o.Metrics, "metrics-listen", "", "address at which Prometheus reads /metrics without signing in (default: none)")
	f.StringVar(&o.PublicURL, "public-url", "", "how people reach it (default: http:// and the address)")
	f.StringSliceVar(&o.Proxies, "trusted-proxy", nil, "address or range of a proxy that is believed who its clients are; repeatable")
	f.StringVar(&o.Replica, "replica", "main", "name of this replica, unique among those on one database")
	f.StringVar(&o.Engine, "engine", "", "path of tofu or terraform (default: as found on PATH)")
	f.StringVar(&o.Key, "key", "", "key file, or URL of the keeper of secrets (default: keys/secret.key in the data folder)")
	f.StringVar(&o.Agent, "agent", "", "folder of the local agent (default: agent in the data folder)")
	o.PushLimit = 512
	f.Var(mebibytes{&o.PushLimit}, "push-limit", "MiB that a push may have")
	f.StringSliceVar(&o.FetchHosts, "fetch-host", []string{"proxy.golang.org", "sum.golang.org", "registry.npmjs.org"}, "host that the fetch command of a build may reach; repeatable")
	f.StringSliceVar(&o.Providers, "provider", nil, "provider that a pattern may use besides Flywheel's own; repeatable")
	f.StringVar(&o.Mirror, "provider-mirror", "", "folder with provider plugins")
	f.BoolVar(&o.Registry, "registry", false, "let the engine download allowed providers and modules from the registry hosts")
	f.StringSliceVar(&o.RegistryHosts, "registry-host", RegistryHosts, "host that providers and modules may be downloaded from; repeatable")
	f.Var(sandboxFlag{&o.SandboxOff}, "sandbox", "on, or off to run engines, builds and apps without isolation (audited)")
}

// choice is a flag that takes one of a few words.
type choice struct {
	word *string
	of   []string
}

func (c choice) String() string {
	if c.word == nil {
		return ""
	}
	return *c.word
}
func (c choice) Type() string { return strings.Join(c.of, "|") }
func (c choice) Set(v string) error {
	if !slices.Contains(c.of, v) {
		return errors.New("say " + strings.Join(c.of, " or "))
	}
	*c.word = v
	return nil
}

// mebibytes is a flag that takes a number above zero.
type mebibytes struct{ n *int64 }

func (m mebibytes) String() string {
	if m.n == nil {
		return ""
	}
	return strconv.FormatInt(*m.n, 10)
}
func (m mebibytes) Type() string { return "MiB" }
func (m mebibytes) Set(v string) error {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 || n > 1<<20 {
		return errors.New("say a whole number of MiB, from 1 to 1048576")
	}
	*m.n = n
	return nil
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

// configure sets every one of a command's flags that the command line did not from the environment, else
// from the file. Every command of this machine reads the same file, and takes from it what it has a flag for.
func configure(c *cobra.Command, flags *pflag.FlagSet) error {
	// Not the flags of the whole program: FLYWHEEL_URL is where the command line finds a server.
	if c.InheritedFlags().Changed("url") {
		return fault.New(fault.Invalid, "configuration.unknown", "--url is where the command line finds a server.").Do("`flywheel serve --public-url` says how people reach this one.")
	}
	file, _ := flags.GetString("config")
	if file == "" {
		file = os.Getenv("FLYWHEEL_CONFIG")
	}
	values, err := readConfiguration(file)
	if err != nil {
		return err
	}
	var failure error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || failure != nil || f.Name == "help" {
			return
		}
		// A variable that is there and empty is one that somebody meant to take away.
		value := os.Getenv("FLYWHEEL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")))
		if value == "" {
			written := false
			if value, written = values[f.Name]; !written {
				return
			}
		}
		if err := flags.Set(f.Name, value); err != nil {
			var wrong *pflag.InvalidValueError // says the value and the flag once more
			if errors.As(err, &wrong) {
				err = wrong.Unwrap()
			}
			failure = fault.New(fault.Invalid, "configuration.invalid", "%q is not a value for %s: %v.", value, f.Name, err)
		}
	})
	return failure
}

// readConfiguration returns the values of a configuration file as they would be written as flags. Without a
// file there are none.
func readConfiguration(file string) (map[string]string, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.New(fault.Invalid, "configuration.unreadable", "The configuration file %s cannot be read.", file).Because(err)
	}
	written := map[string]any{}
	if err := yaml.Unmarshal(text, &written); err != nil {
		return nil, fault.New(fault.Invalid, "configuration.malformed", "The configuration file %s is not YAML: %s", file, yaml.FormatError(err, false, false))
	}
	known := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	serverFlags(known, &Options{}, new(string))
	values := map[string]string{}
	for key, v := range written {
		if known.Lookup(key) == nil || key == "config" {
			return nil, fault.New(fault.Invalid, "configuration.unknown", "The configuration file %s has an unknown key %q.", file, key).Do("`flywheel serve --help` lists the keys: they are the flags without dashes before them.")
		}
		list, isList := v.([]any)
		if !isList {
			list = []any{v}
		}
		words := []string{}
		for _, w := range list {
			switch w.(type) {
			case nil, map[string]any, []any:
				return nil, fault.New(fault.Invalid, "configuration.invalid", "The configuration file %s has no plain value for %s.", file, key).Do("Write one word, or a list of words.")
			}
			words = append(words, fmt.Sprint(w))
		}
		values[key] = strings.Join(words, ",")
	}
	return values, nil
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
	KeepPrivate()
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
		Long: `Run the local agent. ` + "`flywheel serve`" + ` starts one by itself; an init system can do so instead, so that apps
begin with the machine. Where its flags are not given, the agent of the server with this configuration
runs: its folder is what that server calls --agent.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := agentOf(c, &o); err != nil {
				return err
			}
			KeepPrivate()
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			o.Log = logger(c.ErrOrStderr(), "text")
			return local.RunAgent(ctx, o)
		},
	}
	c.Flags().String("config", "", "configuration file of the server, in YAML")
	c.Flags().StringVar(&o.Data, "data", "", "folder of the agent (default: agent in the server's data folder)")
	c.Flags().StringSliceVar(&o.Proxies, "trusted-proxy", nil, "address or range of a proxy in front of apps that is believed who its clients are; repeatable")
	c.Flags().IntVar(&o.HomeMB, "home-mb", local.DefaultHomeMB, "what the home folder of one process of an app may hold; one that fills it further is stopped")
	c.Flags().Var(sandboxFlag{&o.SandboxOff}, "sandbox", "on, or off to run apps without isolation")
	return c
}

// agentOf fills what the command line left out from the configuration of the agent's server.
func agentOf(c *cobra.Command, o *local.AgentOptions) error {
	var server Options
	settings := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	serverFlags(settings, &server, new(string))
	if err := settings.Set("config", c.Flags().Lookup("config").Value.String()); err != nil {
		return err
	}
	if err := configure(c, settings); err != nil {
		return err
	}
	server, err := withDefaults(server)
	if err != nil {
		return err
	}
	if !c.Flags().Changed("data") {
		o.Data = server.Agent
	}
	if !c.Flags().Changed("trusted-proxy") {
		o.Proxies = server.Proxies
	}
	if !c.Flags().Changed("sandbox") {
		o.SandboxOff = server.SandboxOff
	}
	return nil
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
