# Stand-in for the SlicerConfig.cmake of a Slicer build: what the extension's CMake files call, as strict and no more.
# Modules install where a Slicer extension's scripted modules do.
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/CPack.cmake)
set(Slicer_FOUND TRUE)
