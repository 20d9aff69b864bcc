# shellcheck shell=bash
# Sourced by the launch scripts: make_environment DIR REQUIREMENT

# Large pages, kept by the process: XLA's buffers on a CPU come from malloc, and without this every step
# pays for fresh pages. Linux with glibc; elsewhere the variable means nothing.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000}

# A Python of at least 3.11, or an explanation.
find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "emnat_jax needs Python 3.11 or newer; install it, or name it: PYTHON=/path/to/python3 $0" >&2
  return 1
}

# Creates (or completes) a virtual environment with an editable install, and activates it.
make_environment() {
  local directory=${1:?usage: make_environment DIR REQUIREMENT} requirement=${2:?usage: make_environment DIR REQUIREMENT}
  local python
  python=$(find_python)
  [[ -x $directory/bin/python ]] || "$python" -m venv "$directory"
  # shellcheck disable=SC1091
  source "$directory/bin/activate"
  echo "installing into $directory (about a minute the first time) ..." >&2
  python -m pip install --quiet --disable-pip-version-check --no-compile --editable "$requirement"
}
