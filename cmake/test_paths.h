// Where things are, for tests; the build includes this at the head of every test source.
#pragma once

namespace onnxtool::test_paths {
extern const char* const source_dir;
extern const char* const binary;
}  // namespace onnxtool::test_paths

/// The checkout, and the onnxtool program beside which its kernel modules lie: `const char*`.
#define ONNXTOOL_SOURCE_DIR (::onnxtool::test_paths::source_dir)
#define ONNXTOOL_BINARY (::onnxtool::test_paths::binary)
