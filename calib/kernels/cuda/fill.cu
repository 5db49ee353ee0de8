// ConstantOfShape, Range and EyeLike on a device: the host's source.
#include "calib/kernels/cpu/fill.cc"
