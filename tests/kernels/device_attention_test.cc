// Attention and rotary embeddings on a device against the host's, in all their forms.
#include <cmath>

#include "libopt/support/half.h"
#include "tests/kernels/device_node.h"

namespace onnxtool::testing {
namespace {

using Inputs = std::vector<std::optional<Tensor>>;

Tensor integers(const std::vector<int32_t>& values, std::vector<int64_t> dims) {
  return Tensor::from<int32_t>(std::move(dims), values);
}

Tensor halves(const Tensor& t) {
  std::vector<Half> v;
  for (const float x : t.values<float>()) v.emplace_back(x);
  return Tensor::from<Half>(t.dims(), v);
}

TEST_CASE("device kernels: attention over heads in any order, masks, caches and caps") {
  DeviceDraws draws;
  const auto qkv = [&](bool packed) -> Inputs {
    if (packed)
      return {draws.floats({2, 9, 4 * 8}), draws.floats({2, 70, 2 * 8}),
              draws.floats({2, 70, 2 * 5})};
    return {draws.floats({2, 4, 9, 8}), draws.floats({2, 2, 70, 8}), draws.floats({2, 2, 70, 5})};
  };
  for (const bool packed : {false, true}) {
    const std::string heads = packed ? "q_num_heads = 4, kv_num_heads = 2" : "scale = 0.5";
    for (const int mode : {0, 1, 2, 3}) {
      Inputs inputs = qkv(packed);
      inputs.push_back(draws.floats({2, 1, 9, 70}));
      check_on_devices("Attention <" + heads +
                           ", is_causal = 1, softcap = 2.0, qk_matmul_output_mode = " +
                           std::to_string(mode) + ">",
                       inputs, 4, 1e-5);
    }
    // A mask of fewer keys hides the others.
    Inputs shorter = qkv(packed);
    shorter.push_back(draws.floats({9, 33}));
    check_on_devices("Attention <" + heads + ">", shorter, 1, 1e-5);
    Inputs past = qkv(packed);
    past.resize(4);
    past.push_back(draws.floats({2, 2, 3, 8}));
    past.push_back(draws.floats({2, 2, 3, 5}));
    check_on_devices("Attention <" + heads + ", is_causal = 1>", past, 3, 1e-5);
    for (size_t i = 0; i < past.size(); ++i)
      if (past[i]) past[i] = halves(*past[i]);
    check_on_devices("Attention <" + heads + ", is_causal = 1>", past, 3, 2e-3);
    Inputs valid = qkv(packed);
    valid.resize(6);
    valid.push_back(Tensor::from<int64_t>({2}, std::vector<int64_t>{70, 4}));  // rows without a key
    check_on_devices("Attention <" + heads + ", is_causal = 1>", valid, 1, 1e-5);
  }
  Inputs shown = qkv(false);
  std::vector<uint8_t> bits(2 * 70);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = i % 3 == 0;
  shown.push_back(Tensor::from_bytes(DataType::kBool, {2, 1, 1, 70},
                                     {reinterpret_cast<const std::byte*>(bits.data()),
                                      reinterpret_cast<const std::byte*>(bits.data() + 140)}));
  check_on_devices("Attention", shown, 1, 1e-5);
}

TEST_CASE("device kernels: attention in tiles of queries, keys and elements, and of wider heads") {
  DeviceDraws draws;
  const auto times = [](Tensor t, float by) {
    std::vector<float> v = t.values<float>();
    for (float& x : v) x *= by;
    return Tensor::from<float>(t.dims(), v);
  };
  // Elements of a head of keys and of values; the last two do not fit.
  const std::pair<int64_t, int64_t> sizes[] = {{1, 1},    {8, 64},  {64, 5},   {65, 3},
                                               {30, 100}, {128, 1}, {129, 16}, {16, 130}};
  for (const auto& [size, value_size] : sizes)
    for (const auto& [queries, keys] :
         {std::pair<int64_t, int64_t>{16, 1}, {33, 32}, {70, 100}, {15, 33}})
      // Large scores: maxima that grow from tile to tile.
      check_on_devices("Attention <is_causal = " + std::to_string(keys % 2) + ", scale = 2.0>",
                       {times(draws.floats({2, 2, queries, size}), 3),
                        draws.floats({2, 1, keys, size}), draws.floats({2, 1, keys, value_size})},
                       1, 1e-5);
  // Sums of many tiles.
  check_on_devices("Attention", {draws.floats({1, 1, 20, 64}), draws.floats({1, 1, 4000, 64}),
                                 draws.floats({1, 1, 4000, 64})},
                   1, 1e-6);
  // Heads among the others of a row, with a mask, a cap, and rows that see nothing.
  Inputs packed = {draws.floats({2, 40, 3 * 20}), draws.floats({2, 75, 3 * 20}),
                   draws.floats({2, 75, 3 * 70}), draws.floats({1, 3, 40, 75})};
  check_on_devices("Attention <q_num_heads = 3, kv_num_heads = 3, softcap = 1.5>", packed, 1, 1e-5);
  packed.resize(6);
  packed.push_back(Tensor::from<int64_t>({2}, std::vector<int64_t>{0, 34}));
  check_on_devices("Attention <q_num_heads = 3, kv_num_heads = 3, is_causal = 1>", packed, 1, 1e-5);
  // What is not a number or infinite stays where it is seen.
  std::vector<float> odd = packed[1]->values<float>();
  odd[3] = std::nanf(""), odd[75 * 60 + 7] = INFINITY;
  packed[1] = Tensor::from<float>(packed[1]->dims(), odd);
  packed.resize(4);
  check_on_devices("Attention <q_num_heads = 3, kv_num_heads = 3, is_causal = 1>", packed, 1, 1e-5);
}

TEST_CASE("device kernels: MultiHeadAttention of packed inputs, biases, paddings and pasts") {
  DeviceDraws draws;
  const std::string node = "com.microsoft.MultiHeadAttention <num_heads = 2>",
                    causal = "com.microsoft.MultiHeadAttention <num_heads = 2, unidirectional = 1>";
  check_on_devices(node, {draws.floats({2, 5, 2, 3, 8})}, 1, 1e-5);
  check_on_devices(causal, {draws.floats({2, 5, 16}), draws.floats({2, 7, 2, 2, 8})}, 1, 1e-5);
  const auto separate = [&] {
    return Inputs{draws.floats({2, 5, 16}), draws.floats({2, 7, 16}), draws.floats({2, 7, 12}),
                  draws.floats({16 + 16 + 12})};
  };
  for (const int padding : {0, 1, 2, 3}) {  // lengths; ends and begins; an element for each key
    Inputs inputs = separate();
    inputs.push_back(padding == 0   ? integers({7, 2}, {2})
                     : padding == 1 ? integers({7, 5, 1, 3}, {4})
                     : padding == 2 ? draws.below<int32_t>(2, {2, 7})
                                    : draws.below<int32_t>(2, {2, 5, 7}));
    inputs.push_back(draws.floats({1, 2, 5, 7}));
    check_on_devices(causal, inputs, 1, 1e-5);
    for (auto& input : inputs)
      if (input->dtype() == DataType::kFloat) input = halves(*input);
    check_on_devices(node, inputs, 1, 2e-3);
  }
  Inputs cached = separate();
  cached.resize(6);
  cached.push_back(draws.floats({2, 2, 3, 8}));
  cached.push_back(draws.floats({2, 2, 3, 6}));
  check_on_devices(causal, cached, 4, 1e-5);
  for (auto& input : cached)
    if (input) input = halves(*input);
  check_on_devices(causal, cached, 4, 2e-3);
  // Another layer's keys and values.
  check_on_devices(node,
                   {draws.floats({2, 5, 16}), draws.floats({2, 2, 7, 8}),
                    draws.floats({2, 2, 7, 8}), draws.floats({48})},
                   1, 1e-5);
}

TEST_CASE("device kernels: com.microsoft.Attention projects, with and without a past") {
  DeviceDraws draws;
  const std::string node = "com.microsoft.Attention <num_heads = 2, unidirectional = 1>";
  check_on_devices(
      node,
      {draws.floats({2, 5, 10}), draws.floats({10, 24}), draws.floats({24}), integers({5, 2}, {2})},
      2, 1e-5);
  check_on_devices(node,
                   {draws.floats({2, 5, 10}), draws.floats({10, 24}), draws.floats({24}),
                    std::nullopt, draws.floats({2, 2, 2, 3, 4})},
                   2, 1e-5);
  check_on_devices("com.microsoft.Attention <num_heads = 2, qkv_hidden_sizes = [8, 8, 20]>",
                   {draws.floats({2, 5, 10}), draws.floats({10, 36}), draws.floats({36})}, 1, 1e-5);
}

TEST_CASE("device kernels: groups of query heads over a cache, turned by position") {
  DeviceDraws draws;
  for (const std::string attributes : {"", ", local_window_size = 3", ", do_rotary = 1",
                                       ", do_rotary = 1, rotary_interleaved = 1"})
    for (const bool packed : {false, true}) {
      Inputs inputs(9);
      if (packed) {
        inputs[0] = draws.floats({2, 1, (4 + 2 + 2) * 8});
      } else {
        inputs[0] = draws.floats({2, 1, 4 * 8});
        inputs[1] = draws.floats({2, 1, 2 * 8});
        inputs[2] = draws.floats({2, 1, 2 * 8});
      }
      inputs[3] = draws.floats({2, 2, 6, 8});
      inputs[4] = draws.floats({2, 2, 6, 8});
      inputs[5] = integers({5, 2}, {2});  // the last keys: 5 and 2 rows of the past are valid
      inputs[6] = integers({6}, {});
      inputs[7] = draws.floats({9, 3});
      inputs[8] = draws.floats({9, 3});
      const std::string node =
          "com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2" + attributes + ">";
      check_on_devices(node, inputs, 3, 1e-5);
      for (auto& input : inputs)
        if (input && input->dtype() == DataType::kFloat) input = halves(*input);
      check_on_devices(node, inputs, 3, 2e-3);
    }
}

TEST_CASE("device kernels: rotary embeddings of some of a head, by position and by offset") {
  DeviceDraws draws;
  for (const std::string interleaved : {"0", "1"}) {
    const std::string attributes = "RotaryEmbedding <interleaved = " + interleaved;
    check_on_devices(attributes + ", rotary_embedding_dim = 4>",
                     {draws.floats({2, 3, 5, 8}), draws.floats({9, 2}), draws.floats({9, 2}),
                      draws.below<int64_t>(9, {2, 5})},
                     1, 1e-6);
    check_on_devices(attributes + ", num_heads = 3>",
                     {draws.floats({2, 5, 24}), draws.floats({2, 5, 4}), draws.floats({2, 5, 4})},
                     1, 1e-6);
    check_on_devices(
        "com.microsoft." + attributes + ">",
        {draws.floats({2, 3, 5, 8}), Tensor::from<int64_t>({1}, std::vector<int64_t>{3}),
         draws.floats({9, 4}), draws.floats({9, 4})},
        1, 1e-6);
  }
}

}  // namespace
}  // namespace onnxtool::testing
