#!/usr/bin/env bash
# Fails when a Markdown file of the repository links to a file that is not there.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
while IFS= read -r file; do
	while IFS= read -r target; do
		path=${target%%#*}
		[ -z "$path" ] && continue
		[ -e "$(dirname "$file")/$path" ] || { echo "$file: the link to $target leads nowhere" >&2; status=1; }
	done < <(grep -oE '\]\([^)[:space:]]+\)' "$file" | sed -E 's/^\]\((.*)\)$/\1/' | grep -vE '^(https?:|mailto:|#|/)' || true)
done < <(git ls-files -co --exclude-standard '*.md')
exit $status
