// Operators of ai.onnx.ml that prepare features: Scaler, Normalizer, Binarizer, Imputer,
// ArrayFeatureExtractor, FeatureVectorizer.

#include <cmath>

#include "calib/kernels/cpu/convert.h"
#include "calib/kernels/cpu/ml/models.h"

namespace onnxtool {
namespace {

// Extent of the last dim: features follow one another along it.
int64_t columns_of(const ConstView& x) { return x.rank() ? x.dims.back() : 1; }

// One value for all columns or one for each; absent: `fallback` for all.
Result<std::vector<double>> by_column(std::span<const float> values, std::string_view name,
                                      int64_t columns, double fallback) {
  if (values.empty()) return std::vector<double>(static_cast<size_t>(columns), fallback);
  if (values.size() == 1)
    return std::vector<double>(static_cast<size_t>(columns), static_cast<double>(values[0]));
  if (static_cast<int64_t>(values.size()) != columns)
    return wrong_length(name, values.size(), "1 or " + std::to_string(columns));
  return std::vector<double>(values.begin(), values.end());
}

Status scaler(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const int64_t columns = columns_of(x);
  ONNXTOOL_ASSIGN(const auto offset,
                  by_column(ctx.node().attr_floats("offset"), "offset", columns, 0));
  ONNXTOOL_ASSIGN(const auto scale,
                  by_column(ctx.node().attr_floats("scale"), "scale", columns, 1));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, x.dims));
  ONNXTOOL_ASSIGN(const std::span<const double> in, features_of(ctx, x));
  float* out = y.as<float>().data();
  ctx.parallel(y.count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto c = static_cast<size_t>(i % columns);
      out[i] = static_cast<float>((in[static_cast<size_t>(i)] - offset[c]) * scale[c]);
    }
  });
  return {};
}

enum class Norm : uint8_t { kMax, kL1, kL2 };

Result<Norm> norm_of(const NodeView& node) {
  const std::string_view name = node.attr_string("norm", "MAX");
  if (name == "MAX") return Norm::kMax;
  if (name == "L1") return Norm::kL1;
  if (name == "L2") return Norm::kL2;
  return bad_model("norm is '" + std::string(name) + "', expected MAX, L1 or L2");
}

// What a row is divided by. A row without a norm stays as it is.
double divisor(Norm norm, std::span<const double> row) {
  double n = norm == Norm::kMax && !row.empty() ? row[0] : 0;
  for (const double v : row)
    n = norm == Norm::kMax ? std::max(n, v) : norm == Norm::kL1 ? n + std::abs(v) : n + v * v;
  if (norm == Norm::kL2) n = std::sqrt(n);
  return n == 0 ? 1 : n;
}

Status normalizer(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  ONNXTOOL_ASSIGN(const Norm norm, norm_of(ctx.node()));
  ONNXTOOL_ASSIGN(const FeatureShape shape, feature_shape(x));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, x.dims));
  if (y.count == 0) return {};
  ONNXTOOL_ASSIGN(const std::span<const double> in, features_of(ctx, x));
  float* out = y.as<float>().data();
  ctx.parallel(shape.rows, grain_of(shape.columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto row =
          in.subspan(static_cast<size_t>(r * shape.columns), static_cast<size_t>(shape.columns));
      const double n = divisor(norm, row);
      for (size_t c = 0; c < row.size(); ++c)
        out[r * shape.columns + static_cast<int64_t>(c)] = static_cast<float>(row[c] / n);
    }
  });
  return {};
}

Status binarizer(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const double threshold = static_cast<double>(ctx.node().attr_float("threshold", 0));
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, x.dims));
  return dispatch(
      x.dtype, TypeList<float, double, int64_t, int32_t>{}, "input 0", [&]<class T>() -> Status {
        const auto in = x.as<T>();
        std::transform(in.begin(), in.end(), y.as<T>().data(),
                       [&](T v) { return static_cast<double>(v) > threshold ? T{1} : T{0}; });
        return {};
      });
}

template <class T>
Status impute(const ConstView& x, const MutableView& y, const std::vector<T>& imputed, T replaced) {
  const int64_t columns = columns_of(x);
  if (imputed.empty() || (imputed.size() != 1 && static_cast<int64_t>(imputed.size()) != columns))
    return wrong_length("the imputed values' attribute", imputed.size(),
                        "1 or " + std::to_string(columns));
  const auto in = x.as<T>();
  const auto out = y.as<T>();
  for (size_t i = 0; i < in.size(); ++i) {
    const bool missing =
        in[i] == replaced || (in[i] != in[i] && replaced != replaced);  // or both NaN
    out[i] = missing ? imputed[imputed.size() == 1 ? 0 : i % imputed.size()] : in[i];
  }
  return {};
}

Status imputer(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const NodeView& node = ctx.node();
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, x.dtype, x.dims));
  return dispatch(
      x.dtype, TypeList<float, double, int64_t, int32_t>{}, "input 0", [&]<class T>() -> Status {
        if constexpr (std::is_floating_point_v<T>) {
          const auto values = node.attr_floats("imputed_value_floats");
          return impute<T>(x, y, std::vector<T>(values.begin(), values.end()),
                           static_cast<T>(node.attr_float("replaced_value_float", 0)));
        } else {
          std::vector<T> values;
          for (const int64_t v : node.attr_ints("imputed_value_int64s"))
            values.push_back(static_cast<T>(v));
          return impute<T>(x, y, values, static_cast<T>(node.attr_int("replaced_value_int64", 0)));
        }
      });
}

// Picks columns: [..., C] and n indices give [..., n]; a vector counts as one row.
Status array_feature_extractor(KernelContext& ctx) {
  const ConstView& x = ctx.input(0);
  const ConstView& indices = ctx.input(1);
  if (indices.dtype != DataType::kInt64) return unsupported_type(indices.dtype, "input 1");
  if (x.rank() == 0 || indices.count == 0)
    return mismatch("input 0 is a scalar, or there are no indices");
  const int64_t columns = x.dims.back();
  for (const int64_t i : indices.as<int64_t>())
    if (i < 0 || i >= columns)
      return mismatch("index " + std::to_string(i) + " is out of range for " +
                      std::to_string(columns) + " columns");
  Dims dims = to_dims(x.dims);
  dims.back() = indices.count;
  if (x.rank() == 1) dims.insert(dims.begin(), 1);
  ONNXTOOL_ASSIGN(const MovedOutput y, MovedOutput::make(ctx, 0, x.dtype, dims));
  const int64_t rows = columns ? x.count / columns : 0;
  dispatch_movement(x.dtype, [&]<class E>() {
    const E* in = static_cast<const E*>(x.data);
    E* out = static_cast<E*>(y.data());
    for (int64_t r = 0; r < rows; ++r)
      for (const int64_t i : indices.as<int64_t>()) *out++ = in[r * columns + i];
  });
  y.finish();
  return {};
}

// Joins inputs along the columns; input i gives inputdimensions[i] of them, zeros where it has
// fewer.
Status feature_vectorizer(KernelContext& ctx) {
  const NodeView& node = ctx.node();
  Dims widths = to_dims(node.attr_ints("inputdimensions"));
  std::vector<FeatureShape> shapes;
  std::vector<std::span<const double>> inputs;
  int64_t total = 0;
  for (int i = 0; i < node.num_inputs(); ++i) {
    const ConstView& x = ctx.input(i);
    const int64_t rows = x.rank() ? (x.rank() == 1 ? 1 : x.dims[0]) : 1;
    shapes.push_back({rows, rows ? x.count / rows : 0});
    if (node.attr_ints("inputdimensions").empty()) widths.push_back(shapes.back().columns);
    if (rows != shapes[0].rows)
      return mismatch("input " + std::to_string(i) + " has " + std::to_string(rows) +
                      " rows, expected " + std::to_string(shapes[0].rows));
    if (static_cast<size_t>(i) >= widths.size() || widths[static_cast<size_t>(i)] < 0)
      return bad_model("inputdimensions has no extent for input " + std::to_string(i));
    const auto sum = checked_add(total, widths[static_cast<size_t>(i)]);
    if (!sum) return bad_model("inputdimensions adds up to more than 2^63");
    total = *sum;
    ONNXTOOL_ASSIGN(inputs.emplace_back(), features_of(ctx, x));
  }
  const Dims dims{shapes[0].rows, total};
  ONNXTOOL_ASSIGN(const MutableView y, ctx.output(0, DataType::kFloat, dims));
  if (y.count == 0) return {};
  float* out = y.as<float>().data();
  for (int64_t r = 0; r < dims[0]; ++r)
    for (size_t i = 0; i < inputs.size(); ++i) {
      const int64_t taken = std::min(widths[i], shapes[i].columns);
      for (int64_t c = 0; c < taken; ++c)
        *out++ = static_cast<float>(inputs[i][static_cast<size_t>(r * shapes[i].columns + c)]);
      out = std::fill_n(out, widths[i] - taken, 0.0f);
    }
  return {};
}

}  // namespace

constinit const KernelInfo kScaler{.domain = "ai.onnx.ml",
                                   .op = "Scaler",
                                   .types = kFeatureTypes,
                                   .prepare = needs_inputs<1>,
                                   .run = scaler};
constinit const KernelInfo kNormalizer{.domain = "ai.onnx.ml",
                                       .op = "Normalizer",
                                       .types = kFeatureTypes,
                                       .prepare = needs_inputs<1>,
                                       .run = normalizer};
constinit const KernelInfo kBinarizer{.domain = "ai.onnx.ml",
                                      .op = "Binarizer",
                                      .types = kFeatureTypes,
                                      .prepare = needs_inputs<1>,
                                      .run = binarizer};
constinit const KernelInfo kImputer{.domain = "ai.onnx.ml",
                                    .op = "Imputer",
                                    .types = kFeatureTypes,
                                    .prepare = needs_inputs<1>,
                                    .run = imputer};
constinit const KernelInfo kArrayFeatureExtractor{.domain = "ai.onnx.ml",
                                                  .op = "ArrayFeatureExtractor",
                                                  .prepare = needs_inputs<2>,
                                                  .run = array_feature_extractor};
constinit const KernelInfo kFeatureVectorizer{.domain = "ai.onnx.ml",
                                              .op = "FeatureVectorizer",
                                              .prepare = needs_every_input,
                                              .run = feature_vectorizer};

}  // namespace onnxtool
