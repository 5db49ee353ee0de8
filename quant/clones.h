// Functions compiled for several instruction sets, of which the loader takes the best.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ONNXTOOL_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define ONNXTOOL_CLONES
#endif
/// What they call: a function of its own would be compiled for the least of them.
#define ONNXTOOL_INSIDE __attribute__((always_inline)) inline
