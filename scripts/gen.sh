#!/usr/bin/env bash
# Writes what is made from the Go types: openapi.json and, from it, the types of the pages. With --check
# it writes nothing and fails when what is committed is not what would be written.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p tmp
go run ./cmd/flywheel openapi >tmp/openapi.json
(cd web && npx openapi-typescript ../tmp/openapi.json -o ../tmp/schema.ts >/dev/null)
if [ "${1:-}" = --check ]; then
	for pair in openapi.json:openapi.json schema.ts:web/src/api/schema.ts; do
		cmp -s "tmp/${pair%%:*}" "${pair#*:}" || { echo "${pair#*:} is stale: run \`make gen\` and commit it." >&2; exit 1; }
	done
else
	cp tmp/openapi.json openapi.json
	cp tmp/schema.ts web/src/api/schema.ts
fi
