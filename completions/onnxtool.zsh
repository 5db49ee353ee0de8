#compdef onnxtool
# zsh completion for onnxtool; made by: onnxtool completions zsh
_onnxtool() {
  local -a commands
  commands=(
    'optimize:Make the same model with fewer nodes, verified against the original'
    'quantize:Make an int8 model from a float model and calibration samples'
    'convert-ort:Write onnxruntime'\''s own format (.ort) for mobile builds, or read it back'
    'ranges:Join and show what calibration learnt'
    'diff:Compare two models on the same samples, by metrics, gates and layers'
    'run:Run a model on samples; write and describe its outputs'
    'bench:Time a model, or two in turns: latency, throughput, profile, memory'
    'check:Find everything that is wrong with model files'
    'inspect:Say what is in a model: operators, work, memory, tensors'
    'ops-config:List the operators that a reduced build of ONNX Runtime needs for models'
    'explain:Say what a code of check or of an error means'
    'schema:Print the JSON Schema of the reports that --json writes'
    'completions:Print shell completions'
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command="${words[2]}"
  shift words
  (( CURRENT-- ))
  case "$command" in
    optimize)
      _arguments \
        '--output=[Where the model goes; - is stdout (default\: MODEL with .opt.onnx)]:FILE:_files' \
        '-o[Where the model goes; - is stdout (default\: MODEL with .opt.onnx)]:FILE:_files' \
        '--force[Replace an existing file of the default name; one named with -o is always replaced]' \
        '--no-clobber[Never replace a file]' \
        '--external-data=-[Put weights into a data file beside the model (default name\: its own with 8 hex digits and .data)]::\[=NAME\]:_files' \
        '--verify=[Run both models on seeded inputs before anything is written; full on more inputs, strict fails also where nodes cannot be run]:off|quick|full|strict:(off quick full strict)' \
        '--repro=[Where verification fails, write the nodes that were rewritten wrongly, before and after, with inputs that show it]:DIR:_files' \
        '--level=[Which passes run (docs/passes.md)\: basic writes the standard'\''s operators only, extended those too that the target has besides]:basic|extended:(basic extended)' \
        '--target=[Runtime that will run the model; portable means any]:portable|ort-cpu:(portable ort-cpu)' \
        '*--passes=[Run only these passes (docs/passes.md lists them)]:NAME\[,NAME\]:_files' \
        '*--disable=[Leave these passes out]:NAME\[,NAME\]:_files' \
        '*--keep=[Leave these nodes as they are\: op\:TYPE, name\:GLOB, or @FILE with one a line]:SELECTOR:_files' \
        '--max-growth=[How much larger folding may make the file (default\: 0)]:BYTES:_files' \
        '--explain=-[Show what passes came close to and did not do, and why\: of one pass, of op\:TYPE or name\:GLOB, or counted]::\[=PASS|SELECTOR\]:_files' \
        '*--dim=[Make a named dynamic dimension N]:NAME=N:_files' \
        '*--input-shape=[Make the shape of an input static, as in x=1,3,224,224]:INPUT=DIMS:_files' \
        '*--assume=[Rely on a named dynamic dimension being in this range; without HIGH it has no upper end. It is noted in the model]:NAME=LOW..HIGH:_files' \
        '*--inputs=[Keep only what computes the outputs from these values, which become the inputs]:NAME\[,NAME\]:_files' \
        '*--outputs=[Keep only what computes these values, which become the outputs]:NAME\[,NAME\]:_files' \
        '--freeze[Make inputs that have a default constants, as exporters mean them that list weights among the inputs]' \
        '--strip[Leave out doc strings, metadata of nodes and values, and names of nodes; the model'\''s own metadata stays]' \
        '--provenance[Note in the model which nodes of the original each node was made of; diff --per-layer reads it]' \
        '--opset=[Raise or lower the version of the standard operators to N]:N:_files' \
        '--allow-opset=[Raise that version up to N where a fusion needs an operator that is newer]:N:_files' \
        '*--report=[Write a report to stdout or to PATH\: text, json, markdown, html, junit, sarif, github]:FORMAT\[=PATH\]:_files' \
        '--json[Same as --report json]' \
        '--reproducible[Leave times out of reports]' \
        '--quiet[No progress, and no text report on stdout]' \
        '-q[No progress, and no text report on stdout]' \
        '--exit-zero[Exit with 0 instead of 1 where the answer is no]' \
        '--threads=[Threads (default\: what affinity and cgroup quota allow)]:N:_files' \
        '--max-memory=[Fail before more memory than this is taken, as in 2G (default\: what the cgroup allows)]:SIZE:_files' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:MODEL:_files'
      ;;
    quantize)
      _arguments \
        '--output=[Where the int8 model goes; - is stdout (default\: MODEL with .int8.onnx)]:FILE:_files' \
        '-o[Where the int8 model goes; - is stdout (default\: MODEL with .int8.onnx)]:FILE:_files' \
        '--force[Replace an existing file of the default name; one named with -o is always replaced]' \
        '--no-clobber[Never replace a file]' \
        '--external-data=-[Put weights into a data file beside the model (default name\: its own with 8 hex digits and .data)]::\[=NAME\]:_files' \
        '--verify=[Run the result against the float model before it is written]:on|off:(on off)' \
        '--emit-recipe=[Write settings that repeat this run, for --config]:FILE:_files' \
        '--dry-run[Say what would run on integers; no data needed, nothing is written]' \
        '--explain[Same as --dry-run]' \
        '--calib=[Calibration samples\: images, .npy, .npz, safetensors, test_data_set_N]:PATH:_files' \
        '--eval=[Samples to compare both models on; class directories are labels (default\: calibration samples)]:PATH:_files' \
        '--random=[N seeded random samples instead of data, for a first try]:N:_files' \
        '--seed=[Seed of --random (default\: 0)]:S:_files' \
        '*--random-range=[Values of an integer input under --random (default\: what its uses allow)]:INPUT=LOW,HIGH:_files' \
        '--data-format=[Read only files of this form; auto looks at the content]:auto|npy|npz|safetensors|pb|images|raw:(auto npy npz safetensors pb images raw)' \
        '--batch-axis=[Arrays stack samples along this axis; -1 is the last]:AXIS:_files' \
        '*--raw=[File of plain little-endian values for an input, or a directory of one file per sample]:INPUT=PATH:_files' \
        '*--dim=[Extent of a named dynamic dimension]:NAME=N:_files' \
        '*--input-shape=[Shape of an input, as in x=1,3,224,224]:INPUT=DIMS:_files' \
        '--preprocess=[A known pipeline; the flags below change parts of it]:none|unit|imagenet|cifar10|mnist|tf|caffe|clip:(none unit imagenet cifar10 mnist tf caffe clip)' \
        '--resize=[Resize\: N is the short side in pixels (bilinear, as Pillow)]:N|HxW:_files' \
        '--crop=[Cut this out of the centre]:N|HxW:_files' \
        '--layout=[Order of the dimensions (default\: as the input'\''s shape says)]:nchw|nhwc:(nchw nhwc)' \
        '--channels=[Order of the channels (default\: as the input'\''s shape says)]:rgb|bgr|grey:(rgb bgr grey)' \
        '--scale=[A pixel becomes (pixel x X - mean) / std (default\: 1/255)]:X:_files' \
        '--mean=[Mean for all channels or for each, in scaled units]:M\[,M,M\]:_files' \
        '--std=[Standard deviation, likewise]:S\[,S,S\]:_files' \
        '--labels=[Labels as lines NAME LABEL, or LABEL in sample order (default\: class directories)]:FILE:_files' \
        '--dynamic[Integer weights, and activations quantized while the model runs\: MatMul, Gemm, LSTM and Gather; needs no data]' \
        '--weight-only[Weights of MatMul, Gemm and Gather as integers, activations in float; needs no data]' \
        '--to=[16-bit floats instead of integers; --calib is optional and tells which values fit]:fp16|bf16:(fp16 bf16)' \
        '--keep-io-types[With --to\: inputs and outputs stay float32]' \
        '--calibrator=[How ranges are chosen; auto measures the others and takes the best]:auto|minmax|moving-average|percentile|entropy|mse:(auto minmax moving-average percentile entropy mse)' \
        '--percentile=[Share of the values inside the range, for the percentile calibrator]:P:_files' \
        '--format=[Write Q and DQ around float operators (the default), or integer operators (the default of --weight-only); without data\: convert a quantized model]:qdq|qoperator:(qdq qoperator)' \
        '--activation-type=[Type of activations; 16 bits and 8-bit floats where the target has them (default\: s8 for tensorrt, fp8e4m3fn with weights of 8-bit floats)]:u8|s8|u16|s16|fp8e4m3fn:(u8 s8 u16 s16 fp8e4m3fn)' \
        '--weight-type=[Type of weights; 4 bits for --weight-only, and what the target has. With --weight-only, unsigned types are asymmetric]:s8|u8|s4|u4|s16|fp8e4m3fn|fp8e5m2:(s8 u8 s4 u4 s16 fp8e4m3fn fp8e5m2)' \
        '--symmetric[Symmetric activations (behind Relu and Clip the zero point stays at the lowest code); with --weight-only symmetric weights]' \
        '--per-tensor[One weight scale per tensor instead of one per channel]' \
        '--equalize[Even out hidden channels by powers of two wherever that is predicted to help (default\: where it helps much)]' \
        '--no-equalize[Do not even out hidden channels]' \
        '--quantize-outputs[Quantize graph outputs behind Gemm and MatMul too]' \
        '--no-opset-change[Keep the opset; per-channel scales need 13, so older models get --per-tensor]' \
        '--preset=[Formulas and placement of onnxruntime'\''s own quantizer]:ort-compat:(ort-compat)' \
        '--target=[Runtime that will run the model]:ort-cpu|ort-cpu-no-vnni|ort-arm64|ort-mobile|ort-cuda|tensorrt|openvino|qnn|portable:(ort-cpu ort-cpu-no-vnni ort-arm64 ort-mobile ort-cuda tensorrt openvino qnn portable)' \
        '*--include=[Quantize only these of Conv, Gemm and MatMul\: op\:TYPE, name\:GLOB, tensor\:GLOB, between\:FROM,TO, or @FILE with one a line]:SELECTOR:_files' \
        '*--exclude=[Leave these nodes in float]:SELECTOR:_files' \
        '*--override=[Something else for these layers and tensors\: type=float, weights=per-tensor, weight-type=u8, activation-type=u16, calibrator=NAME, percentile=P, range=MIN,MAX, symmetric=yes]:SELECTOR\:KEY=VALUE:_files' \
        '--accuracy-target=[Improve what all layers have, then put layers back into float, until sqnr=DB, kl=NATS or drop=POINTS holds (on --eval, else on --calib), or exit with 1]:METRIC=LIMIT:_files' \
        '--bias-correction[Take what layers are off on average off their biases, where that helps]' \
        '--adaround[Round weights up or down by what that does to each layer'\''s output (AdaRound), where that helps]' \
        '--smooth=-[Make channels that reach far smaller before MatMul and Gemm read them (SmoothQuant), between 0 and 1 of the way (default\: for each tensor what is predicted to be best)]::\[=STRENGTH\]:_files' \
        '--block-size=[Weights that share a scale\: 16, 32, 64, 128 or 256 (default\: 32 with 4 bits; with 8 bits 128, or with --format qdq an output channel)]:N:_files' \
        '--accuracy-level=[Of MatMulNBits\: 4 multiplies in int8, which is faster; 0 in float]:N:_files' \
        '--gptq[Choose codes so that each makes up for the errors of others (GPTQ); needs --calib]' \
        '--awq[Scale channels, so that weights that meet large inputs are rounded more finely (AWQ); needs --calib]' \
        '--save-ranges=[Write what calibration learnt\: counts of every tensor'\''s values]:FILE:_files' \
        '--ranges-format=[What --save-ranges writes\: counts, or the ranges that were chosen as onnxruntime'\''s calibration JSON or a TensorRT calibration cache (which imply --no-equalize)]:onnxtool|ort|trt:(onnxtool ort trt)' \
        '--ranges=[Take what --save-ranges wrote instead of running the samples; or ranges of onnxruntime (JSON) or TensorRT (calibration cache)]:FILE:_files' \
        '--shard=[Only calibrate, on part I of N (from 0), and save the counts for `ranges merge`]:I/N:_files' \
        '*--report=[Write a report to stdout or to PATH\: text, json, markdown, html, junit, sarif, github]:FORMAT\[=PATH\]:_files' \
        '--json[Same as --report json]' \
        '--reproducible[Leave times out of reports]' \
        '--quiet[No progress, and no text report on stdout]' \
        '-q[No progress, and no text report on stdout]' \
        '--exit-zero[Exit with 0 instead of 1 where the answer is no]' \
        '--threads=[Threads (default\: what affinity and cgroup quota allow)]:N:_files' \
        '--kernels=[Kernel sets, preferred first\: cpu, dnnl, or auto for all that are there]:SETS:_files' \
        '--max-iterations=[Fail where a Loop or Scan takes more than N iterations]:N:_files' \
        '--calib-precision=[Round the operands of products and convolutions\: bf16 where the CPU multiplies these, or on a GPU; tf32 and fp16 on a GPU]:f32|tf32|bf16|fp16:(f32 tf32 bf16 fp16)' \
        '--device=[cpu, cuda or cuda\:N (an NVIDIA GPU, experimental), or auto\: a GPU where one is there]:DEVICE:_files' \
        '--max-memory=[Fail before more memory than this is taken, as in 2G (default\: what the cgroup allows)]:SIZE:_files' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:MODEL:_files'
      ;;
    convert-ort)
      _arguments \
        '--output=[The file, or the directory, to write; - is stdout (default\: MODEL with .ort)]:PATH:_files' \
        '-o[The file, or the directory, to write; - is stdout (default\: MODEL with .ort)]:PATH:_files' \
        '--force[Replace existing files of default names; one named with -o is always replaced]' \
        '--no-clobber[Never replace a file]' \
        '--allow-conversion-failures[Of a directory, convert what can be converted]' \
        '--to=[The format to write]:ort|onnx:(ort onnx)' \
        '--style=[Runtime also records fusions for the runtime to do, in NAME.with_runtime_opt.ort]:fixed|runtime|both:(fixed runtime both)' \
        '--level=[What to optimize before; extended also fuses to operators of com.microsoft and to integer ones, all to what is best for --arch]:disable|basic|extended|all:(disable basic extended all)' \
        '--arch=[The processor that --level all is for; amd64 makes signed 8-bit activations unsigned]:arm|amd64:(arm amd64)' \
        '--verify=[Run both models on seeded inputs before anything is written; full on more inputs, strict fails also where nodes cannot be run]:off|quick|full|strict:(off quick full strict)' \
        '--runtime=[The oldest release that must load the file\: ort-1.13 to ort-1.31 (default\: ort-1.31)]:RELEASE:_files' \
        '--custom-ops=[Operators of libraries that will be registered\: \[\[operator\]\] with domain, name and since_version]:FILE:_files' \
        '--ops-config[Write the operators that a reduced build needs beside the file, or into the directory]' \
        '--type-reduction[Write them, with the types that each is used with]' \
        '--check-mobile[Say what NNAPI, CoreML and XNNPACK would take of the model]' \
        '--nnapi-stop-ops=[Operators, separated by commas, that NNAPI gets neither nor what is behind them (default\: NonMaxSuppression)]:OPS:_files' \
        '*--report=[Write a report to stdout or to PATH\: text, json, markdown, html, junit, sarif, github]:FORMAT\[=PATH\]:_files' \
        '--json[Same as --report json]' \
        '--quiet[No progress, and no text report on stdout]' \
        '-q[No progress, and no text report on stdout]' \
        '--exit-zero[Exit with 0 instead of 1 where the answer is no]' \
        '--threads=[Threads (default\: what affinity and cgroup quota allow)]:N:_files' \
        '--max-memory=[Fail before more memory than this is taken, as in 2G (default\: what the cgroup allows)]:SIZE:_files' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:MODEL:_files'
      ;;
    ranges)
      _arguments \
        '--output=[Where the joined ranges go]:FILE:_files' \
        '-o[Where the joined ranges go]:FILE:_files' \
        '--allow-mixed-isa[Join parts that different kernels or instruction sets computed\: the result is then not that of any single machine]' \
        '*--report=[Write a report to stdout or to PATH\: text, json, markdown, html, junit, sarif, github]:FORMAT\[=PATH\]:_files' \
        '--json[Same as --report json]' \
        '--quiet[No progress, and no text report on stdout]' \
        '-q[No progress, and no text report on stdout]' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--max-memory=[Fail before more memory than this is taken, as in 2G (default\: what the cgroup allows)]:SIZE:_files' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:FILES:_files'
      ;;
    diff)
      _arguments \
        '*--gate=[Fail beyond \[OUTPUT\:\]METRIC=LIMIT, as in sqnr=30 or accuracy-drop=0.5 (default\: by the types of both models)]:GATE:_files' \
        '--atol=[Band |test - reference| <= ATOL + RTOL x |reference| (default\: 1e-5; float16\: 1e-3)]:X:_files' \
        '--rtol=[The same (default\: 1e-3; float16\: 1e-2)]:X:_files' \
        '--topk=[Length of the best lists that top-k compares]:K:_files' \
        '--kl[Measure the divergence of the outputs'\'' softmax, too]' \
        '--simulate=[Run TEST'\''s integer products as x86 CPUs without VNNI do, where sums of pairs saturate]:no-vnni:(no-vnni)' \
        '--structure[Compare the graphs, names ignored, and run nothing; a model alone is printed as lines]' \
        '--per-layer=[Errors by layer\: each fed the reference'\''s values, or as they have grown up to there]:local|cumulative|both:(local cumulative both)' \
        '--layer-limit=[SQNR below which a layer has diverged (default\: 60; float16\: 40, int8\: 20)]:DB:_files' \
        '--bisect=[Write the first layer that diverged as a model of its own with what it is fed, as test_data_set_0, to DIR]:DIR:_files' \
        '--record=[Run REFERENCE and keep samples, outputs and gates in DIR, to compare with later]:DIR:_files' \
        '--record-format=[Samples as safetensors, or as test_data_set folders that other tools read]:safetensors|pb:(safetensors pb)' \
        '--force[Let --record and --bisect replace a directory and all that it holds]' \
        '--golden=[Compare with a recorded set; with two models, the first must be the one it was recorded from]:DIR:_files' \
        '--accept[Replace the recorded outputs by those of the model, after review]' \
        '--data=[Samples\: images, .npy, .npz, safetensors, test_data_set_N]:PATH:_files' \
        '--random=[N seeded random samples instead of data, for a first try]:N:_files' \
        '--seed=[Seed of --random (default\: 0)]:S:_files' \
        '*--random-range=[Values of an integer input under --random (default\: what its uses allow)]:INPUT=LOW,HIGH:_files' \
        '--data-format=[Read only files of this form; auto looks at the content]:auto|npy|npz|safetensors|pb|images|raw:(auto npy npz safetensors pb images raw)' \
        '--batch-axis=[Arrays stack samples along this axis; -1 is the last]:AXIS:_files' \
        '*--raw=[File of plain little-endian values for an input, or a directory of one file per sample]:INPUT=PATH:_files' \
        '*--dim=[Extent of a named dynamic dimension]:NAME=N:_files' \
        '*--input-shape=[Shape of an input, as in x=1,3,224,224]:INPUT=DIMS:_files' \
        '--preprocess=[A known pipeline; the flags below change parts of it]:none|unit|imagenet|cifar10|mnist|tf|caffe|clip:(none unit imagenet cifar10 mnist tf caffe clip)' \
        '--resize=[Resize\: N is the short side in pixels (bilinear, as Pillow)]:N|HxW:_files' \
        '--crop=[Cut this out of the centre]:N|HxW:_files' \
        '--layout=[Order of the dimensions (default\: as the input'\''s shape says)]:nchw|nhwc:(nchw nhwc)' \
        '--channels=[Order of the channels (default\: as the input'\''s shape says)]:rgb|bgr|grey:(rgb bgr grey)' \
        '--scale=[A pixel becomes (pixel x X - mean) / std (default\: 1/255)]:X:_files' \
        '--mean=[Mean for all channels or for each, in scaled units]:M\[,M,M\]:_files' \
        '--std=[Standard deviation, likewise]:S\[,S,S\]:_files' \
        '--labels=[Labels as lines NAME LABEL, or LABEL in sample order (default\: class directories)]:FILE:_files' \
        '*--report=[Write a report to stdout or to PATH\: text, json, markdown, html, junit, sarif, github]:FORMAT\[=PATH\]:_files' \
        '--json[Same as --report json]' \
        '--reproducible[Leave times out of reports]' \
        '--quiet[No progress, and no text report on stdout]' \
        '-q[No progress, and no text report on stdout]' \
        '--exit-zero[Exit with 0 instead of 1 where the answer is no]' \
        '--threads=[Threads (default\: what affinity and cgroup quota allow)]:N:_files' \
        '--kernels=[Kernel sets, preferred first\: cpu, dnnl, or auto for all that are there]:SETS:_files' \
        '--max-iterations=[Fail where a Loop or Scan takes more than N iterations]:N:_files' \
        '--device=[cpu, cuda or cuda\:N (an NVIDIA GPU, experimental), or auto\: a GPU where one is there]:DEVICE:_files' \
        '--max-memory=[Fail before more memory than this is taken, as in 2G (default\: what the cgroup allows)]:SIZE:_files' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:TEST:_files'
      ;;
    run)
      _arguments \
        '--output=[Directory for the outputs (default\: only report them)]:DIR:_files' \
        '-o[Directory for the outputs (default\: only report them)]:DIR:_files' \
        '--output-format=[OUTPUT/SAMPLE.npy, SAMPLE.safetensors, or test_data_set_N with inputs and outputs]:npy|safetensors|pb:(npy safetensors pb)' \
        '--force[Replace the directory and all that it holds]' \
        '--data=[Samples\: images, .npy, .npz, safetensors, test_data_set_N]:PATH:_files' \
        '--random=[N seeded random samples instead of data, for a first try]:N:_files' \
        '--seed=[Seed of --random (default\: 0)]:S:_files' \
        '*--random-range=[Values of an integer input under --random (default\: what its uses allow)]:INPUT=LOW,HIGH:_files' \
        '--data-format=[Read only files of this form; auto looks at the content]:auto|npy|npz|safetensors|pb|images|raw:(auto npy npz safetensors pb images raw)' \
        '--batch-axis=[Arrays stack samples along this axis; -1 is the last]:AXIS:_files' \
        '*--raw=[File of plain little-endian values for an input, or a directory of one file per sample]:INPUT=PATH:_files' \
        '*--dim=[Extent of a named dynamic dimension]:NAME=N:_files' \
        '*--input-shape=[Shape of an input, as in x=1,3,224,224]:INPUT=DIMS:_files' \
        '--preprocess=[A known pipeline; the flags below change parts of it]:none|unit|imagenet|cifar10|mnist|tf|caffe|clip:(none unit imagenet cifar10 mnist tf caffe clip)' \
        '--resize=[Resize\: N is the short side in pixels (bilinear, as Pillow)]:N|HxW:_files' \
        '--crop=[Cut this out of the centre]:N|HxW:_files' \
        '--layout=[Order of the dimensions (default\: as the input'\''s shape says)]:nchw|nhwc:(nchw nhwc)' \
        '--channels=[Order of the channels (default\: as the input'\''s shape says)]:rgb|bgr|grey:(rgb bgr grey)' \
        '--scale=[A pixel becomes (pixel x X - mean) / std (default\: 1/255)]:X:_files' \
        '--mean=[Mean for all channels or for each, in scaled units]:M\[,M,M\]:_files' \
        '--std=[Standard deviation, likewise]:S\[,S,S\]:_files' \
        '--labels=[Labels as lines NAME LABEL, or LABEL in sample order (default\: class directories)]:FILE:_files' \
        '*--report=[Write a report to stdout or to PATH\: text, json, markdown, html, junit, sarif, github]:FORMAT\[=PATH\]:_files' \
        '--json[Same as --report json]' \
        '--reproducible[Leave times out of reports]' \
        '--quiet[No progress, and no text report on stdout]' \
        '-q[No progress, and no text report on stdout]' \
        '--exit-zero[Exit with 0 instead of 1 where the answer is no]' \
        '--threads=[Threads (default\: what affinity and cgroup quota allow)]:N:_files' \
        '--kernels=[Kernel sets, preferred first\: cpu, dnnl, or auto for all that are there]:SETS:_files' \
        '--max-iterations=[Fail where a Loop or Scan takes more than N iterations]:N:_files' \
        '--calib-precision=[Round the operands of products and convolutions\: bf16 where the CPU multiplies these, or on a GPU; tf32 and fp16 on a GPU]:f32|tf32|bf16|fp16:(f32 tf32 bf16 fp16)' \
        '--device=[cpu, cuda or cuda\:N (an NVIDIA GPU, experimental), or auto\: a GPU where one is there]:DEVICE:_files' \
        '--max-memory=[Fail before more memory than this is taken, as in 2G (default\: what the cgroup allows)]:SIZE:_files' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:MODEL:_files'
      ;;
    bench)
      _arguments \
        '--runs=[Timed runs of each model (default\: as many as --seconds gives, at least 10)]:N:_files' \
        '--seconds=[Time to measure for, without --runs (default\: 3)]:S:_files' \
        '--warmup=[Runs before any is timed (default\: 3)]:N:_files' \
        '--concurrency=[Also measure so many streams at a time, each on one thread]:N\[,N...\]:_files' \
        '--profile=[Time each operator, and write a Chrome trace (JSON) here]:FILE:_files' \
        '--no-optimize[Run the file as it is, without the passes of optimize]' \
        '--data=[Samples\: images, .npy, .npz, safetensors, test_data_set_N (default\: one random sample)]:PATH:_files' \
        '--random=[N seeded random samples instead of data, for a first try]:N:_files' \
        '--seed=[Seed of --random (default\: 0)]:S:_files' \
        '*--random-range=[Values of an integer input under --random (default\: what its uses allow)]:INPUT=LOW,HIGH:_files' \
        '--data-format=[Read only files of this form; auto looks at the content]:auto|npy|npz|safetensors|pb|images|raw:(auto npy npz safetensors pb images raw)' \
        '--batch-axis=[Arrays stack samples along this axis; -1 is the last]:AXIS:_files' \
        '*--raw=[File of plain little-endian values for an input, or a directory of one file per sample]:INPUT=PATH:_files' \
        '*--dim=[Extent of a named dynamic dimension]:NAME=N:_files' \
        '*--input-shape=[Shape of an input, as in x=1,3,224,224]:INPUT=DIMS:_files' \
        '--preprocess=[A known pipeline; the flags below change parts of it]:none|unit|imagenet|cifar10|mnist|tf|caffe|clip:(none unit imagenet cifar10 mnist tf caffe clip)' \
        '--resize=[Resize\: N is the short side in pixels (bilinear, as Pillow)]:N|HxW:_files' \
        '--crop=[Cut this out of the centre]:N|HxW:_files' \
        '--layout=[Order of the dimensions (default\: as the input'\''s shape says)]:nchw|nhwc:(nchw nhwc)' \
        '--channels=[Order of the channels (default\: as the input'\''s shape says)]:rgb|bgr|grey:(rgb bgr grey)' \
        '--scale=[A pixel becomes (pixel x X - mean) / std (default\: 1/255)]:X:_files' \
        '--mean=[Mean for all channels or for each, in scaled units]:M\[,M,M\]:_files' \
        '--std=[Standard deviation, likewise]:S\[,S,S\]:_files' \
        '--labels=[Labels as lines NAME LABEL, or LABEL in sample order (default\: class directories)]:FILE:_files' \
        '*--report=[Write a report to stdout or to PATH\: text, json, markdown, html, junit, sarif, github]:FORMAT\[=PATH\]:_files' \
        '--json[Same as --report json]' \
        '--reproducible[Leave times out of reports]' \
        '--quiet[No progress, and no text report on stdout]' \
        '-q[No progress, and no text report on stdout]' \
        '--exit-zero[Exit with 0 instead of 1 where the answer is no]' \
        '--threads=[Threads (default\: what affinity and cgroup quota allow)]:N:_files' \
        '--kernels=[Kernel sets, preferred first\: cpu, dnnl, or auto for all that are there]:SETS:_files' \
        '--max-iterations=[Fail where a Loop or Scan takes more than N iterations]:N:_files' \
        '--calib-precision=[Round the operands of products and convolutions\: bf16 where the CPU multiplies these, or on a GPU; tf32 and fp16 on a GPU]:f32|tf32|bf16|fp16:(f32 tf32 bf16 fp16)' \
        '--device=[cpu, cuda or cuda\:N (an NVIDIA GPU, experimental), or auto\: a GPU where one is there]:DEVICE:_files' \
        '--max-memory=[Fail before more memory than this is taken, as in 2G (default\: what the cgroup allows)]:SIZE:_files' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:OTHER:_files'
      ;;
    check)
      _arguments \
        '--fail-on=[Exit with 1 from this severity on]:error|warning|info:(error warning info)' \
        '*--suppress=[Leave out findings of this code, at places that match a pattern]:CODE\[@PLACE\]=REASON:_files' \
        '--baseline=[Leave out what this file lists, so that only new findings are reported]:FILE:_files' \
        '--write-baseline=[Write all findings as a baseline]:FILE:_files' \
        '*--allow-op=[Allow these operators outside of the standard, and no others]:DOMAIN\[\:OP\]:_files' \
        '--runtime=[Also require what this release loads\: ort-1.12 to ort-1.31]:RELEASE:_files' \
        '--provider=[With --runtime\: say which nodes this provider leaves to the CPU]:cpu|cuda|dml:(cpu cuda dml)' \
        '--target=[Also require what this target needs\: fixed shapes, zero points of 0]:ort-cpu|ort-cpu-no-vnni|ort-arm64|ort-mobile|ort-cuda|tensorrt|openvino|qnn|portable:(ort-cpu ort-cpu-no-vnni ort-arm64 ort-mobile ort-cuda tensorrt openvino qnn portable)' \
        '--weights[Look at every constant'\''s values too\: NaN, and what fp16 cannot hold]' \
        '--digest[Print a digest of what each model computes, whatever its names and storage]' \
        '--verify-digest=[Require this digest of every file]:HEX:_files' \
        '*--report=[Write a report to stdout or to PATH\: text, json, markdown, html, junit, sarif, github]:FORMAT\[=PATH\]:_files' \
        '--json[Same as --report json]' \
        '--quiet[No progress, and no text report on stdout]' \
        '-q[No progress, and no text report on stdout]' \
        '--exit-zero[Exit with 0 instead of 1 where the answer is no]' \
        '--threads=[Threads (default\: what affinity and cgroup quota allow)]:N:_files' \
        '--max-memory=[Fail before more memory than this is taken, as in 2G (default\: what the cgroup allows)]:SIZE:_files' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:FILES:_files'
      ;;
    inspect)
      _arguments \
        '--node=[One node\: inputs, outputs, attributes; by its name or an output'\''s]:NAME:_files' \
        '--tensor=[One tensor\: storage, sha256, statistics]:NAME:_files' \
        '--dot=-[Write the graph for Graphviz, to stdout or to PATH, instead of a report]::\[=PATH\]:_files' \
        '*--svg=[Write a figure as SVG\: treemap (bytes of constants) or memory (activations along the nodes); repeatable]:FIGURE=PATH:_files' \
        '--statistics[Read all constants, and list their values'\'' figures and sha256]' \
        '--rows=[Rows of long tables; reports for programs have all]:N:_files' \
        '--target=[Runtime whose integer operators are predicted]:ort-cpu|ort-cpu-no-vnni|ort-arm64|ort-mobile:(ort-cpu ort-cpu-no-vnni ort-arm64 ort-mobile)' \
        '--check-mobile[Say what NNAPI, CoreML and XNNPACK would take of the model]' \
        '--nnapi-stop-ops=[Operators, separated by commas, that NNAPI gets neither nor what is behind them (default\: NonMaxSuppression)]:OPS:_files' \
        '--provider=[Say which nodes this provider would take, and what is copied at the borders]:cuda|dml|nnapi|coreml-network|coreml-program|xnnpack:(cuda dml nnapi coreml-network coreml-program xnnpack)' \
        '--runtime=[The release of ONNX Runtime whose provider it is (default\: the newest known)]:RELEASE:_files' \
        '--data=[Run the model on these samples, and say what its values hold\: images, .npy, .npz, safetensors, test_data_set_N]:PATH:_files' \
        '--random=[N seeded random samples instead of data, for a first try]:N:_files' \
        '--seed=[Seed of --random (default\: 0)]:S:_files' \
        '*--random-range=[Values of an integer input under --random (default\: what its uses allow)]:INPUT=LOW,HIGH:_files' \
        '--data-format=[Read only files of this form; auto looks at the content]:auto|npy|npz|safetensors|pb|images|raw:(auto npy npz safetensors pb images raw)' \
        '--batch-axis=[Arrays stack samples along this axis; -1 is the last]:AXIS:_files' \
        '*--raw=[File of plain little-endian values for an input, or a directory of one file per sample]:INPUT=PATH:_files' \
        '*--dim=[Extent of a named dynamic dimension]:NAME=N:_files' \
        '*--input-shape=[Shape of an input, as in x=1,3,224,224]:INPUT=DIMS:_files' \
        '--preprocess=[A known pipeline; the flags below change parts of it]:none|unit|imagenet|cifar10|mnist|tf|caffe|clip:(none unit imagenet cifar10 mnist tf caffe clip)' \
        '--resize=[Resize\: N is the short side in pixels (bilinear, as Pillow)]:N|HxW:_files' \
        '--crop=[Cut this out of the centre]:N|HxW:_files' \
        '--layout=[Order of the dimensions (default\: as the input'\''s shape says)]:nchw|nhwc:(nchw nhwc)' \
        '--channels=[Order of the channels (default\: as the input'\''s shape says)]:rgb|bgr|grey:(rgb bgr grey)' \
        '--scale=[A pixel becomes (pixel x X - mean) / std (default\: 1/255)]:X:_files' \
        '--mean=[Mean for all channels or for each, in scaled units]:M\[,M,M\]:_files' \
        '--std=[Standard deviation, likewise]:S\[,S,S\]:_files' \
        '--labels=[Labels as lines NAME LABEL, or LABEL in sample order (default\: class directories)]:FILE:_files' \
        '*--report=[Write a report to stdout or to PATH\: text, json, markdown, html, junit, sarif, github]:FORMAT\[=PATH\]:_files' \
        '--json[Same as --report json]' \
        '--reproducible[Leave times out of reports]' \
        '--quiet[No progress, and no text report on stdout]' \
        '-q[No progress, and no text report on stdout]' \
        '--exit-zero[Exit with 0 instead of 1 where the answer is no]' \
        '--threads=[Threads (default\: what affinity and cgroup quota allow)]:N:_files' \
        '--kernels=[Kernel sets, preferred first\: cpu, dnnl, or auto for all that are there]:SETS:_files' \
        '--max-iterations=[Fail where a Loop or Scan takes more than N iterations]:N:_files' \
        '--max-memory=[Fail before more memory than this is taken, as in 2G (default\: what the cgroup allows)]:SIZE:_files' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:AFTER:_files'
      ;;
    ops-config)
      _arguments \
        '--output=[Where the config goes, instead of stdout]:FILE:_files' \
        '-o[Where the config goes, instead of stdout]:FILE:_files' \
        '--type-reduction[Also list the types that each operator is used with]' \
        '--config=[Take settings from this file instead of ./onnxtool.toml]:FILE:_files' \
        '--no-config[Take no settings from a file]' \
        '--show-settings[Print what applies, and where it comes from, and do nothing else]' \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:MODELS:_files'
      ;;
    explain)
      _arguments \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:CODE:_files'
      ;;
    schema)
      _arguments \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:COMMAND:_files'
      ;;
    completions)
      _arguments \
        '--help[Print this help]' \
        '-h[Print this help]' \
        '*:SHELL:(bash zsh fish)'
      ;;
  esac
}
_onnxtool "$@"
