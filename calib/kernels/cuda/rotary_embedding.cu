// RotaryEmbedding on a device: the host's source.
#include "calib/kernels/cpu/rotary_embedding.cc"
