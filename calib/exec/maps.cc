// ZipMap, CastMap and DictVectorizer: between rows of features and maps.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "calib/exec/native_ops.h"
#include "calib/exec/tensor_parts.h"

namespace onnxtool {
namespace {

using Run = RunContext::Impl;

Result<Datum> input_map(Run& run, const Step& step) {
  ONNXTOOL_ASSIGN(const int slot, input_slot(step, 0));
  ONNXTOOL_ASSIGN(Datum d, run.datum(slot));
  if (!d.is_map())
    return wrong(step, std::string("input 0 is a ") + d.kind_name() + ", expected a map");
  return d;
}

Status give(Run& run, const Step& step, Datum value) {
  if (step.outputs.empty() || step.outputs[0] < 0) return {};
  return run.hold(step.outputs[0], std::move(value));
}

// Labels of integers or strings, from the attribute that is there.
Tensor labels_of(const NodeView& node, std::string_view strings, std::string_view ints) {
  const auto names = node.attr_strings(strings);
  if (!names.empty())
    return Tensor::from_strings({static_cast<int64_t>(names.size())},
                                std::vector<std::string>(names.begin(), names.end()));
  const auto numbers = node.attr_ints(ints);
  return Tensor::from<int64_t>({static_cast<int64_t>(numbers.size())}, numbers);
}

}  // namespace

// [rows, columns], or one row, to a sequence of a map for each row.
Status run_zip_map(Run& run, const Step& step, size_t) {
  ONNXTOOL_ASSIGN(const int slot, input_slot(step, 0));
  ONNXTOOL_ASSIGN(const Datum d, run.datum(slot));
  if (!d.is_tensor() || d.tensor().rank() < 1 || d.tensor().rank() > 2)
    return wrong(step, "input 0 is no tensor of rank 1 or 2");
  const Tensor keys = labels_of(*step.node, "classlabels_strings", "classlabels_int64s");
  const int64_t columns = d.tensor().dims().back(),
                rows = d.tensor().rank() == 2 ? d.tensor().dims()[0] : 1;
  if (keys.count() != columns)
    return wrong(step, "there are " + std::to_string(keys.count()) + " class labels for " +
                           std::to_string(columns) + " columns");
  ONNXTOOL_TRY(check_items(step, rows));
  const Tensor matrix = d.tensor().reshaped({rows, columns});
  std::vector<Datum> maps;
  for (int64_t r = 0; r < rows; ++r) {
    ONNXTOOL_ASSIGN(const Tensor row, part_of(matrix, 0, r, 1));
    maps.push_back(Datum::map(keys, row.reshaped({columns})));
  }
  return give(run, step, Datum::sequence(std::move(maps)));
}

namespace {

// Positions of a map's entries by key.
std::unordered_map<std::string, int64_t> positions(const Tensor& keys) {
  std::unordered_map<std::string, int64_t> out;
  const bool strings = keys.dtype() == DataType::kString;
  const std::vector<int64_t> ints = strings ? std::vector<int64_t>() : keys.to_ints();
  for (int64_t i = 0; i < keys.count(); ++i) {
    const auto at = static_cast<size_t>(i);
    out[strings ? keys.strings()[at] : std::to_string(ints[at])] = i;
  }
  return out;
}

}  // namespace

// [1, n]: the map's value for each word of the vocabulary, zero where it has none.
Status run_dict_vectorizer(Run& run, const Step& step, size_t) {
  ONNXTOOL_ASSIGN(const Datum map, input_map(run, step));
  const Tensor vocabulary = labels_of(*step.node, "string_vocabulary", "int64_vocabulary");
  if ((vocabulary.dtype() == DataType::kString) != (map.keys().dtype() == DataType::kString))
    return wrong(step, "the vocabulary and the map's keys differ in type");
  const Tensor& values = map.values();
  const int64_t n = vocabulary.count();
  const auto words = positions(vocabulary), entries = positions(map.keys());
  const bool strings = values.dtype() == DataType::kString;
  const size_t unit = strings ? 0 : static_cast<size_t>(bits_of(values.dtype()) / 8);
  std::vector<std::string> texts(strings ? static_cast<size_t>(n) : 0);
  std::vector<std::byte> bytes(unit * static_cast<size_t>(n));
  const std::vector<int64_t> ints =
      vocabulary.dtype() == DataType::kString ? std::vector<int64_t>() : vocabulary.to_ints();
  // A vocabulary may have a word twice, so its own order counts.
  for (size_t w = 0; w < static_cast<size_t>(n); ++w) {
    const auto it = entries.find(ints.empty() ? vocabulary.strings()[w] : std::to_string(ints[w]));
    if (it == entries.end()) continue;
    const auto from = static_cast<size_t>(it->second);
    if (strings)
      texts[w] = values.strings()[from];
    else
      std::copy_n(values.bytes().data() + from * unit, unit, bytes.data() + w * unit);
  }
  return give(run, step,
              strings ? Tensor::from_strings({1, n}, std::move(texts))
                      : Tensor::from_bytes(values.dtype(), {1, n}, std::move(bytes)));
}

namespace {

// As C++ writes and reads them: "0.500000", and the number at the front of a text.
std::string text_of(const Tensor& values, size_t i, const std::vector<double>& numbers) {
  return values.dtype() == DataType::kString ? values.strings()[i] : std::to_string(numbers[i]);
}

Result<double> number_of(const Step& step, const Tensor& values, size_t i,
                         const std::vector<double>& numbers) {
  if (values.dtype() != DataType::kString) return numbers[i];
  const std::string& text = values.strings()[i];
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size())
    return wrong(step, "'" + text + "' is no number");
  return v;
}

// More columns than any vocabulary has.
constexpr int64_t kMaxMap = int64_t{1} << 28;

}  // namespace

// [1, n]: the values in the order of their keys; SPARSE puts each at the place that its key says.
Status run_cast_map(Run& run, const Step& step, size_t) {
  ONNXTOOL_ASSIGN(const Datum map, input_map(run, step));
  if (map.keys().dtype() == DataType::kString)
    return wrong(step, "the map's keys are strings, expected integers");
  const std::vector<int64_t> keys = map.keys().to_ints();
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return keys[a] < keys[b]; });
  const std::string_view form = step.node->attr_string("map_form", "DENSE"),
                         to = step.node->attr_string("cast_to", "TO_FLOAT");
  const bool sparse = form == "SPARSE";
  if (!sparse && form != "DENSE")
    return wrong(step, "map_form is '" + std::string(form) + "', expected DENSE or SPARSE");
  const int64_t n = sparse ? step.node->attr_int("max_map", 1) : static_cast<int64_t>(keys.size());
  if (n < 0 || n > kMaxMap) return wrong(step, "max_map is " + std::to_string(n));
  if (sparse && !order.empty() && keys[order[0]] < 0)
    return wrong(step, "key " + std::to_string(keys[order[0]]) + " is no position");
  const std::vector<double> numbers =
      map.values().dtype() == DataType::kString ? std::vector<double>() : map.values().to_doubles();
  std::vector<double> out(static_cast<size_t>(n));
  std::vector<std::string> texts(static_cast<size_t>(n),
                                 "0.f");  // what onnxruntime writes where no key is
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t entry = order[i];
    const int64_t at = sparse ? keys[entry] : static_cast<int64_t>(i);
    if (at >= n) break;
    if (to == "TO_STRING")
      texts[static_cast<size_t>(at)] = text_of(map.values(), entry, numbers);
    else {
      ONNXTOOL_ASSIGN(out[static_cast<size_t>(at)], number_of(step, map.values(), entry, numbers));
    }
  }
  if (to == "TO_STRING") {
    return give(run, step, Tensor::from_strings({1, n}, std::move(texts)));
  } else if (to == "TO_FLOAT") {
    return give(run, step, Tensor::from<float>({1, n}, std::vector<float>(out.begin(), out.end())));
  } else if (to == "TO_INT64") {
    std::vector<int64_t> ints;
    for (const double v : out) {
      if (!(v > -0x1p63 && v < 0x1p63)) return wrong(step, std::to_string(v) + " is no int64");
      ints.push_back(static_cast<int64_t>(v));
    }
    return give(run, step, Tensor::from<int64_t>({1, n}, ints));
  } else {
    return wrong(step,
                 "cast_to is '" + std::string(to) + "', expected TO_FLOAT, TO_STRING or TO_INT64");
  }
  return {};
}

}  // namespace onnxtool
