// SPDX-License-Identifier: MIT
//
// a_test: tests of a tree for check_races.
TEST_F(races, race_01_one) {}
TEST_F(races, race_02_two) {}
TEST_F(races, race_02b_two_again) {}
