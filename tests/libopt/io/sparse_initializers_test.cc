// Sparse initializers as those who look at a model see them.
#include "libopt/io/sparse_initializers.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "libopt/analysis/census.h"
#include "libopt/analysis/seam.h"
#include "libopt/io/load.h"

namespace onnxtool {
namespace {

TEST_CASE("sparse initializers have the types that nodes read them as, and are counted as stored") {
  const auto model = load_model(
      (std::filesystem::path(ONNXTOOL_SOURCE_DIR) / "testdata/exec/sparse_initializers.onnx")
          .string());
  REQUIRE(model.ok());
  Graph& graph = (*model)->graph();
  type_sparse_initializers(graph);
  // [[0, 2], [0, 0], [3, 0]] and [0, 5]
  size_t seen = 0;
  for_each_sparse_initializer(graph, [&](const SparseTensor& s) {
    const Value* v = graph.find(s.values.name);
    REQUIRE(v);
    CHECK(format_type(v->type()) == (s.dims.size() == 2 ? "float[3, 2]" : "float[2]"));
    ++seen;
  });
  CHECK(seen == 2);
  CHECK(count(**model).parameters == 3);
  REQUIRE(infer_graph(graph).ok());
  CHECK(format_type((*graph.nodes().begin()).output(0).type()) == "float[1, 2]");
}

}  // namespace
}  // namespace onnxtool
