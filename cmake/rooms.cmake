# A room is one directory tree of the repository that becomes one library. Sources are found by glob:
# a new file needs no line here. The include root is the repository.

# Sets `out` to the C++ sources below the directories.
function(onnxtool_sources out)
  set(patterns)
  foreach(directory IN LISTS ARGN)
    list(APPEND patterns "${PROJECT_SOURCE_DIR}/${directory}/*.cc")
  endforeach()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${patterns})
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    list(FILTER sources EXCLUDE REGEX "_(avx2|avx512)\\.cc$")
  endif()
  # Only these two kinds of file may hold instructions beyond the baseline; the caller looks at the
  # CPU before it enters one. They must not define or instantiate inline functions that others use:
  # the linker keeps one copy and could keep theirs.
  set(avx2 -mavx2 -mfma -mf16c)
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni)
  foreach(source IN LISTS sources)
    # The loops that these files are made of have unknown lengths: at -O2 g++ 12 vectorizes none of them
    # without being told to weigh the cost (the sigmoid runs at 0.6 instead of 4.9 ns an element).
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND source MATCHES "_(baseline|avx2|avx512)\\.cc$|/kernels/dnnl/|/ranges/channel_sums\\.cc$")
      set_property(SOURCE "${source}" APPEND PROPERTY COMPILE_OPTIONS -fvect-cost-model=dynamic)
    endif()
    # Jumps that g++ 12 draws into the loops' clamps make each instruction wait for a mask. No value
    # depends on these two flags (nobody reads the exception flags).
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND source MATCHES "/vector_math_[a-z0-9]+\\.cc$")
      set_property(SOURCE "${source}" APPEND PROPERTY COMPILE_OPTIONS -fno-trapping-math -fno-thread-jumps)
    endif()
    if(source MATCHES "_(avx2|avx512)\\.cc$")
      # g++ 12's own intrinsics start from an undefined register by `__Y = __Y`.
      set_property(SOURCE "${source}" APPEND PROPERTY COMPILE_OPTIONS ${${CMAKE_MATCH_1}}
        -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

# onnxtool_room(NAME DIRECTORIES d... [EXCLUDE file...] [LINK target...] [CONTAINER_CHECKS])
#
# CONTAINER_CHECKS keeps libstdc++'s range checks in release builds: for rooms that handle hostile
# input and do not index in inner loops.
function(onnxtool_room name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "CONTAINER_CHECKS" "" "DIRECTORIES;EXCLUDE;LINK")
  onnxtool_sources(sources ${arg_DIRECTORIES})
  foreach(file IN LISTS arg_EXCLUDE)
    list(REMOVE_ITEM sources "${PROJECT_SOURCE_DIR}/${file}")
  endforeach()
  if(NOT sources)
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE "${PROJECT_SOURCE_DIR}")
    target_link_libraries(${name} INTERFACE ${arg_LINK})
    return()
  endif()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PUBLIC ${arg_LINK} PRIVATE onnxtool_flags)
  if(arg_CONTAINER_CHECKS)
    target_compile_definitions(${name} PRIVATE _GLIBCXX_ASSERTIONS)
  else()
    target_compile_definitions(${name} PRIVATE $<${onnxtool_container_checks}:_GLIBCXX_ASSERTIONS>)
  endif()
endfunction()

function(onnxtool_executable name)
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_options(${name} PRIVATE -pie)
  target_compile_definitions(${name} PRIVATE $<${onnxtool_container_checks}:_GLIBCXX_ASSERTIONS>)
endfunction()

# Makes target `name`, which turns each schema into <build>/generated/<same directory>/<stem>_generated.h.
function(onnxtool_flatbuffers name pattern)
  file(GLOB schemas CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${pattern}")
  set(headers)
  foreach(schema IN LISTS schemas)
    cmake_path(RELATIVE_PATH schema BASE_DIRECTORY "${PROJECT_SOURCE_DIR}" OUTPUT_VARIABLE relative)
    cmake_path(GET relative PARENT_PATH directory)
    cmake_path(GET relative STEM stem)
    set(header "${PROJECT_BINARY_DIR}/generated/${directory}/${stem}_generated.h")
    add_custom_command(OUTPUT "${header}"
      COMMAND "${ONNXTOOL_FLATC}" --cpp --scoped-enums --gen-object-api --force-empty -o "${PROJECT_BINARY_DIR}/generated/${directory}" "${schema}"
      DEPENDS "${schema}" VERBATIM)
    list(APPEND headers "${header}")
  endforeach()
  add_custom_target(${name} DEPENDS ${headers})
endfunction()

# `room` includes headers that `generator` writes.
function(onnxtool_depends room generator)
  get_target_property(type ${room} TYPE)
  if(NOT type STREQUAL "INTERFACE_LIBRARY")
    target_include_directories(${room} SYSTEM PUBLIC "${PROJECT_BINARY_DIR}/generated")
    add_dependencies(${room} ${generator})
  endif()
endfunction()

# Adds to `room` the text of files as variables: those that `header` declares, from all files of an
# extension in `directory`. NAMES are NAME=EXTENSION.
function(onnxtool_embed room header directory)
  cmake_parse_arguments(PARSE_ARGV 3 arg "" "" "NAMES")
  file(GLOB files CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${directory}/*")
  cmake_path(REPLACE_EXTENSION header "cc" OUTPUT_VARIABLE source)
  set(source "${PROJECT_BINARY_DIR}/generated/${source}")
  cmake_path(GET source PARENT_PATH parent)
  file(MAKE_DIRECTORY "${parent}")
  list(JOIN arg_NAMES "," names)
  add_custom_command(OUTPUT "${source}"
    COMMAND "${CMAKE_COMMAND}" "-DOUT=${source}" "-DHEADER=${header}"
      "-DDIRECTORY=${PROJECT_SOURCE_DIR}/${directory}" "-DNAMES=${names}"
      -P "${PROJECT_SOURCE_DIR}/cmake/embed.cmake"
    DEPENDS ${files} "${PROJECT_SOURCE_DIR}/cmake/embed.cmake" VERBATIM)
  target_sources(${room} PRIVATE "${source}")
endfunction()
