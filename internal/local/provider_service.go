package local

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"flywheel.dev/flywheel/internal/fault"
)

// serviceResource is flywheel_service. What it reads back is what runs: after a release outside of the
// engine the artifact in the state is the new one, and a plan that asks for it is empty.
type serviceResource struct{ *flywheelProvider }

type serviceModel struct {
	Name         types.String `tfsdk:"name"`
	Artifact     types.String `tfsdk:"artifact"`
	Command      types.List   `tfsdk:"command"`
	Instances    types.Int64  `tfsdk:"instances"`
	Port         types.Int64  `tfsdk:"port"`
	Env          types.Map    `tfsdk:"env"`
	Secrets      types.Map    `tfsdk:"secrets"`
	HealthPath   types.String `tfsdk:"health_path"`
	MemoryMB     types.Int64  `tfsdk:"memory_mb"`
	Volumes      types.Map    `tfsdk:"volumes"`
	Uses         types.Map    `tfsdk:"uses"`
	StartSeconds types.Int64  `tfsdk:"start_seconds"`
	DrainSeconds types.Int64  `tfsdk:"drain_seconds"`
	ID           types.String `tfsdk:"id"`
	URL          types.String `tfsdk:"url"`
	Health       types.String `tfsdk:"health"`
	Outdated     types.Bool   `tfsdk:"outdated"`
}

func (r *serviceResource) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "flywheel_service"
}

func (r *serviceResource) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	number := func(text string, otherwise int64) schema.Int64Attribute {
		return schema.Int64Attribute{Description: text, Optional: true, Computed: true, Default: int64default.StaticInt64(otherwise)}
	}
	texts := func(text string) schema.MapAttribute {
		return schema.MapAttribute{Description: text, Optional: true, ElementType: types.StringType}
	}
	answer.Schema = schema.Schema{
		Description: "Processes of one artifact behind one stable address. It is created once for a name in an instance: creating it again finds and adjusts what is there.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Description:   "Its name, unique in the instance. Another name is another service.",
				Required:      true,
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"artifact":      schema.StringAttribute{Description: "Digest of the artifact that runs, sha256:…", Required: true},
			"command":       schema.ListAttribute{Description: "Program and arguments, run in the artifact's folder. Each process serves HTTP on 127.0.0.1 at the port in the variable PORT of its environment.", Required: true, ElementType: types.StringType},
			"instances":     number("How many processes.", 1),
			"memory_mb":     number("Memory limit of each process, in MiB.", DefaultMemoryMB),
			"start_seconds": number("A new process must be healthy within this time, in seconds.", DefaultStartSec),
			"drain_seconds": number("A replaced process may finish its requests for this time, in seconds.", DefaultDrainSec),
			"port": schema.Int64Attribute{
				Description: "Port of the stable address; chosen and kept if left out.", Optional: true, Computed: true,
				PlanModifiers: []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
			},
			"env":     texts("Environment variables."),
			"secrets": texts("Environment variable → name of a secret of the app and environment."),
			"volumes": texts("Absolute path → id of a flywheel_volume."),
			"uses":    texts("Environment variable → id of another flywheel_service of this instance; it gets that one's URL."),
			"health_path": schema.StringAttribute{
				Description: "A GET of it is answered with 200 by a process that is ready.",
				Optional:    true, Computed: true, Default: stringdefault.StaticString(DefaultHealth),
			},
			"id": schema.StringAttribute{
				Description: "What flywheel_service.uses and releases refer to.", Computed: true,
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"url": schema.StringAttribute{
				Description: "The stable address.", Computed: true,
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"health": schema.StringAttribute{
				Description: "Healthy, Progressing, Degraded or Missing, when it was last read.", Computed: true,
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"outdated": schema.BoolAttribute{
				Description: "Whether a secret it refers to was set anew since its processes were started, when it was last read.", Computed: true,
				PlanModifiers: []planmodifier.Bool{boolplanmodifier.UseStateForUnknown()},
			},
		},
	}
}

// ModifyPlan keeps two promises. A service whose processes are gone and do not come back by themselves,
// or know a secret as it was before, is planned for an update, though nothing that was asked for differs.
// And what an update may change is not promised to stay.
func (r *serviceResource) ModifyPlan(ctx context.Context, request resource.ModifyPlanRequest, answer *resource.ModifyPlanResponse) {
	if request.Plan.Raw.IsNull() || request.State.Raw.IsNull() {
		return
	}
	var state, plan serviceModel
	answer.Diagnostics.Append(request.State.Get(ctx, &state)...)
	answer.Diagnostics.Append(request.Plan.Get(ctx, &plan)...)
	if answer.Diagnostics.HasError() {
		return
	}
	gone := state.Health.ValueString() == string(Missing)
	if gone || state.Outdated.ValueBool() || !request.Plan.Raw.Equal(request.State.Raw) {
		answer.Diagnostics.Append(answer.Plan.SetAttribute(ctx, path.Root("health"), types.StringUnknown())...)
		answer.Diagnostics.Append(answer.Plan.SetAttribute(ctx, path.Root("outdated"), types.BoolUnknown())...)
	}
	if !plan.Port.Equal(state.Port) {
		answer.Diagnostics.Append(answer.Plan.SetAttribute(ctx, path.Root("url"), types.StringUnknown())...)
	}
}

func (r *serviceResource) Create(ctx context.Context, request resource.CreateRequest, answer *resource.CreateResponse) {
	r.put(ctx, request.Plan, &answer.State, &answer.Diagnostics)
}

func (r *serviceResource) Update(ctx context.Context, request resource.UpdateRequest, answer *resource.UpdateResponse) {
	r.put(ctx, request.Plan, &answer.State, &answer.Diagnostics)
}

// put brings the agent to the plan: for the agent, to create and to update is the same.
func (r *serviceResource) put(ctx context.Context, plan tfsdk.Plan, state *tfsdk.State, problems *diag.Diagnostics) {
	var model serviceModel
	problems.Append(plan.Get(ctx, &model)...)
	if problems.HasError() {
		return
	}
	status, err := r.agent.ApplyService(ctx, r.service(ctx, model))
	if err != nil {
		report(problems, err)
		return
	}
	model.read(ctx, status)
	problems.Append(state.Set(ctx, model)...)
}

func (r *serviceResource) Read(ctx context.Context, request resource.ReadRequest, answer *resource.ReadResponse) {
	var model serviceModel
	answer.Diagnostics.Append(request.State.Get(ctx, &model)...)
	if answer.Diagnostics.HasError() {
		return
	}
	status, err := r.agent.GetService(ctx, model.ID.ValueString())
	if fault.Is(err, "service.not_found") || err == nil && status.Instance != r.instance {
		answer.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		report(&answer.Diagnostics, err)
		return
	}
	model.read(ctx, status)
	answer.Diagnostics.Append(answer.State.Set(ctx, model)...)
}

func (r *serviceResource) Delete(ctx context.Context, request resource.DeleteRequest, answer *resource.DeleteResponse) {
	var model serviceModel
	answer.Diagnostics.Append(request.State.Get(ctx, &model)...)
	if answer.Diagnostics.HasError() {
		return
	}
	// The id is computed anew, so that a forged state cannot name a service of another instance.
	if err := r.agent.DeleteService(ctx, ServiceID(r.instance, model.Name.ValueString())); err != nil {
		report(&answer.Diagnostics, err)
	}
}

// ImportState takes the service's name.
func (r *serviceResource) ImportState(ctx context.Context, request resource.ImportStateRequest, answer *resource.ImportStateResponse) {
	answer.Diagnostics.Append(answer.State.SetAttribute(ctx, path.Root("id"), ServiceID(r.instance, request.ID))...)
	answer.Diagnostics.Append(answer.State.SetAttribute(ctx, path.Root("name"), request.ID)...)
}

// service is what the plan asks for.
func (r *serviceResource) service(ctx context.Context, m serviceModel) Service {
	s := Service{
		Instance: r.instance, Name: m.Name.ValueString(), Artifact: m.Artifact.ValueString(),
		Instances: int(m.Instances.ValueInt64()), Port: int(m.Port.ValueInt64()), HealthPath: m.HealthPath.ValueString(),
		MemoryMB: int(m.MemoryMB.ValueInt64()), StartSec: int(m.StartSeconds.ValueInt64()), DrainSec: int(m.DrainSeconds.ValueInt64()),
		Env: texts(m.Env), Secrets: texts(m.Secrets), Volumes: texts(m.Volumes), Uses: texts(m.Uses),
	}
	m.Command.ElementsAs(ctx, &s.Command, false)
	return s
}

// read takes over what runs.
func (m *serviceModel) read(ctx context.Context, s Status) {
	m.Name, m.Artifact, m.HealthPath = types.StringValue(s.Name), types.StringValue(s.Artifact), types.StringValue(s.HealthPath)
	m.Instances, m.Port, m.MemoryMB = types.Int64Value(int64(s.Instances)), types.Int64Value(int64(s.Port)), types.Int64Value(int64(s.MemoryMB))
	m.StartSeconds, m.DrainSeconds = types.Int64Value(int64(s.StartSec)), types.Int64Value(int64(s.DrainSec))
	m.Command, _ = types.ListValueFrom(ctx, types.StringType, s.Command)
	m.Env, m.Secrets = textMap(m.Env, s.Env), textMap(m.Secrets, s.Secrets)
	m.Volumes, m.Uses = textMap(m.Volumes, s.Volumes), textMap(m.Uses, s.Uses)
	m.ID, m.URL, m.Health = types.StringValue(s.ID), types.StringValue(s.URL), types.StringValue(string(s.Health))
	m.Outdated = types.BoolValue(s.Outdated)
}

func texts(from types.Map) map[string]string {
	to := map[string]string{}
	for name, value := range from.Elements() {
		if text, ok := value.(types.String); ok {
			to[name] = text.ValueString()
		}
	}
	return to
}

// textMap returns values as the engine keeps them. An empty map stays what it was written as, {} or
// nothing, because the engine tells the two apart.
func textMap(was types.Map, values map[string]string) types.Map {
	if len(values) == 0 && (was.IsNull() || was.IsUnknown()) {
		return types.MapNull(types.StringType)
	}
	elements := map[string]attr.Value{}
	for name, value := range values {
		elements[name] = types.StringValue(value)
	}
	return types.MapValueMust(types.StringType, elements)
}
