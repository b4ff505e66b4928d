package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/web"
)

// Client speaks to an agent through its socket. The zero values of the other fields are fine, but a client without an
// instance cannot name a service or a volume.
type Client struct {
	Socket string // DIR/agent.sock

	// Instance is whose services and volumes this client is for: to the agent, an id of anybody else's is none. So
	// an id may come from where it could be forged, such as the output of a pattern.
	Instance string

	// Fence, if not 0, goes with every change: the agent refuses it with `instance.fenced` when it has seen
	// a higher one for that instance. A deployment that was overtaken changes nothing.
	Fence int64

	// ReadOnly refuses every change with `agent.read_only`: what a plan is given.
	ReadOnly bool

	// Patience is how long a request waits for an agent that is away, because it was killed or is being
	// upgraded: it comes back with its services within moments. 0 does not wait. Every request may be sent
	// twice, but not one whose body is a stream.
	Patience time.Duration

	// Limit is how long an agent may take to answer, 20 minutes where it is 0: longer than any service may take
	// to start. One that is there but stands still must not hold a deployment for ever.
	Limit time.Duration
}

// Health returns what the agent says about itself, or the fault `agent.unreachable`.
func (c *Client) Health(ctx context.Context) (AgentHealth, error) {
	return call[AgentHealth](ctx, c, http.MethodGet, "/v1/health", nil)
}

// Usage returns what the agent's apps take of this machine.
func (c *Client) Usage(ctx context.Context) (Usage, error) {
	return call[Usage](ctx, c, http.MethodGet, "/v1/usage", nil)
}

// Stop asks the agent to stop. Its services come back when it is started again.
func (c *Client) Stop(ctx context.Context) error {
	return c.change(ctx, http.MethodPost, "/v1/stop", nil)
}

// HasArtifact reports whether the agent has the artifact.
func (c *Client) HasArtifact(ctx context.Context, digest string) (bool, error) {
	_, err := call[struct{}](ctx, c, http.MethodGet, "/v1/artifacts/"+url.PathEscape(digest), nil)
	if fault.Is(err, "artifact.not_found") {
		return false, nil
	}
	return err == nil, err
}

// PutArtifact brings a tar or tar.gz whose bytes have this digest. It is fine if the agent has it already.
func (c *Client) PutArtifact(ctx context.Context, digest string, archive io.Reader) error {
	return c.change(ctx, http.MethodPut, "/v1/artifacts/"+url.PathEscape(digest), archive)
}

// PutSecrets replaces the secrets of an instance, by their names. The agent keeps them sealed and never
// gives one back; running processes get new values with the next ApplyService or Release.
func (c *Client) PutSecrets(ctx context.Context, instance string, values map[string]string) error {
	return c.change(ctx, http.MethodPut, "/v1/secrets/"+url.PathEscape(instance), values)
}

// ApplyService creates or changes a service and returns when it is healthy. If it does not become so,
// what ran before still runs, and the fault `service.unhealthy` says why and has the last log lines in the
// field "log". The agent finishes what it began even if ctx ends; calling again joins it.
func (c *Client) ApplyService(ctx context.Context, s Service) (Status, error) {
	return changed[Status](ctx, c, http.MethodPost, "/v1/services", s)
}

// Release is PutSecrets for the service's instance and ApplyService with only the artifact changed, in one
// request, so that the agent can write the one while it does the other. An artifact that the agent does not
// have is the fault `artifact.not_found`.
func (c *Client) Release(ctx context.Context, id, artifact string, secrets map[string]string) (Status, error) {
	return changed[Status](ctx, c, http.MethodPost, "/v1/services/"+url.PathEscape(id)+"/release", releaseRequest{artifact, secrets})
}

// Cancel has the agent give up what it is bringing up for an instance with the client's fence, and refuse what
// still comes with it, also after a restart. It does not wait until nothing is left: the ApplyService or
// Release that is given up does, and so does one that is called again. What has switched stays, and calling
// again answers that it is there.
func (c *Client) Cancel(ctx context.Context, instance string) error {
	return c.change(ctx, http.MethodPost, "/v1/instances/"+url.PathEscape(instance)+"/cancel", nil)
}

// Prepare makes what a Release of this artifact will need, so that it only has to start the app. Nothing of
// the app runs before the Release, which does without where this did not happen or no longer fits.
func (c *Client) Prepare(ctx context.Context, id, artifact string) error {
	return c.change(ctx, http.MethodPost, "/v1/services/"+url.PathEscape(id)+"/prepare", map[string]string{"artifact": artifact})
}

// GetService returns a service as it is now, or the fault `service.not_found`.
func (c *Client) GetService(ctx context.Context, id string) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/services/"+url.PathEscape(id), nil)
}

// ListServices returns the services of an instance, or all if it is "".
func (c *Client) ListServices(ctx context.Context, instance string) ([]Status, error) {
	return call[[]Status](ctx, c, http.MethodGet, "/v1/services?instance="+url.QueryEscape(instance), nil)
}

// Addresses returns, as host:port, what the agent listens on for the client's instance: an address that another
// program took meanwhile is none.
func (c *Client) Addresses(ctx context.Context) ([]string, error) {
	return call[[]string](ctx, c, http.MethodGet, "/v1/addresses", nil)
}

// DeleteService ends a service and returns when nothing of it runs. Its volumes stay. It is fine if there
// is none.
func (c *Client) DeleteService(ctx context.Context, id string) error {
	return c.change(ctx, http.MethodDelete, "/v1/services/"+url.PathEscape(id), nil)
}

// Logs returns the last lines of a service, each with its time and process, and with follow also each
// new one until ctx ends, the reader is closed or the service is deleted.
func (c *Client) Logs(ctx context.Context, id string, follow bool) (io.ReadCloser, error) {
	response, err := c.do(ctx, http.MethodGet, "/v1/services/"+url.PathEscape(id)+"/logs?follow="+strconv.FormatBool(follow), nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// ApplyVolume creates a volume or changes its size. Its content is never touched.
func (c *Client) ApplyVolume(ctx context.Context, v Volume) (Volume, error) {
	return changed[Volume](ctx, c, http.MethodPost, "/v1/volumes", v)
}

// GetVolume returns a volume, or the fault `volume.not_found`.
func (c *Client) GetVolume(ctx context.Context, id string) (Volume, error) {
	return call[Volume](ctx, c, http.MethodGet, "/v1/volumes/"+url.PathEscape(id), nil)
}

// ListVolumes returns the volumes of an instance, or all if it is "".
func (c *Client) ListVolumes(ctx context.Context, instance string) ([]Volume, error) {
	return call[[]Volume](ctx, c, http.MethodGet, "/v1/volumes?instance="+url.QueryEscape(instance), nil)
}

// DeleteVolume removes a volume and its content for good: from the hands of everybody at once, and from
// the disk when the last service has let go of it. It is fine if there is none.
func (c *Client) DeleteVolume(ctx context.Context, id string) error {
	return c.change(ctx, http.MethodDelete, "/v1/volumes/"+url.PathEscape(id), nil)
}

func (c *Client) change(ctx context.Context, method, path string, body any) error {
	_, err := changed[struct{}](ctx, c, method, path, body)
	return err
}

func changed[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	if c.ReadOnly {
		var none T
		return none, fault.New(fault.Forbidden, "agent.read_only", "This run may look at the target, not change it.").
			Do("Apply the plan with a deployment.")
	}
	return call[T](ctx, c, method, path, body)
}

func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var answer T
	limit := cmp.Or(c.Limit, 20*time.Minute)
	slow := fault.New(fault.Unavailable, "agent.silent", "The agent behind %s did not answer within %s.", c.Socket, limit).
		Do("Read its log, agent.log in its folder, and start it again if it stands still.")
	ctx, cancel := context.WithTimeoutCause(ctx, limit, slow)
	defer cancel()
	response, err := c.do(ctx, method, path, body)
	if context.Cause(ctx) == slow {
		return answer, slow
	}
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return answer, unreachable(c.Socket, err)
	}
	return answer, nil
}

// do sends a request until the agent has answered it, or patience has ended.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	deadline := time.Now().Add(c.Patience)
	for {
		response, err := c.once(ctx, method, path, body)
		away := fault.Is(err, "agent.unreachable") || fault.Is(err, "agent.stopping")
		if _, isStream := body.(io.Reader); !away || isStream || time.Now().After(deadline) || !sleep(ctx, 50*time.Millisecond) {
			return response, err
		}
	}
}

// once sends a request on a connection of its own and turns the agent's refusal back into its fault.
func (c *Client) once(ctx context.Context, method, path string, body any) (*http.Response, error) {
	stream, isStream := body.(io.Reader)
	if !isStream && body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		stream = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, stream)
	if err != nil {
		return nil, err
	}
	if id := web.RequestID(ctx); id != "" {
		request.Header.Set(web.RequestHeader, id)
	}
	if c.Instance != "" {
		request.Header.Set(instanceHeader, c.Instance)
	}
	if c.Fence != 0 {
		request.Header.Set(fenceHeader, strconv.FormatInt(c.Fence, 10))
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialUnix(ctx, c.Socket)
		},
		DisableKeepAlives: true,
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unreachable(c.Socket, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	var wire wireFault
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&wire); err != nil || wire.Code == "" {
		return nil, fault.New(fault.Unavailable, "agent.version", "The agent does not know this request.").
			Do("Stop the agent and start the one of this version.").Because(err)
	}
	return nil, &fault.Fault{Kind: wire.Kind, Code: wire.Code, Message: wire.Message, Remedy: wire.Remedy, Fields: wire.Fields}
}

func unreachable(socket string, err error) error {
	return fault.New(fault.Unavailable, "agent.unreachable", "The agent behind %s does not answer.", socket).
		Do("Start it with flywheel agent, or restart flywheel serve, which does so.").Because(err)
}

// EnsureAgent returns a client of the agent of dir, after starting one with self (the flywheel binary) if
// none answers. The agent is detached: it outlives this process, and gets nothing of its environment but
// what programs need to run. What it prints goes to DIR/agent.log.
func EnsureAgent(ctx context.Context, dir, self string, flags ...string) (*Client, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	client := &Client{Socket: filepath.Join(dir, "agent.sock")}
	if _, err := client.Health(ctx); err == nil {
		return client, nil
	}
	if self == "" {
		if self, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, full(err)
	}
	name := filepath.Join(dir, "agent.log")
	if info, err := os.Stat(name); err == nil && info.Size() > logFileBytes {
		os.Rename(name, name+".1")
	}
	output, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, full(err)
	}
	defer output.Close()
	cmd := exec.Command(self, append([]string{"agent", "--data", dir}, flags...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "XDG_RUNTIME_DIR"} {
		if value, found := os.LookupEnv(name); found {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exit := make(chan error, 1)
	go func() { exit <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		if _, err := client.Health(ctx); err == nil {
			return client, nil
		}
		if !sleep(ctx, 10*time.Millisecond) {
			break
		}
		// Another process may have started one at the same moment; ours then ends, and theirs answers.
		select {
		case err = <-exit:
			cancelSoon := time.AfterFunc(2*time.Second, cancel)
			defer cancelSoon.Stop()
		default:
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) && err == nil {
		return nil, ctx.Err()
	}
	said, _ := os.ReadFile(name)
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return nil, fault.New(fault.Unavailable, "agent.not_started", "The agent could not be started: %s", lines[len(lines)-1]).
		Do("Read %s.", name).Because(err)
}
