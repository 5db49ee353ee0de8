# onnx, the specification's own C++ code: operator schemas, per-node checks and shape inference, the
# version converter and the text form. Defines the target onnxtool::onnx.
#
# It is built from the pinned source distribution by cmake/onnx/CMakeLists.txt, once for all presets,
# build directories and checkouts: the result lies in the cache directory under a name that has the
# version and a digest of everything that could change the result.
#
#   ONNXTOOL_ONNX_SOURCE   an unpacked source tree or onnx-1.23.2.tar.gz; else the cached archive is
#                          used, else `pip download` fetches it
#   ONNXTOOL_CACHE_DIR     default: $XDG_CACHE_HOME/onnxtool, else ~/.cache/onnxtool
#   ONNXTOOL_SYSTEM_ONNX   use an installed onnx (>= 1.22) instead

set(onnx_version 1.23.2)
set(onnx_sha256 008cb0467b2bbee41448acc7da8b6f4e704624cb0d327a2d5adafc7ce19bc5b8)

set(ONNXTOOL_ONNX_SOURCE "" CACHE PATH "onnx ${onnx_version}: source tree or .tar.gz (empty: cache, then pip)")
option(ONNXTOOL_SYSTEM_ONNX "Use an installed onnx instead of building the pinned one" OFF)

if(DEFINED ENV{XDG_CACHE_HOME} AND NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
  set(default_cache "$ENV{XDG_CACHE_HOME}/onnxtool")
elseif(DEFINED ENV{HOME} AND NOT "$ENV{HOME}" STREQUAL "")
  set(default_cache "$ENV{HOME}/.cache/onnxtool")
else()
  set(default_cache "${CMAKE_BINARY_DIR}/cache")
endif()
set(ONNXTOOL_CACHE_DIR "${default_cache}" CACHE PATH "Where the built onnx is kept")

if(ONNXTOOL_SYSTEM_ONNX)
  find_package(ONNX 1.22 CONFIG REQUIRED)
  add_library(onnxtool_onnx INTERFACE)
  target_link_libraries(onnxtool_onnx INTERFACE ONNX::onnx)
  add_library(onnxtool::onnx ALIAS onnxtool_onnx)
  return()
endif()

# Sets `out` to an unpacked source tree, verified unless the user named a directory.
function(onnxtool_find_onnx_source work_dir out)
  set(archive "${ONNXTOOL_ONNX_SOURCE}")
  if(archive STREQUAL "")
    set(archive "${ONNXTOOL_CACHE_DIR}/onnx-${onnx_version}.tar.gz")
    if(NOT EXISTS "${archive}")
      find_program(ONNXTOOL_PYTHON3 python3)
      if(NOT ONNXTOOL_PYTHON3)
        message(FATAL_ERROR "onnx ${onnx_version} is not in ${ONNXTOOL_CACHE_DIR} and there is no python3 to "
          "fetch it; pass -DONNXTOOL_ONNX_SOURCE=PATH (source tree or .tar.gz)")
      endif()
      message(STATUS "onnx: fetching the source distribution of ${onnx_version} with pip")
      execute_process(
        COMMAND "${ONNXTOOL_PYTHON3}" -m pip download --quiet --disable-pip-version-check --no-deps
                --no-binary onnx --dest "${work_dir}/download" onnx==${onnx_version}
        RESULT_VARIABLE failed OUTPUT_VARIABLE log ERROR_VARIABLE log)
      if(failed)
        message(FATAL_ERROR "onnx: pip download failed; fetch onnx-${onnx_version}.tar.gz yourself and pass "
          "-DONNXTOOL_ONNX_SOURCE=PATH\n${log}")
      endif()
      set(fetched "${work_dir}/download/onnx-${onnx_version}.tar.gz")
      onnxtool_check_archive("${fetched}")
      file(RENAME "${fetched}" "${archive}")
    endif()
  endif()
  if(IS_DIRECTORY "${archive}")
    set(${out} "${archive}" PARENT_SCOPE)
    return()
  endif()
  onnxtool_check_archive("${archive}")
  file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${work_dir}/source")
  set(${out} "${work_dir}/source/onnx-${onnx_version}" PARENT_SCOPE)
endfunction()

function(onnxtool_check_archive archive)
  if(NOT EXISTS "${archive}")
    message(FATAL_ERROR "onnx: ${archive} does not exist")
  endif()
  file(SHA256 "${archive}" found)
  if(NOT found STREQUAL onnx_sha256)
    message(FATAL_ERROR "onnx: ${archive} is not the pinned source of ${onnx_version}\n"
      "  found    sha256 ${found}\n  expected sha256 ${onnx_sha256}")
  endif()
endfunction()

function(onnxtool_run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed OUTPUT_VARIABLE log ERROR_VARIABLE log)
  if(failed)
    message(FATAL_ERROR "onnx: ${what} failed\n${log}")
  endif()
endfunction()

function(onnxtool_build_onnx prefix)
  set(work_dir "${prefix}.work")  # one a key, and the lock is held: no clash, and a killed build is swept
  file(REMOVE_RECURSE "${work_dir}")
  onnxtool_find_onnx_source("${work_dir}" source)
  cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
  message(STATUS "onnx: building ${onnx_version} (once; about a minute and a half on two cores)")
  # An initial-cache file carries lists, which a command line would tear apart.
  file(WRITE "${work_dir}/settings.cmake" "
    set(CMAKE_MAKE_PROGRAM [[${CMAKE_MAKE_PROGRAM}]] CACHE FILEPATH \"\")
    set(CMAKE_CXX_COMPILER [[${CMAKE_CXX_COMPILER}]] CACHE FILEPATH \"\")
    set(CMAKE_CXX_COMPILER_LAUNCHER [[${CMAKE_CXX_COMPILER_LAUNCHER}]] CACHE STRING \"\")
    set(CMAKE_BUILD_TYPE Release CACHE STRING \"\")
    set(CMAKE_CXX_FLAGS_RELEASE -O2 CACHE STRING \"\")
    set(CMAKE_INSTALL_PREFIX [[${work_dir}/install]] CACHE PATH \"\")
    set(ONNX_SOURCE [[${source}]] CACHE PATH \"\")
    set(ONNX_COMPILE_OPTIONS [[${onnx_options}]] CACHE STRING \"\")
  ")
  onnxtool_run("configuring" "${CMAKE_COMMAND}" -E env --unset=CXXFLAGS --unset=LDFLAGS
    "${CMAKE_COMMAND}" -S "${PROJECT_SOURCE_DIR}/cmake/onnx" -B "${work_dir}/build" -G "${CMAKE_GENERATOR}"
    -C "${work_dir}/settings.cmake")
  onnxtool_run("building" "${CMAKE_COMMAND}" --build "${work_dir}/build" --target install --parallel ${cores})
  file(REMOVE_RECURSE "${prefix}")
  file(RENAME "${work_dir}/install" "${prefix}")
  file(REMOVE_RECURSE "${work_dir}")
endfunction()

# The parsers meet hostile input, so they get our hardening; never a sanitizer, so that one archive
# serves every preset.
set(onnx_options -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2 -D_GLIBCXX_ASSERTIONS)

set(onnx_origin ${onnx_sha256})
if(IS_DIRECTORY "${ONNXTOOL_ONNX_SOURCE}")
  set(onnx_origin "${ONNXTOOL_ONNX_SOURCE}")
endif()
file(SHA256 "${PROJECT_SOURCE_DIR}/cmake/onnx/CMakeLists.txt" onnx_recipe)
string(SHA256 onnx_key "${onnx_origin};${onnx_recipe};${onnx_options};${CMAKE_CXX_COMPILER}\
;${CMAKE_CXX_COMPILER_ID};${CMAKE_CXX_COMPILER_VERSION};${CMAKE_SYSTEM_PROCESSOR};${Protobuf_VERSION}\
;${Protobuf_LIBRARIES}")
string(SUBSTRING "${onnx_key}" 0 12 onnx_key)
set(onnx_prefix "${ONNXTOOL_CACHE_DIR}/onnx-${onnx_version}-${onnx_key}")

if(NOT EXISTS "${onnx_prefix}/lib/libonnx.a")
  file(MAKE_DIRECTORY "${ONNXTOOL_CACHE_DIR}")
  file(LOCK "${onnx_prefix}.lock" TIMEOUT 1800)
  # Somebody else may have built it while we waited.
  if(NOT EXISTS "${onnx_prefix}/lib/libonnx.a")
    onnxtool_build_onnx("${onnx_prefix}")
  endif()
  file(LOCK "${onnx_prefix}.lock" RELEASE)
endif()
message(STATUS "onnx: ${onnx_prefix}")

add_library(onnxtool_onnx STATIC IMPORTED)
set_target_properties(onnxtool_onnx PROPERTIES IMPORTED_LOCATION "${onnx_prefix}/lib/libonnx.a")
target_include_directories(onnxtool_onnx SYSTEM INTERFACE "${onnx_prefix}/include")
target_compile_definitions(onnxtool_onnx INTERFACE ONNX_NAMESPACE=onnx ONNX_ML=1)
target_link_libraries(onnxtool_onnx INTERFACE protobuf::libprotobuf)
add_library(onnxtool::onnx ALIAS onnxtool_onnx)
