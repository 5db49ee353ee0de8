// Loops compiled for several instruction sets, the widest one that the machine has chosen when the
// module is loaded. They are element-wise, so every version gives the same bits.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ONNXTOOL_MULTIVERSION __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define ONNXTOOL_MULTIVERSION
#endif
