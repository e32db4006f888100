# Sourced by demo.sh and test.sh: `use_environment FILE…` makes the virtual environment .venv with the given
# requirements, or reuses it as long as they have not changed, and sets $python.

use_environment() {
  local found candidate wanted
  python=.venv/bin/python
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    for candidate in python3.11 python3 python3.12 python3.13 python3.10; do
      if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        found=$candidate
        break
      fi
    done
    if [ -z "${found:-}" ]; then
      echo "No Python 3.10 to 3.13 found: install one, for example with 'apt-get install python3 python3-venv'." >&2
      return 2
    fi
    "$found" -c 'import ensurepip' 2>/dev/null || install_debian_venv "$found" || return 2
    echo "Making the virtual environment .venv (first run only) ..."
    "$found" -m venv --clear .venv || return 1
  fi
  wanted=$(cat "$@" | cksum)
  # Each set of requirements is stamped on its own: the demo must not wait for the tests' packages.
  local stamp=".venv/installed-$(echo "$@" | cksum | cut -d' ' -f1)"
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing the requirements (first run only; PyTorch is large, this takes some minutes) ..."
    local arguments=()
    for file in "$@"; do arguments+=(-r "$file"); done
    "$python" -m pip install --quiet --disable-pip-version-check "${arguments[@]}" || return 1
    echo "$wanted" > "$stamp"
  fi
}

install_debian_venv() {
  local version sudo=""
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  echo "Installing python$version-venv ..."
  if ! { $sudo apt-get update -qq && $sudo apt-get install -y -qq "python$version-venv"; } >/dev/null 2>&1; then
    echo "Python's venv module is missing: run 'sudo apt-get install python$version-venv' and try again." >&2
    return 1
  fi
}
