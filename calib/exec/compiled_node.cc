#include <cstring>

#include "calib/exec/plan_impl.h"
#include "libopt/io/pages.h"

namespace onnxtool {

const ConstView& AlignedTensor::view() {
  if (ready_.load(std::memory_order_acquire)) return view_;
  const std::lock_guard lock(mutex_);
  if (ready_.load(std::memory_order_relaxed)) return view_;
  const std::span<const std::byte> bytes = tensor_.bytes();
  // Kernels rely on the element's natural alignment only; a copy is also padded to the widest
  // vector.
  const auto natural = static_cast<size_t>(std::max(bits_of(tensor_.dtype()) / 8, 1));
  const void* data = bytes.data();
  if (tensor_.dtype() == DataType::kString) {
    data = tensor_.strings().data();
  } else if (reinterpret_cast<uintptr_t>(data) % natural != 0) {
    copy_.reset(std::aligned_alloc(
        kBufferAlignment, (bytes.size() + kBufferAlignment) / kBufferAlignment * kBufferAlignment));
    if (!copy_) throw std::bad_alloc();
    // In parts, whose originals leave memory at once: a large tensor is never there twice.
    constexpr size_t kPart = size_t{4} << 20;
    for (size_t at = 0; at < bytes.size(); at += kPart) {
      const size_t size = std::min(kPart, bytes.size() - at);
      std::memcpy(static_cast<std::byte*>(copy_.get()) + at, bytes.data() + at, size);
      release_pages(tensor_, at, size);
    }
    data = copy_.get();
  }
  view_ = ConstView{tensor_.dtype(), tensor_.dims(), data, tensor_.count()};
  ready_.store(true, std::memory_order_release);
  return view_;
}

void AlignedTensor::drop() {
  // What is packed elsewhere need not be in memory twice; whoever looks again reads the file again.
  release_pages(tensor_);
  if (!copy_) return;
  ready_ = false;
  copy_.reset();
}

CompiledNode::CompiledNode(const Node& node, int threads)
    : description(node.describe()),
      op_type_(node.op_type()),
      domain_(node.domain()),
      opset_(node.opset()),
      threads_(threads) {
  for (const Attribute& a : node.attributes()) {
    if (const auto* v = a.get<float>())
      attributes_.emplace_back(a.name, *v);
    else if (const auto* i = a.get<int64_t>())
      attributes_.emplace_back(a.name, *i);
    else if (const auto* s = a.get<std::string>())
      attributes_.emplace_back(a.name, *s);
    else if (const auto* fs = a.get<std::vector<float>>())
      attributes_.emplace_back(a.name, *fs);
    else if (const auto* is = a.get<std::vector<int64_t>>())
      attributes_.emplace_back(a.name, *is);
    else if (const auto* ss = a.get<std::vector<std::string>>())
      attributes_.emplace_back(a.name, *ss);
    else if (const auto* t = a.get<NamedTensor>())
      attributes_.emplace_back(a.name, std::make_shared<AlignedTensor>(t->tensor));
  }
}

void CompiledNode::become(std::string_view op_type, std::string_view domain, int opset) {
  op_type_ = op_type;
  domain_ = domain;
  opset_ = opset;
}

void CompiledNode::set_attribute(std::string_view name,
                                 const std::variant<float, int64_t, std::string_view>& value) {
  const auto payload = [](const auto& v) -> Payload {
    if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::string_view>)
      return std::string(v);
    else
      return v;
  };
  std::erase_if(attributes_, [&](const auto& a) { return a.first == name; });
  attributes_.emplace_back(name, std::visit(payload, value));
}

std::string CompiledNode::operators() const {
  constexpr std::string_view kNames[] = {"Add",  "Relu",      "LeakyRelu",   "Clip", "Sigmoid",
                                         "Tanh", "HardSwish", "HardSigmoid", "Silu"};
  std::string text = op_type_;
  if (biased) text += " + Add";
  for (const PostOp& op : fused) text += " + " + std::string(kNames[static_cast<size_t>(op.kind)]);
  return text;
}

const CompiledNode::Payload* CompiledNode::find(std::string_view name) const {
  for (const auto& [key, value] : attributes_)
    if (key == name) return &value;
  return nullptr;
}

const ConstView* CompiledNode::constant(int i) const {
  if (i >= static_cast<int>(constants.size()) || !constants[static_cast<size_t>(i)]) return nullptr;
  return &constants[static_cast<size_t>(i)]->view();
}

void CompiledNode::drop_constant(int i) const { dropped[static_cast<size_t>(i)] = true; }

std::string_view CompiledNode::attr_string(std::string_view name, std::string_view fallback) const {
  const Payload* p = find(name);
  const auto* v = p ? std::get_if<std::string>(p) : nullptr;
  return v ? std::string_view(*v) : fallback;
}

std::span<const int64_t> CompiledNode::attr_ints(std::string_view name) const {
  const Payload* p = find(name);
  const auto* v = p ? std::get_if<std::vector<int64_t>>(p) : nullptr;
  return v ? std::span<const int64_t>(*v) : std::span<const int64_t>();
}

std::span<const float> CompiledNode::attr_floats(std::string_view name) const {
  const Payload* p = find(name);
  const auto* v = p ? std::get_if<std::vector<float>>(p) : nullptr;
  return v ? std::span<const float>(*v) : std::span<const float>();
}

std::vector<std::string_view> CompiledNode::attr_strings(std::string_view name) const {
  const Payload* p = find(name);
  const auto* v = p ? std::get_if<std::vector<std::string>>(p) : nullptr;
  return v ? std::vector<std::string_view>(v->begin(), v->end()) : std::vector<std::string_view>();
}

const ConstView* CompiledNode::attr_tensor(std::string_view name) const {
  const Payload* p = find(name);
  const auto* v = p ? std::get_if<std::shared_ptr<AlignedTensor>>(p) : nullptr;
  return v ? &(*v)->view() : nullptr;
}

}  // namespace onnxtool
