// Operands, masks and caches of attention on a device: the host's sources.
#include "calib/kernels/cpu/attention_operands.cc"
#include "calib/kernels/cpu/key_padding.cc"
