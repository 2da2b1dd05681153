/* SPDX-License-Identifier: MIT
 *
 * use_malloc: a program whose malloc is allot's because it links to allot::malloc.
 */
#include <allot/allot.h>
#include <stdlib.h>

int main(void) {
    void* const block = malloc(100);
    const int result = allot_owns(block) ? 0 : 1;
    free(block);
    return result;
}
