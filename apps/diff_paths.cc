// Which of diff's arguments is which: a golden set may stand for either model.
#include "apps/diff_options.h"
#include "calib/compare/golden.h"

namespace onnxtool {
namespace {

Error usage(const std::string& what, const std::string& hint) {
  return Error{ErrorCode::kUsage, what, hint};
}

Status check_structure(const DiffOptions& o) {
  if (o.test.empty() && !(o.common.reports.empty() && !o.common.json))
    return usage("--structure of one model writes its outline, and no report",
                 "give a second model, or leave out --report and --json");
  const bool runs = samples_given(o.data, o.data_flags) || !o.golden.empty() || !o.record.empty() ||
                    !o.gates.empty() || !o.per_layer.empty() || o.accept || !o.simulate.empty();
  if (!runs) return {};
  return usage("--structure runs nothing: it does not go with data, gates, layers or golden sets",
               "run diff once more for those");
}

// The set that has the reference's answers stands in `golden`, one that is judged in `test`.
Status settle(const DiffOptions& o, DiffPaths& paths) {
  if (paths.golden.empty() && is_golden(o.reference)) {
    paths.golden = o.reference;
    paths.reference.clear();
    if (o.test.empty()) return usage("no TEST given", "write onnxtool diff GOLDEN_DIR MODEL");
  } else if (!paths.golden.empty() && o.test.empty()) {
    paths.test = o.reference;
    paths.reference.clear();
  }
  if (paths.test.empty())
    return usage("no TEST given",
                 "usage: onnxtool diff [OPTION...] REFERENCE TEST; see onnxtool diff --help");
  paths.test_is_set = is_golden(paths.test);
  return {};
}

Status check_sets(const DiffOptions& o, const DiffPaths& paths) {
  if (paths.test_is_set && (o.accept || !o.per_layer.empty() || !o.simulate.empty()))
    return usage(
        paths.test + " is a golden set: --accept, --per-layer and --simulate need a model to judge",
        "give the model whose outputs it has");
  if (paths.golden.empty() && !paths.test_is_set) {
    if (o.accept) return usage("--accept without a golden set", "add --golden DIR");
    return {};
  }
  if (samples_given(o.data, o.data_flags))
    return usage("a golden set brings its own samples", "leave out --data, --raw and --random");
  if (o.accept && !has_golden_toml(paths.golden))
    return usage(
        "--accept: " + paths.golden + " has no golden.toml, so it is not onnxtool's to replace",
        "record a set of its own: onnxtool diff " + paths.test + " --record DIR --data " +
            paths.golden);
  if (!o.per_layer.empty() && paths.reference.empty())
    return usage("--per-layer needs the reference model: a golden set has its outputs only",
                 "write onnxtool diff REFERENCE TEST --golden DIR");
  return {};
}

}  // namespace

Result<DiffPaths> diff_paths(const DiffOptions& o) {
  DiffPaths paths{o.reference, o.test, o.golden};
  if (o.structure) {
    ONNXTOOL_TRY(check_structure(o));
    return paths;
  }
  if (!o.simulate.empty() && (!o.record.empty() || o.accept))
    return usage("--simulate shows what other CPUs would give: it records nothing",
                 "leave out --simulate");
  if (!o.record.empty()) {
    if (!o.test.empty())
      return usage("--record takes one model, two are given",
                   "record the reference, then compare: onnxtool diff DIR TEST");
    return paths;
  }
  ONNXTOOL_TRY(settle(o, paths));
  ONNXTOOL_TRY(check_sets(o, paths));
  return paths;
}

}  // namespace onnxtool
