// What a file or a user can cause travels as Status or Result<T>; our own mistakes throw
// InternalError, which main() alone catches (exit 3). Header-only, so that kernel modules can use
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace onnxtool {

/// Stable kinds of failure; error_name() is what users and reports see.
enum class ErrorCode : uint8_t {
  kUsage,        // a flag or its value
  kNotFound,     // a file or directory that does not exist or cannot be opened
  kBadModel,     // bytes that are no model, or a model that breaks its own rules
  kBadData,      // calibration or evaluation data that cannot be read
  kMismatch,     // data that does not fit the model: names, shapes, types
  kNotFinite,    // NaN or infinity where only finite values make sense
  kUnsupported,  // an operator, type or feature that this build cannot run
  kWriteFailed,  // the output could not be written completely
  kLimit,        // one of our own limits fired; the message names its flag
  kOutOfMemory,
  kNegative,  // ran, and the answer is no (exit 1)
};

constexpr const char* error_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage: return "usage";
    case ErrorCode::kNotFound: return "not-found";
    case ErrorCode::kBadModel: return "bad-model";
    case ErrorCode::kBadData: return "bad-data";
    case ErrorCode::kMismatch: return "mismatch";
    case ErrorCode::kNotFinite: return "not-finite";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kWriteFailed: return "write-failed";
    case ErrorCode::kLimit: return "limit";
    case ErrorCode::kOutOfMemory: return "out-of-memory";
    case ErrorCode::kNegative: return "negative";
  }
  return "unknown";
}

/// message: lower-case first letter, no final period; place, found, expected. hint: what to try.
struct Error {
  ErrorCode code;
  std::string message;
  std::string hint;

  int exit_code() const { return code == ErrorCode::kNegative ? 1 : 2; }
  /// The same error with `place: ` in front, as it travels up to who knows the file or node.
  Error at(const std::string& place) && {
    message = place + ": " + message;
    return std::move(*this);
  }
};

/// Success, or an Error. Cheap to return when ok.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::make_unique<Error>(std::move(error))) {}  // NOLINT: implicit
  bool ok() const { return error_ == nullptr; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::unique_ptr<Error> error_;
};

/// A T, or an Error.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit
  bool ok() const { return state_.index() == 0; }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

/// A mistake of ours, never of the input.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] inline void check_failed(const char* file, int line, const char* what) {
  throw InternalError(std::string(file) + ":" + std::to_string(line) + ": check failed: " + what);
}

}  // namespace onnxtool

#define ONNXTOOL_CHECK(condition) \
  ((condition) ? void(0) : ::onnxtool::check_failed(__FILE__, __LINE__, #condition))

/// Returns from the calling function when the expression (a Status) is an error.
#define ONNXTOOL_TRY(expression)                                                  \
  do {                                                                            \
    if (::onnxtool::Status onnxtool_status = (expression); !onnxtool_status.ok()) \
      return std::move(onnxtool_status).error();                                  \
  } while (false)

#define ONNXTOOL_CONCAT_(a, b) a##b
#define ONNXTOOL_CONCAT(a, b) ONNXTOOL_CONCAT_(a, b)
/// ONNXTOOL_ASSIGN(auto x, f()): x gets the value of a Result, or the function returns its error.
#define ONNXTOOL_ASSIGN(declaration, expression) \
  ONNXTOOL_ASSIGN_(ONNXTOOL_CONCAT(onnxtool_result_, __LINE__), declaration, expression)
#define ONNXTOOL_ASSIGN_(temporary, declaration, expression) \
  auto temporary = (expression);                             \
  if (!temporary.ok()) return std::move(temporary).error();  \
  declaration = *std::move(temporary)
