// com.microsoft's elementwise operators of 8-bit codes on a device: the host's source.
#include "calib/kernels/cpu/qlinear_elementwise.cc"
