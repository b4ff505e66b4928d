#!/bin/sh
# Builds OpenTofu from its Go module and prints the path of the program.
#
# `go install` refuses the module because of its replace directives, so the source is copied out of
# the module cache and built there. It takes some minutes, once; a second call only prints the path.
set -eu

version=1.12.6
cache=${FLYWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flywheel}/tofu-$version
program=$cache/tofu

if [ -x "$program" ]; then
	echo "$program"
	exit 0
fi
command -v go >/dev/null || { echo "tofu.sh: Go is needed to build OpenTofu; install it from https://go.dev/dl" >&2; exit 1; }

module=$(go mod download -json "github.com/opentofu/opentofu@v$version" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
[ -n "$module" ] || { echo "tofu.sh: the source of OpenTofu $version cannot be downloaded; check GOPROXY and the network" >&2; exit 1; }

source=$(mktemp -d)
trap 'chmod -R u+w "$source"; rm -rf "$source"' EXIT
cp -R "$module/." "$source"
chmod -R u+w "$source"

mkdir -p "$cache"
echo "tofu.sh: building OpenTofu $version, this takes some minutes" >&2
(cd "$source" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/opentofu/opentofu/version.dev=no" -o "$program.part" ./cmd/tofu)
mv "$program.part" "$program" # only a finished build gets the name
echo "$program"
