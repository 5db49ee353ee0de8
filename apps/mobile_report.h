// What execution providers of phones would take of a model, as a section of a report, and its
// flags.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <set>
#include <string>

#include "apps/report/report.h"
#include "libopt/ir/model.h"

namespace onnxtool {

struct MobileFlags {
  bool check = false;
  std::string nnapi_stop_ops;
  const CLI::Option* stop_option = nullptr;  // given empty, no operator stops NNAPI
};

/// --check-mobile and --nnapi-stop-ops, under the heading `group`.
void add_mobile_flags(CLI::App& command, MobileFlags& flags, const std::string& group);

/// --nnapi-stop-ops says nothing without --check-mobile.
Status check_mobile_flags(const MobileFlags& flags);

/// For a model of which prepare_operators() can make what the runtime executes; it works on a copy.
Section mobile_section(const Model& model, const MobileFlags& flags);

}  // namespace onnxtool
