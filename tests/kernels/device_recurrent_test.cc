// RNN, GRU and LSTM on a device against the host's, in all their forms.
#include "libopt/support/half.h"
#include "tests/kernels/device_node.h"

namespace onnxtool::testing {
namespace {

struct RecurrentOperator {
  const char* name;
  int64_t gates;
  bool has_cells;
};

struct RecurrentForm {
  const char* attributes;
  int64_t directions;
  bool batch_first, bias, lengths, states, peepholes;
};

// Of 4 steps, 3 rows, 5 inputs and 6 units.
std::vector<std::optional<Tensor>> recurrent_inputs(DeviceDraws& draws, const RecurrentOperator& op,
                                                    const RecurrentForm& form) {
  const int64_t d = form.directions, rows = op.gates * 6;
  std::vector<std::optional<Tensor>> inputs(op.has_cells ? 8 : 6);
  inputs[0] = draws.floats(form.batch_first ? std::vector<int64_t>{3, 4, 5}
                                            : std::vector<int64_t>{4, 3, 5});
  inputs[1] = draws.floats({d, rows, 5});
  inputs[2] = draws.floats({d, rows, 6});
  if (form.bias) inputs[3] = draws.floats({d, 2 * rows});
  if (form.lengths) inputs[4] = Tensor::from<int32_t>({3}, std::vector<int32_t>{4, 0, 2});
  const std::vector<int64_t> state =
      form.batch_first ? std::vector<int64_t>{3, d, 6} : std::vector<int64_t>{d, 3, 6};
  if (form.states) inputs[5] = draws.floats(state);
  if (form.states && op.has_cells) inputs[6] = draws.floats(state);
  if (form.peepholes && op.has_cells) inputs[7] = draws.floats({d, 18});
  return inputs;
}

TEST_CASE("device kernels: recurrent operators in every direction and layout, of ended sequences") {
  const RecurrentOperator operators[] = {{"RNN", 1, false}, {"GRU", 3, false}, {"LSTM", 4, true}};
  const RecurrentForm forms[] = {
      {"", 1, false, false, false, false, false},
      {", direction = \"reverse\", clip = 0.3", 1, false, true, true, true, true},
      {", direction = \"bidirectional\", layout = 1", 2, true, true, true, true, true},
      {", direction = \"bidirectional\", clip = 0.5", 2, false, true, false, true, false},
  };
  DeviceDraws draws;
  for (const RecurrentOperator& op : operators)
    for (const RecurrentForm& form : forms)
      for (const bool other : {false, true}) {
        const std::string own = !other                 ? ""
                                : op.gates == 3        ? ", linear_before_reset = 1"
                                : op.gates == 4        ? ", input_forget = 1"
                                : form.directions == 2 ? ", activations = [\"Affine\", "
                                                         "\"Softsign\"], activation_alpha = [0.5], "
                                                         "activation_beta = [0.25]"
                                                       : ", activations = [\"ScaledTanh\"], "
                                                         "activation_alpha = [0.5], "
                                                         "activation_beta = [2.0]";
        const std::string node =
            std::string(op.name) + " <hidden_size = 6" + form.attributes + own + ">";
        auto inputs = recurrent_inputs(draws, op, form);
        check_on_devices(node, inputs, op.has_cells ? 3 : 2, 1e-5);
        for (auto& input : inputs) {
          if (!input || input->dtype() != DataType::kFloat) continue;
          std::vector<Half> v;
          for (const float x : input->values<float>()) v.emplace_back(x);
          input = Tensor::from<Half>(input->dims(), v);
        }
        check_on_devices(node, inputs, op.has_cells ? 3 : 2, 2e-3);
      }
}

}  // namespace
}  // namespace onnxtool::testing
