/* SPDX-License-Identifier: MIT
 *
 * The C interface from C11: it compiles without warnings, and the ways in work. Prints what failed; exit status 1 then.
 */
#include <allot/allot.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int failures;

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                                   \
            ++failures;                                                                                                \
        }                                                                                                              \
    } while (0)

static int count_groups(allot_group* group, void* data) {
    (void)group;
    ++*(int*)data;
    return 0;
}

static void append(const char* text, size_t size, void* data) {
    char* all = data;
    const size_t used = strlen(all);
    if (used + size < 65536) {
        memcpy(all + used, text, size);
        all[used + size] = '\0';
    }
}

static void test_groups(void) {
    allot_limits limits = ALLOT_LIMITS_INIT;
    allot_group* tenant = NULL;
    allot_group* again = NULL;
    char path[64];
    int count = 0;

    limits.max = 1u << 20;
    EXPECT(allot_group_create(allot_root(), "tenant", &limits, &tenant) == 0);
    EXPECT(allot_group_create(allot_root(), "tenant", NULL, &again) == -EEXIST);
    EXPECT(allot_group_create(allot_root(), "a/b", NULL, &again) == -EINVAL);
    EXPECT(allot_group_find("/tenant", &again) == 0 && again == tenant);
    allot_group_put(again);
    EXPECT(allot_group_path(tenant, path, sizeof path) == 7 && strcmp(path, "/tenant") == 0);
    EXPECT(allot_group_path(tenant, path, 4) == 7 && strcmp(path, "/te") == 0);
    EXPECT(strcmp(allot_group_name(tenant), "tenant") == 0);
    EXPECT(allot_group_walk(allot_root(), count_groups, &count) == 0 && count >= 2);

    allot_limits read;
    allot_group_limits(tenant, &read);
    EXPECT(read.min == 0 && read.low == 0 && read.high == ALLOT_UNLIMITED && read.max == 1u << 20);
    limits.max = 2u << 20;
    limits.low = 4096;
    EXPECT(allot_group_set(tenant, &limits) == 0);
    allot_group_limits(tenant, &read);
    EXPECT(read.low == 4096 && read.max == 2u << 20);

    EXPECT(allot_group_close(tenant, NULL) == 0);
    EXPECT(allot_group_close(tenant, NULL) == -ENOENT);
    EXPECT(allot_group_close(allot_root(), NULL) == -EBUSY);
    EXPECT(!allot_group_is_open(tenant));
    EXPECT(allot_group_find("/tenant", &again) == -ENOENT);
    allot_group_put(tenant);
    allot_group_put(NULL);
}

static void test_memory(void) {
    allot_limits limits = ALLOT_LIMITS_INIT;
    allot_group* group = NULL;
    allot_scope scope;
    allot_stat stat;
    allot_report report;
    allot_failure failure;
    char text[256];

    limits.max = 256 * 1024;
    EXPECT(allot_group_create(allot_root(), "memory", &limits, &group) == 0);
    allot_enter(group, &scope);
    char* block = allot_malloc(100);
    EXPECT(block != NULL && allot_usable_size(block) >= 100 && allot_owns(block));
    block = allot_realloc(block, 5000);
    EXPECT(block != NULL);
    memset(block, 1, 5000);
    errno = 0;
    EXPECT(allot_malloc(1u << 20) == NULL && errno == ENOMEM);
    allot_leave(&scope);

    EXPECT(allot_last_failure(&failure));
    EXPECT(strcmp(failure.group, "/memory") == 0 && failure.limit == 256 * 1024 && failure.request >= 1u << 20);
    EXPECT(allot_failure_text(&failure, text, sizeof text) == strlen(text));
    EXPECT(strstr(text, "memory: out of memory: ") != NULL && strstr(text, " of 256.0 KiB in use, ") != NULL);

    allot_group* owner = allot_owner_of(block);
    EXPECT(owner == group);
    allot_group_put(owner);
    allot_group_stat(group, &stat);
    EXPECT(stat.current >= 5000 && stat.current <= 256 * 1024 && stat.failures >= 1);

    EXPECT(allot_group_close(group, &report) == 0);
    EXPECT(report.groups == 1 && report.bytes >= 5000 && report.nr_lines >= 1);
    allot_group_put(group);
    allot_free(block);
    allot_quiesce();
    EXPECT(allot_verify(NULL) == 0);
}

static void test_charges_and_caches(void) {
    allot_charge charge = {0};
    allot_charge part = {0};
    allot_cache_options options = {.size = 48, .flags = ALLOT_CACHE_ZERO};
    allot_cache_report left;
    static char json[65536];

    EXPECT(allot_try_charge(allot_root(), 1000, &charge) == 0 && charge.bytes == 1000);
    EXPECT(allot_charge_split(&charge, 400, &part) == 0 && charge.bytes == 600 && part.bytes == 400);
    EXPECT(allot_charge_resize(&charge, 50) == 0 && charge.bytes == 50);
    allot_uncharge(&charge);
    allot_uncharge(&part);
    allot_uncharge(&part);
    EXPECT(part.owner == NULL && part.bytes == 0);

    allot_cache* cache = allot_cache_create("widget", &options);
    EXPECT(cache != NULL && strcmp(allot_cache_name(cache), "widget") == 0);
    unsigned char* widget = allot_cache_alloc(cache);
    EXPECT(widget != NULL && widget[0] == 0 && widget[47] == 0);
    allot_cache_free(cache, widget);
    allot_cache_destroy(cache, &left);
    EXPECT(left.live == 0);

    EXPECT(allot_snapshot(ALLOT_FORMAT_JSON, append, json) == 0 && strchr(json, '{') != NULL);
    EXPECT(strlen(allot_version()) >= 5);
}

int main(void) {
    test_groups();
    test_memory();
    test_charges_and_caches();
    if (failures == 0)
        puts("c11: all expectations hold");
    return failures != 0;
}
