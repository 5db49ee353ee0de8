// The test binary. Tests that need ../shared print `SKIP: <reason>` where it is absent.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
