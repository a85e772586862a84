// Each wire's four kernels against memcpy of the same tensor, alternating in one run; see run.py.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <pcomp/kernel/cpu/simd/isa.hpp>
#include <random>

#include "model/wires.hpp"

namespace {

using Clock = std::chrono::steady_clock;

enum Job { encode, decode, grad_encode, grad_decode };
constexpr const char* job_names[] = {"encode", "decode", "grad encode", "grad decode"};

/// A team of OpenMP threads, which stay awake between calls.
struct Team {
  int threads;
  void operator()(std::int64_t n, std::int64_t grain, pcomp::kernel::ParallelFor::Body body) const {
    const auto parts = static_cast<int>(std::min<std::int64_t>(threads, (n + grain - 1) / grain));
    if (parts <= 1) return body(0, n);
#pragma omp parallel num_threads(parts)
    {
      const std::int64_t i = omp_get_thread_num(), begin = n * i / parts, end = n * (i + 1) / parts;
      if (begin < end) body(begin, end);
    }
  }
};

/// An array aligned to a cache line, as LibTorch's are.
class Array {
 public:
  explicit Array(std::size_t n = 0) : all_(n + 16) {}
  float* data() {
    return reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(all_.data()) + 63) / 64 * 64);
  }

 private:
  std::vector<float> all_;
};

/// The tensors of one size: normal values, or what a ReLU leaves of them.
struct Tensors {
  pcomp::Extents shape;
  Array x, dy, y;
  Tensors(std::int64_t n, bool relu)
      : shape(n >= 32768 ? pcomp::Extents{n / 32768, 32, 32, 32} : pcomp::Extents{1, n / 1024, 32, 32}),
        x(static_cast<std::size_t>(n)),
        dy(static_cast<std::size_t>(n)),
        y(static_cast<std::size_t>(n)) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < n; ++i) {
      x.data()[i] = normal(random);
      if (relu) x.data()[i] = std::max(0.0f, x.data()[i]);
      dy.data()[i] = normal(random);
    }
  }
};

double median(std::vector<double> v) {
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

template <class F>
double seconds(F&& f) {
  const auto begin = Clock::now();
  f();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

bool relu = false;

/// memcpy of the tensor by a team.
void copy(const Team& team, const void* from, float* to, std::int64_t n) {
  team(n, 1 << 15, [&](std::int64_t b, std::int64_t e) {
    std::memcpy(to + b, static_cast<const float*>(from) + b, static_cast<std::size_t>(e - b) * 4);
  });
}

/// Lower bounds for a kernel that reads (writes) the whole tensor: only reading (writing) it, as multiples of memcpy.
std::array<double, 2> floors(std::int64_t n, int threads) {
  Array x(static_cast<std::size_t>(n)), y(static_cast<std::size_t>(n));
  const Team team{threads};
  std::vector<double> copies[2], reads, writes;
  for (int i = 0; i < 25; ++i) {
    copies[0].push_back(seconds([&] { copy(team, x.data(), y.data(), n); }));
    reads.push_back(seconds([&] {
      team(n, 1 << 15, [&](std::int64_t b, std::int64_t e) {
        float sum[64] = {};
        for (std::int64_t j = b; j + 64 <= e; j += 64)
          for (int l = 0; l < 64; ++l) sum[l] += x.data()[j + l];
        benchmark::DoNotOptimize(sum);
      });
    }));
  }
  for (int i = 0; i < 25; ++i) {
    copies[1].push_back(seconds([&] { copy(team, x.data(), y.data(), n); }));
    writes.push_back(seconds([&] {
      team(n, 1 << 15, [&](std::int64_t b, std::int64_t e) {
        std::memset(y.data() + b, 0, static_cast<std::size_t>(e - b) * 4);
      });
    }));
  }
  return {median(reads) / median(copies[0]), median(writes) / median(copies[1])};
}

void run(benchmark::State& state, const pcomp::kernel::WireKernels* k, std::int64_t n, int threads, Job job) {
  static std::map<std::int64_t, std::unique_ptr<Tensors>> made;
  if (!made.count(n)) {
    made.clear();
    made[n] = std::make_unique<Tensors>(n, relu);
  }
  Tensors& t = *made[n];
  const Team team{threads};
  std::vector<std::byte> payload(k->bytes(t.shape)), grad(k->grad_bytes(t.shape));
  const pcomp::kernel::TensorView x(t.x.data(), pcomp::kernel::DType::f32, n),
      dy(t.dy.data(), pcomp::kernel::DType::f32, n);
  const pcomp::kernel::MutableTensorView y(t.y.data(), pcomp::kernel::DType::f32, n);
  k->encode(x, t.shape, payload, team);
  k->encode_grad(dy, t.shape, payload, grad, team);
  const pcomp::kernel::TensorView& input = job == grad_encode ? dy : x;
  std::vector<double> copies, jobs;
  for (auto _ : state) {
    copies.push_back(seconds([&] { copy(team, input.data, t.y.data(), n); }));
    jobs.push_back(seconds([&] {
      switch (job) {
        case encode:
          return k->encode(x, t.shape, payload, team);
        case decode:
          return k->decode(payload, t.shape, y, team);
        case grad_encode:
          return k->encode_grad(dy, t.shape, payload, grad, team);
        case grad_decode:
          return k->decode_grad(grad, t.shape, payload, y, team);
      }
    }));
    state.SetIterationTime(jobs.back());
  }
  const std::size_t sent = job == encode || job == decode ? payload.size() : grad.size();
  state.counters["us"] = 1e6 * median(jobs);
  state.counters["memcpy_us"] = 1e6 * median(copies);
  state.counters["ratio"] = median(jobs) / median(copies);
  state.counters["GBps"] = (4 * static_cast<double>(n) + static_cast<double>(sent)) / median(jobs) / 1e9;
  const std::size_t index = job == grad_encode || job == grad_decode ? k->index_bytes(t.shape) : 0;
  state.counters["moved"] = median(jobs) / median(copies) * 8 * static_cast<double>(n) /
                            (4 * static_cast<double>(n) + static_cast<double>(sent + index));
  state.counters["bytes"] = static_cast<double>(sent);
}

struct Row {
  std::string wire;
  std::int64_t n;
  int threads;
  std::map<std::string, double> of[4];
};

/// Prints one table instead of a line per measurement.
class Table : public benchmark::BenchmarkReporter {
 public:
  explicit Table(std::vector<Row>& rows) : rows_(rows) {}
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& r : runs) {
      Row& row = rows_[at_ / 4];
      for (const auto& [name, counter] : r.counters) row.of[at_ % 4][name] = counter.value;
      if (++at_ % 4 == 0) print(row);
    }
  }

 private:
  void print(Row& row) {
    if (row.n != n_ || row.threads != threads_) {
      n_ = row.n, threads_ = row.threads;
      std::printf(
          "\n2^%.0f floats, %d thread%s: medians as multiples of memcpy (microseconds; GB/s of tensor and "
          "payload; moved)\n",
          std::log2(static_cast<double>(n_)), threads_, threads_ == 1 ? "" : "s");
      const auto floor = floors(n_, threads_);
      std::printf("reading the tensor alone: %.2f; writing it alone: %.2f\n", floor[0], floor[1]);
      std::printf("%-15s %10s %9s", "wire", "payload", "memcpy us");
      for (const char* job : job_names) std::printf("  %-31s", job);
      std::printf("\n");
    }
    std::printf("%-15s %10.0f %9.1f", row.wire.c_str(), row.of[0]["bytes"], row.of[0]["memcpy_us"]);
    for (auto& job : row.of)
      std::printf("  %5.2f (%9.1f; %5.1f; %5.2f) ", job["ratio"], job["us"], job["GBps"], job["moved"]);
    std::printf("\n");
    std::fflush(stdout);
  }

  std::vector<Row>& rows_;
  std::size_t at_ = 0;
  std::int64_t n_ = 0;
  int threads_ = 0;
};

void write_csv(const char* path, std::vector<Row>& rows) {
  std::ofstream csv(path);
  csv << "wire,floats,threads,job,bytes,microseconds,memcpy_microseconds,ratio,GBps,moved\n";
  for (Row& r : rows)
    for (int j = 0; j < 4; ++j)
      csv << r.wire << ',' << r.n << ',' << r.threads << ',' << job_names[j] << ',' << r.of[j]["bytes"] << ','
          << r.of[j]["us"] << ',' << r.of[j]["memcpy_us"] << ',' << r.of[j]["ratio"] << ',' << r.of[j]["GBps"]
          << ',' << r.of[j]["moved"] << '\n';
  if (!csv.flush()) std::fprintf(stderr, "bench-codecs: cannot write %s\n", path);
}

/// Prints what the kernels should reach, as multiples of memcpy, and what they did reach.
void print_aims(std::vector<Row>& rows) {
  struct Aim {
    const char* wire;
    double limit[3];
  };
  constexpr Aim aims[] = {
      {"quant8", {0.85, 0.85, 0.85}}, {"topk10-quant8", {1.15, 0.6, 0.7}}, {"thin", {1.1, 0.4, 0.6}}};
  std::printf("\naims: two threads and 2^24 floats as below; at 2^18 at most 4\n");
  for (const Aim& a : aims)
    for (Row& r : rows)
      if (r.wire == a.wire && r.n == 1 << 24 && r.threads == 2) {
        std::printf("%-15s", a.wire);
        for (std::size_t j = 0; j < 3; ++j)
          std::printf("  %s %.2f %s %.2f", job_names[j], r.of[j]["ratio"],
                      r.of[j]["ratio"] <= a.limit[j] ? "<=" : "ABOVE", a.limit[j]);
        std::printf("\n");
      }
  for (Row& r : rows)
    for (std::size_t j = 0; j < 4; ++j)
      if (r.n == 1 << 18 && r.of[j]["ratio"] > 4)
        std::printf("%-15s  2^18, %d threads: %s %.2f ABOVE 4\n", r.wire.c_str(), r.threads, job_names[j],
                    r.of[j]["ratio"]);
}

}  // namespace

// bench-codecs CSV ISA RELU WIRE,... EXPONENT,... THREADS,...: run.py passes all of them.
int main(int argc, char** argv) {
  if (argc != 7) return std::fprintf(stderr, "start it through ./dev bench codecs\n"), 2;
  const auto words = [](std::string list) {
    std::vector<std::string> all;
    for (std::size_t end; !list.empty(); list.erase(0, end == list.npos ? list.npos : end + 1))
      end = list.find(','), all.push_back(list.substr(0, end));
    return all;
  };
  if (*argv[2]) pcomp::detail::isa() = static_cast<pcomp::detail::Isa>(std::atoi(argv[2]));
  relu = *argv[3] == '1';
  std::vector<Row> rows;
  for (const std::string& exponent : words(argv[5]))
    for (const std::string& threads : words(argv[6]))
      for (const cifar::NamedWire& w : cifar::wires()) {
        // Feedback is not a kernel: its messages are those of the wire without it, which is measured.
        if (w.ops->forward.memory != pcomp::codec::Memory::nothing ||
            w.ops->backward.memory != pcomp::codec::Memory::nothing)
          continue;
        const auto wanted = words(argv[4]);
        if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), w.name) == wanted.end()) continue;
        const std::int64_t n = std::int64_t{1} << std::atoi(exponent.c_str());
        rows.push_back({std::string(w.name), n, std::atoi(threads.c_str()), {}});
        for (Job job : {encode, decode, grad_encode, grad_decode})
          benchmark::RegisterBenchmark(rows.back().wire.c_str(), run, w.ops, n, rows.back().threads, job)
              ->UseManualTime()
              ->Iterations(std::clamp<std::int64_t>((std::int64_t{1} << 28) / n, 11, 2001));
      }
  Table table(rows);
  int none = 1;
  benchmark::Initialize(&none, argv);
  benchmark::RunSpecifiedBenchmarks(&table);
  print_aims(rows);
  if (*argv[1]) write_csv(argv[1], rows);
}
