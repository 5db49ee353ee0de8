// Two runs that take turns.
#include "calib/compare/handover.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <numeric>
#include <thread>

namespace onnxtool {
namespace {

KeptValue number(float x, MemoryPool& pool) {
  const int64_t dims[] = {1};
  return KeptValue::copy_of({DataType::kFloat, dims, &x, 1}, pool);
}
float number_in(const KeptValue& v) { return *static_cast<const float*>(v.memory.get()); }

TEST_CASE("values are taken in any order, and only one of two runs computes at a time") {
  constexpr size_t kCount = 40;
  // Of four bytes each: all wait, some do, none does.
  for (const uint64_t budget : {1000, 12, 0}) {
    CAPTURE(budget);
    Companion beside;
    MemoryPool pool;
    Handover handover(kCount, budget);
    std::atomic<int> computing = 0, most = 0;
    const auto compute = [&] {
      ++computing;
      std::this_thread::yield();
      most = std::max<int>(most, computing);
      --computing;
    };
    std::vector<float> taken(kCount, -1);
    handover.run(
        beside,
        [&] {
          for (size_t i = 0; i < kCount; ++i) {
            compute();
            handover.give(i, number(static_cast<float>(i), pool));
          }
        },
        [&] {
          for (size_t k = 0; k < kCount; ++k) {
            compute();
            const size_t i = k * 7 % kCount;
            taken[i] = number_in(*handover.take(i));
          }
        });
    std::vector<float> expected(kCount);
    std::iota(expected.begin(), expected.end(), 0.0f);
    CHECK(taken == expected);
    CHECK(most == 1);
  }
}

TEST_CASE("the giver stays within the budget where values are taken in its order") {
  MemoryPool pool;
  Companion beside;
  Handover handover(100, 20);
  size_t given = 0, taken = 0, ahead = 0;  // one of the two runs at a time
  handover.run(
      beside,
      [&] {
        for (; given < 100; ++given) {
          ahead = std::max(ahead, given + 1 - taken);
          handover.give(given, number(0, pool));
        }
      },
      [&] {
        for (; taken < 100; ++taken) handover.take(taken);
      });
  CHECK(ahead <= 6);
  CHECK(ahead >= 5);
}

TEST_CASE("a run that ends early leaves the other neither waiting nor without an answer") {
  MemoryPool pool;
  Companion beside;
  SUBCASE("the giver") {
    Handover handover(2, 0);
    handover.run(
        beside, [&] { handover.give(0, number(3, pool)); },
        [&] {
          CHECK(number_in(*handover.take(0)) == 3);
          CHECK(!handover.take(1));
        });
  }
  SUBCASE("the taker") {
    Handover handover(3, 0);
    int refused = 0;
    handover.run(
        beside,
        [&] {
          for (size_t i = 0; i < 3; ++i) refused += !handover.give(i, number(3, pool));
        },
        [&] { handover.take(0); });
    CHECK(refused >= 1);
  }
  SUBCASE("by an exception") {
    Handover handover(1, 0);
    CHECK_THROWS_AS(handover.run(
                        beside, [&] { throw std::bad_alloc(); }, [&] { CHECK(!handover.take(0)); }),
                    std::bad_alloc);
    Handover other(1, 0);
    CHECK_THROWS_AS(
        other.run(
            beside, [&] { other.give(0, number(1, pool)); }, [&] { throw std::bad_alloc(); }),
        std::bad_alloc);
  }
}

TEST_CASE("few values are handed over without a second thread") {
  MemoryPool pool;
  for (const uint64_t budget : {12, 11}) {
    Handover handover(4, budget);
    const auto here = std::this_thread::get_id();
    float sum = 0;
    handover.run_in_order(
        [&] {
          CHECK(std::this_thread::get_id() == here);
          for (size_t i = 0; i < 3; ++i) CHECK(handover.give(i, number(2, pool)));
        },
        [&] {
          for (size_t i = 3; i-- > 0;) sum += number_in(*handover.take(i));
          CHECK(!handover.take(3));
        });
    CHECK(sum == 6);
    CHECK(handover.fits() == (budget == 12));
  }
}

TEST_CASE("memory of kept values is used again, for sizes like it") {
  MemoryPool pool;
  const void* first = pool.take(1000).get();
  CHECK(pool.take(900).get() == first);
  auto held = pool.take(900);
  CHECK(pool.take(900).get() != held.get());
  held.reset();
  CHECK(pool.take(100).get() != first);  // too small for so much
  CHECK(reinterpret_cast<uintptr_t>(pool.take(3).get()) % 64 == 0);
}

}  // namespace
}  // namespace onnxtool
