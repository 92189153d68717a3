// dibench._cpu: the kernels as Python calls them. Everything that arrives from Python is checked here, so
// that a wrong argument is an exception and never a crash; what a layer means is decided in dibench/layer.py.
#include <omp.h>
#include <pthread.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "access.h"
#include "peaks.h"

namespace py = pybind11;
using dibench::Box;
using dibench::Launch;
using dibench::Layer;
using dibench::Peaks;
using dibench::Variant;

// kernels.inc is written by setup.py: ISA(key, "name") for each instruction set it compiled for, worst
// first, KERNEL(key, variant, ops...) for each object, with the operators of its header, and SOURCES(hash) of all
// files of csrc/cpu, by which Python knows whether this build is of the sources that it sees.
#define ISA(key, name) extern "C" const Peaks dibench_##key##_peaks;
#define KERNEL(key, variant, ...) extern "C" const Variant dibench_##key##_##variant;
#define SOURCES(hash)
#include "kernels.inc"
#undef ISA
#undef KERNEL

#ifdef DIBENCH_COUNT
namespace dibench {
Counters dibench_counters;
}
#endif

namespace {

const struct {
  std::string key, name;
  const Peaks* peaks;
} all_isas[] = {
#define ISA(key, name) {#key, name, &dibench_##key##_peaks},
#define KERNEL(key, variant, ...)
#include "kernels.inc"
#undef ISA
#undef KERNEL
};

const struct {
  std::string isa_key, variant;
  const Variant* kernel;
  std::vector<std::string> ops;
} all_kernels[] = {
#define ISA(key, name)
#define KERNEL(key, variant, ...) {#key, #variant, &dibench_##key##_##variant, {__VA_ARGS__}},
#include "kernels.inc"
#undef ISA
#undef KERNEL
#undef SOURCES
};

const char* const sources =
#define ISA(key, name)
#define KERNEL(key, variant, ...)
#define SOURCES(hash) hash
#include "kernels.inc"
#undef ISA
#undef KERNEL
#undef SOURCES
    ;

bool runs_here(const std::string& key) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v2 = __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.2") &&
                  __builtin_cpu_supports("popcnt");
  const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (key == "v2") return v2;
  if (key == "v3") return v3;
  if (key == "v4") return v4;
#endif
  return key == "base";
}

const auto& find_isa(const std::string& name) {
  std::string known;
  for (const auto& isa : all_isas) {
    if (!runs_here(isa.key)) continue;
    if (isa.name == name) return isa;
    known += " " + isa.name;
  }
  throw py::value_error("isa: this machine runs" + known + " (got '" + name + "')");
}

/// The operator, by the rules of Layer.op in dibench/layer.py.
std::string operator_of(const Layer& l) {
  if (l.H == 1 && l.W == 1 && l.R == 1 && l.S == 1 && l.P == 1 && l.Q == 1 && l.groups == 1) return "fc";
  if (l.groups == 1) return l.R == 1 && l.S == 1 ? "pointwise" : "standard";
  return l.groups == l.C ? "depthwise" : "grouped";
}

/// The kernel of a variant, which runs the layer's operator: kernels trust that.
const Variant& find_kernel(const std::string& variant, const std::string& isa, const Layer& layer) {
  const std::string key = find_isa(isa).key;
  for (const auto& kernel : all_kernels) {
    if (kernel.isa_key != key || kernel.variant != variant) continue;
    std::string runs;
    for (const auto& op : kernel.ops) {
      if (op == operator_of(layer)) return *kernel.kernel;
      runs += " " + op;
    }
    throw py::value_error("layer: " + variant + " runs" + runs + " (got " + operator_of(layer) + ")");
  }
  throw py::value_error("variant: no such kernel (got '" + variant + "')");
}

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const auto& isa : all_isas)
    if (runs_here(isa.key)) names.push_back(isa.name);
  return names;
}

std::vector<std::string> variants() {
  std::vector<std::string> names;
  for (const auto& kernel : all_kernels)
    if (kernel.isa_key == all_isas[0].key) names.push_back(kernel.variant);
  return names;
}

struct Field {
  const char* name;
  int64_t least;
};

/// A sequence of whole numbers, each from its least to 2^31 - 1: no product of two of them overflows.
std::vector<int64_t> integers(const py::sequence& values, const char* what, const std::vector<Field>& fields) {
  if (values.size() != fields.size())
    throw py::value_error(std::string(what) + ": must be " + std::to_string(fields.size()) + " whole numbers");
  std::vector<int64_t> result;
  for (size_t i = 0; i < fields.size(); ++i) {
    const py::object value = values[i];
    if (!PyLong_Check(value.ptr())) throw py::type_error(std::string(fields[i].name) + ": must be a whole number");
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    if (overflow || number < fields[i].least || number > INT32_MAX)
      throw py::value_error(std::string(fields[i].name) + ": must be from " + std::to_string(fields[i].least) +
                            " to 2147483647 (got " + py::str(value).cast<std::string>() + ")");
    result.push_back(number);
  }
  return result;
}

Layer layer_from(const py::sequence& values) {
  const auto v = integers(values, "layer",
                          {{"N", 1}, {"C", 1}, {"H", 1}, {"W", 1}, {"K", 1}, {"R", 1}, {"S", 1}, {"P", 1}, {"Q", 1},
                           {"stride_h", 1}, {"stride_w", 1}, {"pad_h", 0}, {"pad_w", 0}, {"dil_h", 1}, {"dil_w", 1},
                           {"groups", 1}});
  const Layer layer = {v[0], v[1], v[2],  v[3],  v[4],  v[5],  v[6],  v[7],
                       v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15]};
  if (layer.C % layer.groups || layer.K % layer.groups)
    throw py::value_error("groups: must divide C and K (got " + std::to_string(layer.groups) + ")");
  // What kernels address is inside the image with its padding, all channels of it: offsets and sizes of copies,
  // of any kernel and number of threads, then fit into 64 bits. No memory holds so large an image.
  const auto side = [](int64_t size, int64_t pad, int64_t out, int64_t stride, int64_t taps, int64_t dil) {
    return std::max(pad + size, (out - 1) * stride + (taps - 1) * dil + 1) + stride;
  };
  const int64_t height = side(layer.H, layer.pad_h, layer.P, layer.stride_h, layer.R, layer.dil_h);
  const int64_t width = side(layer.W, layer.pad_w, layer.Q, layer.stride_w, layer.S, layer.dil_w);
  const int64_t most = int64_t(1) << 44;
  if (height > most / width || height * width > most / layer.C)
    throw py::value_error("layer: its padded image must be of at most 2**44 elements (got " + std::to_string(layer.C) +
                          " x " + std::to_string(height) + " x " + std::to_string(width) + ")");
  return layer;
}

Box box_from(const py::sequence& values) {
  const auto v = integers(values, "box", {{"tile_p", 0}, {"tile_k", 0}, {"tile_c", 0}, {"taps", 0}, {"window", 0}});
  return {v[0], v[1], v[2], v[3], v[4]};
}

/// The array's data, if it is float32, C-contiguous, aligned and of shape [instances, ...shape].
/// An array of the right shape exists, so the products of its dimensions fit into 64 bits.
float* data_of(const py::object& object, const char* name, const std::vector<int64_t>& shape, bool written) {
  const auto refuse = [&](const std::string& rule) { throw py::value_error(std::string(name) + ": must be " + rule); };
  if (!py::isinstance<py::array>(object)) throw py::type_error(std::string(name) + ": must be a NumPy array");
  const py::array array = py::reinterpret_borrow<py::array>(object);
  if (!py::isinstance<py::array_t<float>>(array)) refuse("float32");
  bool same = array.ndim() == py::ssize_t(shape.size()) + 1 && array.shape(0) >= 1;
  std::string expected = "instances";
  for (size_t i = 0; i < shape.size(); ++i) {
    same = same && array.shape(i + 1) == shape[i];
    expected += ", " + std::to_string(shape[i]);
  }
  if (!same) refuse("of shape [" + expected + "]");
  if (!(array.flags() & py::array::c_style)) refuse("C-contiguous");
  if (reinterpret_cast<uintptr_t>(array.data()) % alignof(float)) refuse("aligned to 4 bytes");
  if (written && !array.writeable()) refuse("writeable");
  return const_cast<float*>(static_cast<const float*>(array.data()));
}

/// Of the calling thread's next parallel regions.
void check_threads(int threads) {
  if (threads < 1 || threads > 4096)
    throw py::value_error("threads: must be from 1 to 4096 (got " + std::to_string(threads) + ")");
  omp_set_dynamic(0);  // as many as asked for, whatever the machine's load (OMP_DYNAMIC)
}

/// Scratch memory of the calling thread, kept so that launches after the first touch no new pages.
float* scratch_of(int64_t floats) {
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  static thread_local std::unique_ptr<float, Free> memory;
  static thread_local int64_t size = 0;
  if (floats <= 0) return nullptr;
  if (floats > size) {
    if (floats > (int64_t(1) << 58)) throw std::bad_alloc();
    memory.reset();
    size = 0;
    memory.reset(static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64)));
    if (!memory) throw std::bad_alloc();
    size = floats;
  }
  return memory.get();
}

int64_t scratch_floats_of(const Variant& kernel, const Launch& launch) {
  return kernel.scratch_floats ? kernel.scratch_floats(launch) : 0;
}

/// Bytes that a launch needs beside its operands.
int64_t scratch_bytes(const std::string& variant, const std::string& isa, const py::sequence& layer, int threads) {
  check_threads(threads);
  Launch one = {};
  one.layer = layer_from(layer);
  one.threads = threads;
  return 4 * scratch_floats_of(find_kernel(variant, isa, one.layer), one);
}

/// Seconds of `launches` launches. Wide because its parameters are those that Python gives (see the end of this file).
double launch(const std::string& variant, const std::string& isa, const py::sequence& layer, const py::sequence& box,
              const py::object& x, const py::object& w, const py::object& y, int threads, int64_t launches) {
  check_threads(threads);
  if (launches < 1) throw py::value_error("launches: must be at least 1 (got " + std::to_string(launches) + ")");
  Launch one = {};
  one.layer = layer_from(layer);
  const Variant& kernel = find_kernel(variant, isa, one.layer);
  one.box = box_from(box);
  one.threads = threads;
  const Layer& l = one.layer;
  const float* x_data = data_of(x, "x", {l.N, l.C, l.H, l.W}, false);
  const float* w_data = data_of(w, "w", {l.K, l.C / l.groups, l.R, l.S}, false);
  float* y_data = data_of(y, "y", {l.N, l.K, l.P, l.Q}, true);
  const auto arrays = {py::reinterpret_borrow<py::array>(x), py::reinterpret_borrow<py::array>(w),
                       py::reinterpret_borrow<py::array>(y)};
  const int64_t instances = arrays.begin()[0].shape(0);
  for (const auto& array : arrays)
    if (array.shape(0) != instances) throw py::value_error("x, w, y: must have the same number of instances");
  const int64_t x_size = arrays.begin()[0].size(), w_size = arrays.begin()[1].size(), y_size = arrays.begin()[2].size();
  if ((y_data < x_data + x_size && x_data < y_data + y_size) || (y_data < w_data + w_size && w_data < y_data + y_size))
    throw py::value_error("y: must not overlap x or w");

  one.scratch = scratch_of(scratch_floats_of(kernel, one));
  bool unsupported = false;
  one.unsupported = &unsupported;
  double seconds;
  {
    const py::gil_scoped_release unlocked;
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < launches && !unsupported; ++i)
      for (int64_t instance = 0; instance < instances && !unsupported; ++instance) {
        one.x = x_data + instance * (x_size / instances);
        one.w = w_data + instance * (w_size / instances);
        one.y = y_data + instance * (y_size / instances);
        kernel.run(one);
      }
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  if (unsupported) throw py::value_error("box: " + variant + " has no kernel for these knobs and this layer");
  return seconds;
}

#ifdef DIBENCH_COUNT
/// What one launch accesses. Wide as launch is.
py::dict counts(const std::string& variant, const std::string& isa, const py::sequence& layer, const py::sequence& box,
                const py::object& x, const py::object& w, const py::object& y, int threads) {
  dibench::dibench_counters = {};
  launch(variant, isa, layer, box, x, w, y, threads, 1);
  const auto& c = dibench::dibench_counters;
  py::dict result;
  result["macs_executed"] = c.macs_executed;
  result["weight_reads"] = c.weight_reads;
  result["input_reads"] = c.input_reads;
  result["output_reads"] = c.output_reads;
  result["output_writes"] = c.output_writes;
  return result;
}
#endif

/// Runs `work`, which returns how much it has done, on every thread for about `seconds`, in slices. Returns the rate
/// of the best slice: the work of all threads over the time of the slowest. The mean of all slices would lie below
/// what kernels reach where other processes take the cores now and then.
template <class Work>
double rate(int threads, double seconds, Work work) {
  check_threads(threads);
  if (!(seconds > 0 && seconds <= 60))
    throw py::value_error("seconds: must be from 0 to 60 (got " + std::to_string(seconds) + ")");
  const py::gil_scoped_release unlocked;
  using clock = std::chrono::steady_clock;
  constexpr int slices = 15;
  double best = 0, total = 0, slowest = 0;
  clock::time_point start;
#pragma omp parallel num_threads(threads)
  {
    work(omp_get_thread_num(), omp_get_num_threads());  // warm-up: clocks, pages, caches
    for (int slice = 0; slice < slices; ++slice) {
#pragma omp barrier
#pragma omp single
      total = slowest = 0, start = clock::now();
      double done = 0, elapsed = 0;
      while (elapsed < seconds / slices) {
        done += work(omp_get_thread_num(), omp_get_num_threads());
        elapsed = std::chrono::duration<double>(clock::now() - start).count();
      }
#pragma omp critical
      total += done, slowest = std::max(slowest, elapsed);
#pragma omp barrier
#pragma omp single
      best = std::max(best, total / slowest);
    }
  }
  return best;
}

double peak_flops(const std::string& isa, int threads, double seconds, bool scalar) {
  const Peaks& peaks = *find_isa(isa).peaks;
  const auto work = scalar ? peaks.scalar_multiply_adds : peaks.multiply_adds;
  return rate(threads, seconds, [&](int, int) { return double(work(10000)); });
}

double peak_bandwidth(int threads, int64_t bytes, double seconds) {
  check_threads(threads);
  if (bytes < 4096 || bytes > (int64_t(1) << 40))
    throw py::value_error("bytes: must be from 4096 to 2**40 (got " + std::to_string(bytes) + ")");
  const Peaks& peaks = *find_isa(isas().back()).peaks;
  const int64_t floats = bytes / 4;
  const auto line = std::align_val_t(64);  // as operands are: a vector across two lines of a cache is two reads
  const auto give_back = [line](float* memory) { ::operator delete(memory, line); };
  const std::unique_ptr<float, decltype(give_back)> data(static_cast<float*>(::operator new(bytes, line)), give_back);
  const auto slice = [&](int thread, int of) { return std::pair(floats / of * thread, floats / of); };
#pragma omp parallel num_threads(threads)
  {  // each thread's pages are near it
    const auto [begin, count] = slice(omp_get_thread_num(), omp_get_num_threads());
    for (int64_t i = begin; i < begin + count; ++i) data.get()[i] = 1.0f;
  }
  return rate(threads, seconds, [&](int thread, int of) {
    const auto [begin, count] = slice(thread, of);
    const int64_t passes = std::max<int64_t>(1, (1 << 18) / std::max<int64_t>(count, 1));  // the clock takes time too
    for (int64_t pass = 0; pass < passes; ++pass) peaks.read(data.get() + begin, count);
    return double(count) * 4 * double(passes);
  });
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  using namespace pybind11::literals;
  // A child has none of its parent's threads, and libgomp would wait for them at the first launch: they end before
  // each fork, and both sides start new ones when they need them.
  pthread_atfork([] { omp_pause_resource_all(omp_pause_hard); }, nullptr, nullptr);
  m.doc() = "CPU kernels of dibench; see csrc/cpu.";
  m.attr("sources") = sources;
  m.def("isas", isas, "Instruction sets that this machine runs, best last.");
  m.def("variants", variants, "Kernel variants in this build.");
  m.def(
      "vector_lanes", [](const std::string& isa) { return find_isa(isa).peaks->lanes; }, "isa"_a,
      "Floats in one vector of an instruction set.");
  m.def("launch", launch, "variant"_a, "isa"_a, "layer"_a, "box"_a, "x"_a, "w"_a, "y"_a, "threads"_a = 1,
        "launches"_a = 1,
        "Seconds for `launches` launches, each over all instances. layer: N C H W K R S P Q stride_h stride_w pad_h\n"
        "pad_w dil_h dil_w groups; box: tile_p tile_k tile_c taps window, 0 where a variant lacks the knob;\n"
        "x [I,N,C,H,W], w [I,K,C/groups,R,S], y [I,N,K,P,Q]: float32, C-contiguous.");
  m.def("scratch_bytes", scratch_bytes, "variant"_a, "isa"_a, "layer"_a, "threads"_a,
        "Bytes that a launch needs beside its operands; see launch.");
  m.def("peak_flops", peak_flops, "isa"_a, "threads"_a, "seconds"_a, "scalar"_a = false,
        "MAC/s of a loop of nothing but multiply-adds, of vectors or of one number at a time.");
  m.def("peak_bandwidth", peak_bandwidth, "threads"_a, "bytes"_a, "seconds"_a, "B/s when reading a buffer of `bytes`.");
#ifdef DIBENCH_COUNT
  m.def("counts", counts, "variant"_a, "isa"_a, "layer"_a, "box"_a, "x"_a, "w"_a, "y"_a, "threads"_a = 1,
        "Elements accessed and multiply-adds done by one launch over all instances.");
#endif
}
