# Runs PROGRAM and compares what it prints with the file EXPECTED.
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE came ERROR_VARIABLE errors RESULT_VARIABLE status)
file(READ ${EXPECTED} expected)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} ended with ${status}\n${came}${errors}")
endif()
if(NOT came STREQUAL expected)
  message(FATAL_ERROR "the output differs from ${EXPECTED}\n--- expected\n${expected}\n--- came\n${came}")
endif()
