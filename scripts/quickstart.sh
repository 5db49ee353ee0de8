#!/usr/bin/env bash
# Sets up, builds, and quantizes the small model in testdata/digits. See --help.

usage() {
  cat <<'END'
usage: scripts/quickstart.sh

Installs what is missing (apt, as root or by sudo), builds onnxtool in build/release, quantizes the
model in testdata/digits to int8 and prints the report. Asks nothing; running it again costs seconds.

environment:
  ONNXTOOL_ONNX_SOURCE  onnx source tree or .tar.gz, instead of fetching it with pip
  XDG_CACHE_HOME        where the built onnx is kept (default ~/.cache)
END
}

case ${1:-} in
  '') ;;
  -h | --help) usage; exit 0 ;;
  *) printf 'error: unknown argument %s\n' "$1" >&2; usage >&2; exit 2 ;;
esac

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install_packages
build release onnxtool

onnxtool=build/release/bin/onnxtool
command=(quantize testdata/digits/model.onnx
  --calib testdata/digits/calib --resize 32 --channels grey --scale 1/255 --mean 0.3 --std 0.35
  --eval testdata/digits/test -o build/release/digits.int8.onnx)
say "run: $onnxtool ${command[*]}"
"$onnxtool" "${command[@]}"
say "written: build/release/digits.int8.onnx"
