#!/usr/bin/env bash
# Builds, tests and measures the CUDA module on a machine with a GPU. See --help.

usage() {
  cat <<'END'
usage: scripts/cuda-check.sh [--binaries DIR] [--only PARTS] [--minutes N] [--models DIR]
                             [--arch LIST] [OUT]
       scripts/cuda-check.sh --bundle DIR [--arch LIST]

Builds with -DONNXTOOL_CUDA=ON, then proves on the GPU what has never run on one, what matters most
first. OUT (default build/cuda-check) holds, from the first part on:

  summary.txt     all that must be read: a line for each part, what failed in it, the table
  parts.txt       everything that was printed, part by part
  table.md        rows for docs/benchmarks.md
  conformance.md  onnx's node tests by operator

A part that fails, or takes too long, does not stop the others.

  --binaries DIR  use what --bundle made instead of building
  --only PARTS    these parts alone, as in --only table,repeat: start (does it run, few launches),
                  tests (every kernel against the host's), node (onnx's node tests, as tests),
                  table (ResNet-50 and BERT-base in every precision, made in memory), repeat (bits of
                  repeated runs), conformance, sanitizer (compute-sanitizer: memcheck, racecheck,
                  initcheck, synccheck), command (the command line), models (those of --models)
  --minutes N     end what runs and start nothing further after N minutes (default 60)
  --models DIR    also measure the .onnx files of DIR
  --arch LIST     architectures to build for (default: that of the first GPU; of a bundle, 90-real)
  --bundle DIR    build, and write DIR/cuda-check.tar.xz: binaries, the shared libraries that they
                  need, onnx's node tests, two small models (34 MB). For --binaries on a machine that
                  cannot build; needs no GPU

Nothing is fetched. Needed: an NVIDIA driver, libcublasLt.so (of a toolkit or of Python's nvidia-cublas;
libcudnn.so.9 is used where it is found in the same way) and, to build, nvcc 12 or later and the packages that scripts/test.sh names. compute-sanitizer is used
where it is found.

exit code: 0 all parts passed, 1 one failed or was left out, 2 no GPU or no build

environment:
  ONNXTOOL_NODE_TESTS   directory `node` of onnx's test data (default: where scripts/test.sh keeps
                        it, or the bundle's); without it what needs it is left out
END
}

out=build/cuda-check binaries='' arch='' bundle='' own_models='' minutes=60
only=start,tests,node,table,repeat,conformance,sanitizer,command,models
while (($# > 0)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --binaries) binaries=${2:?"--binaries needs a directory"}; shift 2 ;;
    --only) only=${2:?"--only needs parts"}; shift 2 ;;
    --arch) arch=${2:?"--arch needs a list"}; shift 2 ;;
    --minutes) minutes=${2:?"--minutes needs a number"}; shift 2 ;;
    --models) own_models=${2:?"--models needs a directory"}; shift 2 ;;
    --bundle) bundle=${2:?"--bundle needs a directory"}; shift 2 ;;
    -*) printf 'error: unknown argument %s\n' "$1" >&2; usage >&2; exit 2 ;;
    *) out=$1; shift ;;
  esac
done
for name in ${only//,/ }; do
  [[ " start tests node table repeat conformance sanitizer command models " == *" $name "* ]] && continue
  printf 'error: unknown part %s\n' "$name" >&2
  exit 2
done

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
if [[ -z ${ONNXTOOL_NODE_TESTS:-} ]]; then
  for found in "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}"/onnxtool/onnx-tests-*/node; do
    [[ -d $found ]] && export ONNXTOOL_NODE_TESTS=$found
  done
fi

build() { # ARCHITECTURES
  cmake --preset release -B build/cuda -DONNXTOOL_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$1" &&
    cmake --build build/cuda --target onnxtool onnxtool_tests onnxtool_conformance onnxtool_device_bench
}

# The libraries are those that a system with another distribution lacks: all but libc and CUDA's own.
make_bundle() {
  local work
  work=$(mktemp -d) && mkdir -p "$bundle" "$work/lib" "$work/models" || return
  cp build/cuda/bin/onnxtool build/cuda/bin/onnxtool_* build/cuda/bin/onnxtool-*.so "$work" || return
  strip "$work"/onnxtool*
  local library model
  for library in $(ldd "$work"/onnxtool* | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u); do
    case ${library##*/} in
      libc.so* | libm.so* | libpthread.so* | libdl.so* | librt.so* | ld-linux*) ;;
      libcublas* | libcuda*) ;;
      *) cp -L "$library" "$work/lib" ;;
    esac
  done
  for model in cifar10_cnn bert_toy; do
    [[ -d ../shared/data/models/$model ]] && cp -r "../shared/data/models/$model" "$work/models"
  done
  if [[ -n ${ONNXTOOL_NODE_TESTS:-} ]]; then
    cp -r "$ONNXTOOL_NODE_TESTS" "$work/node" || return
  else
    echo 'note: without the node tests: ONNXTOOL_NODE_TESTS is not set'
  fi
  tar -C "$work" -cJf "$bundle/cuda-check.tar.xz" . && rm -r "$work" && du -h "$bundle/cuda-check.tar.xz"
}

if [[ -n $bundle ]]; then
  build "${arch:-90-real}" && make_bundle && exit 0
  exit 2
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
: > "$out/parts.txt"
: > "$out/summary.txt"
note() { printf '%s\n' "$*" | tee -a "$out/summary.txt"; }
give_up() { note "error: $*"; exit 2; }

# --- The GPU, the binaries, and what they need -------------------------------------------------

command -v nvidia-smi > /dev/null || give_up 'no nvidia-smi: no GPU here'
nvidia-smi >> "$out/parts.txt" 2>&1 || give_up 'nvidia-smi failed'
note "$(nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader | head -n 1), $(nproc) CPUs"

models=../shared/data/models
if [[ -z $binaries ]]; then
  binaries=$PWD/build/cuda/bin
  : "${arch:=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)-real}"
  build "$arch" >> "$out/parts.txt" 2>&1 || give_up "the build failed: $out/parts.txt"
else
  unpacked=$(mktemp -d)
  tar -C "$unpacked" -xJf "$binaries/cuda-check.tar.xz" || give_up "$binaries has no bundle"
  binaries=$unpacked models=$unpacked/models
  [[ -d $unpacked/node ]] && export ONNXTOOL_NODE_TESTS=$unpacked/node
  export LD_LIBRARY_PATH="$binaries/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
[[ -f $binaries/onnxtool-cuda.so ]] || give_up "$binaries has no onnxtool-cuda.so"

# cuBLASLt and cuDNN may have come with Python's packages.
site=$(python3 -c 'import site; print(site.getsitepackages()[0])' 2> /dev/null)
[[ -f $site/nvidia/cudnn/lib/libcudnn.so.9 ]] &&
  export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$site/nvidia/cudnn/lib"
if ldd "$binaries/onnxtool-cuda.so" | grep -q 'libcublasLt.*not found'; then
  for library in /usr/local/cuda*/lib64/libcublasLt.so.1? "$site"/nvidia/*/lib/libcublasLt.so.1?; do
    [[ -f $library ]] && export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${library%/*}"
  done
fi
ldd "$binaries"/onnxtool "$binaries"/onnxtool_tests "$binaries"/onnxtool-cuda.so >> "$out/parts.txt" 2>&1
missing=$(ldd "$binaries"/onnxtool* 2> /dev/null | grep 'not found' | sort -u)
[[ -z $missing ]] || give_up "libraries are missing: $missing"
"$binaries/onnxtool" --version >> "$out/parts.txt" 2>&1 ||
  give_up "$binaries/onnxtool does not start here: $(tail -n 1 "$out/parts.txt")"

# --- Parts --------------------------------------------------------------------------------------

log=$(mktemp)
failed=0
wanted() { [[ ",$only," == *",$1,"* ]]; }

# Everything goes to parts.txt; what must be read of a failure to the summary too.
part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS code=0 left=$((minutes * 60 - SECONDS))
  shift 2
  if ((left < 5)); then
    note "$name: left out, $minutes minutes are over"
    failed=1
    return 1
  fi
  timeout --kill-after=10 "$((limit < left ? limit : left))" "$@" > "$log" 2>&1 || code=$?
  { printf '\n===== %s: %s\n' "$name" "$*"; cat "$log"; } >> "$out/parts.txt"
  local said="exit $code"
  ((code == 124 || code == 137)) && said='took too long'
  grep -q 'SKIP: no GPU' "$log" && said+=', WITHOUT the GPU' code=1
  note "$name: $said after $((SECONDS - start)) s"
  ((code == 0)) && return
  failed=1
  grep -E 'SKIP: no GPU|ERROR|error:|FAILED|logged:|NaN|Invalid|hazard|[^0-9]sm_|expected' "$log" |
    cut -c 1-300 | sort | uniq -c | sort -rn | head -n 12 | tee -a "$out/summary.txt"
  tail -n 3 "$log" | cut -c 1-300 | tee -a "$out/summary.txt"
  return 1
}
tests() { # NAME SECONDS PATTERNS
  part "$1" "$2" "$binaries/onnxtool_tests" "-tc=$3" &&
    { grep -h 'test cases:' "$log" | tee -a "$out/summary.txt"; }
}

# 1. Does it run at all? Few launches, so that a failure is seen alone.
if wanted start; then
  tests start-convert 60 'device kernels: half*,device kernels: division*'
  tests start-shapes 120 'device kernels: shapes*,device kernels: conv*'
  tests start-products 120 'device kernels: what follows*,device kernels: products*,device kernels: integer*'
fi

# 2. Is it right? Every kernel against the host's; counting and bundles of samples.
if wanted tests; then
  # The node tests are the next part.
  part tests-kernels 240 "$binaries/onnxtool_tests" '-tc=device kernels*' '-tce=*node tests*' &&
    { grep -h 'test cases:' "$log" | tee -a "$out/summary.txt"; }
  # Without cuDNN, convolutions and pools are the module's own.
  ONNXTOOL_CUDNN=off tests tests-no-cudnn 120 \
    'device kernels: shapes*,device kernels: conv*,device kernels: what*,device kernels: products*'
  tests tests-recordings 120 'recordings*'
  tests tests-counts 240 'device counts*'
  tests tests-random 240 'random models agree*'
fi
if wanted node && [[ -n ${ONNXTOOL_NODE_TESTS:-} ]]; then
  tests node 240 "device kernels: onnx's node tests*"
fi

# 3. How fast? Few samples first: if the whole table takes too long, there is this.
if wanted table; then
  if [[ -d $models ]]; then
    said=$("$binaries/onnxtool" run "$models/cifar10_cnn/model.onnx" --random 1 --dim batch_size=1 \
      --device cuda --force -o "$(mktemp -d)" 2>&1) &&
      note "$(grep -o 'without cuDNN.*' <<< "$said" || echo 'with cuDNN')"
  fi
  part table-quick 150 "$binaries/onnxtool_device_bench" --device cuda --threads "$(nproc)" \
    --samples 512 --rounds 1
  grep -E '^\||samples in memory' "$log" | tee -a "$out/summary.txt" > "$out/table.md"
  # What cuDNN and CUDA graphs are worth.
  ONNXTOOL_CUDNN=off part table-no-cudnn 120 "$binaries/onnxtool_device_bench" --device cuda \
    --threads "$(nproc)" --samples 512 --rounds 1
  grep -E '^\||samples in memory' "$log" | tee -a "$out/summary.txt"
  ONNXTOOL_CUDA_GRAPHS=off part table-no-graphs 120 "$binaries/onnxtool_device_bench" --device cuda \
    --threads "$(nproc)" --samples 512 --rounds 1
  grep -E '^\||samples in memory' "$log" | tee -a "$out/summary.txt"
  if part table 300 "$binaries/onnxtool_device_bench" --device cuda --threads "$(nproc)"; then
    grep -E '^\||samples in memory' "$log" | tee -a "$out/summary.txt" > "$out/table.md"
  fi
fi

# 4. The same bits in every process (the table's last column says it of one process).
if wanted repeat && [[ -d $models ]]; then
  # shellcheck disable=SC2016
  part repeat 90 bash -c '
    for model in cifar10_cnn bert_toy; do
      sums=$(for i in 1 2 3 4 5 6 7 8 9 10; do
        "$1/onnxtool" run "$2/$model/model.onnx" --random 4 --device cuda -q --force -o "$3/repeat" || exit 1
        (cd "$3/repeat" && find . -type f | sort | xargs sha256sum | sha256sum)
      done | sort | uniq -c)
      echo "$model: $sums"
      [[ $(wc -l <<< "$sums") == 1 ]] || { echo "ERROR: runs differ"; exit 1; }
    done' repeat "$binaries" "$models" "$(mktemp -d)"
fi

# 5. onnx's node tests by operator.
if wanted conformance && [[ -n ${ONNXTOOL_NODE_TESTS:-} ]]; then
  # Of all cases some fail on every machine (random ones, images); none may that a device computes.
  # shellcheck disable=SC2016
  part conformance 240 bash -c '"$@" | tee /dev/stderr | grep -q "on the device: [0-9]* passed, 0 failed"' \
    conformance "$binaries/onnxtool_conformance" "${ONNXTOOL_NODE_TESTS%/node}" /nowhere \
    "$out/conformance.md" cuda && tail -n 2 "$log" | tee -a "$out/summary.txt"
fi

# 6. Memory, races, what was never written, barriers: on the tests that launch every kind of kernel.
if wanted sanitizer; then
  if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck initcheck synccheck; do
      part "$tool" 150 compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20 \
        "$binaries/onnxtool_tests" \
        -tc='device kernels: shapes*,device kernels: conv*,device kernels: what*,device counts: equal*'
      grep -h 'ERROR SUMMARY\|RACECHECK SUMMARY' "$log" | tee -a "$out/summary.txt"
    done
    # Operators that only the node tests launch.
    if [[ -n ${ONNXTOOL_NODE_TESTS:-} ]]; then
      part memcheck-node 200 compute-sanitizer --tool memcheck --error-exitcode 9 --print-limit 20 \
        "$binaries/onnxtool_tests" "-tc=device kernels: onnx's node tests*"
      grep -h 'ERROR SUMMARY' "$log" | tee -a "$out/summary.txt"
    fi
  else
    note 'sanitizer: compute-sanitizer is not here'
    failed=1
  fi
fi

# 7. The command line, and what a GPU gains over the CPU.
if wanted command && [[ -d $models ]]; then
  for model in cifar10_cnn bert_toy; do
    dims=(--dim batch_size=1)
    [[ $model == bert_toy ]] && dims=(--dim batch=1 --dim max_seq_len_in_batch=64)
    for device in cpu cuda; do
      part "bench-$model-$device" 60 "$binaries/onnxtool" bench "$models/$model/model.onnx" \
        --random 4 --seconds 2 --concurrency 1,16 --device "$device"
    done
    part "quantize-$model" 90 "$binaries/onnxtool" quantize "$models/$model/model.onnx" "${dims[@]}" --random 64 \
      --calibrator percentile --verify off --device cuda -o "$(mktemp -d)/int8.onnx"
  done
fi

# 8. The user's models.
if wanted models; then
  for model in "$own_models"/*.onnx; do
    [[ -f $model ]] || continue
    name=${model##*/}
    part "bench-${name%.onnx}" 240 "$binaries/onnxtool" bench "$model" --random 16 --seconds 5 \
      --concurrency 1,4,16 --profile "$out/${name%.onnx}.trace.json" --device cuda
    for precision in f32 bf16; do
      part "calibrate-${name%.onnx}-$precision" 240 "$binaries/onnxtool" quantize "$model" --random 512 \
        --calibrator percentile --verify off --device cuda --calib-precision "$precision" \
        -o "$(mktemp -d)/int8.onnx"
    done
  done
fi

note "$( ((failed)) && echo 'some parts failed' || echo 'all parts passed')"
exit "$failed"
