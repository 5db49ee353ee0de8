# A line for each operator schema that the specification's code defines:
#
#   SCHEMA("Onnx", 13, "Abs", onnx::ONNX_OPERATOR_SET_SCHEMA_CLASS_NAME(Onnx, 13, Abs))
#
# with the set of operators that it is of, the version that it came with, and its class. onnx's own
# registry makes all of them when the first one is asked for, which takes longer than all else that a
# command does with a small model; from this table libopt/analysis/standard_schemas.cc makes only
# those that are asked for.

set(onnx_target onnxtool_onnx)
if(ONNXTOOL_SYSTEM_ONNX)
  set(onnx_target ONNX::onnx)
endif()
get_target_property(onnx_include "${onnx_target}" INTERFACE_INCLUDE_DIRECTORIES)

set(table "// Made by cmake/schemas.cmake of onnx's operator_sets*.h.\n")
foreach(header operator_sets.h operator_sets_ml.h operator_sets_preview.h operator_sets_training.h)
  unset(found)
  find_file(found "onnx/defs/${header}" PATHS ${onnx_include} NO_DEFAULT_PATH NO_CACHE)
  if(NOT found)
    message(FATAL_ERROR "onnx: no onnx/defs/${header} in ${onnx_include}")
  endif()
  file(STRINGS "${found}" lines REGEX "fn\\(GetOpSchema<")
  foreach(line IN LISTS lines)
    if(NOT line MATCHES "GetOpSchema<([A-Z_]+\\((([A-Za-z]+), )?([0-9]+), ([A-Za-z0-9_]+)\\))>")
      message(FATAL_ERROR "onnx: ${found}: cannot read '${line}'")
    endif()
    string(APPEND table "SCHEMA(\"${CMAKE_MATCH_3}\", ${CMAKE_MATCH_4}, \"${CMAKE_MATCH_5}\", onnx::${CMAKE_MATCH_1})\n")
  endforeach()
endforeach()
# Written only where it differs, so that nothing is compiled again.
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/generated/libopt/analysis/standard_schemas.inc" CONTENT "${table}" @ONLY)
