package tofu_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"flywheel.dev/flywheel/internal/tofu"
)

func TestTheGateNamesWhatAModuleMustNotDo(t *testing.T) {
	const own = `terraform {
  required_providers {
    flywheel = { source = "registry.flywheel.dev/flywheel/flywheel" }
  }
}
`
	cases := map[string]struct {
		files map[string]string
		want  string // "code file:line:column", or "" for none
	}{
		"flywheel's own provider":            {f("main.tf", own+`resource "flywheel_service" "s" {}`), ""},
		"the built-in provider":              {f("main.tf", `resource "terraform_data" "x" {}`), ""},
		"an allowed provider":                {map[string]string{"main.tf": `resource "random_pet" "x" {}`, ".terraform.lock.hcl": ""}, ""},
		"an allowed provider of any version": {f("main.tf", `resource "random_pet" "x" {}`), "gate.unlocked main.tf:1:1"},
		"an allowed provider by name":        {map[string]string{"main.tf": "terraform {\n required_providers {\n  dice = { source = \"hashicorp/random\" }\n }\n}\nresource \"random_pet\" \"x\" {\n  provider = dice\n}", ".terraform.lock.hcl": ""}, ""},
		"a provider":                         {f("main.tf", "\nresource \"aws_instance\" \"x\" {}"), "gate.provider main.tf:2:1"},
		"a provider under another name":      {f("main.tf", "terraform {\n required_providers {\n  random = { source = \"evil/random\" }\n }\n}\nresource \"random_pet\" \"x\" {}"), "gate.provider main.tf:3:3"},
		"a provider in JSON":                 {f("main.tf.json", `{"resource": {"aws_instance": {"x": {}}}}`), "gate.provider main.tf.json:1:37"},
		"a provider in a test":               {f("tests/a.tftest.hcl", `provider "aws" {}`), "gate.provider tests/a.tftest.hcl:1:1"},
		"a provisioner":                      {f("main.tf", "resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" { command = \"id\" }\n}"), "gate.provisioner main.tf:2:3"},
		"a provisioner in JSON":              {f("main.tf.json", `{"resource": {"terraform_data": {"x": {"provisioner": {"local-exec": {"command": "id"}}}}}}`), "gate.provisioner main.tf.json:1:70"},
		"a provisioner in removed":           {f("main.tf", "removed {\n  from = terraform_data.x\n  provisioner \"local-exec\" { command = \"id\" }\n}"), "gate.provisioner main.tf:3:3"},
		"external":                           {f("main.tf", `data "external" "x" { program = ["id"] }`), "gate.data_source main.tf:1:1; gate.provider main.tf:1:1"},
		"http in a check":                    {f("main.tf", "check \"c\" {\n  data \"http\" \"x\" { url = \"http://a\" }\n}"), "gate.data_source main.tf:2:3; gate.provider main.tf:2:3"},
		"the state of others":                {f("main.tf", `data "terraform_remote_state" "x" { backend = "local" }`), "gate.data_source main.tf:1:1"},
		"a backend":                          {f("a.tf", "terraform {\n  backend \"local\" {}\n}"), "gate.backend a.tf:2:3"},
		"a cloud block":                      {f("a.tf", "terraform {\n  cloud {}\n}"), "gate.backend a.tf:2:3"},
		"an encryption block":                {f("a.tf", "terraform {\n  encryption {}\n}"), "gate.encryption a.tf:2:3"},
		"a module of its own":                {map[string]string{"main.tf": `module "m" { source = "./m" }`, "m/main.tf": `resource "terraform_data" "x" {}`}, ""},
		"a provisioner in its module":        {map[string]string{"main.tf": `module "m" { source = "./m" }`, "m/main.tf": "resource \"terraform_data\" \"x\" {\n provisioner \"file\" {}\n}"}, "gate.provisioner m/main.tf:2:2"},
		"a module above":                     {f("main.tf", `module "m" { source = "./a/../../m" }`), "gate.module_source main.tf:1:23"},
		"a module from the registry":         {f("main.tf", `module "m" { source = "a/b/c" }`), "gate.module_source main.tf:1:23"},
		"an allowed module":                  {f("main.tf", `module "m" { source = "git::https://git.example.com/coe/net.git?ref=v1" }`), ""},
		"a module of a like name":            {f("main.tf", `module "m" { source = "git::https://git.example.com/coe-evil/net.git" }`), "gate.module_source main.tf:1:23"},
		"a module of a test":                 {f("tests/a.tftest.hcl", "run \"a\" {\n  module {\n    source = \"evil/x/y\"\n  }\n}"), "gate.module_source tests/a.tftest.hcl:3:14"},
		"an own file":                        {f("main.tf", `locals { x = file("${path.module}/x.txt") }`), ""},
		"own files one by one":               {f("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = fileset(path.module, \"conf/*\")\n  input = file(\"${path.module}/${each.value}\")\n}"), ""},
		"a file of the host":                 {f("main.tf", `locals { x = file("/etc/passwd") }`), "gate.path main.tf:1:14"},
		"a file above":                       {f("main.tf", `locals { x = filebase64("${path.module}/../../x") }`), "gate.path main.tf:1:14"},
		"files above":                        {f("main.tf", `locals { x = fileset(path.module, "../*") }`), "gate.path main.tf:1:14"},
		"a file that a value names":          {f("main.tf", `locals { x = file("${path.module}/${var.name}") }`), "gate.path main.tf:1:14"},
		"a file by an inner for_each":        {f("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = var.x\n  dynamic \"y\" {\n    for_each = fileset(path.module, \"*\")\n    content { z = file(each.value) }\n  }\n}"), "gate.path main.tf:5:19"},
		"a file in JSON":                     {f("main.tf.json", `{"locals": {"x": "${file(\"/etc/passwd\")}"}}`), "gate.path main.tf.json:1:21"},
		"a file in a template":               {map[string]string{"main.tf": `locals { x = templatefile("${path.module}/t.tpl", {}) }`, "t.tpl": "hello\n${file(\"/etc/passwd\")}"}, "gate.path t.tpl:2:3"},
		"a template from a value":            {f("main.tf", `locals { x = core::templatestring(var.x, {}) }`), "gate.path main.tf:1:14"},
		"a syntax error":                     {f("main.tf", "resource {"), "gate.syntax main.tf:1:10"},
		"data of the engine":                 {f(".terraform/modules/modules.json", "{}"), "gate.engine_data .terraform:0:0"},
	}
	allow := tofu.Allow{Providers: []string{"registry.opentofu.org/hashicorp/random"}, Modules: []string{"git::https://git.example.com/coe"}}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, p := range tofu.Gate(write(t, c.files), allow) {
				if got != "" {
					got += "; "
				}
				got += fmt.Sprintf("%s %s:%d:%d", p.Code, p.File, p.Line, p.Column)
				if p.Message == "" {
					t.Error("a problem without a sentence")
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func f(name, text string) map[string]string { return map[string]string{name: text} }

func TestTheGateRefusesLinks(t *testing.T) {
	dir := write(t, f("main.tf", ""))
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	if got := tofu.Gate(dir, tofu.Allow{}); len(got) != 1 || got[0].Code != "gate.link" || got[0].File != "x" {
		t.Errorf("problems: %v", got)
	}
}
