/* SPDX-License-Identifier: MIT
 *
 * spawn_names: a child of vfork that names itself must not move its parent's thread, and posix_spawn and system work.
 *
 * Concurrency. one thread. */
#define _GNU_SOURCE
#include "check.h"

#include <spawn.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

extern char** environ;

int main(void) {
    const pid_t pid = vfork();
    CHECK(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_NAME, "intruder", 0, 0, 0);
        _exit(3);
    }
    int state = 0;
    CHECK(waitpid(pid, &state, 0) == pid && WEXITSTATUS(state) == 3);
    for (int i = 0; i < 1000; ++i)
        CHECK(malloc(1000) != NULL);
    pid_t spawned = 0;
    char* arguments[] = {"sh", "-c", "exit 4", NULL};
    CHECK(posix_spawn(&spawned, "/bin/sh", NULL, NULL, arguments, environ) == 0);
    CHECK(waitpid(spawned, &state, 0) == spawned && WEXITSTATUS(state) == 4);
    CHECK(WEXITSTATUS(system("exit 5")) == 5);
    FILE* pipe = popen("echo text", "r");
    char line[16] = "";
    CHECK(pipe != NULL && fgets(line, sizeof line, pipe) != NULL && strcmp(line, "text\n") == 0 && pclose(pipe) == 0);
    puts("ok");
    fflush(stdout);
    _exit(0);
}
