package tofu

import (
	"path/filepath"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu/supervisor"
)

// RunSupervisor is the process `flywheel engine-run FOLDER`: it runs the orders on its standard input
// and leaves their result in the folder. It returns the exit code.
func RunSupervisor(folder string, serve ServeProvider) int {
	return supervisor.Main(folder, supervisor.Serve(serve))
}

// box returns what every engine runs in.
func (s *Service) box() (*sandbox.Sandbox, error) {
	if s.Sandbox == nil {
		return nil, fault.New(fault.Unavailable, "sandbox.unavailable", "There is no sandbox, so no engine can be run.")
	}
	return s.Sandbox, nil
}

// engineEnv is the environment of every engine command, to which a run adds its own. Nothing is
// inherited. Home is the folder that the engine takes for its user's where there is no sandbox.
func engineEnv(box *sandbox.Sandbox, data, config, home string) []string {
	env := []string{
		"TF_DATA_DIR=" + data, "TF_CLI_CONFIG_FILE=" + config,
		"TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1",
		// An engine lives for a tenth of a second: collecting less garbage makes it a tenth faster.
		"GOGC=400", "GOMEMLIMIT=1GiB",
	}
	if box.Off() {
		env = append(env, "HOME="+home)
	}
	return env
}

// notServed tells init that somebody else starts Flywheel's provider, so that it is not looked for in a
// registry. Init does not connect to it.
const notServed = `TF_REATTACH_PROVIDERS={"` + ProviderAddress +
	`":{"Protocol":"grpc","ProtocolVersion":6,"Pid":1,"Test":true,"Addr":{"Network":"unix","String":"/nowhere"}}}`

func dirOf(paths ...string) []string {
	dirs := []string{}
	for _, p := range paths {
		if p != "" {
			dirs = append(dirs, filepath.Clean(p))
		}
	}
	return dirs
}
