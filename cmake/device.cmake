# Kernels of a device (calib/kernels/cuda): one set of sources that nvcc builds as the module
# onnxtool-cuda.so where there is a CUDA toolkit, and that the host's compiler builds as a module of
# the tests, over memory that stands in for a device's.

option(ONNXTOOL_CUDA "Build onnxtool-cuda.so (nvcc 12 or later, cuBLASLt); off until a device has run it" OFF)

file(GLOB onnxtool_device_kernels CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/calib/kernels/cuda/*.cu")
list(FILTER onnxtool_device_kernels EXCLUDE REGEX "_(cuda|cublas|cudnn)\\.cu$")

# Code of the host's kernels that touches no elements, and the loops behind element types.
set(onnxtool_device_shared)
foreach(name broadcast_operand common concat conv_common conv_transpose_shape convert
    einsum_equation embedding fused_activation indices matmul_shape nbits norm_shape pad_index quant_layout
    quant_params recurrent_activations recurrent_node reduction reshape resize_axis resize_node
    slice transpose vector_math walk window)
  list(APPEND onnxtool_device_shared "${PROJECT_SOURCE_DIR}/calib/kernels/cpu/${name}.cc")
endforeach()
file(GLOB loops CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/calib/kernels/cpu/vector_math_*.cc")
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  list(FILTER loops EXCLUDE REGEX "_(avx2|avx512)\\.cc$")
endif()
list(APPEND onnxtool_device_shared ${loops} "${PROJECT_SOURCE_DIR}/libopt/ir/format_dims.cc"
  "${PROJECT_SOURCE_DIR}/calib/kernels/cuda/module.cc")

function(onnxtool_device_module name output)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_compile_definitions(${name} PRIVATE ONNXTOOL_DEVICE_KERNELS)
  set_target_properties(${name} PROPERTIES
    PREFIX "" OUTPUT_NAME ${output} SUFFIX .so
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON CUDA_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  if(NOT ONNXTOOL_SANITIZE)
    target_link_options(${name} PRIVATE -Wl,--no-undefined)
  endif()
endfunction()

function(onnxtool_device_on_host)
  add_library(onnxtool_device_on_host MODULE ${onnxtool_device_kernels} ${onnxtool_device_shared}
    "${PROJECT_SOURCE_DIR}/calib/kernels/cuda/backend_host.cc")
  set_source_files_properties(${onnxtool_device_kernels} PROPERTIES
    LANGUAGE CXX COMPILE_OPTIONS "-xc++")
  onnxtool_device_module(onnxtool_device_on_host onnxtool-device-on-host)
  target_link_libraries(onnxtool_device_on_host PRIVATE onnxtool_flags)
  target_compile_options(onnxtool_device_on_host PRIVATE -O1)
endfunction()
