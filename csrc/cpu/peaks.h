// The peak loops of one instruction set.
#pragma once
#include "kernel.h"

namespace dibench {

struct Peaks {
  int lanes;                                        // floats in a vector
  int64_t (*multiply_adds)(int64_t repeats);        // returns how many it has done
  int64_t (*scalar_multiply_adds)(int64_t repeats);  // the same, one number at a time
  void (*read)(const float* data, int64_t floats);  // whole vectors of it
};

}  // namespace dibench
