// The operators of cpu/compare.cc on a device: the same attributes, checks and element functions.
#include "calib/kernels/cpu/compare.cc"
