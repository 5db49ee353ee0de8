// Elements of small integer tensors, from which shapes are made.
#include <algorithm>
#include <limits>

#include "libopt/analysis/type_inference.h"
#include "libopt/ir/constant.h"
#include "libopt/ir/unread.h"
#include "libopt/support/checked.h"

namespace onnxtool {
namespace {

using onnx::TensorShapeProto;

class PropagationContext final : public onnx::DataPropagationContext {
 public:
  PropagationContext(TypeInference& run, const Node& node, int depth)
      : run_(run), facts_(run, node), depth_(depth) {
    for (int i = 0; i < node.num_outputs(); ++i)
      if (node.has_output(i))
        seam::to_proto(node.output(i).type(), facts_.output_type(static_cast<size_t>(i)));
  }
  const onnx::AttributeProto* getAttribute(const std::string& name) const override {
    return facts_.attribute(name);
  }
  size_t getNumInputs() const override { return facts_.num_inputs(); }
  const onnx::TypeProto* getInputType(size_t i) const override { return facts_.input_type(i); }
  size_t getNumOutputs() const override { return facts_.num_outputs(); }
  const onnx::TypeProto* getOutputType(size_t i) const override { return &facts_.output_type(i); }
  const TensorShapeProto* getInputData(size_t i) override {
    const Value* value = facts_.input(i);
    return value && is_list(value->type()) ? run_.elements(*value, depth_ + 1) : nullptr;
  }
  void addOutputData(size_t i, TensorShapeProto&& elements) override {
    if (i < facts_.num_outputs() && facts_.node().has_output(static_cast<int>(i)) &&
        elements.dim_size() <= kMaxTrackedElements)
      run_.set_elements(facts_.node().output(static_cast<int>(i)), std::move(elements));
  }

 private:
  TypeInference& run_;
  mutable NodeFacts facts_;
  int depth_;
};

// Propagation computes in 64 bits: beyond a narrower type's range the operator itself would wrap.
bool fits(const TensorShapeProto& elements, DataType dtype) {
  return dtype == DataType::kInt64 || std::ranges::all_of(elements.dim(), [](const auto& d) {
           return d.dim_value() >= std::numeric_limits<int32_t>::min() &&
                  d.dim_value() <= std::numeric_limits<int32_t>::max();
         });
}

// Whether a trackable value's type has that many elements, where it tells: a declared matrix is
// indexed by its extents, whatever the value turns out to hold.
bool is_whole(const ValueType& type, int64_t elements) {
  return is_list(type) || checked_product(*type.static_dims()) == elements;
}

}  // namespace

std::optional<Tensor> known_tensor(const Value& value) {
  if (const Tensor* t = value.constant()) return *t;
  if (value.initializer() && value.graph().model().ir_version < 4 &&
      !unread_data(*value.initializer()))
    return *value.initializer();
  return value.producer() ? constant_of(*value.producer()) : std::nullopt;
}

bool is_trackable(const ValueType& type) {
  return type.is_tensor() &&
         (type.dtype == DataType::kInt64 || type.dtype == DataType::kInt32 ||
          type.dtype == DataType::kBool) &&
         (is_list(type) || (type.rank() == 2 && type.static_dims()));
}

const TensorShapeProto* TypeInference::elements(const Value& value, int depth) {
  if (strict()) return nullptr;
  if (const auto found = elements_.find(&value); found != elements_.end())
    return found->second ? &*found->second : nullptr;
  if (!is_trackable(value.type())) return nullptr;
  elements_[&value] = std::nullopt;
  if (const std::optional<Tensor> t = known_tensor(value); t && t->dtype() == value.type().dtype) {
    if (t->count() > kMaxTrackedElements || !is_whole(value.type(), t->count())) return nullptr;
    TensorShapeProto shape;
    for (const int64_t v : t->to_ints()) shape.add_dim()->set_dim_value(v);
    set_elements(value, std::move(shape));
  } else if (const Node* producer = value.producer();
             producer && producer->num_outputs() == 1 && depth < kMaxTrackedNodes) {
    const auto* schema =
        seam::standard_schema(producer->op_type(), producer->domain(), opset_of(*producer));
    if (producer->is("Size"))
      count_elements(*producer);
    else if (seam::computes_elements(*producer))
      compute(*producer, depth);
    else if (schema && schema->has_data_propagation_function() && is_list(value.type()))
      propagate(*producer, *schema, depth);
    auto& found = elements_[&value];
    if (found && (!is_whole(value.type(), found->dim_size()) || !fits(*found, value.type().dtype)))
      found.reset();
  }
  auto& known = elements_[&value];
  if (!known && value.type().rank() == 1 &&
      value.type().shape->front().value.value_or(kMaxTrackedElements + 1) <= kMaxTrackedElements) {
    // So many elements, each unknown: a Reshape by it still has a known rank.
    known.emplace();
    for (int64_t i = 0; i < *value.type().shape->front().value; ++i) known->add_dim();
  }
  return known ? &*known : nullptr;
}

// onnx's function for Size knows vectors only.
void TypeInference::count_elements(const Node& size) {
  const auto dims = size.has_input(0) ? size.input(0).type().static_dims() : std::nullopt;
  const auto count = dims ? checked_product(*dims) : std::nullopt;
  if (!count) return;
  TensorShapeProto elements;
  elements.add_dim()->set_dim_value(*count);
  set_elements(size.output(0), std::move(elements));
}

void TypeInference::compute(const Node& node, int depth) {
  auto made = seam::elements_of(node, [&](const Value& v) { return elements(v, depth + 1); });
  if (made && made->dim_size() <= kMaxTrackedElements)
    set_elements(node.output(0), *std::move(made));
}

void TypeInference::propagate(const Node& node, const onnx::OpSchema& schema, int depth) {
  PropagationContext context(*this, node, depth);
  // It only makes inference sharper; a shape that it cannot follow is no fault of the model.
  [[maybe_unused]] const Status ignored =
      seam::guarded(node.describe(), [&] { schema.GetDataPropagationFunction()(context); });
}

std::optional<std::vector<Dim>> symbolic_elements(const Value& value) {
  TypeInference run;
  const auto dims = value.type().static_dims();
  const TensorShapeProto* elements = dims && dims->size() <= 1 ? run.elements(value) : nullptr;
  if (!elements || elements->dim_size() != (dims->empty() ? 1 : dims->front())) return std::nullopt;
  std::vector<Dim> out;
  for (const auto& d : elements->dim())
    out.push_back(d.has_dim_value() ? Dim::of(d.dim_value()) : Dim::named(d.dim_param()));
  return out;
}

std::optional<std::vector<int64_t>> known_elements(const Value& value) {
  const auto elements = symbolic_elements(value);
  if (!elements) return std::nullopt;
  std::vector<int64_t> out;
  for (const Dim& d : *elements) {
    if (!d.value) return std::nullopt;
    out.push_back(*d.value);
  }
  return out;
}

}  // namespace onnxtool
