# Builds llama-server alone, on the libraries of llama.cpp that llama-cpp-python has built already
# (-DBUILT_LIBRARIES=DIR): a sixth of the work of building all of it.
#
# Given to llama.cpp's own CMakeLists.txt as CMAKE_PROJECT_llama.cpp_INCLUDE.

find_package(Threads REQUIRED)
foreach(library ggml-base ggml-cpu ggml llama)
  add_library(${library} SHARED IMPORTED GLOBAL)
  set_target_properties(${library} PROPERTIES
    IMPORTED_LOCATION ${BUILT_LIBRARIES}/lib${library}.so
    INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_SOURCE_DIR}/include;${CMAKE_CURRENT_SOURCE_DIR}/ggml/include"
    INTERFACE_COMPILE_DEFINITIONS "LLAMA_SHARED;GGML_SHARED;GGML_BACKEND_SHARED;GGML_USE_CPU")
endforeach()
set_property(TARGET ggml PROPERTY INTERFACE_LINK_LIBRARIES ggml-base ggml-cpu)
set_property(TARGET llama PROPERTY INTERFACE_LINK_LIBRARIES ggml)

macro(add_subdirectory folder)
  if(NOT "${folder}" STREQUAL "src")
    _add_subdirectory(${folder} ${ARGN})
  endif()
endmacro()
macro(install)
endmacro()

# Most of the time goes into reading the same headers again.
cmake_language(DEFER CALL set_target_properties mtmd PROPERTIES UNITY_BUILD ON)
foreach(file mtmd-helper.cpp mtmd-helper-gen.cpp)  # which may not see what is inside of mtmd
  cmake_language(EVAL CODE "cmake_language(DEFER CALL set_source_files_properties
    ${CMAKE_CURRENT_SOURCE_DIR}/tools/mtmd/${file} TARGET_DIRECTORY mtmd
    PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)")
endforeach()
foreach(target llama-common server-context llama-server-impl)
  cmake_language(EVAL CODE "cmake_language(DEFER CALL target_precompile_headers ${target} PRIVATE
    <nlohmann/json.hpp> <functional> <map> <regex> <string> <vector>)")
endforeach()
