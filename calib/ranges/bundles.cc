#include "calib/ranges/bundles.h"

#include <algorithm>
#include <utility>

namespace onnxtool {

int64_t Bundles::held(int64_t index) const { return std::min(each_, all_.size() - index * each_); }

Result<Sample> Bundles::read(int64_t index) const {
  Sample bundle;
  for (int64_t i = 0; i < held(index); ++i) {
    ONNXTOOL_ASSIGN(Sample sample, all_.read(index * each_ + i));
    for (Tensor& t : sample.inputs) bundle.inputs.push_back(std::move(t));
  }
  return bundle;
}

std::string Bundles::name_of(int64_t index, int64_t i) const {
  auto sample = all_.read(index * each_ + i);
  return sample.ok() ? std::move(sample->id) : std::to_string(index * each_ + i);
}

std::vector<Tensor> stacked(std::span<const Tensor> samples, size_t inputs) {
  std::vector<Tensor> out;
  for (size_t k = 0; k < inputs; ++k) {
    const Tensor& first = samples[k];
    std::vector<int64_t> dims = first.dims();
    if (dims.empty() || first.dtype() == DataType::kString || bits_of(first.dtype()) % 8 != 0)
      return {};
    dims[0] = 0;
    size_t size = 0;
    for (size_t i = k; i < samples.size(); i += inputs) {
      const Tensor& t = samples[i];
      if (t.dtype() != first.dtype() || t.rank() != first.rank() ||
          t.dims()[0] != samples[i - k].dims()[0] ||
          !std::equal(t.dims().begin() + 1, t.dims().end(), dims.begin() + 1))
        return {};
      dims[0] += t.dims()[0];
      size += t.size_bytes();
    }
    std::vector<std::byte> bytes;
    bytes.reserve(size);
    for (size_t i = k; i < samples.size(); i += inputs)
      bytes.insert(bytes.end(), samples[i].bytes().begin(), samples[i].bytes().end());
    out.push_back(Tensor::from_bytes(first.dtype(), std::move(dims), std::move(bytes)));
  }
  return out;
}

Result<int64_t> fitting_bundle(const SampleSource& source, RunContext& context, int64_t most) {
  for (int64_t each = std::min(most, source.size()); each > 1; each /= 2) {
    ONNXTOOL_ASSIGN(const Sample bundle, Bundles(source, each).read(0));
    const std::vector<Tensor> inputs =
        stacked(bundle.inputs, bundle.inputs.size() / static_cast<size_t>(each));
    const Status ran = inputs.empty() ? Status{} : context.run(inputs, nullptr);
    if (ran.ok()) return each;
    if (ran.error().code != ErrorCode::kOutOfMemory) return 1;  // which names what fails
  }
  return 1;
}

}  // namespace onnxtool
