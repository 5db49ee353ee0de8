#include "apps/diff_options.h"

#include "apps/config.h"
#include "apps/flags.h"

namespace onnxtool {

void add_diff_flags(CLI::App& c, DiffOptions& o) {
  const std::string data = "Data", how = "Comparison";
  add_text(
      c, o.reference,
      {"REFERENCE", "FILE",
       "Model that is right (.onnx), or a golden set: DIR of --record, or test_data_set folders",
       "Arguments"})
      ->required();
  add_text(c, o.test, {"TEST", "FILE", "Model to judge (.onnx), or a golden set", "Arguments"});
  add_list(
      c, o.gates,
      {"--gate", "GATE",
       "Fail beyond [OUTPUT:]METRIC=LIMIT, as in sqnr=30 or accuracy-drop=0.5 (default: by the "
       "types of both models)",
       how});
  add_magnitude(
      c, o.atol,
      {"--atol", "X",
       "Band |test - reference| <= ATOL + RTOL x |reference| (default: 1e-5; float16: 1e-3)", how});
  add_magnitude(c, o.rtol, {"--rtol", "X", "The same (default: 1e-3; float16: 1e-2)", how});
  add_integer(c, o.top_k, 1, 1000000,
              {"--topk", "K", "Length of the best lists that top-k compares", how});
  add_switch(c, o.kl, {"--kl", "", "Measure the divergence of the outputs' softmax, too", how});
  add_choice(
      c, o.simulate,
      {"--simulate", "no-vnni",
       "Run TEST's integer products as x86 CPUs without VNNI do, where sums of pairs saturate",
       how});
  add_switch(
      c, o.structure,
      {"--structure", "",
       "Compare the graphs, names ignored, and run nothing; a model alone is printed as lines",
       how});
  const std::string layers = "Layers";
  add_choice(c, o.per_layer,
             {"--per-layer", "local|cumulative|both",
              "Errors by layer: each fed the reference's values, or as they have grown up to there",
              layers});
  add_magnitude(
      c, o.layer_limit,
      {"--layer-limit", "DB",
       "SQNR below which a layer has diverged (default: 60; float16: 40, int8: 20)", layers});
  add_text(c, o.bisect,
           {"--bisect", "DIR",
            "Write the first layer that diverged as a model of its own with what it is fed, as "
            "test_data_set_0, to DIR",
            layers});
  const std::string golden = "Golden sets";
  CLI::Option* record = add_text(
      c, o.record,
      {"--record", "DIR",
       "Run REFERENCE and keep samples, outputs and gates in DIR, to compare with later", golden});
  add_choice(c, o.record_format,
             {"--record-format", "safetensors|pb",
              "Samples as safetensors, or as test_data_set folders that other tools read", golden})
      ->needs(record);
  add_switch(c, o.force,
             {"--force", "", "Let --record and --bisect replace a directory and all that it holds",
              golden});
  add_text(c, o.golden,
           {"--golden", "DIR",
            "Compare with a recorded set; with two models, the first must be the one it was "
            "recorded from",
            golden})
      ->excludes(record);
  add_switch(
      c, o.accept,
      {"--accept", "", "Replace the recorded outputs by those of the model, after review", golden})
      ->excludes(record);
  CLI::Option* path = add_text(
      c, o.data,
      {"--data", "PATH", "Samples: images, .npy, .npz, safetensors, test_data_set_N", data});
  add_data_flags(c, o.data_flags);
  path->excludes(c.get_option("--random"));
  add_common_flags(c, o.common);
  add_device_flag(c, o.common);
  add_config_flags(c);
  c.footer(
      "Example: onnxtool diff model.onnx model.int8.onnx --data images/ --preprocess imagenet "
      "--gate sqnr=30");
}

}  // namespace onnxtool
