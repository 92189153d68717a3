// How many cycles shared memory takes for one request of a warp.
//
// 32 banks, each 4 bytes a cycle: neighbouring words lie in neighbouring banks. Lanes that want the same word are served
// together; two different words of one bank take two cycles. A request moves at most 128 bytes a cycle, so one of 8 bytes
// a lane is served in halves of a warp, one of 16 in quarters; two quarters of a half, or two halves, go together where
// each lane wants the same as its neighbour (lane ^ 1), or each the same as the one after (lane ^ 2). NVIDIA documents
// banks and words (CUDA C++ Programming Guide, "Shared Memory"), not the parts of wide requests: these are as
// others have measured them on sm_70 to sm_86.
#pragma once

namespace dibench_host {
struct SharedRequest {
  unsigned lanes = 0;  // which take part
  unsigned offset[32];
  int bytes = 4;       // of one lane
  bool is_write = false;

  void add(int lane, long long at, int width, bool write) {
    lanes |= 1u << lane;
    offset[lane] = unsigned(at);
    bytes = width;
    is_write = write;
  }

  int cycles() const { return over_parts([this](int first, int count) { return most_words_of_a_bank(first, count); }); }
  int cycles_without_conflicts() const {
    return over_parts([this](int first, int count) { return (distinct_words(first, count) + 31) / 32; });
  }

 private:
  template <typename Cycles>
  int over_parts(Cycles cycles) const {
    const int wide = bytes > 8 ? 4 : bytes > 4 ? 2 : 1, part = 32 / wide;
    int sum = 0;
    if (wide == 1) return cycles(0, 32);
    for (int first = 0; first < 32; first += 2 * part)
      sum += pairs_agree(first, 2 * part) ? cycles(first, 2 * part) : cycles(first, part) + cycles(first + part, part);
    return sum;
  }

  bool has(int lane) const { return lanes >> lane & 1; }

  /// Whether each of these lanes wants what the lane beside it does.
  bool pairs_agree(int first, int count) const {
    for (int apart = 1; apart <= 2; apart *= 2) {
      bool agree = true;
      for (int lane = first; lane < first + count && agree; ++lane)
        agree = !has(lane) || !has(lane ^ apart) || offset[lane] == offset[lane ^ apart];
      if (agree) return true;
    }
    return false;
  }

  template <typename Visit>
  void each_word(int first, int count, Visit visit) const {
    unsigned seen[32 * 4], words = 0;
    for (int lane = first; lane < first + count; ++lane)
      for (unsigned word = offset[lane] / 4; has(lane) && word * 4 < offset[lane] + unsigned(bytes); ++word) {
        bool known = false;
        for (unsigned i = 0; i < words && !known; ++i) known = seen[i] == word;
        if (known) continue;
        seen[words++] = word;
        visit(word);
      }
  }

  int most_words_of_a_bank(int first, int count) const {
    int of_bank[32] = {}, most = 0;
    each_word(first, count, [&](unsigned word) {
      if (++of_bank[word % 32] > most) most = of_bank[word % 32];
    });
    return most;
  }

  int distinct_words(int first, int count) const {
    int words = 0;
    each_word(first, count, [&](unsigned) { ++words; });
    return words;
  }
};
}  // namespace dibench_host
