// What a rule's match returns: a match, silence, or the reason why it came close and did not fire.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace onnxtool {

/// A reason that is formatted only when somebody asks (--explain); most calls pass a literal.
struct NoMatch {
  const char* reason;  // nullptr: the node is none of this rule's business
};

inline NoMatch no_match() { return {nullptr}; }
inline NoMatch no_match(const char* reason) { return {reason}; }

template <class T>
class MatchOr {
 public:
  MatchOr(T match) : match_(std::move(match)) {}   // NOLINT: implicit
  MatchOr(NoMatch none) : reason_(none.reason) {}  // NOLINT: implicit
  explicit operator bool() const { return match_.has_value(); }
  const T& operator*() const { return *match_; }
  const T* operator->() const { return &*match_; }
  const char* reason() const { return reason_; }

 private:
  std::optional<T> match_;
  const char* reason_ = nullptr;
};

}  // namespace onnxtool
