// Lines of a tensor [outer, n, inner] that a kernel reduces, element by element.
#pragma once

#include "calib/kernels/cuda/elements.h"

namespace onnxtool::device {

/// Where a line begins; its elements lie `inner` apart.
struct Lines {
  Lines(int64_t length, int64_t step)
      : n(length), inner(step), by_inner(step), by_block(length * step) {}
  int64_t n, inner;
  Divider by_inner, by_block;
  ONNXTOOL_HD int64_t start(int64_t line) const {
    const int64_t column = by_inner.split(line);
    return line * n * inner + column;
  }
  ONNXTOOL_HD int64_t line_of(int64_t element) const {
    return by_block.quotient(element) * inner + by_inner.remainder(element);
  }
};

/// A sum over each line: terms of Term(element, line) in double.
template <class Term, class Finish>
struct SumLine {
  using Part = double;
  Lines lines;
  Term term;
  Finish done;
  ONNXTOOL_HD int64_t length() const { return lines.n; }
  ONNXTOOL_HD Part start() const { return 0; }
  ONNXTOOL_HD void add(Part& part, int64_t line, int64_t i) const {
    part += term(lines.start(line) + i * lines.inner, line);
  }
  ONNXTOOL_HD void merge(Part& a, const Part& b) const { a += b; }
  ONNXTOOL_HD void finish(int64_t line, const Part& part) const { done(line, part); }
};

template <class Term, class Finish>
void sum_lines(int64_t count, Lines lines, const Term& term, const Finish& done) {
  reduce_lines(count, SumLine<Term, Finish>{lines, term, done}, lines.inner > 1);
}

}  // namespace onnxtool::device
