// LRN on a device: the host's source.
#include "calib/kernels/cpu/lrn.cc"
