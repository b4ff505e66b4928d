package local

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"flywheel.dev/flywheel/internal/fault"
)

// volumeResource is flywheel_volume. It is stateful: deleting it deletes what it holds.
type volumeResource struct{ *flywheelProvider }

type volumeModel struct {
	Name   types.String `tfsdk:"name"`
	SizeMB types.Int64  `tfsdk:"size_mb"`
	ID     types.String `tfsdk:"id"`
	Path   types.String `tfsdk:"path"`
}

func (r *volumeResource) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "flywheel_volume"
}

func (r *volumeResource) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	computed := func(text string) schema.StringAttribute {
		return schema.StringAttribute{
			Description: text, Computed: true,
			PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
		}
	}
	answer.Schema = schema.Schema{
		Description: "A folder that outlives the services that mount it. It is created once for a name in an instance.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Description:   "Its name, unique in the instance. Another name is another volume.",
				Required:      true,
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"size_mb": schema.Int64Attribute{
				Description: "How much it may hold, in MiB: a service that fills it further is stopped, until it is larger or holds less.",
				Optional:    true, Computed: true, Default: int64default.StaticInt64(1024),
			},
			"id":   computed("What flywheel_service.volumes refers to."),
			"path": computed("Where it is on the agent's machine."),
		},
	}
}

func (r *volumeResource) Create(ctx context.Context, request resource.CreateRequest, answer *resource.CreateResponse) {
	r.put(ctx, request.Plan, &answer.State, &answer.Diagnostics)
}

func (r *volumeResource) Update(ctx context.Context, request resource.UpdateRequest, answer *resource.UpdateResponse) {
	r.put(ctx, request.Plan, &answer.State, &answer.Diagnostics)
}

// put brings the agent to the plan: for the agent, to create and to update is the same.
func (r *volumeResource) put(ctx context.Context, plan tfsdk.Plan, state *tfsdk.State, problems *diag.Diagnostics) {
	var model volumeModel
	problems.Append(plan.Get(ctx, &model)...)
	if problems.HasError() {
		return
	}
	volume, err := r.agent.ApplyVolume(ctx, r.volume(model))
	if err != nil {
		report(problems, err)
		return
	}
	problems.Append(state.Set(ctx, readVolume(volume))...)
}

func (r *volumeResource) Read(ctx context.Context, request resource.ReadRequest, answer *resource.ReadResponse) {
	var model volumeModel
	answer.Diagnostics.Append(request.State.Get(ctx, &model)...)
	if answer.Diagnostics.HasError() {
		return
	}
	volume, err := r.agent.GetVolume(ctx, model.ID.ValueString())
	if fault.Is(err, "volume.not_found") || err == nil && volume.Instance != r.instance {
		answer.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		report(&answer.Diagnostics, err)
		return
	}
	answer.Diagnostics.Append(answer.State.Set(ctx, readVolume(volume))...)
}

func (r *volumeResource) Delete(ctx context.Context, request resource.DeleteRequest, answer *resource.DeleteResponse) {
	var model volumeModel
	answer.Diagnostics.Append(request.State.Get(ctx, &model)...)
	if answer.Diagnostics.HasError() {
		return
	}
	if err := r.agent.DeleteVolume(ctx, VolumeID(r.instance, model.Name.ValueString())); err != nil {
		report(&answer.Diagnostics, err)
	}
}

// ImportState takes the volume's name.
func (r *volumeResource) ImportState(ctx context.Context, request resource.ImportStateRequest, answer *resource.ImportStateResponse) {
	answer.Diagnostics.Append(answer.State.SetAttribute(ctx, path.Root("id"), VolumeID(r.instance, request.ID))...)
	answer.Diagnostics.Append(answer.State.SetAttribute(ctx, path.Root("name"), request.ID)...)
}

func (r *volumeResource) volume(m volumeModel) Volume {
	return Volume{Instance: r.instance, Name: m.Name.ValueString(), SizeMB: int(m.SizeMB.ValueInt64())}
}

func readVolume(v Volume) volumeModel {
	return volumeModel{
		Name: types.StringValue(v.Name), SizeMB: types.Int64Value(int64(v.SizeMB)),
		ID: types.StringValue(v.ID), Path: types.StringValue(v.Path),
	}
}
