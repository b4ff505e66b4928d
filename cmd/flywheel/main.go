// Command flywheel is the whole product: server, agent and command line.
package main

import (
	"context"
	"os"

	"flywheel.dev/flywheel/internal/cli"
	"flywheel.dev/flywheel/internal/server"
)

// version is set by the build.
var version = "development"

func main() {
	if code, inner := server.Inner(os.Args[1:]); inner {
		os.Exit(code)
	}
	os.Exit(cli.Main(context.Background(), cli.New(server.Commands(version)...), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
