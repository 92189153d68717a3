// Runs one launch of the kernel that this file is linked with: blocks one after another, the threads of a
// block as fibers that take turns between barriers.
//
// A wrong kernel ends the launch with a message that names block, thread and line:
//   barrier divergence          live threads wait at different barriers, or a warp exchange never completes
//   race                        two blocks, or two threads between barriers, touch one element of y; or a block fetches a
//                               partial sum of another that has not arrived at a counter since, or does not know itself
//                               to be the last that arrives there
//   out of bounds               an accessor leaves its operand
//   counter                     not all arrive at one
// Shared memory is NaN (all bits set) when a block starts. Threads and blocks run in either order, and each warp as
// far ahead of the others as barriers let it: a deleted barrier shows as a wrong number in one of them.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "banks.h"
#include "cuda_on_host.h"
#include "tally.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define WITHOUT_ASAN __attribute__((no_sanitize("address"), noinline))
#else
#define WITHOUT_ASAN
#endif

dim3 gridDim, blockDim, blockIdx, threadIdx;
void dibench_kernel(void** argv);
// The linker makes these; hidden, so that each shared object sees its own.
extern char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

// ---- what Python passes and gets: mirrored by dibench/backends/host.py --------------------------------
struct Launch {
  unsigned grid[3], block[3];
  unsigned shared_bytes;
  unsigned reverse_threads, reverse_blocks;
  unsigned count_sectors, count_banks;
  unsigned only_block;         // number of the one block to run, from 1; 0: all
  const char* operand[4];      // weight, input, output: all instances; workspace
  long long operand_bytes[4];
};
struct Counts {
  long long global_reads[3];   // weight, input, output (partial sums)
  long long shared_reads[2];   // weight, input
  long long output_writes, macs_executed;
  long long sectors[3];        // 32 bytes, one for each that a warp's request touches
  // Where banks are counted, too:
  long long block_sectors[3];      // each once in a block, as if it stayed in L1
  long long widths[4][5];          // lanes' reads and writes of global, of shared memory: 1, 2, 4, 8, 16 bytes wide
  long long shared_cycles[2][2];   // of shared memory's read and write requests: taken; without conflicts (banks.h)
};

namespace dibench_host {
void* dynamic_shared;

namespace {
constexpr size_t stack_bytes = 192 << 10;

enum State { ready, at_block_barrier, at_warp_exchange, done };

struct Fiber {
  ucontext_t context;
  char* stack = nullptr;
  dim3 thread;
  State state;
  const char* file;      // of the barrier or exchange it waits at, or was at last
  int line;
  bool vote;             // at the barrier
  unsigned mask;         // of the exchange
  unsigned parity;       // which of the two sets of cells its next exchange uses
  std::unordered_map<unsigned long long, int> passed;  // accesses so far, by site
  std::unordered_map<uintptr_t, unsigned> passed_shared;
};

// Lanes run one after another, so a warp's request is put together over time: a lane's j-th access at a
// site belongs with the other lanes' j-th at that site. That is exact as long as all lanes of the warp pass
// the same sequence of accessors, which is why those take `inside` rather than stand in an if.
struct Request {
  unsigned count = 0;
  unsigned long long sector[32];
};

struct Owner {
  unsigned block, thread, interval;  // block and thread from 1
};

/// Of each 4 bytes of the workspace: who put them, and the counter, from 1, at which the block has arrived since.
struct Part {
  Owner put;
  unsigned long long counter;
};

enum Traffic { global_read, global_write, shared_read, shared_write };

Launch launch;
Counts counts;
void** arguments;
std::vector<Fiber> fibers;
std::vector<unsigned char> cells[2];  // deposits of warp exchanges, 64 bytes for each thread
std::vector<Owner> owners;           // of each 2 bytes of y, the smallest element
std::vector<Part> parts;
std::vector<unsigned long long> put;  // parts of the running block since it last arrived
std::unordered_map<unsigned long long, Owner> last;  // by counter: who was the last to arrive; nobody yet
std::vector<std::unordered_map<unsigned long long, Request>> requests;  // of each warp of the block
std::vector<std::unordered_map<unsigned long long, SharedRequest>> shared_requests;  // likewise
std::unordered_set<unsigned long long> block_sectors[3];
Fiber* self;
ucontext_t scheduler;
unsigned block_number, interval;     // from 1; barrier intervals of the block so far
unsigned long long blocks_run;
bool vote;                           // of the last block barrier that had one
bool failed;
char message[1024];
#if defined(__SANITIZE_ADDRESS__)
const void* scheduler_stack;
size_t scheduler_stack_bytes;
#endif

void to_scheduler(bool forever) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(forever ? nullptr : &fake, scheduler_stack, scheduler_stack_bytes);
  swapcontext(&self->context, &scheduler);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
  (void)forever;
  swapcontext(&self->context, &scheduler);
#endif
}

/// Ends the launch; called by a fiber, it does not return.
__attribute__((format(printf, 1, 2))) void fail(const char* format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof message, format, list);
  va_end(list);
  failed = true;
  if (self) to_scheduler(true);
}

struct Where {
  char text[96];
};
Where where(const Fiber& fiber) {
  Where w;
  snprintf(w.text, sizeof w.text, "block (%u,%u,%u) thread (%u,%u,%u)", blockIdx.x, blockIdx.y, blockIdx.z,
           fiber.thread.x, fiber.thread.y, fiber.thread.z);
  return w;
}

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
  dibench_kernel(arguments);
  self->state = done;
  to_scheduler(true);
}

/// Every float becomes NaN; red zones between variables are overwritten too, hence no instrumentation,
/// and no memset, which the sanitizer would check.
WITHOUT_ASAN void poison(char* begin, char* end) {
  for (volatile char* p = begin; p < end; ++p) *p = char(0xFF);
}

void resume(Fiber& fiber) {
  self = &fiber;
  threadIdx = fiber.thread;
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, fiber.stack, stack_bytes);
  swapcontext(&scheduler, &fiber.context);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
  swapcontext(&scheduler, &fiber.context);
#endif
  self = nullptr;
}

/// The live threads of the block all wait at its barrier: lets them go, unless they wait at different ones.
bool release_block() {
  Fiber* first = nullptr;
  for (Fiber& f : fibers) {
    if (f.state == done) continue;
    if (f.state != at_block_barrier) return false;
    if (first && (first->line != f.line || strcmp(first->file, f.file) != 0)) {
      fail("barrier divergence: %s waits at %s:%d, thread (%u,%u,%u) at %s:%d", where(f).text, f.file, f.line,
           first->thread.x, first->thread.y, first->thread.z, first->file, first->line);
      return false;
    }
    if (!first) first = &f;
  }
  if (!first) return false;
  vote = false;
  for (Fiber& f : fibers) {
    if (f.state != at_block_barrier) continue;
    f.state = ready;
    vote = vote || f.vote;
  }
  ++interval;
  return true;
}

/// The same for the lanes that one lane's exchange names.
bool release_warp(size_t warp) {
  const size_t begin = warp * 32, end = fibers.size() < begin + 32 ? fibers.size() : begin + 32;
  for (size_t i = begin; i < end; ++i) {
    Fiber& f = fibers[i];
    if (f.state != at_warp_exchange) continue;
    bool complete = true;
    for (size_t j = 0; j < 32 && complete; ++j) {
      if (!(f.mask >> j & 1) || begin + j >= end) continue;
      const Fiber& other = fibers[begin + j];
      complete = other.state == at_warp_exchange && other.mask == f.mask && other.line == f.line &&
                 strcmp(other.file, f.file) == 0 && other.parity == f.parity;
    }
    if (!complete) continue;
    for (size_t j = begin; j < end; ++j)
      if (f.mask >> (j - begin) & 1) fibers[j].state = ready;
    return true;
  }
  return false;
}

void report_deadlock() {
  const Fiber *waits = nullptr, *other = nullptr;
  for (const Fiber& f : fibers) {
    if (f.state == done) continue;
    if (!waits) waits = &f;
    else if (!other && (f.state != waits->state || f.line != waits->line || f.mask != waits->mask)) other = &f;
  }
  const char* what[] = {"runs", "waits at the barrier at", "waits for its warp at", "has ended"};
  if (other)
    fail("barrier divergence: %s %s %s:%d, thread (%u,%u,%u) %s %s:%d", where(*waits).text, what[waits->state],
         waits->file, waits->line, other->thread.x, other->thread.y, other->thread.z, what[other->state],
         other->file, other->line);
  else
    fail("barrier divergence: %s %s %s:%d for lanes that have ended", where(*waits).text, what[waits->state],
         waits->file, waits->line);
}

void count_requests() {
  for (auto& warp : requests) {
    for (const auto& [key, request] : warp) {
      const int kind = int(key >> 62);
      counts.sectors[kind == partial || kind == output ? 2 : kind] += request.count;
    }
    warp.clear();
  }
  for (auto& warp : shared_requests) {
    for (const auto& [key, request] : warp) {
      counts.shared_cycles[request.is_write][0] += request.cycles();
      counts.shared_cycles[request.is_write][1] += request.cycles_without_conflicts();
    }
    warp.clear();
  }
  for (int operand = 0; operand < 3; ++operand) {
    counts.block_sectors[operand] += (long long)block_sectors[operand].size();
    block_sectors[operand].clear();
  }
}

int log2_of(int bytes) { return bytes >= 16 ? 4 : bytes >= 8 ? 3 : bytes >= 4 ? 2 : bytes >= 2 ? 1 : 0; }

void run_block() {
  const size_t n = fibers.size();
  interval = 1;
  put.clear();
  ++blocks_run;
  if (__start_cuda_shared) poison(__start_cuda_shared, __stop_cuda_shared);
  poison(static_cast<char*>(dynamic_shared), static_cast<char*>(dynamic_shared) + launch.shared_bytes);
  for (size_t i = 0; i < n; ++i) {
    Fiber& f = fibers[i];
    f.state = ready;
    f.parity = 0;
    f.passed.clear();
    f.passed_shared.clear();
    f.thread = {unsigned(i) % blockDim.x, unsigned(i) / blockDim.x % blockDim.y, unsigned(i) / blockDim.x / blockDim.y};
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack;
    f.context.uc_stack.ss_size = stack_bytes;
    f.context.uc_link = nullptr;
    makecontext(&f.context, fiber_main, 0);
  }
  for (;;) {  // each round runs every warp as far as it gets without the others, then sees who may go on
    bool live = false;
    for (size_t i = 0; i < requests.size(); ++i) {
      const size_t warp = launch.reverse_threads ? requests.size() - 1 - i : i;
      const size_t begin = warp * 32, end = n < begin + 32 ? n : begin + 32;
      do {  // through its exchanges: no other warp may need to have done anything meanwhile
        for (size_t j = begin; j < end; ++j) {
          Fiber& f = fibers[launch.reverse_threads ? begin + end - 1 - j : j];
          if (f.state == ready) resume(f);
          if (failed) return;
        }
      } while (release_warp(warp));
      for (size_t j = begin; j < end; ++j) live = live || fibers[j].state != done;
    }
    if (!live) break;
    if (!release_block() && !failed) report_deadlock();
    if (failed) return;
  }
  if (launch.count_sectors) count_requests();
}

unsigned long long site(Kind kind, const char* file, int line) {
  // 2 bits kind, 30 bits of line and file, 32 bits left for the number of the access there.
  const unsigned long long place = (unsigned(line) * 2654435761u ^ unsigned(reinterpret_cast<uintptr_t>(file))) >> 2;
  return (unsigned long long)kind << 62 | place << 32;
}
}  // namespace

int lane() { return int(self - fibers.data()) % 32; }

bool block_barrier(bool own_vote, const char* file, int line) {
  self->state = at_block_barrier;
  self->vote = own_vote;
  self->file = file;
  self->line = line;
  to_scheduler(false);
  return vote;  // no thread gets to the next barrier before all have left this one
}

const unsigned char* warp_exchange(unsigned mask, const void* deposit, size_t bytes, const char* file, int line) {
  // Two sets of cells take turns: a lane that runs ahead into the next exchange must not overwrite what others
  // still read, and it cannot run two ahead.
  const size_t index = size_t(self - fibers.data()), warp = index / 32;
  const unsigned parity = self->parity;
  if (!(mask >> index % 32 & 1))
    fail("warp exchange at %s:%d: %s is not in its own mask %#x", file, line, where(*self).text, mask);
  memcpy(&cells[parity][64 * index], deposit, bytes);
  self->state = at_warp_exchange;
  self->file = file;
  self->line = line;
  self->mask = mask;
  to_scheduler(false);
  self->parity ^= 1;
  return &cells[parity][64 * 32 * warp];
}

void pass(Kind kind, const char* file, int line) {
  if (launch.count_sectors) ++self->passed[site(kind, file, line)];
}

namespace {
const char* const operand_names[] = {"weight", "input", "output", "workspace"};

/// Where an access lies in its operand, in bytes. Device memory begins on a sector, so this stands for the address.
long long offset_in(int operand, const void* address, int bytes, const char* file, int line) {
  const char* const p = static_cast<const char*>(address);
  const long long offset = p - launch.operand[operand], size = launch.operand_bytes[operand];
  if (offset < 0 || offset + bytes > size)
    fail("out of bounds: %s touches byte %lld of the %lld of %s at %s:%d", where(*self).text, offset, size,
         operand_names[operand], file, line);
  if (offset % bytes)
    fail("misaligned: %s touches byte %lld of %s, %d at once, at %s:%d", where(*self).text, offset,
         operand_names[operand], bytes, file, line);
  return offset;
}

/// Joins an access to its warp's request.
void join_request(Kind kind, int operand, long long offset, int bytes, const char* file, int line) {
  if (!launch.count_sectors) return;
  const unsigned long long place = site(kind, file, line);
  Request& request = requests[size_t(self - fibers.data()) / 32][place | unsigned(self->passed[place]++)];
  const unsigned long long first = offset / 32, last_one = (offset + bytes - 1) / 32;
  for (unsigned long long sector = first; sector <= last_one; ++sector) {
    bool known = false;
    for (unsigned i = request.count; i-- > 0 && !known;) known = request.sector[i] == sector;
    if (!known && request.count < 32) request.sector[request.count++] = sector;
    if (launch.count_banks) block_sectors[operand].insert(sector);
  }
  ++counts.widths[kind == output ? global_write : global_read][log2_of(bytes)];
}

Owner this_thread() { return {block_number, unsigned(self - fibers.data()) + 1, interval}; }
/// Whether what a thread of this block did then has been seen to be done: by itself, or after a barrier.
bool before_now(const Owner& then) {
  const Owner now = this_thread();
  return then.block == now.block && (then.thread == now.thread || then.interval != now.interval);
}
}  // namespace

void touch(Kind kind, const void* address, int bytes, int elements, const char* file, int line) {
  const int operand = kind == output ? 2 : kind;
  const long long offset = offset_in(operand, address, bytes, file, line);
  (kind == output ? counts.output_writes : counts.global_reads[operand]) += elements;
  if (operand == 2) {
    const Owner now = this_thread();
    for (long long cell = offset / 2; cell * 2 < offset + bytes; ++cell) {
      Owner& owner = owners[size_t(cell)];
      if (owner.block && owner.block != now.block)
        return fail("race: %s touches output element %lld at %s:%d, and so has another block", where(*self).text,
                    offset / (bytes / elements), file, line);
      if (owner.block && !before_now(owner))
        return fail("race: %s touches output element %lld at %s:%d, and so has thread %u of the block since "
                    "the last barrier", where(*self).text, offset / (bytes / elements), file, line, owner.thread - 1);
      owner = now;
    }
  }
  join_request(kind, operand, offset, bytes, file, line);
}

void touch_partial(bool is_put, const void* address, int bytes, const char* file, int line) {
  const long long offset = offset_in(3, address, bytes, file, line);
  (is_put ? counts.output_writes : counts.global_reads[2]) += bytes / 4;
  for (long long cell = offset / 4; cell * 4 < offset + bytes; ++cell) {
    Part& part = parts[size_t(cell)];
    const char* wrong = nullptr;
    if (last.count((unsigned long long)cell + 1))
      wrong = "which is a counter";
    else if (is_put)
      wrong = part.counter ? "which others may fetch already"
              : part.put.block && !before_now(part.put) ? "and so has another thread" : nullptr;
    else if (!part.put.block)
      wrong = "which nobody has put";
    else if (part.put.block == block_number)
      wrong = before_now(part.put) ? nullptr : "which another thread has put since the last barrier";
    else if (!part.counter)
      wrong = "whose block has not arrived at a counter since it was put";
    else if (!before_now(last[part.counter]))
      wrong = "without being known to be the last at the counter at which its block has arrived";
    if (wrong)
      return fail("race: %s %s partial element %lld at %s:%d, %s", where(*self).text, is_put ? "puts" : "fetches", cell,
                  file, line, wrong);
    if (!is_put) continue;
    part.put = this_thread();
    put.push_back((unsigned long long)cell);
  }
  const long long behind_y = (launch.operand_bytes[2] + 31) / 32 * 32;  // both are outputs: in other sectors
  join_request(is_put ? output : partial, 2, behind_y + offset, bytes, file, line);
}

bool arrive(int* counter, int blocks, const char* file, int line) {
  const long long offset = offset_in(3, counter, sizeof *counter, file, line);
  if (parts[size_t(offset / 4)].put.block)
    fail("race: %s arrives at partial element %lld at %s:%d", where(*self).text, offset / 4, file, line);
  const unsigned long long number = (unsigned long long)offset / 4 + 1;
  // What other threads put is behind this fence only if a barrier is between.
  for (unsigned long long cell : put)
    if (before_now(parts[cell].put)) parts[cell].counter = number;
  put.clear();
  Owner& comer = last[number];
  if (comer.block)
    fail("race: %s arrives at counter %lld at %s:%d, where all have arrived already", where(*self).text, offset / 4, file,
         line);
  const unsigned before = unsigned(*counter), most = unsigned(blocks) - 1;
  *counter = before >= most ? 0 : int(before + 1);  // atomicInc
  if (before == most) comer = this_thread();
  return before == most;
}

void touch_shared(const void* address, int bytes, bool is_write, uintptr_t site) {
  if (!launch.count_banks || !self) return;
  const char* const p = static_cast<const char*>(address);
  const char* const dynamic = static_cast<char*>(dynamic_shared);
  long long offset;
  if (dynamic && p >= dynamic && p < dynamic + launch.shared_bytes) offset = p - dynamic;
  else if (__start_cuda_shared && p >= __start_cuda_shared && p < __stop_cuda_shared) offset = p - __start_cuda_shared;
  else return;  // a thread's own
  const size_t index = size_t(self - fibers.data());
  const uintptr_t place = site << 1 | is_write;
  SharedRequest& request = shared_requests[index / 32][(unsigned long long)place << 32 | self->passed_shared[place]++];
  request.add(int(index % 32), offset, bytes, is_write);
  ++counts.widths[is_write ? shared_write : shared_read][log2_of(bytes)];
}

void pass_shared(bool is_write, uintptr_t site) {
  if (launch.count_banks) ++self->passed_shared[site << 1 | is_write];
}

void count_shared(Kind kind, int elements) { counts.shared_reads[kind] += elements; }
void count_macs(int n) { counts.macs_executed += n; }
unsigned long long block_serial() { return blocks_run; }

/// 0, or -1 with the reason in `reason`.
extern "C" __attribute__((visibility("default"))) int dibench_launch(const Launch* l, void** argv, Counts* out,
                                                                     char* reason, size_t reason_bytes) {
  launch = *l;
  arguments = argv;
  counts = {};
  failed = false;
  self = nullptr;
  gridDim = {l->grid[0], l->grid[1], l->grid[2]};
  blockDim = {l->block[0], l->block[1], l->block[2]};
  owners.assign(size_t(l->operand_bytes[2] + 1) / 2, {0, 0, 0});
  parts.assign(size_t(l->operand_bytes[3] + 3) / 4, {{0, 0, 0}, 0});
  last.clear();
  const size_t threads = size_t(blockDim.x) * blockDim.y * blockDim.z;
  for (Fiber& f : fibers) free(f.stack);
  fibers.clear();
  fibers.resize(threads);
  for (Fiber& f : fibers) f.stack = static_cast<char*>(malloc(stack_bytes));
  requests.clear();
  requests.resize((threads + 31) / 32);
  shared_requests.clear();
  shared_requests.resize(requests.size());
  for (auto& set : cells) set.assign(64 * 32 * requests.size(), 0);
  dynamic_shared = l->shared_bytes ? malloc(l->shared_bytes) : nullptr;
  const unsigned long long blocks = (unsigned long long)gridDim.x * gridDim.y * gridDim.z;
  for (unsigned long long i = 0; i < blocks && !failed; ++i) {
    const unsigned long long b = l->reverse_blocks ? blocks - 1 - i : i;
    if (l->only_block && b + 1 != l->only_block) continue;
    blockIdx = {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y), unsigned(b / gridDim.x / gridDim.y)};
    block_number = unsigned(b) + 1;
    run_block();
  }
  if (!failed && !l->only_block)
    for (const auto& [number, comer] : last)
      if (!comer.block)
        fail("counter: the one at byte %llu of the workspace is not back at 0 when the launch ends", 4 * (number - 1));
  free(dynamic_shared);
  *out = counts;
  snprintf(reason, reason_bytes, "%s", failed ? message : "");
  return failed ? -1 : 0;
}
}  // namespace dibench_host

// A kernel that is compiled with -fsanitize=thread calls one of these before each access to memory that other threads
// might see. That is how those to shared memory are found that no accessor makes: stores of copies, tables, sums.
#define DIBENCH_SITE_OF_CALL reinterpret_cast<uintptr_t>(__builtin_return_address(0))
#define DIBENCH_SEEN(name, bytes, is_write) \
  extern "C" void name(void* p) { dibench_host::touch_shared(p, bytes, is_write, DIBENCH_SITE_OF_CALL); }
DIBENCH_SEEN(__tsan_read1, 1, false)
DIBENCH_SEEN(__tsan_read2, 2, false)
DIBENCH_SEEN(__tsan_read4, 4, false)
DIBENCH_SEEN(__tsan_read8, 8, false)
DIBENCH_SEEN(__tsan_read16, 16, false)
DIBENCH_SEEN(__tsan_write1, 1, true)
DIBENCH_SEEN(__tsan_write2, 2, true)
DIBENCH_SEEN(__tsan_write4, 4, true)
DIBENCH_SEEN(__tsan_write8, 8, true)
DIBENCH_SEEN(__tsan_write16, 16, true)
DIBENCH_SEEN(__tsan_unaligned_read2, 2, false)
DIBENCH_SEEN(__tsan_unaligned_read4, 4, false)
DIBENCH_SEEN(__tsan_unaligned_read8, 8, false)
DIBENCH_SEEN(__tsan_unaligned_read16, 16, false)
DIBENCH_SEEN(__tsan_unaligned_write2, 2, true)
DIBENCH_SEEN(__tsan_unaligned_write4, 4, true)
DIBENCH_SEEN(__tsan_unaligned_write8, 8, true)
DIBENCH_SEEN(__tsan_unaligned_write16, 16, true)
// A struct that need not lie on a multiple of its size: a GPU takes it word by word.
#define DIBENCH_SEEN_WORDS(name, is_write)                                                                        \
  extern "C" void name(void* p, unsigned long bytes) {                                                            \
    const uintptr_t site = DIBENCH_SITE_OF_CALL;                                                                  \
    for (unsigned long i = 0; i < bytes; i += 4) dibench_host::touch_shared((char*)p + i, 4, is_write, site + i); \
  }
DIBENCH_SEEN_WORDS(__tsan_read_range, false)
DIBENCH_SEEN_WORDS(__tsan_write_range, true)
extern "C" void __tsan_init() {}
