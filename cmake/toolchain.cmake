# Faster builds where the tools are there: ccache and a parallel linker.

find_program(ONNXTOOL_CCACHE ccache)
if(ONNXTOOL_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  # Paths below the checkout are hashed as relative ones, so that another clone or worktree of the
  # same sources hits the cache as well.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}"
    CCACHE_NOHASHDIR=1 "${ONNXTOOL_CCACHE}")
endif()

include(CheckLinkerFlag)
foreach(linker mold lld)
  check_linker_flag(CXX -fuse-ld=${linker} onnxtool_has_${linker})
  if(onnxtool_has_${linker})
    add_link_options(-fuse-ld=${linker})
    break()
  endif()
endforeach()
