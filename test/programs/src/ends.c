/* SPDX-License-Identifier: MIT
 *
 * ends HOW: keeps 5 MiB in 1000-byte blocks and 3 MiB in one, then ends by return, exit, _exit, SIGKILL, abort, or a signal to
 * wait for.
 *
 * Concurrency. one thread. */
#include "check.h"

#include <signal.h>
#include <stdio.h>

int main(int argc, char** argv) {
    const char* how = argc > 1 ? argv[1] : "return";
    for (int i = 0; i < 5 * 1024; ++i) {
        char* block = malloc(1000);
        CHECK(block != NULL);
        block[0] = 1;
    }
    char* large = malloc(3 << 20);
    CHECK(large != NULL);
    large[0] = 1;
    puts("ok");
    fflush(stdout);
    if (strcmp(how, "exit") == 0)
        exit(7);
    if (strcmp(how, "_exit") == 0)
        _exit(8);
    if (strcmp(how, "kill") == 0)
        raise(SIGKILL);
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "wait") == 0)
        for (;;)
            pause();
    return 0;
}
