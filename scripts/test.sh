#!/usr/bin/env bash
# Runs every test: the Go suite on SQLite, the part of it that uses a database again on PostgreSQL, the
# units of the pages, and the browser against the built binary. Sets of tests are found, never listed,
# and finding none fails. FLYWHEEL_TEST_PATIENCE, a factor such as 3, scales every limit of time.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p tmp
tally=$PWD/tmp/tally
rm -f "$tally"
go build -o tmp/testsum ./tools/testsum

some() { compgen -G "$1" >/dev/null || { echo "There is nothing at $1: a set of tests must not be empty." >&2; exit 1; }; }
some 'scenario/*.txtar'
some 'e2e/*.test.mjs'
some 'examples/patterns/*/tests/*.tftest.hcl'
find web/src -name '*.test.ts*' | grep -q . || { echo "There is no *.test.ts under web/src: a set of tests must not be empty." >&2; exit 1; }

# With OpenTofu and Terraform both there, engine tests run on each.
tofu=$(ls "${FLYWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flywheel}"/tofu-*/tofu 2>/dev/null | tail -n 1 || true)
if [ -n "$tofu" ]; then
	export FLYWHEEL_TOFU=${FLYWHEEL_TOFU:-$tofu}
	export PATH=$PATH:$(dirname "$tofu")
fi

status=0
outer=${FLYWHEEL_TEST_DATABASE_URL:-}
unset FLYWHEEL_TEST_DATABASE_URL

tmp/testsum -tally "$tally" -name "Go on SQLite" -- -count=1 ./... || status=1

# Packages whose tests never open a database give the same result twice, so they run once.
databases=$(go list -test -f '{{if not .ForTest}}{{.ImportPath}} {{join .Deps " "}}{{end}}' ./... |
	awk '$1 ~ /\.test$/ && / flywheel\.dev\/flywheel\/internal\/db\/dbtest( |$)/ { sub(/\.test$/, "", $1); print $1 }')
[ -n "$databases" ] || { echo "No package tests with a database." >&2; exit 1; }
if [ -n "$outer" ]; then
	export FLYWHEEL_TEST_DATABASE_URL=$outer
else
	trap 'scripts/postgres.sh stop' EXIT
	started=$(scripts/postgres.sh start)
	eval "$started"
fi
# The scenarios take the engine on PATH the first time, and OpenTofu the second time where both are there.
if [ -n "$tofu" ]; then
	export FLYWHEEL_ENGINE=$tofu
fi
tmp/testsum -tally "$tally" -name "Go on PostgreSQL" -- -count=1 $databases || status=1
if [ -z "$outer" ]; then
	scripts/postgres.sh stop
	unset FLYWHEEL_TEST_DATABASE_URL
fi
unset FLYWHEEL_ENGINE

# counts reads "passed failed skipped" of a Node runner's report and adds them.
counts() { echo "$2 $1" >>"$tally"; }
(cd web && npx vitest run --reporter=default --reporter=json --outputFile.json=../tmp/vitest.json) || status=1
counts "pages" "$(node -p 'const r = JSON.parse(require("fs").readFileSync("tmp/vitest.json")); [r.numPassedTests, r.numFailedTests + r.numFailedTestSuites * (r.numTotalTests === 0), r.numPendingTests].join(" ")')"

(cd e2e && FLYWHEEL=../bin/flywheel node --test --test-concurrency=2 --test-timeout="$(node -p "3600000 * (process.env.FLYWHEEL_TEST_PATIENCE || 1)")" --test-reporter=spec --test-reporter-destination=stdout --test-reporter=tap --test-reporter-destination=../tmp/e2e.tap) || status=1
counts "browser" "$(awk '$1 == "#" && $2 == "pass" { p = $3 } $1 == "#" && $2 == "fail" { f = $3 } $1 == "#" && $2 == "cancelled" { c = $3 } $1 == "#" && $2 == "skipped" { s = $3 } END { print p + 0, f + c, s + 0 }' tmp/e2e.tap)"

tmp/testsum -total "$tally" || status=1
exit $status
