// Parsing of Einsum's equation (see the header).

#include "calib/kernels/cpu/einsum_equation.h"

namespace onnxtool {
namespace {

Error bad_equation(std::string_view text, std::string_view why) {
  return bad_model("equation '" + std::string(text) + "' " + std::string(why));
}

// Letters of one term, -1 for its ellipsis.
Result<AxisLabels> parse_term(std::string_view text, std::string_view term) {
  AxisLabels labels;
  for (size_t i = 0; i < term.size(); ++i) {
    const char c = term[i];
    if (c >= 'A' && c <= 'Z')
      labels.push_back(c - 'A');
    else if (c >= 'a' && c <= 'z')
      labels.push_back(26 + c - 'a');
    else if (term.substr(i, 3) == "..." && std::ranges::find(labels, -1) == labels.end()) {
      labels.push_back(-1);
      i += 2;
    } else {
      return bad_equation(text,
                          "has '" + std::string(1, c) + "' where a letter or one ... may stand");
    }
  }
  return labels;
}

// The ellipsis replaced by `axes` labels.
AxisLabels expand(const AxisLabels& term, size_t axes) {
  AxisLabels labels;
  for (const int label : term) {
    if (label >= 0)
      labels.push_back(label);
    else
      for (size_t i = axes; i-- > 0;) labels.push_back(kFirstEllipsisLabel + static_cast<int>(i));
  }
  return labels;
}

AxisLabels implied_output(const std::vector<AxisLabels>& terms, size_t ellipsis) {
  int seen[kFirstEllipsisLabel] = {};
  for (const AxisLabels& term : terms)
    for (const int label : term)
      if (label >= 0) ++seen[label];
  AxisLabels output = expand({-1}, ellipsis);
  for (int label = 0; label < kFirstEllipsisLabel; ++label)
    if (seen[label] == 1) output.push_back(label);
  return output;
}

}  // namespace

Result<EinsumEquation> parse_einsum(std::string_view text, std::span<const size_t> ranks) {
  std::string plain;
  for (const char c : text)
    if (c != ' ') plain += c;
  std::string_view left = plain, right;
  const size_t arrow = left.find("->");
  const bool is_explicit = arrow != std::string_view::npos;
  if (is_explicit) {
    right = left.substr(arrow + 2);
    left = left.substr(0, arrow);
  }
  std::vector<AxisLabels> terms;
  for (size_t begin = 0; begin <= left.size();) {
    const size_t comma = std::min(left.find(',', begin), left.size());
    ONNXTOOL_ASSIGN(AxisLabels term, parse_term(text, left.substr(begin, comma - begin)));
    terms.push_back(std::move(term));
    begin = comma + 1;
  }
  if (terms.size() != ranks.size())
    return bad_equation(text, "has " + std::to_string(terms.size()) + " terms for " +
                                  std::to_string(ranks.size()) + " inputs");
  EinsumEquation equation;
  size_t ellipsis = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    const bool open = std::ranges::find(terms[i], -1) != terms[i].end();
    const size_t letters = terms[i].size() - (open ? 1 : 0);
    if (letters > ranks[i] || (!open && letters != ranks[i]))
      return bad_equation(text, "names " + std::to_string(letters) + " axes of input " +
                                    std::to_string(i) + ", which has rank " +
                                    std::to_string(ranks[i]));
    equation.inputs.push_back(expand(terms[i], ranks[i] - letters));
    if (open) ellipsis = std::max(ellipsis, ranks[i] - letters);
  }
  equation.output = implied_output(terms, ellipsis);
  if (!is_explicit) return equation;
  ONNXTOOL_ASSIGN(const AxisLabels output, parse_term(text, right));
  equation.output = expand(output, ellipsis);
  for (size_t i = 0; i < equation.output.size(); ++i) {
    const int label = equation.output[i];
    const auto rest = std::span(equation.output).subspan(i + 1);
    const bool known = std::ranges::any_of(equation.inputs, [&](const AxisLabels& term) {
      return std::ranges::find(term, label) != term.end();
    });
    if (!known || std::ranges::find(rest, label) != rest.end())
      return bad_equation(text, "has an output axis that no input has, or one twice");
  }
  return equation;
}

}  // namespace onnxtool
