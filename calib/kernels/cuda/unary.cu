// The operators of cpu/unary.cc on a device: the same attributes, checks and element functions.
#include "calib/kernels/cpu/unary.cc"
