#!/usr/bin/env bash
# Runs onnx's test cases and writes docs/conformance.md. See --help.

usage() {
  cat <<'END'
usage: scripts/conformance.sh [--preset NAME] [--device DEVICE]

Installs what is missing, builds, fetches onnx 1.22's test cases with pip and runs them through the
executor, then those of ../shared/data where that directory is present. Writes docs/conformance.md.
A case that cannot run has failed. The last line is "N passed, N failed, N skipped".

  --preset NAME   release (default), debug, asan or tsan
  --device DEVICE cpu (default), or cuda or cuda:N: operators with a kernel for it run there, and
                  the table is build/conformance-cuda.md

exit code: 0 all passed, 1 a case failed, 2 the cases could not be built, fetched or run

environment:
  ONNXTOOL_NODE_TESTS   directory `node` of onnx's test data, instead of fetching it with pip
END
}

preset=release device=cpu table=docs/conformance.md
while (($# > 0)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --preset) preset=${2:?"--preset needs a name"}; shift 2 ;;
    --preset=*) preset=${1#*=}; shift ;;
    --device) device=${2:?"--device needs a name"}; shift 2 ;;
    --device=*) device=${1#*=}; shift ;;
    *) printf 'error: unknown argument %s\n' "$1" >&2; usage >&2; exit 2 ;;
  esac
done

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $preset =~ ^(release|debug|asan|tsan)$ ]] || fail "unknown preset $preset"

install_packages
build "$preset" onnxtool_conformance
prepare_node_tests
[[ -n ${ONNXTOOL_NODE_TESTS:-} ]] || fail "onnx's test cases cannot be had here"
say "conformance: ${ONNXTOOL_NODE_TESTS%/node}"
[[ $device == cpu ]] || table=build/conformance-cuda.md
"build/$preset/bin/onnxtool_conformance" "${ONNXTOOL_NODE_TESTS%/node}" ../shared/data "$table" "$device"
