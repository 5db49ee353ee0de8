// Trilu on a device: the host's source.
#include "calib/kernels/cpu/trilu.cc"
