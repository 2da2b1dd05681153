# SPDX-License-Identifier: MIT
#
# ctest_results: turns ctest's output into PASS, FAIL and SKIP lines. Variable: name (of the stage, for messages).

/Test +#[0-9]+: / {
    line = $0
    sub(/^.*Test +#[0-9]+: /, "", line)
    test = line
    sub(/ .*/, "", test)
    if (line ~ / Passed /)
        print "PASS " name ": " test
    else if (line ~ /\*\*\*Skipped/)
        print "SKIP " name ": " test ": says that it cannot run here"
    else if (match(line, /\*\*\*[A-Za-z ]+/)) {
        why = substr(line, RSTART + 3, RLENGTH - 3)
        sub(/ +$/, "", why)
        print "FAIL " name ": " test ": " why
    }
}
