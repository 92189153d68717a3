#!/usr/bin/env bash
# Check what must be on the machine before anything can be built; name the missing packages.
set -u
python=${PYTHON:-python3}
missing=()
need() { echo "missing: $1" >&2; missing+=("$2"); }

command -v g++ >/dev/null || need "a C++ compiler (g++)" g++
if ! command -v "$python" >/dev/null; then
  need "$python" python3
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "missing: Python 3.11 or newer (got $("$python" --version 2>&1)); name another with PYTHON=..., as in: make run PYTHON=python3.12" >&2
  exit 1
else
  "$python" -c 'import venv, ensurepip' 2>/dev/null || need "Python's venv module" python3-venv
  include=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
  [ -e "$include/Python.h" ] || need "Python's C headers ($include/Python.h)" python3-dev
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "install with: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
