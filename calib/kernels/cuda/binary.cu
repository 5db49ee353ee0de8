// The operators of cpu/binary.cc on a device: the same attributes, checks and element functions.
#include "calib/kernels/cpu/binary.cc"
