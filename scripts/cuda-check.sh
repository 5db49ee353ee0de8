#!/usr/bin/env bash
# Builds, tests and measures the CUDA module on a machine with a GPU. See --help.

usage() {
  cat <<'END'
usage: scripts/cuda-check.sh [--binaries DIR] [--models DIR] [--arch LIST] [OUT]
       scripts/cuda-check.sh --bundle DIR [--arch LIST]

Builds with -DONNXTOOL_CUDA=ON, then runs on the GPU: tests of the device's kernels, onnx's node
tests, compute-sanitizer over them, and throughput. Everything that is printed goes to the folder OUT
(default build/cuda-check), a file for each part, with summary.txt above them. A part that fails does
not stop the others.

  --binaries DIR  use the binaries of DIR instead of building: onnxtool, onnxtool_tests and
                  onnxtool-*.so, with the shared libraries that they need in DIR/lib
  --models DIR    also measure the .onnx files of DIR
  --arch LIST     architectures to build for (default: that of the first GPU; of a bundle, 90-real)
  --bundle DIR    build, and copy the binaries and the shared libraries that they need to DIR and
                  DIR/lib, for --binaries on a machine that cannot build; needs no GPU

Nothing is fetched. Needed: an NVIDIA driver, libcublasLt.so (of a toolkit or of Python's nvidia-cublas)
and, to build, nvcc 12 or later and the packages that scripts/test.sh names. compute-sanitizer is used
where it is found.

exit code: 0 all parts passed, 1 one failed, 2 no GPU or no build

environment:
  ONNXTOOL_NODE_TESTS   directory `node` of onnx's test data; without it the node tests are skipped
END
}

out=build/cuda-check binaries='' arch='' bundle='' models=../shared/data/models own_models=''
while (($# > 0)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --binaries) binaries=${2:?"--binaries needs a directory"}; shift 2 ;;
    --arch) arch=${2:?"--arch needs a list"}; shift 2 ;;
    --models) own_models=${2:?"--models needs a directory"}; shift 2 ;;
    --bundle) bundle=${2:?"--bundle needs a directory"}; shift 2 ;;
    -*) printf 'error: unknown argument %s\n' "$1" >&2; usage >&2; exit 2 ;;
    *) out=$1; shift ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

build() { # ARCHITECTURES
  cmake -G Ninja -S . -B build/cuda -DCMAKE_BUILD_TYPE=Release -DONNXTOOL_CUDA=ON \
    "-DCMAKE_CUDA_ARCHITECTURES=$1" &&
    cmake --build build/cuda --target onnxtool onnxtool_tests
}

# What a system with another distribution lacks: all but the C and C++ runtimes and CUDA's own.
make_bundle() {
  mkdir -p "$bundle/lib"
  cp build/cuda/bin/onnxtool build/cuda/bin/onnxtool_tests build/cuda/bin/onnxtool-*.so "$bundle" || return
  local library
  for library in $(ldd "$bundle"/onnxtool* | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u); do
    case ${library##*/} in
      libc.so* | libm.so* | libpthread.so* | libdl.so* | librt.so* | ld-linux* | libstdc++* | libgcc_s*) ;;
      libcublas* | libcuda*) ;;
      *) cp -L "$library" "$bundle/lib" ;;
    esac
  done
  du -sh "$bundle"
}

if [[ -n $bundle ]]; then
  build "${arch:-90-real}" && make_bundle && exit 0
  exit 2
fi

mkdir -p "$out"
: > "$out/summary.txt"
note() { printf '%s\n' "$*" | tee -a "$out/summary.txt"; }

command -v nvidia-smi > /dev/null || { note 'error: no nvidia-smi: no GPU here'; exit 2; }
nvidia-smi > "$out/nvidia-smi.txt" 2>&1 || { note 'error: nvidia-smi failed'; exit 2; }
note "$(nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader | head -1)"

if [[ -z $binaries ]]; then
  binaries=build/cuda/bin
  : "${arch:=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)-real}"
  build "$arch" > "$out/build.txt" 2>&1 ||
    { note "error: the build failed: $out/build.txt"; exit 2; }
else
  export LD_LIBRARY_PATH="$binaries/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

# cuBLASLt may have come with Python's packages.
if ! ldconfig -p | grep -q libcublasLt; then
  for library in /usr/local/cuda*/lib64/libcublasLt.so.1? \
    "$(python3 -c 'import site; print(site.getsitepackages()[0])' 2> /dev/null)"/nvidia/*/lib/libcublasLt.so.1?; do
    [[ -f $library ]] && export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${library%/*}"
  done
fi

failed=0
part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS code=0
  shift 2
  timeout "$limit" "$@" > "$out/$name.txt" 2>&1 || code=$?
  note "$name: exit $code after $((SECONDS - start)) s"
  ((code == 0)) || { failed=1; tail -n 15 "$out/$name.txt"; }
}

tests=$binaries/onnxtool_tests
[[ -f $binaries/onnxtool-cuda.so ]] || { note "error: $binaries has no onnxtool-cuda.so"; exit 2; }
part tests 300 "$tests" -tc='device kernels*,device counts*'
grep -q 'SKIP: no GPU' "$out/tests.txt" && { note 'error: the tests did not use the GPU'; failed=1; }

if command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    part "$tool" 300 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$tests" -tc='device kernels: shapes*,device kernels: conv*,device counts: equal*'
  done
else
  note 'compute-sanitizer: not found, skipped'
fi

for model in "$own_models"/*.onnx; do
  [[ -f $model ]] || continue
  name=${model##*/}
  part "bench-${name%.onnx}" 240 "$binaries/onnxtool" bench "$model" --random 16 --seconds 5 \
    --concurrency 1,4,16 --profile "$out/${name%.onnx}.trace.json" --device cuda
  part "calibrate-${name%.onnx}" 240 "$binaries/onnxtool" quantize "$model" --random 512 \
    --calibrator percentile --verify off --device cuda -o "$out/${name%.onnx}.int8.onnx"
done

if [[ -d $models ]]; then
  for model in cifar10_cnn bert_toy; do
    for device in cpu cuda; do
      part "bench-$model-$device" 120 "$binaries/onnxtool" bench "$models/$model/model.onnx" \
        --random 4 --seconds 3 --concurrency 1,4,16 --device "$device"
    done
  done
  # The same bits in every run.
  part repeat 300 bash -c '
    for i in $(seq 20); do
      "$1/onnxtool" run "$2/cifar10_cnn/model.onnx" --random 4 --device cuda -q --force -o "$3/repeat" || exit 1
      (cd "$3/repeat" && find . -type f | sort | xargs sha256sum | sha256sum)
    done | sort -u | tee "$3/repeat.sha" | wc -l | grep -qx 1' repeat "$binaries" "$models" "$out"
else
  note "benches: skipped, $models is not there"
fi

note "$( ((failed)) && echo 'some parts failed' || echo 'all parts passed')"
exit "$failed"
