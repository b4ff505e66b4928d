// Command flywheel is the whole product: server, agent and command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"flywheel.dev/flywheel/internal/cli"
	"flywheel.dev/flywheel/internal/demo"
	"flywheel.dev/flywheel/internal/server"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "development"

func main() {
	if code, inner := server.Inner(os.Args[1:]); inner {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(cli.Main(ctx, cli.New(version, append(server.Commands(version), demo.CommandOf(version))...), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
