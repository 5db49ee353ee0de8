// The noise that quantization adds between two layers, as a function of how the channels between
// them are scaled, and its least value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace onnxtool {

/// The noise that 8-bit codes add to the second layer's outputs, each row relative to its output's
/// size, where channel i between the layers is divided by 2^e_i:
///
///   J(e) = sum over rows o of 1/b_o^2 ( (A^2 / 255^2 + F^2 T / 127^2) * sum_i p_i |W_oi|^2 4^e_i
///                                     + M_o^2 / 127^2 * sum_i q_i 4^-e_i )
///
///   A = kRangeShare max_i r_i 2^-e_i, the activation's range;  M_o = max_i |W_oi| 2^e_i, the row's
///   of the second weights;  p_i the share of channel i that is not zero (zero has a code of its
///   own), q_i its mean square times the weights of a row that it meets. The common factor 1/12 of
///   rounding noise is left out. Rows with a scale each take a channel's factor with them: F = 0.
///   Where all of a tensor share one, F = max_i f_i 2^-e_i is the range of the first weights, T
///   the mean square that a row of these meets in all, and M_o the largest of all rows.
class ChannelNoise {
 public:
  /// What is known of the channels: `reach` and `energy` are r and q above, `nonzero` is p.
  struct Channels {
    std::vector<double> reach, nonzero, energy;
  };

  /// row_size: b above. A row whose outputs are all zero counts for nothing.
  ChannelNoise(Channels channels, const std::vector<double>& row_size);

  /// The weights with which a row meets a channel, or some of them.
  void add_weights(int64_t row, int64_t channel, std::span<const float> weights);
  /// One scale for all rows: f and T above.
  void share_scales(std::vector<double> first_weights, double first_energy);

  /// J where nothing is rescaled, once all weights are there.
  double unscaled();
  /// Exponents that lower J by steps of one, from the start given. Returns by what factor J fell
  /// against e = 0.
  double settle(std::vector<int>& e);

 private:
  // The largest of values that are divided by factors, and the largest but one.
  struct Largest {
    double most = 0, next = 0;
    size_t channel = 0;
    void find(const std::vector<double>& values, const std::vector<double>& factors);
    double after(size_t i, double value) const;
  };

  size_t at(int64_t row, size_t channel) const;
  void prepare();
  double row_range(int64_t row) const;
  double sum(double range, double first, double by_activation, double by_weight,
             double mean_square) const;
  double start(const std::vector<int>& e);
  double try_step(size_t i, int step, double limit);
  void take_step(size_t i, int step);

  int64_t rows_, channels_;
  std::vector<float> largest_, by_channel_;  // |W|: [rows, channels] and [channels, rows]
  std::vector<double> weight_;               // [rows]: 1 / b^2
  std::vector<double> column_;               // [channels]: sum over rows of |W_oi|^2 / b_o^2
  Channels of_;
  std::vector<double> first_weights_;       // [channels]; empty: rows have scales of their own
  double first_energy_ = 0, weights_ = 0;   // T, and the sum of weight_
  std::vector<double> factor_, row_range_;  // [channels]: 2^e; [rows]: M
  double by_activation_ = 0, mean_square_ = 0;
  Largest reach_, first_;
  bool prepared_ = false;
};

}  // namespace onnxtool
