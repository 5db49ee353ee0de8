# bash completion for onnxtool; made by: onnxtool completions bash
_onnxtool() {
  local word="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" flags="" words="" files="" free=""
  # --flag=value comes as three words
  if [[ "$word" == "=" ]]; then word=""; elif [[ "$previous" == "=" ]]; then previous="${COMP_WORDS[COMP_CWORD-2]}"; fi
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W "optimize quantize convert-ort ranges diff run bench check inspect ops-config explain schema completions --help --version" -- "$word"))
    return
  fi
  case "${COMP_WORDS[1]}" in
    optimize)
      flags="--output --force --no-clobber --external-data --verify --repro --level --target --passes --disable --keep --max-growth --explain --dim --input-shape --assume --inputs --outputs --freeze --strip --provenance --opset --allow-opset --report --json --reproducible --quiet --exit-zero --threads --max-memory --config --no-config --show-settings --help"
      case "$previous" in
        -o|--output) files=1 ;;
        --verify) words="off quick full strict" ;;
        --repro) files=1 ;;
        --level) words="basic extended" ;;
        --target) words="portable ort-cpu" ;;
        --passes) files=1 ;;
        --disable) files=1 ;;
        --keep) files=1 ;;
        --max-growth) files=1 ;;
        --dim) files=1 ;;
        --input-shape) files=1 ;;
        --assume) files=1 ;;
        --inputs) files=1 ;;
        --outputs) files=1 ;;
        --opset) files=1 ;;
        --allow-opset) files=1 ;;
        --report) files=1 ;;
        --threads) files=1 ;;
        --max-memory) files=1 ;;
        --config) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    quantize)
      flags="--output --force --no-clobber --external-data --verify --emit-recipe --dry-run --explain --calib --eval --random --seed --random-range --data-format --batch-axis --raw --dim --input-shape --preprocess --resize --crop --layout --channels --scale --mean --std --labels --dynamic --weight-only --to --keep-io-types --calibrator --percentile --format --activation-type --weight-type --symmetric --per-tensor --equalize --no-equalize --quantize-outputs --no-opset-change --preset --target --include --exclude --override --accuracy-target --bias-correction --adaround --smooth --block-size --accuracy-level --gptq --awq --save-ranges --ranges-format --ranges --shard --report --json --reproducible --quiet --exit-zero --threads --kernels --max-iterations --calib-precision --device --max-memory --config --no-config --show-settings --help"
      case "$previous" in
        -o|--output) files=1 ;;
        --verify) words="on off" ;;
        --emit-recipe) files=1 ;;
        --calib) files=1 ;;
        --eval) files=1 ;;
        --random) files=1 ;;
        --seed) files=1 ;;
        --random-range) files=1 ;;
        --data-format) words="auto npy npz safetensors pb images raw" ;;
        --batch-axis) files=1 ;;
        --raw) files=1 ;;
        --dim) files=1 ;;
        --input-shape) files=1 ;;
        --preprocess) words="none unit imagenet cifar10 mnist tf caffe clip" ;;
        --resize) files=1 ;;
        --crop) files=1 ;;
        --layout) words="nchw nhwc" ;;
        --channels) words="rgb bgr grey" ;;
        --scale) files=1 ;;
        --mean) files=1 ;;
        --std) files=1 ;;
        --labels) files=1 ;;
        --to) words="fp16 bf16" ;;
        --calibrator) words="auto minmax moving-average percentile entropy mse" ;;
        --percentile) files=1 ;;
        --format) words="qdq qoperator" ;;
        --activation-type) words="u8 s8 u16 s16 fp8e4m3fn" ;;
        --weight-type) words="s8 u8 s4 u4 s16 fp8e4m3fn fp8e5m2" ;;
        --preset) words="ort-compat" ;;
        --target) words="ort-cpu ort-cpu-no-vnni ort-arm64 ort-mobile ort-cuda tensorrt openvino qnn portable" ;;
        --include) files=1 ;;
        --exclude) files=1 ;;
        --override) files=1 ;;
        --accuracy-target) files=1 ;;
        --block-size) files=1 ;;
        --accuracy-level) files=1 ;;
        --save-ranges) files=1 ;;
        --ranges-format) words="onnxtool ort trt" ;;
        --ranges) files=1 ;;
        --shard) files=1 ;;
        --report) files=1 ;;
        --threads) files=1 ;;
        --kernels) files=1 ;;
        --max-iterations) files=1 ;;
        --calib-precision) words="f32 tf32 bf16 fp16" ;;
        --device) files=1 ;;
        --max-memory) files=1 ;;
        --config) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    convert-ort)
      flags="--output --force --no-clobber --allow-conversion-failures --to --style --level --arch --verify --runtime --custom-ops --ops-config --type-reduction --check-mobile --nnapi-stop-ops --report --json --quiet --exit-zero --threads --max-memory --config --no-config --show-settings --help"
      case "$previous" in
        -o|--output) files=1 ;;
        --to) words="ort onnx" ;;
        --style) words="fixed runtime both" ;;
        --level) words="disable basic extended all" ;;
        --arch) words="arm amd64" ;;
        --verify) words="off quick full strict" ;;
        --runtime) files=1 ;;
        --custom-ops) files=1 ;;
        --nnapi-stop-ops) files=1 ;;
        --report) files=1 ;;
        --threads) files=1 ;;
        --max-memory) files=1 ;;
        --config) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    ranges)
      flags="--output --allow-mixed-isa --report --json --quiet --config --no-config --show-settings --max-memory --help"
      case "$previous" in
        -o|--output) files=1 ;;
        --report) files=1 ;;
        --config) files=1 ;;
        --max-memory) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    diff)
      flags="--gate --atol --rtol --topk --kl --simulate --structure --per-layer --layer-limit --bisect --record --record-format --force --golden --accept --data --random --seed --random-range --data-format --batch-axis --raw --dim --input-shape --preprocess --resize --crop --layout --channels --scale --mean --std --labels --report --json --reproducible --quiet --exit-zero --threads --kernels --max-iterations --device --max-memory --config --no-config --show-settings --help"
      case "$previous" in
        --gate) files=1 ;;
        --atol) files=1 ;;
        --rtol) files=1 ;;
        --topk) files=1 ;;
        --simulate) words="no-vnni" ;;
        --per-layer) words="local cumulative both" ;;
        --layer-limit) files=1 ;;
        --bisect) files=1 ;;
        --record) files=1 ;;
        --record-format) words="safetensors pb" ;;
        --golden) files=1 ;;
        --data) files=1 ;;
        --random) files=1 ;;
        --seed) files=1 ;;
        --random-range) files=1 ;;
        --data-format) words="auto npy npz safetensors pb images raw" ;;
        --batch-axis) files=1 ;;
        --raw) files=1 ;;
        --dim) files=1 ;;
        --input-shape) files=1 ;;
        --preprocess) words="none unit imagenet cifar10 mnist tf caffe clip" ;;
        --resize) files=1 ;;
        --crop) files=1 ;;
        --layout) words="nchw nhwc" ;;
        --channels) words="rgb bgr grey" ;;
        --scale) files=1 ;;
        --mean) files=1 ;;
        --std) files=1 ;;
        --labels) files=1 ;;
        --report) files=1 ;;
        --threads) files=1 ;;
        --kernels) files=1 ;;
        --max-iterations) files=1 ;;
        --device) files=1 ;;
        --max-memory) files=1 ;;
        --config) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    run)
      flags="--output --output-format --force --data --random --seed --random-range --data-format --batch-axis --raw --dim --input-shape --preprocess --resize --crop --layout --channels --scale --mean --std --labels --report --json --reproducible --quiet --exit-zero --threads --kernels --max-iterations --calib-precision --device --max-memory --config --no-config --show-settings --help"
      case "$previous" in
        -o|--output) files=1 ;;
        --output-format) words="npy safetensors pb" ;;
        --data) files=1 ;;
        --random) files=1 ;;
        --seed) files=1 ;;
        --random-range) files=1 ;;
        --data-format) words="auto npy npz safetensors pb images raw" ;;
        --batch-axis) files=1 ;;
        --raw) files=1 ;;
        --dim) files=1 ;;
        --input-shape) files=1 ;;
        --preprocess) words="none unit imagenet cifar10 mnist tf caffe clip" ;;
        --resize) files=1 ;;
        --crop) files=1 ;;
        --layout) words="nchw nhwc" ;;
        --channels) words="rgb bgr grey" ;;
        --scale) files=1 ;;
        --mean) files=1 ;;
        --std) files=1 ;;
        --labels) files=1 ;;
        --report) files=1 ;;
        --threads) files=1 ;;
        --kernels) files=1 ;;
        --max-iterations) files=1 ;;
        --calib-precision) words="f32 tf32 bf16 fp16" ;;
        --device) files=1 ;;
        --max-memory) files=1 ;;
        --config) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    bench)
      flags="--runs --seconds --warmup --concurrency --profile --no-optimize --data --random --seed --random-range --data-format --batch-axis --raw --dim --input-shape --preprocess --resize --crop --layout --channels --scale --mean --std --labels --report --json --reproducible --quiet --exit-zero --threads --kernels --max-iterations --calib-precision --device --max-memory --config --no-config --show-settings --help"
      case "$previous" in
        --runs) files=1 ;;
        --seconds) files=1 ;;
        --warmup) files=1 ;;
        --concurrency) files=1 ;;
        --profile) files=1 ;;
        --data) files=1 ;;
        --random) files=1 ;;
        --seed) files=1 ;;
        --random-range) files=1 ;;
        --data-format) words="auto npy npz safetensors pb images raw" ;;
        --batch-axis) files=1 ;;
        --raw) files=1 ;;
        --dim) files=1 ;;
        --input-shape) files=1 ;;
        --preprocess) words="none unit imagenet cifar10 mnist tf caffe clip" ;;
        --resize) files=1 ;;
        --crop) files=1 ;;
        --layout) words="nchw nhwc" ;;
        --channels) words="rgb bgr grey" ;;
        --scale) files=1 ;;
        --mean) files=1 ;;
        --std) files=1 ;;
        --labels) files=1 ;;
        --report) files=1 ;;
        --threads) files=1 ;;
        --kernels) files=1 ;;
        --max-iterations) files=1 ;;
        --calib-precision) words="f32 tf32 bf16 fp16" ;;
        --device) files=1 ;;
        --max-memory) files=1 ;;
        --config) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    check)
      flags="--fail-on --suppress --baseline --write-baseline --allow-op --runtime --provider --target --weights --digest --verify-digest --report --json --quiet --exit-zero --threads --max-memory --config --no-config --show-settings --help"
      case "$previous" in
        --fail-on) words="error warning info" ;;
        --suppress) files=1 ;;
        --baseline) files=1 ;;
        --write-baseline) files=1 ;;
        --allow-op) files=1 ;;
        --runtime) files=1 ;;
        --provider) words="cpu cuda dml" ;;
        --target) words="ort-cpu ort-cpu-no-vnni ort-arm64 ort-mobile ort-cuda tensorrt openvino qnn portable" ;;
        --verify-digest) files=1 ;;
        --report) files=1 ;;
        --threads) files=1 ;;
        --max-memory) files=1 ;;
        --config) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    inspect)
      flags="--node --tensor --dot --svg --statistics --rows --target --check-mobile --nnapi-stop-ops --provider --runtime --data --random --seed --random-range --data-format --batch-axis --raw --dim --input-shape --preprocess --resize --crop --layout --channels --scale --mean --std --labels --report --json --reproducible --quiet --exit-zero --threads --kernels --max-iterations --max-memory --config --no-config --show-settings --help"
      case "$previous" in
        --node) files=1 ;;
        --tensor) files=1 ;;
        --svg) files=1 ;;
        --rows) files=1 ;;
        --target) words="ort-cpu ort-cpu-no-vnni ort-arm64 ort-mobile" ;;
        --nnapi-stop-ops) files=1 ;;
        --provider) words="cuda dml nnapi coreml-network coreml-program xnnpack" ;;
        --runtime) files=1 ;;
        --data) files=1 ;;
        --random) files=1 ;;
        --seed) files=1 ;;
        --random-range) files=1 ;;
        --data-format) words="auto npy npz safetensors pb images raw" ;;
        --batch-axis) files=1 ;;
        --raw) files=1 ;;
        --dim) files=1 ;;
        --input-shape) files=1 ;;
        --preprocess) words="none unit imagenet cifar10 mnist tf caffe clip" ;;
        --resize) files=1 ;;
        --crop) files=1 ;;
        --layout) words="nchw nhwc" ;;
        --channels) words="rgb bgr grey" ;;
        --scale) files=1 ;;
        --mean) files=1 ;;
        --std) files=1 ;;
        --labels) files=1 ;;
        --report) files=1 ;;
        --threads) files=1 ;;
        --kernels) files=1 ;;
        --max-iterations) files=1 ;;
        --max-memory) files=1 ;;
        --config) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    ops-config)
      flags="--output --type-reduction --config --no-config --show-settings --help"
      case "$previous" in
        -o|--output) files=1 ;;
        --config) files=1 ;;
        *) free=1 ;;
      esac
      ;;
    explain)
      flags="--help"
      case "$previous" in
        *) free=1 ;;
      esac
      ;;
    schema)
      flags="--help"
      case "$previous" in
        *) free=1 ;;
      esac
      ;;
    completions)
      flags="--help"
      case "$previous" in
        *) free=1 words="bash zsh fish" ;;
      esac
      ;;
  esac
  if [[ "$free" && "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
  elif [[ "$words" ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    local IFS=$'\n'
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}
complete -o filenames -F _onnxtool onnxtool
