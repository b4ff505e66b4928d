package local

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/defaults"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

var update = flag.Bool("update", false, "write docs/provider.md anew")

// TestTheReferenceOfTheProviderIsThatOfItsSchema keeps docs/provider.md from growing old: it is made of the schema.
func TestTheReferenceOfTheProviderIsThatOfItsSchema(t *testing.T) {
	const file = "../../docs/provider.md"
	text := "# The provider of the local target\n\n" +
		"Made from the provider's schema: `go test ./internal/local -run Reference -update` writes it anew. The process that runs the engine serves the provider itself, so there is\n" +
		"nothing to install or to configure:\n\n```hcl\nterraform {\n  required_providers {\n    flywheel = { source = \"registry.flywheel.dev/flywheel/flywheel\" }\n  }\n}\n```\n"
	for _, name := range []string{"service", "volume"} {
		var r resource.Resource = &serviceResource{}
		if name == "volume" {
			r = &volumeResource{}
		}
		var answer resource.SchemaResponse
		r.Schema(context.Background(), resource.SchemaRequest{}, &answer)
		text += reference("flywheel_"+name, answer.Schema)
	}
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := os.ReadFile(file); err != nil || string(there) != text {
		t.Errorf("docs/provider.md is stale (%v): go test ./internal/local -run Reference -update", err)
	}
}

func reference(name string, s schema.Schema) string {
	text := "\n## `" + name + "`\n\n" + s.Description + "\n\n| argument | type | | |\n|---|---|---|---|\n"
	outputs := "\n| attribute | type | |\n|---|---|---|\n"
	for _, n := range slices.Sorted(maps.Keys(s.Attributes)) {
		a := s.Attributes[n]
		kind := strings.ToLower(fmt.Sprintf("%v", a.GetType()))
		switch a.GetType() {
		case attr.Type(types.StringType):
			kind = "string"
		case attr.Type(types.Int64Type):
			kind = "number"
		case attr.Type(types.BoolType):
			kind = "bool"
		default:
			kind = strings.NewReplacer("types.", "", "listtype[basetypes.stringtype]", "list(string)", "maptype[basetypes.stringtype]", "map(string)").Replace(kind)
		}
		if !a.IsRequired() && !a.IsOptional() {
			outputs += fmt.Sprintf("| `%s` | %s | %s |\n", n, kind, a.GetDescription())
			continue
		}
		need := "required"
		if a.IsOptional() {
			need = "optional"
		}
		text += fmt.Sprintf("| `%s` | %s | %s%s | %s |\n", n, kind, need, preset(a), a.GetDescription())
	}
	return text + outputs
}

// preset says what an argument is if it is left out.
func preset(a schema.Attribute) string {
	ctx := context.Background()
	switch a := a.(type) {
	case schema.Int64Attribute:
		if a.Default != nil {
			var answer defaults.Int64Response
			a.Default.DefaultInt64(ctx, defaults.Int64Request{}, &answer)
			return ", " + answer.PlanValue.String()
		}
	case schema.StringAttribute:
		if a.Default != nil {
			var answer defaults.StringResponse
			a.Default.DefaultString(ctx, defaults.StringRequest{}, &answer)
			return ", `" + answer.PlanValue.ValueString() + "`"
		}
	}
	return ""
}
