#include "calib/compare/isolate.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "calib/compare/keep.h"
#include "calib/data/arrays.h"
#include "libopt/ir/extract.h"

namespace onnxtool {
namespace {

// Samples that are looked at for the worst.
constexpr int64_t kMostSamples = 64;

class Isolation {
 public:
  Isolation(const Model& test, const Graph& reference, std::span<const LayerPair> pairs,
            size_t which, const InputPairing& inputs, const RunOptions& run,
            const RunOptions& test_run)
      : pairs_(pairs),
        which_(pairs[which]),
        inputs_(inputs),
        run_(run),
        test_run_(test_run),
        reference_(reference) {
    std::vector<const Value*> given;
    for (size_t i = 0; i < pairs.size(); ++i)
      if (i != which) given.push_back(pairs[i].test);
    const Value* outputs[] = {which_.test};
    best_.model = extract(test, needed_inputs(test, given, outputs), outputs);
    size_t own = 0;
    for (const Value* v : test.graph().inputs()) {
      if (v->initializer()) continue;
      own_inputs_.emplace_back(v->name(), own++);
    }
  }

  Result<IsolatedLayer> find(const SampleSource& source) {
    const auto fed = fed_layers();
    std::vector<const Value*> watched;
    for (const LayerPair* p : fed) watched.push_back(p->reference);
    watched.push_back(which_.reference);
    ONNXTOOL_ASSIGN(const auto side,
                    open_model_side(reference_, watched, nullptr, run_, {1, run_.threads}));
    const int64_t count = std::min(source.size(), kMostSamples);
    for (int64_t i = 0; i < count; ++i) {
      ONNXTOOL_ASSIGN(const Sample sample, source.read(i));
      Keep kept(watched.size(), has_floats);
      if (Status s = side->run(0, i, sample, nullptr, &kept); !s.ok())
        return std::move(s).error().at("reference").at("sample '" + sample.id + "'");
      if (Status s = judge(sample, fed, kept); !s.ok())
        return std::move(s).error().at("sample '" + sample.id + "'");
    }
    if (best_.sample.empty())
      return Error{ErrorCode::kMismatch,
                   name_of_layer() + " cannot be run alone: no sample has all that it reads",
                   {}};
    return std::move(best_);
  }

 private:
  std::string name_of_layer() const { return "layer '" + which_.test->name() + "'"; }

  // The layers that the part reads, in the order of its inputs behind the model's own.
  std::vector<const LayerPair*> fed_layers() const {
    std::vector<const LayerPair*> out;
    for (const Value* v : best_.model->graph().inputs())
      for (const LayerPair& p : pairs_)
        if (&p != &which_ && p.test->name() == v->name()) {
          out.push_back(&p);
          break;
        }
    return out;
  }

  // Keeps the sample if the layer is further off than on those before.
  Status judge(const Sample& sample, const std::vector<const LayerPair*>& fed, const Keep& kept) {
    if (!kept.values.back()) return {};
    Sample part{sample.id, {}, -1};
    std::vector<NamedTensor> named;
    size_t layer = 0;
    for (Value* v : best_.model->graph().inputs()) {
      std::optional<Tensor> t;
      if (const auto own = std::ranges::find(own_inputs_, v->name(), &OwnInput::first);
          own != own_inputs_.end()) {
        ONNXTOOL_ASSIGN(t, own_input(sample, own->second));
      } else if (kept.values[layer]) {
        const DataType type = v->type().dtype;
        t = type == DataType::kUndefined ? kept.values[layer]
                                         : as_type(*kept.values[layer], type, fed[layer]->codes);
        ++layer;
      }
      if (!t) return {};
      if (v->type().dtype == DataType::kUndefined) v->set_type(ValueType::tensor(t->dtype()));
      named.push_back({v->name(), *t});
      part.inputs.push_back(*std::move(t));
    }
    std::vector<Datum> outputs;
    if (!side_) {  // the first sample tells the types that the model leaves open
      ONNXTOOL_ASSIGN(
          side_, open_model_side(best_.model->graph(), {}, nullptr, test_run_, {1, run_.threads}));
    }
    ONNXTOOL_TRY(side_->run(0, 0, part, &outputs, nullptr));
    if (!outputs[0].is_tensor()) return {};
    const Tensor& own = outputs[0].tensor();
    const double db = energy_of(view_of(*kept.values.back()), view_of(own), which_.codes).sqnr();
    auto expected = as_type(*kept.values.back(), own.dtype(), which_.codes);
    if (std::isnan(db) || !expected || (!best_.sample.empty() && db >= best_.sqnr_db)) return {};
    best_.inputs = std::move(named);
    best_.expected = {which_.test->name(), *std::move(expected)};
    best_.sample = sample.id;
    best_.sqnr_db = db;
    return {};
  }

  Result<std::optional<Tensor>> own_input(const Sample& sample, size_t index) const {
    Tensor t = sample.inputs[inputs_.sample_input[index]];
    if (const DataType to = inputs_.convert_to[index]; to != DataType::kUndefined) {
      ONNXTOOL_ASSIGN(t, convert_tensor(std::move(t), to));
    }
    return std::optional(std::move(t));
  }

  using OwnInput = std::pair<std::string, size_t>;
  std::span<const LayerPair> pairs_;
  const LayerPair& which_;
  const InputPairing& inputs_;
  const RunOptions &run_, &test_run_;
  const Graph& reference_;
  std::vector<OwnInput> own_inputs_;  // of the test model, and their places
  IsolatedLayer best_;
  std::unique_ptr<Side> side_;  // that runs best_.model
};

}  // namespace

Result<IsolatedLayer> isolate_layer(const Model& test, const Graph& reference,
                                    std::span<const LayerPair> pairs, size_t which,
                                    const InputPairing& inputs, const SampleSource& source,
                                    const RunOptions& run, const RunOptions& test_run) {
  return Isolation(test, reference, pairs, which, inputs, run, test_run).find(source);
}

}  // namespace onnxtool
