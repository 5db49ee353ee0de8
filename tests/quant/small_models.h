// Small models in text form, prepared, placed and quantized for tests.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>

#include "calib/data/model_inputs.h"
#include "calib/data/source.h"
#include "calib/kernels/cpu/cpu_kernels.h"
#include "libopt/analysis/seam.h"
#include "quant/quantize.h"

namespace onnxtool::testing {

/// Outputs given as `float y` have any shape.
inline std::unique_ptr<Model> parse(const std::string& text) {
  auto model = parse_text(text);
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().message));
  for (Value* v : (*model)->graph().outputs())
    if (v->type().rank() == 0) v->set_type(ValueType::tensor(v->type().dtype));
  return *std::move(model);
}

/// `count` values of about the given size, different and of both signs: "0.25, -0.75, ...".
inline std::string numbers(int count, double size = 1) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += (i ? ", " : "") + std::to_string(size * ((i * 37 + 11) % 64 - 31.5) / 32);
  return text;
}

/// Everything that can run on integers does: naming all nodes switches the weighing off.
inline QuantizeOptions all_layers() {
  QuantizeOptions options;
  options.include = *Selector::parse({"op:*"});
  options.equalize = false;
  options.calibrator = {false, Calibrator::kMinMax, {}};
  return options;
}

inline std::unique_ptr<SampleSource> random_samples(const Model& model, int count = 8) {
  auto specs = input_specs(model);
  REQUIRE(specs.ok());
  auto source = open_random(count, 1, *specs, integer_bounds(model));
  REQUIRE_MESSAGE(source.ok(), (source.ok() ? "" : source.error().message));
  return *std::move(source);
}

inline RunOptions cpu_run() {
  RunOptions run;
  run.kernel_sets = {&cpu_kernel_set_portable()};
  return run;
}

struct Decided {
  std::string kernel, reason;  // one of them is empty
};

/// What becomes of each node, by the name of its first output.
inline std::map<std::string, Decided> decide(const std::string& text,
                                             const QuantizeOptions& options = all_layers()) {
  auto quantizer = Quantizer::create(parse(text), options);
  REQUIRE_MESSAGE(quantizer.ok(), (quantizer.ok() ? "" : quantizer.error().message));
  std::map<std::string, Decided> out;
  for (const NodeDecision& d : quantizer->placement().decisions)
    out[d.node->output(0).name()] = {std::string(d.kernel), d.reason};
  return out;
}

struct Quantized {
  Quantizer quantizer;
  Quantizer::Output output;
  double sqnr_db = 0;  // of the output that suffers most, on the calibration samples
  int count(const std::string& op) const {
    int n = 0;
    for (const Node& node : output.model->graph().nodes()) n += node.op_type() == op;
    return n;
  }
};

/// The whole way on random samples; every node of the result satisfies its schema.
inline Quantized quantize(const std::string& text, const QuantizeOptions& options = all_layers()) {
  std::unique_ptr<Model> model = parse(text);
  const auto samples = random_samples(*model);
  auto quantizer = Quantizer::create(std::move(model), options);
  REQUIRE_MESSAGE(quantizer.ok(), (quantizer.ok() ? "" : quantizer.error().message));
  REQUIRE(quantizer->equalize(*samples, cpu_run()).ok());
  REQUIRE(quantizer->calibrate(*samples, cpu_run()).ok());
  auto output = quantizer->emit(samples.get(), cpu_run());
  REQUIRE_MESSAGE(output.ok(), (output.ok() ? "" : output.error().message));
  for (const Node& n : output->model->graph().nodes()) {
    const Status s = check_node(n);
    CHECK_MESSAGE(s.ok(), (s.ok() ? "" : s.error().message));
  }
  auto compared = compare_models(quantizer->prepared().graph(), output->model->graph(), *samples,
                                 cpu_run(), {});
  REQUIRE_MESSAGE(compared.ok(), (compared.ok() ? "" : compared.error().message));
  double worst = INFINITY;
  for (const auto& [name, m] : compared->outputs)
    worst = std::min(worst, m.value(Metric::kSqnr).value_or(-INFINITY));
  return {*std::move(quantizer), *std::move(output), worst};
}

}  // namespace onnxtool::testing
