package tofu_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/fault"
	"flywheel.dev/flywheel/internal/patience"
	"flywheel.dev/flywheel/internal/tofu"
)

// files joins "name: text" pairs to a module.
func files(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

const (
	command = "resource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" { command = \"id\" }\n}\n"
	dice    = "terraform {\n  required_providers {\n    dice = { source = \"%s\" }\n  }\n}\n"
	lock    = ".terraform.lock.hcl"
)

// Each case is a module that would run a command, read a file that is not its own, or load something that the gate
// has not read, and the code that it must be refused with.
func TestNoAttackPassesTheGate(t *testing.T) {
	cases := map[string]struct {
		files map[string]string
		code  string
	}{
		// Modules that the gate would not follow.
		"a source with backslashes":                     {files("main.tf", `module "m" { source = "./mods\\inner" }`, "mods/inner/main.tf", command), "gate.module_source"},
		"a source with backslashes from the start":      {files("main.tf", `module "m" { source = ".\\mods" }`, "mods/main.tf", command), "gate.module_source"},
		"a source with backslashes in JSON":             {files("main.tf.json", `{"module": {"m": {"source": "./mods\\inner"}}}`, "mods/inner/main.tf", command), "gate.module_source"},
		"a source with unicode escapes":                 {files("main.tf", `module "m" { source = "./mods\u005cinner" }`, "mods/inner/main.tf", command), "gate.module_source"},
		"a source with two slashes":                     {files("main.tf", `module "m" { source = "./mods//inner" }`, "mods/inner/main.tf", command), "gate.module_source"},
		"a source with percents":                        {files("main.tf", `module "m" { source = "./mods%2finner" }`, "mods/inner/main.tf", command), "gate.module_source"},
		"a source with a question mark":                 {files("main.tf", `module "m" { source = "./mods?x=1" }`), "gate.module_source"},
		"a source with a slash at the end":              {files("main.tf", `module "m" { source = "./mods/" }`, "mods/main.tf", command), "gate.provisioner"},
		"a source with dots":                            {files("main.tf", `module "m" { source = "./a/../mods/." }`, "mods/main.tf", command), "gate.provisioner"},
		"a module of a module":                          {files("main.tf", `module "m" { source = "./a" }`, "a/main.tf", `module "n" { source = "../b" }`, "b/main.tf", command), "gate.provisioner"},
		"an absolute source":                            {files("main.tf", `module "m" { source = "/etc/mods" }`), "gate.module_source"},
		"a source of the home":                          {files("main.tf", `module "m" { source = "~/mods" }`), "gate.module_source"},
		"a file address":                                {files("main.tf", `module "m" { source = "file:///etc/mods" }`), "gate.module_source"},
		"a forced getter":                               {files("main.tf", `module "m" { source = "git::file:///var/lib/repo.git" }`), "gate.module_source"},
		"a forced getter before an allowed source":      {files("main.tf", `module "m" { source = "file::git::https://git.example.com/coe/net.git" }`), "gate.module_source"},
		"a template in a source":                        {files("main.tf", `module "m" { source = "./${var.m}" }`, "${var.m}/main.tf", ""), "gate.module_source"},
		"a template in a source in JSON":                {files("main.tf.json", `{"variable": {"m": {"default": "evil"}}, "module": {"m": {"source": "./${var.m}"}}}`, "evil/main.tf", command), "gate.module_source"},
		"a directive in a source in JSON":               {files("main.tf.json", `{"module": {"m": {"source": "./%{if true}evil%{endif}"}}}`, "evil/main.tf", command), "gate.module_source"},
		"an escaped template in a source in JSON":       {files("main.tf.json", `{"module": {"m": {"source": "./$${m}"}}}`), "gate.module_source"},
		"a local value for a source":                    {files("main.tf", "locals { m = \"./evil\" }\nmodule \"m\" { source = local.m }", "evil/main.tf", command), "gate.module_source"},
		"a function for a source":                       {files("main.tf", `module "m" { source = format("./%s", "evil") }`, "evil/main.tf", command), "gate.module_source"},
		"a heredoc for a source":                        {files("main.tf", "module \"m\" {\n  source = <<-X\n  ./evil\n  X\n}", "evil/main.tf", command), "gate.module_source"},
		"a module of a run block":                       {files("tests/a.tftest.hcl", "run \"a\" {\n  module {\n    source = \"./tests/setup\"\n  }\n}", "tests/setup/main.tf", command), "gate.provisioner"},
		"a module of a run block, beside the module":    {files("main.tf", "", "a.tftest.hcl", "run \"a\" {\n  module {\n    source = \"./s\"\n  }\n}", "s/main.tf", command), "gate.provisioner"},
		"a module of a run block in JSON":               {files("tests/a.tftest.json", `{"run": {"a": {"module": {"source": "./s\\t"}}}}`, "s/t/main.tf", command), "gate.module_source"},
		"another host after an allowed one":             {files("main.tf", `module "m" { source = "git::https://host.example.com.evil.net/x" }`), "gate.module_source"},
		"an allowed host as a user":                     {files("main.tf", `module "m" { source = "git::https://host.example.com@evil.net/x" }`), "gate.module_source"},
		"an allowed host as a user with a password":     {files("main.tf", `module "m" { source = "git::https://host.example.com:x@evil.net/x" }`), "gate.module_source"},
		"another host after an allowed namespace":       {files("main.tf", `module "m" { source = "terraform-aws-modules.evil.net/a/b/c" }`), "gate.module_source"},
		"above an allowed source, encoded":              {files("main.tf", `module "m" { source = "git::https://git.example.com/coe/%2e%2e/evil.git" }`), "gate.module_source"},
		"an option for git":                             {files("main.tf", `module "m" { source = "git::https://git.example.com/coe/net.git?ref=--upload-pack=id" }`), "gate.module_source"},
		"a key of the host for git":                     {files("main.tf", `module "m" { source = "git::https://git.example.com/coe/net.git?sshkey=x" }`), "gate.module_source"},
		"a folder pattern in an allowed source":         {files("main.tf", `module "m" { source = "git::https://git.example.com/coe/net.git//*" }`), "gate.module_source"},
		"a module above an allowed one of the registry": {files("main.tf", `module "m" { source = "terraform-aws-modules/vpc/aws//../../x" }`), "gate.module_source"},
		"a forced getter that runs commands":            {files("main.tf", `module "m" { source = "git::ext::sh -c id" }`), "gate.module_source"},
		"a second option for git":                       {files("main.tf", `module "m" { source = "git::https://git.example.com/coe/x?ref=v1&archive=zip" }`), "gate.module_source"},
		"a folder of tests as a module":                 {files("main.tf", "", "tests/a.tftest.hcl", "run \"a\" {\n  module {\n    source = \"./tests\"\n  }\n}", "tests/main.tf", command), "gate.provisioner"},
		"an override file":                              {files("main.tf", "", "override.tf", ""), "gate.file"},
		"an override file of a submodule":               {files("main.tf", `module "m" { source = "./m" }`, "m/main.tf", `resource "terraform_data" "x" {}`, "m/main_override.tf", command), "gate.file"},
		"an override file in JSON":                      {files("main.tf", `module "m" { source = "./m" }`, "m/main.tf", "", "m/x_override.tf.json", "{}"), "gate.file"},
		"a provider's source in an override":            {files("main.tf", `module "m" { source = "./m" }`, "m/a_override.tf", strings.ReplaceAll(dice, "%s", "evil/dice"), "m/main.tf", strings.ReplaceAll(dice, "%s", "hashicorp/random")), "gate.file"},
		"each in an override":                           {files("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = fileset(path.module, \"*\")\n  input = file(\"${path.module}/${each.key}\")\n}", "override.tf", "resource \"terraform_data\" \"x\" {\n  for_each = toset([var.theme])\n}"), "gate.file"},
		"a file of OpenTofu":                            {files("main.tf", "", "main.tofu", command), "gate.file"},
		"a file of OpenTofu in a submodule":             {files("main.tf", `module "m" { source = "./m" }`, "m/main.tf", "", "m/main.tofu.json", "{}"), "gate.file"},
		"a test of OpenTofu":                            {files("tests/a.tftest.hcl", "", "tests/a.tofutest.hcl", ""), "gate.file"},
		"values":                                        {files("main.tf", "", "terraform.tfvars", "x = 1"), "gate.values"},
		"values in JSON":                                {files("main.tf", "", "terraform.tfvars.json", "{}"), "gate.values"},
		"values that are read by themselves":            {files("main.tf", "", "a.auto.tfvars", "x = 1"), "gate.values"},
		"hidden values":                                 {files("main.tf", "", ".a.auto.tfvars.json", "{}"), "gate.values"},
		"values of tests":                               {files("main.tf", "", "tests/terraform.tfvars", "x = 1"), "gate.values"},
		"values of tests that are read by themselves":   {files("main.tf", "", "tests/b.auto.tfvars", "x = 1"), "gate.values"},
		"the engine's data in a submodule":              {files("m/.terraform/modules/modules.json", "{}"), "gate.engine_data"},
		"values without a name":                         {files("main.tf", "", ".auto.tfvars", "x = 1"), "gate.values"},
		"values without a name, in JSON":                {files("main.tf", "", ".auto.tfvars.json", "{}"), "gate.values"},
		"values under a name with spaces":               {files("main.tf", "", "a b.auto.tfvars", "x = 1"), "gate.values"},

		// Providers that nobody allowed.
		"a provider with aliases":                           {files("main.tf", "terraform {\n  required_providers {\n    dice = {\n      source = \"evil/dice\"\n      configuration_aliases = [dice.a]\n    }\n  }\n}", lock, ""), "gate.provider"},
		"two sources of one provider":                       {files("a.tf", strings.ReplaceAll(dice, "%s", "evil/dice"), "b.tf", strings.ReplaceAll(dice, "%s", "hashicorp/random"), lock, ""), "gate.provider"},
		"a provider's source from a value":                  {files("main.tf", "terraform {\n  required_providers {\n    random = { source = var.s }\n  }\n}", lock, ""), "gate.provider_source"},
		"a provider's source from a template in JSON":       {files("main.tf.json", `{"terraform": {"required_providers": {"random": {"source": "${\"evil\"}/random"}}}}`, lock, ""), "gate.provider_source"},
		"a provider in quotes":                              {files("main.tf", "resource \"terraform_data\" \"x\" {\n  provider = \"aws\"\n}"), "gate.provider_source"},
		"a provider by a call":                              {files("main.tf", "resource \"terraform_data\" \"x\" {\n  provider = lookup(aws, \"x\")\n}"), "gate.provider_source"},
		"a provider by an index":                            {files("main.tf", "resource \"terraform_data\" \"x\" {\n  provider = aws.all[each.key]\n}"), "gate.provider"},
		"a provider by an index in JSON":                    {files("main.tf.json", `{"resource": {"terraform_data": {"x": {"provider": "aws.all[\"a\"]"}}}}`), "gate.provider"},
		"a provider that a module is given":                 {files("main.tf", "module \"m\" {\n  source = \"./m\"\n  providers = { dice = aws.west }\n}"), "gate.provider"},
		"a provider of a test run":                          {files("tests/a.tftest.hcl", "run \"a\" {\n  providers = { random = aws }\n}"), "gate.provider"},
		"a provider of an import":                           {files("main.tf", "import {\n  to = terraform_data.x\n  id = \"1\"\n  provider = aws\n}"), "gate.provider"},
		"a mocked provider":                                 {files("tests/a.tftest.hcl", `mock_provider "aws" {}`), "gate.provider"},
		"a provider of a function":                          {files("main.tf", `output "x" { value = provider::aws::arn_parse("x") }`), "gate.provider"},
		"a provider with for_each":                          {files("main.tf", "provider \"aws\" {\n  alias = \"x\"\n  for_each = toset([\"a\"])\n}"), "gate.provider"},
		"a provider of an ephemeral resource":               {files("main.tf", `ephemeral "aws_secret" "x" {}`), "gate.provider"},
		"a provider's source that is written twice":         {files("main.tf", "terraform {\n  required_providers {\n    random = {\n      source = \"hashicorp/random\"\n      source = \"evil/random\"\n    }\n  }\n}", lock, ""), "gate.provider"},
		"a provider's source that is written twice in JSON": {files("main.tf.json", `{"terraform": {"required_providers": {"random": {"source": "evil/random", "source": "hashicorp/random"}}}}`, lock, ""), "gate.syntax"},
		"a provider's source under a key in parentheses":    {files("main.tf", "terraform {\n  required_providers {\n    random = { (\"source\") = \"evil/random\" }\n  }\n}", lock, ""), "gate.provider"},
		"a provider of a function with an alias":            {files("main.tf", `output "x" { value = provider::aws::west::arn_parse("x") }`), "gate.provider"},

		// Commands.
		"a provisioner in a list in JSON":            {files("main.tf.json", `{"resource": [{"terraform_data": [{"x": [{"provisioner": [{"local-exec": {"command": "id"}}]}]}]}]}`), "gate.provisioner"},
		"a provisioner under an escaped key in JSON": {files("main.tf.json", `{"resource": {"terraform_data": {"x": {"\u0070rovisioner": {"local-exec": {"command": "id"}}}}}}`), "gate.provisioner"},
		"a connection":                              {files("main.tf", "resource \"terraform_data\" \"x\" {\n  connection {}\n}"), "gate.provisioner"},
		"the state of others in JSON":               {files("main.tf.json", `{"data": {"terraform_remote_state": {"x": {"backend": "local"}}}}`), "gate.data_source"},
		"the state of others in a check":            {files("main.tf", "check \"c\" {\n  data \"terraform_remote_state\" \"x\" {}\n}"), "gate.data_source"},
		"a backend of a test run":                   {files("tests/a.tftest.hcl", "run \"a\" {\n  backend \"local\" {}\n}"), "gate.backend"},
		"a program that a data source runs":         {files("main.tf", `data "local_command" "x" { command = "id" }`), "gate.data_source"},
		"a program that an action runs":             {files("main.tf", "action \"local_command\" \"x\" {\n  config {\n    command = \"id\"\n  }\n}"), "gate.data_source"},
		"a provisioner of what was removed in JSON": {files("main.tf.json", `{"removed": [{"from": "terraform_data.x", "provisioner": {"local-exec": {"command": "id"}}}]}`), "gate.provisioner"},
		"an encryption block in lists in JSON":      {files("main.tf.json", `{"terraform": [[{"encryption": [{"key_provider": {"external": {"x": {"command": ["id"]}}}}]}]]}`), "gate.encryption"},
		"a store of states":                         {files("main.tf", "terraform {\n  state_store \"x\" {\n    provider \"aws\" {}\n  }\n}"), "gate.backend"},
		"a cloud block in a submodule":              {files("main.tf", `module "m" { source = "./m" }`, "m/main.tf", "terraform {\n  cloud {}\n}"), "gate.backend"},

		// Files that are not the pattern's.
		"path shadowed by a for":                                 {files("main.tf", `locals { x = [for path in [{module = var.theme}] : file("${path.module}/secret.key")][0] }`), "gate.path"},
		"path shadowed by the key of a for":                      {files("main.tf", `locals { x = [for path, v in var.x : file("${path.module}/secret.key")] }`), "gate.path"},
		"path shadowed in the condition of a for":                {files("main.tf", `locals { x = [for path in var.x : 1 if fileexists("${path.module}/x")] }`), "gate.path"},
		"path shadowed by an outer for":                          {files("main.tf", `locals { x = [for path in var.x : [for y in [1] : file("${path.module}/x")]] }`), "gate.path"},
		"path shadowed in an object":                             {files("main.tf", `locals { x = {for path in var.x : "a" => file("${path.module}/x")} }`), "gate.path"},
		"path shadowed in the key of an object":                  {files("main.tf", `locals { x = {for path in var.x : file("${path.module}/x") => 1} }`), "gate.path"},
		"path shadowed by a directive":                           {files("main.tf", `locals { x = "%{for path in [{module = var.theme}]}${file("${path.module}/x")}%{endfor}" }`), "gate.path"},
		"path shadowed by a directive in a heredoc":              {files("main.tf", "locals {\n  x = <<X\n%{for path in [{module = var.theme}]}${file(\"${path.module}/x\")}%{endfor}\nX\n}"), "gate.path"},
		"path shadowed in JSON":                                  {files("main.tf.json", `{"locals": {"x": "${[for path in [{module = var.theme}] : file(\"${path.module}/x\")][0]}"}}`), "gate.path"},
		"path shadowed in escaped JSON":                          {files("main.tf.json", `{"locals": {"x": "\u0024{[for path in [{module = var.theme}] : \u0066ile(\"${path.module}/x\")][0]}"}}`), "gate.path"},
		"path shadowed by a dynamic block":                       {files("main.tf", "resource \"terraform_data\" \"x\" {\n  dynamic \"path\" {\n    for_each = [{module = var.theme}]\n    content { z = file(\"${path.module}/x\") }\n  }\n}"), "gate.path"},
		"path shadowed by a dynamic block in JSON":               {files("main.tf.json", `{"resource": {"terraform_data": {"x": {"dynamic": {"path": {"for_each": "${[{module = var.theme}]}", "content": {"z": "${file(\"${path.module}/x\")}"}}}}}}}`), "gate.path"},
		"path shadowed by dynamic blocks in lists in JSON":       {files("main.tf.json", `{"resource": {"terraform_data": {"x": {"dynamic": [[{"path": [{"for_each": "${[{module = var.theme}]}", "content": [{"z": "${file(\"${path.module}/x\")}"}]}]}]]}}}}`), "gate.path"},
		"path shadowed by an iterator in JSON":                   {files("main.tf.json", `{"resource": {"terraform_data": {"x": {"dynamic": {"y": {"for_each": "${[{module = var.theme}]}", "content": {"z": "${file(\"${path.module}/x\")}"}, "iterator": "path"}}}}}}`), "gate.path"},
		"path shadowed by an outer iterator in JSON":             {files("main.tf.json", `{"resource": {"terraform_data": {"x": {"dynamic": {"y": {"iterator": "path /**/", "content": {"dynamic": {"z": {"content": {"a": "${file(\"${path.module}/x\")}"}}}}}}}}}}`), "gate.path"},
		"a file after a number that is too large in JSON":        {files("main.tf.json", `{"locals": {"a": 1e999, "x": "${file(\"/etc/passwd\")}"}}`), "gate.path"},
		"a file after half a character in JSON":                  {files("main.tf.json", `{"locals": {"a": "\ud800", "x": "${file(\"/etc/passwd\")}"}}`), "gate.path"},
		"a file in a key in JSON":                                {files("main.tf.json", `{"locals": {"a": {"${file(\"/etc/passwd\")}": 1}}}`), "gate.path"},
		"a file in the target of an import in JSON":              {files("main.tf.json", `{"import": {"to": "terraform_data.x[file(\"/etc/passwd\")]", "id": "1"}}`), "gate.path"},
		"a file in an index of a provider in JSON":               {files("main.tf.json", `{"resource": {"terraform_data": {"x": {"provider": "random.all[file(\"/etc/passwd\")]"}}}}`, lock, ""), "gate.path"},
		"a file in a cause of replacement in JSON":               {files("main.tf.json", `{"resource": {"terraform_data": {"x": {"lifecycle": {"replace_triggered_by": ["terraform_data.y[file(\"/etc/passwd\")]"]}}}}}`), "gate.path"},
		"a file after a byte order mark":                         {files("main.tf", "\ufefflocals { x = file(\"/etc/passwd\") }"), "gate.path"},
		"a file in the default of an attribute":                  {files("main.tf", `variable "x" { type = object({a = optional(string, file("/etc/passwd"))}) }`), "gate.path"},
		"a file in the settings of a provider's module":          {files("main.tf", "terraform {\n  provider_meta \"random\" {\n    x = file(\"/etc/passwd\")\n  }\n}"), "gate.path"},
		"a file in overridden data of a test":                    {files("tests/a.tftest.hcl", "override_data {\n  target = data.x.y\n  values = { a = file(\"/etc/passwd\") }\n}"), "gate.path"},
		"a file that an earlier test run names":                  {files("tests/a.tftest.hcl", "run \"path\" {}\nrun \"b\" {\n  variables {\n    x = file(\"${run.path.module}/x\")\n  }\n}"), "gate.path"},
		"path given to a template":                               {files("main.tf", `locals { x = templatefile("${path.module}/t.tpl", {path = {module = var.theme}}) }`, "t.tpl", `${file("${path.module}/secret.key")}`), "gate.path"},
		"each given to a template":                               {files("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = fileset(path.module, \"*\")\n  input = templatefile(\"${path.module}/t.tpl\", {each = {key = var.theme}})\n}", "t.tpl", `${file("x/${each.key}")}`), "gate.path"},
		"a template in a template":                               {files("main.tf", `locals { x = templatefile("t.tpl", {}) }`, "t.tpl", `${templatefile("u.tpl", {})}`, "u.tpl", `${file("/etc/passwd")}`), "gate.path"},
		"a template in a submodule":                              {files("main.tf", `module "m" { source = "./m" }`, "m/main.tf", `locals { x = templatefile("${path.module}/t.tpl", {}) }`, "m/t.tpl", `${file("/etc/passwd")}`), "gate.path"},
		"a template of the root in a submodule":                  {files("main.tf", `module "m" { source = "./m" }`, "m/main.tf", `locals { x = templatefile("${path.root}/t.tpl", {}) }`, "t.tpl", `${file("/etc/passwd")}`), "gate.path"},
		"a template of the root of a test":                       {files("main.tf", "", "t.tpl", "", "tests/a.tftest.hcl", "run \"a\" {\n  module {\n    source = \"./tests/setup\"\n  }\n}", "tests/setup/main.tf", `output "x" { value = templatefile("${path.root}/t.tpl", {}) }`, "tests/setup/t.tpl", `${file("/etc/passwd")}`), "gate.path"},
		"a template of the root of a test that uses the pattern": {files("main.tf", `output "x" { value = templatefile("${path.root}/t.tpl", {}) }`, "t.tpl", "", "tests/a.tftest.hcl", "run \"a\" {\n  module {\n    source = \"./tests/setup\"\n  }\n}", "tests/setup/main.tf", `module "m" { source = "../.." }`, "tests/setup/t.tpl", `${file("/etc/passwd")}`), "gate.path"},
		"a template that is not there":                           {files("main.tf", `locals { x = templatefile("${path.module}/later.tpl", {}) }`), "gate.path"},
		"a template by the name of a file":                       {files("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = fileset(path.module, \"*\")\n  input = templatefile(\"${path.module}/${each.key}\", {})\n}"), "gate.path"},
		"each shadowed by a for":                                 {files("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = fileset(path.module, \"*\")\n  input = [for each in [{value = var.theme}] : file(\"${path.module}/${each.value}\")]\n}"), "gate.path"},
		"each shadowed by an iterator":                           {files("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = fileset(path.module, \"*\")\n  dynamic \"y\" {\n    for_each = [var.theme]\n    iterator = each\n    content { z = file(\"${path.module}/${each.value}\") }\n  }\n}"), "gate.path"},
		"each shadowed by a dynamic block":                       {files("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = fileset(path.module, \"*\")\n  dynamic \"each\" {\n    for_each = [var.theme]\n    content { z = file(\"${path.module}/${each.value}\") }\n  }\n}"), "gate.path"},
		"each of a list that is none of files":                   {files("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = toset(concat(tolist(fileset(path.module, \"*\")), [var.x]))\n  input = file(\"${path.module}/${each.value}\")\n}"), "gate.path"},
		"each of a module's call":                                {files("main.tf", "module \"m\" {\n  source = \"./m\"\n  for_each = toset([var.x])\n  y = file(\"${path.module}/${each.value}\")\n}"), "gate.path"},
		"the name of a file that begins with a tilde":            {files("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = fileset(path.module, \"**\")\n  input = file(each.value)\n}", "~/secret.key", ""), "gate.path"},
		"files listed above by choices":                          {files("main.tf", `locals { x = fileset(path.module, "{..,conf}/*") }`), "gate.path"},
		"files listed above by choices of dots":                  {files("main.tf", `locals { x = fileset(path.module, "{.,x}./*") }`), "gate.path"},
		"files listed above by a class":                          {files("main.tf", `locals { x = fileset(path.module, "[.][.]/*") }`), "gate.path"},
		"files listed above by a backslash":                      {files("main.tf", `locals { x = fileset(path.module, "\\.\\./*") }`), "gate.path"},
		"files listed by a value":                                {files("main.tf", `locals { x = fileset(path.module, var.pattern) }`), "gate.path"},
		"files of a folder that a value names":                   {files("main.tf", `locals { x = fileset(var.dir, "*") }`), "gate.path"},
		"a path in two pieces":                                   {files("main.tf", `locals { x = file("${path.module}${var.x}") }`), "gate.path"},
		"dots in two pieces":                                     {files("main.tf", `locals { x = file("${path.module}/.${"."}/x") }`), "gate.path"},
		"dots by unicode escapes":                                {files("main.tf", `locals { x = file("${path.module}/\u002e\u002e/x") }`), "gate.path"},
		"a root in the middle":                                   {files("main.tf", `locals { x = file("x/${path.module}/y") }`), "gate.path"},
		"a path by another function":                             {files("main.tf", `locals { x = file(abspath("/etc/passwd")) }`), "gate.path"},
		"a path after a failure":                                 {files("main.tf", `locals { x = try(file("${path.module}/x"), file("/etc/passwd")) }`), "gate.path"},
		"a path by the workspace":                                {files("main.tf", `locals { x = file("${path.module}/${terraform.workspace}") }`), "gate.path"},
		"a path of a template's own loop":                        {files("main.tf", `locals { x = templatefile("t.tpl", {}) }`, "t.tpl", `%{ for path in ["/etc"] }${file("${path}/passwd")}%{ endfor }`), "gate.path"},
		"a path in the values of a template":                     {files("main.tf", `locals { x = templatefile("t.tpl", {a = file("/etc/passwd")}) }`, "t.tpl", ""), "gate.path"},
		"a template that JSON names":                             {files("main.tf.json", `{"locals": {"x": "${templatefile(\"${path.module}/t.tpl\", {})}"}}`, "t.tpl", `${file("/etc/passwd")}`), "gate.path"},
		"each of several sets":                                   {files("main.tf", "resource \"terraform_data\" \"x\" {\n  for_each = setunion(fileset(path.module, \"*\"), var.x)\n  input = file(\"${path.module}/${each.key}\")\n}"), "gate.path"},
		"files listed by an absolute pattern":                    {files("main.tf", `locals { x = fileset(path.module, "/etc/*") }`), "gate.path"},
		"a key that is written twice in JSON":                    {files("main.tf.json", `{"locals": {"a": 1, "\u0061": 2}}`), "gate.syntax"},
		"the folder of the process":                              {files("main.tf", `locals { x = file("${path.cwd}/x") }`), "gate.path"},
		"path by an index":                                       {files("main.tf", `locals { x = file("${path["module"]}/x") }`), "gate.path"},
		"a path by a condition":                                  {files("main.tf", `locals { x = file(true ? "/etc/passwd" : "x") }`), "gate.path"},
		"a path by a directive":                                  {files("main.tf", `locals { x = file("%{if true}/etc%{endif}/passwd") }`), "gate.path"},
		"a path in a heredoc":                                    {files("main.tf", "locals {\n  x = file(<<X\n/etc/passwd\nX\n  )\n}"), "gate.path"},
		"a path in an expanded list":                             {files("main.tf", `locals { x = file(["/etc/passwd"]...) }`), "gate.path"},
		"the home":                                               {files("main.tf", `locals { x = file("~/.ssh/id_ed25519") }`), "gate.path"},
		"a function of the core":                                 {files("main.tf", `locals { x = core::filebase64("/etc/passwd") }`), "gate.path"},
		"a file in a validation":                                 {files("main.tf", "variable \"x\" {\n  validation {\n    condition = file(var.x) == \"\"\n    error_message = \"x\"\n  }\n}"), "gate.path"},
		"a file in the default of a type":                        {files("main.tf", `output "x" { value = try(file(var.x), "") }`), "gate.path"},
		"a file in an import":                                    {files("main.tf", "import {\n  to = terraform_data.x\n  id = file(\"/etc/passwd\")\n}"), "gate.path"},
		"a file in an assertion of a test":                       {files("tests/a.tftest.hcl", "run \"a\" {\n  assert {\n    condition = file(\"/etc/passwd\") == \"\"\n    error_message = \"x\"\n  }\n}"), "gate.path"},
		"a file in the variables of a test":                      {files("tests/a.tftest.hcl", "variables {\n  x = file(\"/etc/passwd\")\n}"), "gate.path"},
		"a file in made-up values":                               {files("tests/a.tftest.hcl", "mock_provider \"random\" {\n  source = \"./mocks\"\n}", "mocks/a.tfmock.hcl", "mock_resource \"random_pet\" {\n  defaults = { id = file(\"/etc/passwd\") }\n}", lock, ""), "gate.path"},
		"made-up values from above":                              {files("tests/a.tftest.hcl", "mock_provider \"random\" {\n  source = \"../mocks\"\n}", lock, ""), "gate.path"},
		"a file in a provider's block":                           {files("main.tf", "provider \"random\" {\n  x = file(\"/etc/passwd\")\n}", lock, ""), "gate.path"},
		"a template made of a value":                             {files("main.tf", `locals { x = templatestring(local.t, {}) }`), "gate.path"},
		"a template made of a value in a template":               {files("main.tf", `locals { x = templatefile("t.tpl", {}) }`, "t.tpl", `${templatestring(x, {})}`), "gate.path"},

		// Arguments by which providers read files.
		"a file that a data source reads":                 {files("main.tf", `data "random_file" "x" { filename = "/etc/passwd" }`, lock, ""), "gate.path"},
		"a file that a value names to a data source":      {files("main.tf", `data "random_file" "x" { filename = var.x }`, lock, ""), "gate.path"},
		"a folder that a resource packs":                  {files("main.tf", `resource "random_pack" "x" { source_dir = "${path.module}/.." }`, lock, ""), "gate.path"},
		"an object that is copied":                        {files("main.tf", `resource "random_object" "x" { source = "/etc/passwd" }`, lock, ""), "gate.path"},
		"a file in a nested block":                        {files("main.tf", "resource \"random_pet\" \"x\" {\n  build {\n    key_file = \"/etc/x\"\n  }\n}", lock, ""), "gate.path"},
		"a file in a dynamic block":                       {files("main.tf", "resource \"random_pet\" \"x\" {\n  dynamic \"build\" {\n    for_each = [1]\n    content { key_file = var.x }\n  }\n}", lock, ""), "gate.path"},
		"the configuration of a provider":                 {files("main.tf", `provider "random" { config_path = "~/.kube/config" }`, lock, ""), "gate.path"},
		"the configurations of a provider":                {files("main.tf", `provider "random" { config_paths = ["a", "/root/.kube/config"] }`, lock, ""), "gate.path"},
		"the configuration inside of an object":           {files("main.tf", `provider "random" { kubernetes = { config_path = "/root/.kube/config" } }`, lock, ""), "gate.path"},
		"the configuration of a provider in JSON":         {files("main.tf.json", `{"provider": {"random": {"shared_credentials_files": ["/root/.aws/credentials"]}}}`, lock, ""), "gate.path"},
		"a file that a value names in JSON":               {files("main.tf.json", `{"resource": {"random_pet": {"x": {"source_file": "${var.x}"}}}}`, lock, ""), "gate.path"},
		"a shadowed file of another resource":             {files("main.tf", `resource "random_pet" "x" { source_file = [for archive_file in var.x : archive_file][0] }`, lock, ""), "gate.path"},
		"a file that a provider's function reads":         {files("main.tf", `output "x" { value = provider::random::file_exists("/etc/passwd") }`, lock, ""), "gate.path"},
		"a file that a function of an alias reads":        {files("main.tf", `output "x" { value = provider::random::west::file_exists("/etc/passwd") }`, lock, ""), "gate.path"},
		"a file that a function reads in one word":        {files("main.tf", `output "x" { value = provider::random::readfile("/etc/passwd") }`, lock, ""), "gate.path"},
		"the certificate of a provider":                   {files("main.tf", `provider "random" { client_certificate_path = "/etc/ssl/private/x.pfx" }`, lock, ""), "gate.path"},
		"a file of an action":                             {files("main.tf", "action \"random_x\" \"x\" {\n  config {\n    filename = \"/etc/passwd\"\n  }\n}", lock, ""), "gate.path"},
		"a file in a block that is written twice in JSON": {files("main.tf.json", `{"resource": {"random_pet": {"x": {"build": {}, "build": {"key_file": "/etc/x"}}}}}`, lock, ""), "gate.syntax"},
		"a file of a provider with path shadowed in JSON": {files("main.tf.json", `{"resource": {"random_pet": {"x": {"dynamic": {"path": {"content": {"key_file": "${path.module}/x"}}}}}}}`, lock, ""), "gate.path"},
	}
	allow := tofu.Allow{
		Providers: []string{"hashicorp/random"},
		Modules:   []string{"git::https://git.example.com/coe", "git::https://host.example.com", "terraform-aws-modules"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			found := tofu.Gate(write(t, c.files), allow)
			if !slices.ContainsFunc(found, func(p tofu.Problem) bool { return p.Code == c.code }) {
				t.Errorf("it is not refused with %s: %v", c.code, found)
			}
		})
	}
	if len(cases) < 100 {
		t.Errorf("only %d attacks are left", len(cases))
	}
}

// A module is pushed by anybody, so to read one takes no longer than to load it.
func TestTheGateReadsALargeModuleInTime(t *testing.T) {
	var keys strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&keys, `"k%d": {"iterator": "i%d"}, `, i, i)
	}
	before := time.Now()
	module := files("main.tf.json", `{"locals": {"dynamic": {`+keys.String()+`"path": {}}, "deep": `+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+`}}`)
	if found := tofu.Gate(write(t, module), tofu.Allow{}); len(found) > 0 || time.Since(before) > patience.Of(30*time.Second) {
		t.Errorf("after %s: %v", time.Since(before), found)
	}
}

func TestWhatIsPlainToSeePassesTheGate(t *testing.T) {
	for name, module := range map[string]map[string]string{
		"a for that names something else":                    files("main.tf", `locals { x = [for f in ["a", "b"] : file("${path.module}/x")] }`, "x", ""),
		"path as the list of a for":                          files("main.tf", `locals { x = [for path in [file("${path.module}/x")] : path] }`, "x", ""),
		"a directive":                                        files("main.tf", `locals { x = "%{for f in ["a"]}${file("${path.module}/x")}%{endfor}" }`),
		"choices of files":                                   files("main.tf", `locals { x = fileset("${path.module}/conf", "**/*.{json,yaml}") }`),
		"a template with own names":                          files("main.tf", `locals { x = templatefile("${path.module}/t.tpl", {path = "/healthz"}) }`, "t.tpl", "probe ${path}"),
		"a file of the root from a submodule":                files("main.tf", `module "m" { source = "./m" }`, "m/main.tf", `locals { x = file("${path.root}/x") }`),
		"a template of the root":                             files("main.tf", "output \"x\" { value = templatefile(\"${path.root}/t.tpl\", {}) }\nmodule \"m\" { source = \"./m\" }", "t.tpl", "${name}", "m/main.tf", "", "m/t.tpl", "${name}"),
		"a file by the core's function":                      files("main.tf", `locals { x = core::file("x") }`),
		"aliases of an allowed provider":                     files("main.tf", "terraform {\n  required_providers {\n    dice = {\n      source = \"hashicorp/random\"\n      version = \"~> 3\"\n      configuration_aliases = [dice.a]\n    }\n  }\n}\nresource \"random_pet\" \"x\" {\n  provider = dice.a\n}", lock, ""),
		"a name of a provider in a test":                     files("main.tf", strings.ReplaceAll(dice, "%s", "hashicorp/random"), "tests/a.tftest.hcl", "provider \"dice\" {}\nrun \"a\" {\n  providers = { dice = dice }\n}", lock, ""),
		"leftovers of editors":                               files("main.tf", "", "._main.tf", command, ".old.tf", command, "main.tf~", command, "#main.tf#", command, "old~", command),
		"tests of a submodule":                               files("main.tf", `module "m" { source = "./m" }`, "m/main.tf", "", "m/tests/a.tftest.hcl", `provider "aws" {}`),
		"a folder that nothing uses":                         files("main.tf", "", "examples/full/main.tf", command, "examples/full/terraform.tfvars", ""),
		"an own file for a provider":                         files("main.tf", `resource "random_object" "x" { source = "${path.module}/x" }`, lock, ""),
		"own files for a provider, one by one":               files("main.tf", "resource \"random_object\" \"x\" {\n  for_each = fileset(\"${path.module}/site\", \"**\")\n  key = each.key\n  source = \"${path.module}/site/${each.key}\"\n}", lock, ""),
		"a file that another resource made":                  files("main.tf", "data \"random_x\" \"x\" {}\nresource \"random_function\" \"x\" {\n  filename = data.archive_file.x.output_path\n}", lock, ""),
		"no file for a provider":                             files("main.tf", `resource "random_pet" "x" { key_file = null }`, lock, ""),
		"a map with a key like a path":                       files("main.tf", `resource "random_map" "x" { data = { config_file = var.x } }`, lock, ""),
		"an allowed module with a folder":                    files("main.tf", `module "m" { source = "git::https://git.example.com/coe/net.git//sub?ref=v1.2.0" }`),
		"an allowed module of the registry":                  files("main.tf", `module "m" { source = "terraform-aws-modules/vpc/aws" }`),
		"a built-in function of a provider":                  files("main.tf", `output "x" { value = provider::terraform::encode_expr("x") }`),
		"a dynamic block in JSON":                            files("main.tf.json", `{"resource": {"terraform_data": {"x": {"dynamic": {"y": {"iterator": "it", "content": {"z": "${file(\"${path.module}/x\")}"}}}}}}}`, "x", ""),
		"a description with a function's name in JSON":       files("main.tf.json", `{"variable": {"x": {"description": "read by file(path), if any", "default": 1e999}}}`),
		"files that only other commands of the engines read": files("main.tf", "", "a.tfquery.hcl", command, "a.tfstack.hcl", command, "x.TF", command, ".terraformrc", "", "mocks/.a.tfmock.hcl", command),
		"what is no configuration":                           files("main.tf", "", ".#main.tf", command, ".DS_Store", "\x00", "main.tf.bak", command, "main.TF", command, "main.tf.json~", command, ".main.tf.swp", command, "x_override.tf~", command, ".tf", command),
		"values that no engine reads":                        files("main.tf", "module \"m\" { source = \"./m\" }", "m/main.tf", "", "m/terraform.tfvars", "x = 1", "m/a.auto.tfvars.json", "{}", "prod.tfvars", "x = 1", "terraform.tfvars~", "x = 1", "Terraform.tfvars", "x = 1"),
	} {
		t.Run(name, func(t *testing.T) {
			allow := tofu.Allow{Providers: []string{"hashicorp/random"}, Modules: []string{"git::https://git.example.com/coe", "terraform-aws-modules"}}
			if found := tofu.Gate(write(t, module), allow); len(found) > 0 {
				t.Errorf("it is refused: %v", found)
			}
		})
	}
}

func TestTheGateReadsTheFoldersThatTheEngineLoads(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine tofu.Engine) {
		p := start(t, engine)
		module := files(
			"main.tf", "module \"a\" { source = \"./a\" }\nmodule \"b\" { source = \"./mods/../b/\" }\n",
			"a/main.tf", `module "c" { source = "../b/c" }`, "b/main.tf", "", "b/c/main.tf", "",
			"tests/t.tftest.hcl", "run \"r\" {\n  module {\n    source = \"./tests/setup\"\n  }\n}", "tests/setup/main.tf", "output \"x\" { value = 1 }", "mods/x", "")
		if _, err := p.Prepare(t.Context(), digest(module), write(t, module)); err != nil {
			t.Errorf("what the gate has read is refused: %v", err)
		}
		// The gate would refuse it. If it did not, the comparison with what was loaded does.
		unread := files("main.tf", `module "m" { source = "./mods\\inner" }`, "mods/inner/main.tf", `output "x" { value = 1 }`)
		_, err := p.Prepare(t.Context(), digest(unread), write(t, unread))
		if !fault.Is(err, "init.refused") || !strings.Contains(fmt.Sprint(fault.From(err).Fields), "mods/inner") {
			t.Errorf("a module that the gate has not read is prepared: %v", err)
		}
	})
}

func TestTheGateRefusesLinksToConfiguration(t *testing.T) {
	dir := write(t, files("main.tf", `module "m" { source = "./m" }`, "x/main.tf", ""))
	for from, to := range map[string]string{"m": "/etc", "a.tf": "x/main.tf", "b.auto.tfvars": "/etc/passwd"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	links := 0
	for _, p := range tofu.Gate(dir, tofu.Allow{}) {
		if p.Code == "gate.link" {
			links++
		}
	}
	if links != 3 {
		t.Errorf("%d of 3 links are refused", links)
	}
}
