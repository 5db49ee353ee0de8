# shellcheck shell=bash
#
# Shared by the scripts of this directory; sourced, not run. Installs what is missing, configures and
# builds. Every step is skipped or cheap when it has been done before, and none asks a question.

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"

# A fresh user session or a container may lack HOME.
cache_dir=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/onnxtool

# Debian 12's names.
required=(
  g++ cmake ninja-build
  python3 python3-pip python3-venv ca-certificates
  libprotobuf-dev protobuf-compiler libssl-dev libfmt-dev libflatbuffers-dev flatbuffers-compiler
  libtbb-dev libeigen3-dev
  nlohmann-json3-dev libcli11-dev libtomlplusplus-dev
  libjpeg-dev libpng-dev libzip-dev libre2-dev
  doctest-dev
)
# The oneDNN kernels, what one test runs, and two that only save time: installed where possible, missed by nothing.
optional=(libdnnl-dev parallel ccache mold)

say() { printf '== %s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

note_untested_system() {
  local id='' version='' name='this system'
  if [[ -r /etc/os-release ]]; then
    id=$(. /etc/os-release && printf '%s' "${ID:-}")
    version=$(. /etc/os-release && printf '%s' "${VERSION_ID:-}")
    name=$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-$ID}")
  fi
  if [[ $id != debian || $version != 12 ]]; then
    say "note: $name is untested; the scripts are written for Debian 12"
  fi
}

# Prints those of the packages that are not installed, one a line.
missing_of() {
  local package status
  for package in "$@"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || printf '%s\n' "$package"
  done
}

install_packages() {
  note_untested_system
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "note: no apt here; these must be installed by other means (Debian's names): ${required[*]} (optional: ${optional[*]})"
    return
  fi
  local missing missing_required
  mapfile -t missing_required < <(missing_of "${required[@]}")
  mapfile -t missing < <(missing_of "${required[@]}" "${optional[@]}")
  if ((${#missing[@]} == 0)); then
    say "packages: all installed"
    return
  fi
  local as_root=()
  if [[ $(id -u) != 0 ]]; then
    # -n: fail where sudo would ask for a password.
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    elif ((${#missing_required[@]} == 0)); then
      say "packages: going on without the optional ${missing[*]}"
      return
    else
      printf '%s\n' "error: packages are missing, and this is neither root nor allowed to use sudo without a password" \
        "  run as root, then try again:" "    apt-get install --no-install-recommends ${missing[*]}" >&2
      exit 2
    fi
  fi
  say "packages: installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3
    -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update </dev/null || say "note: apt-get update failed; trying with the lists at hand"
  "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null && return
  say "note: trying again without the optional packages"
  mapfile -t missing_required < <(missing_of "${required[@]}")
  ((${#missing_required[@]} == 0)) ||
    "${apt[@]}" install --no-install-recommends "${missing_required[@]}" </dev/null
}

# One compiler process takes up to about 1.5 GB.
parallel_jobs() {
  local cores memory_kb jobs
  cores=$(nproc)
  memory_kb=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo 2>/dev/null || true)
  jobs=$((${memory_kb:-4000000} / 1500000))
  ((jobs >= 1)) || jobs=1
  ((jobs <= cores)) || jobs=$cores
  printf '%s\n' "$jobs"
}

# build PRESET [TARGET...]
build() {
  local preset=$1 log settings=()
  shift
  command -v cmake >/dev/null || fail "cmake is missing"
  [[ -z ${ONNXTOOL_ONNX_SOURCE:-} ]] || settings+=("-DONNXTOOL_ONNX_SOURCE=$ONNXTOOL_ONNX_SOURCE")
  say "configure: cmake --preset $preset (the first time on a machine this also builds onnx, about two minutes)"
  mkdir -p "build/$preset"
  log=build/$preset/configure.log
  cmake --preset "$preset" "${settings[@]}" >"$log" 2>&1 || {
    cat "$log" >&2
    fail "configuring failed"
  }
  say "build: build/$preset"
  local targets=()
  (($# == 0)) || targets=(--target "$@")
  cmake --build "build/$preset" --parallel "$(parallel_jobs)" "${targets[@]}" || fail "the build failed"
}

# Exports ONNXTOOL_NODE_TESTS: onnx's own node tests, which its wheel carries up to 1.22. Only the data is
# used, so it is the same wheel for every Python.
prepare_node_tests() {
  [[ -z ${ONNXTOOL_NODE_TESTS:-} ]] || return 0
  local version=1.22.0 sha256=1d0a2bdb15eb2b3cb65c438f3423d9620d14fdce32f92380e6bb1b2e09568ef5
  local data=$cache_dir/onnx-tests-$version work wheel
  if [[ ! -d $data ]]; then
    command -v python3 >/dev/null || return 0
    say "tests: fetching onnx's node tests into $data"
    mkdir -p "$cache_dir"
    work=$(mktemp -d "$cache_dir/node-tests.XXXXXX")
    if python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      --implementation cp --python-version 3.11 --abi cp311 --platform manylinux_2_28_x86_64 \
      --dest "$work" "onnx==$version" </dev/null >"$work/log" 2>&1; then
      wheel=$(echo "$work"/onnx-*.whl)
      if sha256sum --check --status <<<"$sha256  $wheel"; then
        python3 -m zipfile -e "$wheel" "$work/wheel"
        # Whoever is second finds the directory there; the data is the same.
        mv -T "$work/wheel/onnx/backend/test/data" "$data" 2>/dev/null || true
      else
        say "note: $(basename "$wheel") has another sha256 than the pinned one; left out"
      fi
    else
      tail -n 1 "$work/log" >&2
    fi
    rm -rf "$work"
  fi
  [[ ! -d $data/node ]] || export ONNXTOOL_NODE_TESTS=$data/node
}
