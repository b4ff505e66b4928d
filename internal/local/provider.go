package local

import (
	"context"
	"encoding/json"
	"os"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"flywheel.dev/flywheel/internal/fault"
)

// ProviderAddress is what a module's required_providers names as the source.
const ProviderAddress = "registry.flywheel.dev/flywheel/flywheel"

// ServeProvider serves the provider of one run on a Unix socket until ctx ends: it sees and changes only
// what belongs to this instance, through this agent. It returns the value of TF_REATTACH_PROVIDERS for an
// engine in the same process namespace; for one in a sandbox see Reattach.
func ServeProvider(ctx context.Context, socket string, agent *Client, instance string) (reattach string, err error) {
	listener, err := listenUnix(socket)
	if err != nil {
		return "", err
	}
	// The plugin library prints every step to standard error, for an engine that would filter it; only its
	// environment variable silences it.
	if _, set := os.LookupEnv("TF_LOG_SDK"); !set {
		os.Setenv("TF_LOG_SDK", "off")
	}
	own := *agent
	own.Instance = instance
	agent = &own
	factory := providerserver.NewProtocol6(&flywheelProvider{agent: agent, instance: instance})
	plugin := &tf6server.GRPCProviderPlugin{
		Name:         ProviderAddress,
		GRPCProvider: func() tfprotov6.ProviderServer { return factory() },
	}
	// The engine's plugin library limits nothing by itself; 64 MB is far above any state of ours.
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.MaxSendMsgSize(64<<20))
	if err := plugin.GRPCServer(nil, server); err != nil {
		listener.Close()
		return "", err
	}
	checks := health.NewServer()
	checks.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	go server.Serve(listener)
	context.AfterFunc(ctx, func() {
		server.Stop()
		os.Remove(socket)
	})
	return Reattach(socket, os.Getpid()), nil
}

// Reattach returns the value of TF_REATTACH_PROVIDERS that leads an engine to the provider behind socket,
// as the engine sees it. The engine gives up when it may not signal pid, so for an engine in a sandbox,
// where the server's pid means nothing, pid is 1: the first process of the sandbox.
func Reattach(socket string, pid int) string {
	type address struct{ Network, String string }
	type attach struct {
		Protocol        string
		ProtocolVersion int
		Pid             int
		Test            bool // the engine does not end the server
		Addr            address
	}
	text, _ := json.Marshal(map[string]attach{
		ProviderAddress: {"grpc", 6, pid, true, address{"unix", socket}},
	})
	return string(text)
}

// flywheelProvider is the provider as one run sees it. It has no configuration: the platform binds it.
type flywheelProvider struct {
	agent    *Client
	instance string
}

func (p *flywheelProvider) Metadata(_ context.Context, _ provider.MetadataRequest, answer *provider.MetadataResponse) {
	answer.TypeName = "flywheel"
}

func (p *flywheelProvider) Schema(_ context.Context, _ provider.SchemaRequest, answer *provider.SchemaResponse) {
	answer.Schema = schema.Schema{Description: "Runs services on the machine of a Flywheel agent. Flywheel itself says which agent and which instance; there is nothing to configure."}
}

func (p *flywheelProvider) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {
}

func (p *flywheelProvider) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (p *flywheelProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return &serviceResource{p} },
		func() resource.Resource { return &volumeResource{p} },
	}
}

// report shows err as the engine shows errors: the sentence, then the way out, the fields and the code.
func report(to *diag.Diagnostics, err error) {
	f := fault.From(err)
	detail := f.Remedy
	for _, field := range f.Fields {
		detail += "\n" + field.Path + ": " + field.Message
	}
	to.AddError(f.Message, detail+"\n["+f.Code+"]")
}
