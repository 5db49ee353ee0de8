# Libraries from the system. Which room may use which is written in the top-level file.

find_package(Threads REQUIRED)
find_package(Protobuf 3.21 REQUIRED)
find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto)
find_package(fmt 9 REQUIRED)
find_package(TBB 2021 REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(tomlplusplus 3.3 REQUIRED)
find_package(doctest 2.4 REQUIRED)

# FlatBuffers is used through its headers only.
find_path(FLATBUFFERS_INCLUDE_DIR flatbuffers/flatbuffers.h REQUIRED)
find_program(ONNXTOOL_FLATC flatc REQUIRED)

# Debian's libzip-config.cmake demands command line programs from a package that its -dev package
# does not pull in, so the library is found by name.
find_path(LIBZIP_INCLUDE_DIR zip.h REQUIRED)
find_library(LIBZIP_LIBRARY zip REQUIRED)
add_library(onnxtool_libzip UNKNOWN IMPORTED)
set_target_properties(onnxtool_libzip PROPERTIES IMPORTED_LOCATION "${LIBZIP_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${LIBZIP_INCLUDE_DIR}")

# Debian's RE2 comes without a CMake configuration.
find_path(RE2_INCLUDE_DIR re2/re2.h REQUIRED)
find_library(RE2_LIBRARY re2 REQUIRED)
add_library(onnxtool_libre2 UNKNOWN IMPORTED)
set_target_properties(onnxtool_libre2 PROPERTIES IMPORTED_LOCATION "${RE2_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${RE2_INCLUDE_DIR}")

# oneDNN serves only the optional kernel module. Debian's dnnl-config.cmake demands OpenCL's headers,
# which libdnnl-dev does not pull in and a CPU kernel does not need, so it too is found by name.
set(ONNXTOOL_DNNL AUTO CACHE STRING "Build the oneDNN kernel module: AUTO (when found), ON, OFF")
set_property(CACHE ONNXTOOL_DNNL PROPERTY STRINGS AUTO ON OFF)
set(onnxtool_have_dnnl OFF)
if(NOT ONNXTOOL_DNNL STREQUAL "OFF")
  find_path(DNNL_INCLUDE_DIR dnnl.hpp)
  find_library(DNNL_LIBRARY dnnl)
  find_package(OpenMP QUIET COMPONENTS CXX)
  if(DNNL_INCLUDE_DIR AND DNNL_LIBRARY AND OpenMP_CXX_FOUND)
    set(onnxtool_have_dnnl ON)
    add_library(onnxtool_libdnnl UNKNOWN IMPORTED)
    set_target_properties(onnxtool_libdnnl PROPERTIES IMPORTED_LOCATION "${DNNL_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${DNNL_INCLUDE_DIR}")
  elseif(ONNXTOOL_DNNL STREQUAL "ON")
    message(FATAL_ERROR "ONNXTOOL_DNNL=ON, but oneDNN (libdnnl-dev) or OpenMP was not found")
  endif()
endif()
