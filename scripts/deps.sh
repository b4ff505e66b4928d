#!/bin/sh
# Looks for what Flywheel and its tests need beside Go, Node and git. As root on Debian it installs what
# is missing; elsewhere it says in one sentence what to install, and exits 1.
#
#   scripts/deps.sh demo   what `make demo` needs: a sandbox, and an engine
#   scripts/deps.sh test   and what `make test` needs: a browser and a database
set -eu

cd "$(dirname "$0")/.."
purpose=${1:-test}

have() { command -v "$1" >/dev/null 2>&1; }
browser() { [ -x "${CHROMIUM:-}" ] || have chromium || have chromium-browser || have google-chrome || have google-chrome-stable; }
postgres() { [ -n "${FLYWHEEL_TEST_DATABASE_URL:-}" ] || have initdb || ls /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb >/dev/null 2>&1; }

for tool in go node npm git; do
	have $tool || { echo "Install $tool: Flywheel is built with Go 1.26, Node 20.19 or newer, and git." >&2; exit 1; }
done

missing=
have bwrap || missing="$missing bubblewrap"
if [ "$purpose" = test ]; then
	browser || missing="$missing chromium"
	postgres || missing="$missing postgresql"
fi
if [ -n "$missing" ]; then
	if [ "$(id -u)" = 0 ] && have apt-get; then
		echo "installing$missing" >&2
		export DEBIAN_FRONTEND=noninteractive
		log=$(mktemp)
		# --no-install-recommends keeps a server from being started and fonts for every script from coming.
		if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
			tail -n 20 "$log" >&2
			echo "The packages$missing could not be installed; install them by hand." >&2
			exit 1
		fi
		rm -f "$log"
	else
		echo "Install$missing with your package manager (Debian: sudo apt-get install$missing), then run this again." >&2
		exit 1
	fi
fi

if ! have tofu && ! have terraform; then
	scripts/tofu.sh >/dev/null
fi
