#!/bin/sh
# Starts and stops a throw-away PostgreSQL for the tests. It listens on loopback only, trusts every
# local user, and skips fsync: nothing in it is meant to last.
#
#   eval "$(scripts/postgres.sh start)"   exports FLYWHEEL_TEST_DATABASE_URL
#   scripts/postgres.sh stop              stops it and removes its folder
#   scripts/postgres.sh crash             ends it as a failure would, with all that it holds
#   scripts/postgres.sh resume            starts it again after that
#
# FLYWHEEL_TEST_POSTGRES_DIR and FLYWHEEL_TEST_POSTGRES_PORT choose another folder and port.
# With FLYWHEEL_TEST_POSTGRES_FSYNC=on commits wait for the disk, as benchmarks need.
set -eu

port=${FLYWHEEL_TEST_POSTGRES_PORT:-55432}
dir=${FLYWHEEL_TEST_POSTGRES_DIR:-${TMPDIR:-/tmp}/flywheel-test-postgres-$port}
fsync=${FLYWHEEL_TEST_POSTGRES_FSYNC:-off}
url="postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable"

# The folder with initdb and pg_ctl: a newer version wins.
binaries() {
	for candidate in $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin 2>/dev/null | sort -rV); do
		if [ -x "$candidate/initdb" ]; then
			echo "$candidate"
			return
		fi
	done
	if command -v initdb >/dev/null 2>&1; then
		dirname "$(command -v initdb)"
		return
	fi
	echo "PostgreSQL is not installed: install it (Debian: apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql), or set FLYWHEEL_TEST_DATABASE_URL to a server of yours." >&2
	exit 1
}

# PostgreSQL refuses to run as root, so root runs it as the user postgres, or as nobody.
as_user() {
	if [ "$(id -u)" != 0 ]; then
		"$@"
	elif id postgres >/dev/null 2>&1; then
		setpriv --reuid postgres --regid "$(id -g postgres)" --clear-groups "$@"
	else
		setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
	fi
}

run() {
	options="-p $port -k $dir -c listen_addresses=127.0.0.1 -c max_connections=400 -c shared_buffers=128MB"
	if [ "$fsync" != on ]; then
		options="$options -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
	fi
	cd "$dir"
	as_user "$bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -o "$options" -w -t 60 start >>"$dir.log" 2>&1 || {
		cat "$dir.log" "$dir/server.log" >&2
		exit 1
	}
}

case "${1:-}" in
start)
	bin=$(binaries)
	if ! [ -f "$dir/data/postmaster.pid" ] || ! as_user "$bin/pg_ctl" -D "$dir/data" status >/dev/null 2>&1; then
		rm -rf "$dir"
		mkdir -p "$dir"
		if [ "$(id -u)" = 0 ]; then
			chown "$(as_user id -u)" "$dir"
		fi
		cd "$dir"
		as_user "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >"$dir.log" 2>&1 ||
			as_user "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C >"$dir.log" 2>&1 || {
			cat "$dir.log" >&2
			exit 1
		}
		run
	fi
	echo "export FLYWHEEL_TEST_DATABASE_URL='$url'"
	;;
stop)
	bin=$(binaries)
	if [ -d "$dir/data" ]; then
		as_user "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
	fi
	rm -rf "$dir" "$dir.log"
	;;
crash)
	bin=$(binaries)
	cd "$dir"
	as_user "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null
	;;
resume)
	bin=$(binaries)
	run
	;;
*)
	echo "usage: scripts/postgres.sh start|stop|crash|resume" >&2
	exit 2
	;;
esac
