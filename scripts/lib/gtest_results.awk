# SPDX-License-Identifier: MIT
#
# gtest_results: turns the output of one GoogleTest run into PASS, FAIL and SKIP lines, one a case.
# Variables: what (its name in messages), status (its exit status), log_file (where the whole output is), rerun (1 if the
# cases that a crash left out run again, so that they do not count here).

function fail(text) { print "FAIL " what ": " text; ++failed }

/^\[==========\] Running [0-9]+ test/ { total = $3 }
/^\[ RUN      \] / { running = $4; reason = "" }
/: Failure$/ && reason == "" { reason = $1; sub(/:$/, "", reason) }
/: Skipped$/ { getline reason }
/^\[       OK \] / { print "PASS " what ": " $4; ++ended; running = "" }
/^\[  SKIPPED \] .* \([0-9]+ ms\)$/ { print "SKIP " what ": " $4 ": " reason; ++ended; running = "" }
/^\[  FAILED  \] .* \([0-9]+ ms\)$/ { sub(/,$/, "", $4); fail($4 ": " reason); ++ended; running = "" }
/^\[  PASSED  \] / { complete = 1 }
/^(WARNING|SUMMARY|==[0-9]+==ERROR).*Sanitizer/ && report == "" { report = $0 }
/: runtime error: / && report == "" { report = $0 }
/^allot: BUG/ { report = $0 }

END {
    why = report != "" ? report : "exit status " status
    if (status == 124)
        why = "took too long"
    if (running != "")
        fail(running ": " why " (" log_file ")")
    left = rerun ? 0 : total - ended - (running != "")
    if (left > 0)
        fail(left " cases were not run: " why)
    if (total == "")
        fail("ran nothing: " why " (" log_file ")")
    else if (complete && (report != "" || (status != 0 && failed == 0)))
        fail(why " after all cases (" log_file ")")
}
