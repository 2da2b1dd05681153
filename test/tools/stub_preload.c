/* SPDX-License-Identifier: MIT
 *
 * stub_preload: stands in for liballot_malloc.so in the tests of the tool: it publishes figures that never change and leaves malloc
 * alone. STUB_ENVIRONMENT=1 prints the variables that the tool has set.
 *
 * Concurrency. one thread. */
#include <allot/stat_file.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { records = 6 };

struct stat_file {
    allot_stat_header header;
    allot_stat_record record[records];
};

static const uint64_t mib = 1 << 20;

/* One group; `own` is its share, in two classes. */
static void describe(allot_stat_record* to, const char* name, uint32_t parent, uint64_t usage, int64_t own) {
    to->usage = usage;
    to->peak = usage + 4096;
    to->max = UINT64_MAX;
    to->high = UINT64_MAX;
    to->parent = parent;
    to->slab = own / 4;
    to->large = own - own / 4;
    to->allocations = usage / 1000;
    strncpy(to->name, name, sizeof to->name - 1);
    to->state = ALLOT_RECORD_OPEN;
}

static void publish(void) {
    const char* folder = getenv("ALLOT_STAT_DIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/%d.stat", folder != NULL ? folder : ".", (int)getpid());
    const int fd = folder != NULL ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd < 0 || ftruncate(fd, sizeof(struct stat_file)) != 0)
        return;
    struct stat_file* file = mmap(NULL, sizeof *file, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (file == MAP_FAILED)
        return;
    allot_stat_record* r = file->record;
    describe(&r[0], "/", 0, 10 * mib, (int64_t)mib - 96); /* 96 bytes are on their way between two counters */
    describe(&r[1], "sqlite", 0, 7 * mib, (int64_t)(4 * mib));
    describe(&r[2], "never used", 0, 0, 0);
    describe(&r[3], "deep", 1, 3 * mib, (int64_t)(3 * mib));
    describe(&r[4], "worker", 0, 2 * mib, (int64_t)(2 * mib));
    describe(&r[5], "gone", 0, mib, (int64_t)mib);
    r[1].max = 128 * mib;
    r[2].peak = 0;
    r[3].failures = 7;
    r[5].state = ALLOT_RECORD_FREE;
    file->header.version = ALLOT_STAT_VERSION;
    file->header.record_bytes = sizeof *r;
    file->header.capacity = records;
    file->header.used = records;
    file->header.pid = getpid();
    file->header.magic = getenv("STUB_BAD_MAGIC") != NULL ? 1 : ALLOT_STAT_MAGIC;
}

__attribute__((constructor)) static void start(void) {
    publish();
    pthread_atfork(NULL, NULL, publish);
    static const char* const variables[] = {"ALLOT_RULES", "ALLOT_GROUP_BY", "ALLOT_MAX", "LD_PRELOAD"};
    if (getenv("STUB_ENVIRONMENT") != NULL)
        for (int i = 0; i < 4; ++i)
            printf("%s=%s\n", variables[i], getenv(variables[i]) != NULL ? getenv(variables[i]) : "(unset)");
}
