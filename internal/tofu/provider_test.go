package tofu_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"flywheel.dev/flywheel/internal/sandbox"
	"flywheel.dev/flywheel/internal/tofu"
)

// serveProvider serves a provider at Flywheel's address that keeps nothing: flywheel_service gets the
// instance that the run is for. The real one is in package local, which stands below this one.
func serveProvider(ctx context.Context, socket string, scope tofu.Scope) (string, error) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return "", err
	}
	server := grpc.NewServer()
	factory := providerserver.NewProtocol6(echoProvider{scope: scope})
	plugin := &tf6server.GRPCProviderPlugin{GRPCProvider: func() tfprotov6.ProviderServer { return factory() }}
	if err := plugin.GRPCServer(nil, server); err != nil {
		return "", err
	}
	checks := health.NewServer()
	checks.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	go server.Serve(listener)
	context.AfterFunc(ctx, server.Stop)
	text, err := json.Marshal(map[string]any{tofu.ProviderAddress: map[string]any{
		"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.Getpid(), "Test": true,
		"Addr": map[string]string{"Network": "unix", "String": socket},
	}})
	return string(text), err
}

type echoProvider struct {
	provider.Provider
	scope tofu.Scope
}

func (p echoProvider) Metadata(_ context.Context, _ provider.MetadataRequest, answer *provider.MetadataResponse) {
	answer.TypeName = "flywheel"
}
func (p echoProvider) Schema(context.Context, provider.SchemaRequest, *provider.SchemaResponse) {}
func (p echoProvider) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {
}
func (p echoProvider) DataSources(context.Context) []func() datasource.DataSource { return nil }
func (p echoProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{func() resource.Resource { return echoResource{scope: p.scope} }}
}

type echoResource struct {
	resource.Resource
	scope tofu.Scope
}

type echo struct {
	Name     types.String `tfsdk:"name"`
	Instance types.String `tfsdk:"instance"`
	Fence    types.Int64  `tfsdk:"fence"`
}

func (r echoResource) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "flywheel_service"
}
func (r echoResource) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	answer.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"name": schema.StringAttribute{Required: true}, "instance": schema.StringAttribute{Computed: true}, "fence": schema.Int64Attribute{Computed: true},
	}}
}
func (r echoResource) Create(ctx context.Context, ask resource.CreateRequest, answer *resource.CreateResponse) {
	var e echo
	answer.Diagnostics.Append(ask.Plan.Get(ctx, &e)...)
	e.Instance, e.Fence = types.StringValue(r.scope.Instance), types.Int64Value(r.scope.Fence)
	if r.scope.Instance != "" && !r.scope.Writes {
		answer.Diagnostics.AddError("An apply may not write.", "")
	}
	answer.Diagnostics.Append(answer.State.Set(ctx, e)...)
}
func (r echoResource) Read(_ context.Context, ask resource.ReadRequest, answer *resource.ReadResponse) {
	answer.State = ask.State
	if r.scope.Writes {
		answer.Diagnostics.AddError("A plan may write.", "")
	}
}
func (r echoResource) Update(_ context.Context, ask resource.UpdateRequest, answer *resource.UpdateResponse) {
	answer.State.Raw = ask.Plan.Raw
}
func (r echoResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}

var service = map[string]string{
	"main.tf": `
terraform {
  required_providers {
    flywheel = { source = "registry.flywheel.dev/flywheel/flywheel" }
  }
}
resource "flywheel_service" "web" { name = "web" }
output "instance" { value = flywheel_service.web.instance }
output "fence" { value = flywheel_service.web.fence }
`,
	"tests/web.tftest.hcl": `
run "web" {
  assert {
    condition     = flywheel_service.web.name == "web"
    error_message = "not web"
  }
}`,
}

func TestFlywheelsOwnProviderIsServedToARun(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_own", service)
		if planned := p.deploy(t, r); actions(planned)["flywheel_service.web"] != tofu.Create {
			t.Errorf("plan: %v", actions(planned))
		}
		state, err := p.States.Current(t.Context(), "ins_own")
		if err != nil {
			t.Fatal(err)
		}
		outputs, err := tofu.Outputs(state)
		if err != nil || outputs["instance"].Value != "ins_own" || outputs["fence"].Value != float64(r.Fence) {
			t.Errorf("outputs: %v, %v", outputs, err)
		}
		result, err := p.Plan(t.Context(), p.run(t, "ins_own", service))
		if err != nil || !result.Plan.Empty() {
			t.Errorf("the same again is not empty: %v, %v", result.Plan, err)
		}
	})
}

func TestFlywheelsOwnProviderReachesIntoTheSandbox(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		r := p.run(t, "ins_own", service)
		r.Untrusted = true
		result, err := p.Plan(t.Context(), r)
		if err != nil || actions(result.Plan)["flywheel_service.web"] != tofu.Create {
			t.Errorf("%v, %v\n%s", result.Plan, err, logs(r))
		}
	})
	withAndWithout(t, func(t *testing.T, p *platform) {
		problems, err := p.Validate(t.Context(), write(t, service))
		if err != nil || len(problems) != 0 {
			t.Errorf("validate: %v, %v", problems, err)
		}
		runs, err := p.Test(t.Context(), write(t, service))
		if err != nil || len(runs) != 1 || runs[0].Status != "pass" {
			t.Errorf("test: %v, %v", runs, err)
		}
	})
}

func TestWithTheSandboxOffAnUncertifiedPatternIsPlannedWithoutOne(t *testing.T) {
	for _, engine := range engines(t) {
		t.Run(engine.Name, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir()) // where there is no bubblewrap
			off, err := sandbox.New(sandbox.Options{Off: true})
			if err != nil {
				t.Fatal(err)
			}
			p := start(t, engine)
			p.Sandbox = off
			r := p.run(t, "ins_own", service)
			r.Untrusted = true
			if result, err := p.Plan(t.Context(), r); err != nil || actions(result.Plan)["flywheel_service.web"] != tofu.Create {
				t.Errorf("%v, %v\n%s", result.Plan, err, logs(r))
			}
		})
	}
}
