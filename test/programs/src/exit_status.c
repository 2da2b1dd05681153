/* SPDX-License-Identifier: MIT
 *
 * exit_status: does nothing and ends with the status that its argument says. */
#include <stdlib.h>

int main(int argc, char** argv) { return argc > 1 ? atoi(argv[1]) : 0; }
