/* SPDX-License-Identifier: MIT
 *
 * use_c: a C11 program that uses allot; fails with a number that tells the step.
 */
#include <allot/allot.h>

int main(void) {
    allot_limits limits = ALLOT_LIMITS_INIT;
    allot_group* group = NULL;
    allot_scope scope;
    limits.max = 1u << 20;
    if (allot_group_create(allot_root(), "consumer", &limits, &group) != 0)
        return 1;
    allot_enter(group, &scope);
    void* const block = allot_malloc(100);
    void* const too_much = allot_malloc(2u << 20);
    allot_leave(&scope);
    if (block == NULL || too_much != NULL)
        return 2;
    allot_free(block);
    if (allot_group_close(group, NULL) != 0)
        return 3;
    allot_group_put(group);
    return 0;
}
