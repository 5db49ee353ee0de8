#include "quant/gemm_parts.h"

#include "libopt/support/half.h"
#include "quant/attributes.h"

namespace onnxtool {

Value& product_data(Rewriter& rw, const Node& product) {
  Value& x = product.input(0);
  if (!product.is("Gemm") || !product.attr<int64_t>("transA", 0)) return x;
  return rw
      .add_node("Transpose", {&x}, one_attribute("perm", std::vector<int64_t>{1, 0}), 1,
                x.name() + "_transposed")
      .output(0);
}

Value* product_addend(Rewriter& rw, const Node& product) {
  if (!product.is("Gemm") || !product.has_input(2)) return nullptr;
  Value& c = product.input(2);
  const float beta = product.attr<float>("beta", 1);
  if (beta == 1) return &c;
  if (const Tensor* t = c.constant(); t && t->dtype() == DataType::kFloat) {
    std::vector<float> values = t->values<float>();
    for (float& v : values) v *= beta;
    return &rw.add_constant(Tensor::from(t->dims(), values), c.name() + "_scaled");
  }
  const Tensor factor = c.type().dtype == DataType::kFloat16
                            ? Tensor::from({}, std::vector<Half>{Half(beta)})
                            : Tensor::scalar(beta);
  Value& constant = rw.add_constant(factor, c.name() + "_factor");
  return &rw.add_node("Mul", {&c, &constant}, {}, 1, c.name() + "_scaled").output(0);
}

}  // namespace onnxtool
