// The operators of cpu/activation.cc on a device: the same attributes, checks and element functions.
#include "calib/kernels/cpu/activation.cc"
