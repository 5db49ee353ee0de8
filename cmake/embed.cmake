# cmake -DOUT=file.cc -DHEADER=apps/report/page.h -DDIRECTORY=dir -DNAMES=kStyle=css,kScript=js -P embed.cmake
#
# Writes a C++ source that defines each name as a std::string_view of all files of that extension, in
# the order of their names.
file(WRITE "${OUT}.new" "#include \"${HEADER}\"\n\nnamespace onnxtool {\n")
string(REPLACE "," ";" NAMES "${NAMES}")
foreach(pair IN LISTS NAMES)
  string(REGEX MATCH "^(.+)=(.+)$" unused "${pair}")
  set(name "${CMAKE_MATCH_1}")
  file(GLOB files "${DIRECTORY}/*.${CMAKE_MATCH_2}")
  list(SORT files)
  file(APPEND "${OUT}.new" "const std::string_view ${name} =")
  foreach(file IN LISTS files)
    file(READ "${file}" text)
    file(APPEND "${OUT}.new" "\n    R\"embedded(${text})embedded\"")
  endforeach()
  file(APPEND "${OUT}.new" ";\n")
endforeach()
file(APPEND "${OUT}.new" "}  // namespace onnxtool\n")
file(RENAME "${OUT}.new" "${OUT}")
