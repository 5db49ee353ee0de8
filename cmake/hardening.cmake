# What every object of ours is compiled and linked with: warnings, hardening, sanitizers.
# All of it hangs on one interface target, onnxtool_flags.

include(CheckCXXCompilerFlag)

option(ONNXTOOL_WERROR "Warnings are errors" OFF)
set(ONNXTOOL_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize: address,undefined or thread")

add_library(onnxtool_flags INTERFACE)

target_compile_options(onnxtool_flags INTERFACE
  -Wall -Wextra -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wformat=2
  -Wimplicit-fallthrough -Wvla -Wundef -Wextra-semi
  -Wno-missing-field-initializers  # designated initializers leave defaults out on purpose
  # A reader that decides by fall-through or an ignored Status is a bug, whatever the build.
  -Werror=return-type -Werror=unused-result)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(onnxtool_flags INTERFACE -Wduplicated-cond -Wlogical-op
    # These follow values through the optimizer and, in g++ 12, accuse the standard library's code.
    -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds -Wno-restrict -Wno-free-nonheap-object)
endif()
if(ONNXTOOL_WERROR OR "$ENV{CI}" STREQUAL "true")
  target_compile_options(onnxtool_flags INTERFACE -Werror)
endif()

# A result must not depend on whether the compiler saw a chance for a fused multiply-add.
target_compile_options(onnxtool_flags INTERFACE -ffp-contract=off)

target_compile_options(onnxtool_flags INTERFACE -fstack-protector-strong)
check_cxx_compiler_flag(-fstack-clash-protection onnxtool_has_stack_clash)
if(onnxtool_has_stack_clash)
  target_compile_options(onnxtool_flags INTERFACE -fstack-clash-protection)
endif()
check_cxx_compiler_flag(-fcf-protection=full onnxtool_has_cf_protection)
if(onnxtool_has_cf_protection)
  target_compile_options(onnxtool_flags INTERFACE -fcf-protection=full)
endif()
target_link_options(onnxtool_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)

if(ONNXTOOL_SANITIZE)
  target_compile_options(onnxtool_flags INTERFACE -fsanitize=${ONNXTOOL_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(onnxtool_flags INTERFACE -fsanitize=${ONNXTOOL_SANITIZE})
else()
  # The sanitizers replace what fortified functions check. -U: some distributions predefine it.
  target_compile_options(onnxtool_flags INTERFACE
    $<$<CONFIG:Release,RelWithDebInfo>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
endif()

# Range-checked containers where the input is hostile or nobody measures time. The executor is left
# out of release: its inner loops index.
set(onnxtool_container_checks $<NOT:$<CONFIG:Release,RelWithDebInfo>>)
if(ONNXTOOL_SANITIZE)
  set(onnxtool_container_checks 1)
endif()
