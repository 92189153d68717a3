// What the counting accessors (counting.h) tell the harness (harness.cc).
#pragma once
#include <stdint.h>

namespace dibench_host {
enum Kind { weight, input, partial, output };  // the last two are both y: read and written

/// One access of the running thread to a global operand: `line` is the call's, so that the same access of
/// the other lanes can be found. Stops the launch on a race or out of bounds.
void touch(Kind kind, const void* address, int bytes, int elements, const char* file, int line);
/// One access to a partial sum in the workspace, which is counted as one to y. Stops the launch where another block's is
/// fetched that need not be there yet.
void touch_partial(bool is_put, const void* address, int bytes, const char* file, int line);
/// The running thread's block arrives at a counter; whether it is the last of so many.
bool arrive(int* counter, int blocks, const char* file, int line);
/// This lane passes an access without making it: keeps its place in the sequence.
void pass(Kind kind, const char* file, int line);
void count_shared(Kind kind, int elements);
/// One access of the running thread to shared memory, for banks; `site` is different for each place in the program.
void touch_shared(const void* address, int bytes, bool is_write, uintptr_t site);
void pass_shared(bool is_write, uintptr_t site);
void count_macs(int n);
/// Different for each block that has ever run: tells what one left behind from the work of the next.
unsigned long long block_serial();
}  // namespace dibench_host
