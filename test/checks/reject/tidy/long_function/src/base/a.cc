// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

namespace allot {

class a {
  public:
    a() : x_{1}, y_{2} {
        f();
        f();
        f();
        f();
    }
};

TEST(a, b) {
    f({1, 2});
    g([] {
        f();
    });
}

} // namespace allot
