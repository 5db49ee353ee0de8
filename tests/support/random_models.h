// Seeded models over every operator that the executor claims, with inputs for them.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libopt/ir/datum.h"
#include "libopt/ir/model.h"
#include "tests/support/recipes.h"

namespace onnxtool::testing {

struct RandomModel {
  std::string text;              // for messages; constants appear as inputs
  std::unique_ptr<Model> model;  // none where the standard allows nothing that was drawn
  std::vector<Datum> inputs;     // of the graph's inputs, in order
};

class RandomModels {
 public:
  static Result<RandomModels> load(const std::filesystem::path& recipes);
  size_t recipes() const { return recipes_.size(); }
  int line_of(uint32_t seed) const { return recipes_[seed % recipes_.size()].line; }
  /// Begins with recipe `seed` modulo recipes(), goes on with up to `more` others. An error is a
  /// mistake in a recipe.
  Result<RandomModel> make(uint32_t seed, int more) const;

 private:
  std::vector<Recipe> recipes_;
};

}  // namespace onnxtool::testing
