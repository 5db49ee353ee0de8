#include "calib/compare/compare_values.h"

#include "calib/compare/side.h"
#include "calib/data/leaves.h"

namespace onnxtool {
namespace {

Error differ(const std::string& what) { return {ErrorCode::kMismatch, what, {}}; }

std::string kind(const Datum& value) {
  return (value.is_none() ? "an " : "a ") + std::string(value.kind_name());
}

// Where the kinds or lengths part; the leaves that both have may be fewer.
Status same_form(const std::string& path, const Datum& reference, const Datum& test) {
  if (reference.kind() != test.kind())
    return differ(path + " is " + kind(test) + ", but " + kind(reference) + " in the reference");
  if (!reference.is_sequence()) return {};
  const auto &r = reference.items(), &t = test.items();
  if (r.size() != t.size())
    return differ(path + " has " + std::to_string(t.size()) + " elements, but " +
                  std::to_string(r.size()) + " in the reference");
  for (size_t i = 0; i < r.size(); ++i)
    ONNXTOOL_TRY(same_form(path + "[" + std::to_string(i) + "]", r[i], t[i]));
  return {};
}

Result<SampleMetrics> compare_leaves(const Leaf& reference, const Leaf& test,
                                     const MetricOptions& options) {
  if (reference.keys && !reference.keys->same_content(*test.keys))
    return differ("the keys are not those of the reference");
  ONNXTOOL_ASSIGN(SampleMetrics m,
                  compare_sample(view_of(reference.values), view_of(test.values), options));
  if (m.max_abs_index >= 0)
    m.worst_place = reference.keys ? element_path(reference, m.max_abs_index) : reference.path;
  return m;
}

}  // namespace

Result<SampleMetrics> compare_values(const std::string& name, const Datum& reference,
                                     const Datum& test, const MetricOptions& options) {
  if (reference.is_tensor() && test.is_tensor())
    return compare_sample(view_of(reference.tensor()), view_of(test.tensor()), options);
  ONNXTOOL_TRY(same_form(name, reference, test));
  const std::vector<Leaf> r = leaves_of(name, reference), t = leaves_of(name, test);
  ONNXTOOL_CHECK(r.size() == t.size());
  SampleMetrics all;
  for (size_t i = 0; i < r.size(); ++i) {
    auto m = compare_leaves(r[i], t[i], options);
    if (!m.ok()) return std::move(m).error().at(r[i].path);
    if (i == 0)
      all = *std::move(m);
    else
      append(all, *m);
  }
  return all;
}

}  // namespace onnxtool
