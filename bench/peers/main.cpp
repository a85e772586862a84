// The same jobs done by what one would use today, alternating with memcpy and pcomp in one run.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <fstream>
#include <iostream>
#include <numeric>
#include <pcomp/autograd/tensor.hpp>
#include <random>

#include "../common/alternate.hpp"
#include "../common/machine.hpp"
#include "../common/tensors.hpp"
#include "contender.hpp"

namespace {

using bench::Contender;

struct Options {
  std::vector<int> sizes{18, 24}, threads{2};
  std::string bitsandbytes, csv;
  int rounds = 15;
  bool relu = false;
};

struct Row {
  std::string name;
  bool eager;
  std::size_t bytes;
  double encode, decode, error;
};

struct Target {
  const char* job;
  double times;
};
constexpr Target targets[] = {{"quant8", 8}, {"topk10-quant8", 40}, {"thin", 40}};

std::vector<Contender> contenders(const std::string& job, const at::Tensor& x, const Options& options,
                                  int threads) {
  std::vector<Contender> all = bench::ours(job, x);
  const auto add = [&](std::vector<Contender> more) { all.insert(all.end(), more.begin(), more.end()); };
  if (job == "quant8") {
    add(bench::eager_quant8(x));
    add(bench::quantized_operators(x));
    if (!options.bitsandbytes.empty()) all.push_back(bench::blockwise(x, options.bitsandbytes, threads));
    add(bench::lossless(x, threads));
  } else {
    add(bench::eager_topk10_quant8(x, job == "thin"));
  }
  return all;
}

double rms_error(const float* x, const float* y, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
  return std::sqrt(sum / static_cast<double>(n));
}

/// One job: in each round, all contenders take turns; prints its part of the table and returns the ratio of the
/// fastest eager encode to ours.
double run_job(const std::string& job, const at::Tensor& x, int log2, int threads, const Options& options,
               std::ofstream& csv) {
  const std::vector<Contender> all = contenders(job, x, options, threads);
  at::Tensor y = at::empty(x.sizes());
  std::vector<double> copies;
  std::vector<std::vector<double>> encodes(all.size()), decodes(all.size());
  const int rounds = log2 < 21 ? 5 * options.rounds : options.rounds;
  std::vector<std::size_t> order(all.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 random(1);
  for (int round = -1; round < rounds; ++round) {      // the first warms up and is not counted
    std::shuffle(order.begin(), order.end(), random);  // so none always follows the same one
    for (const std::size_t i : order) {
      const double copy = bench::seconds([&] {
        bench::copy(pcomp::detail::torch_threads, x.const_data_ptr<float>(), y.mutable_data_ptr<float>(),
                    x.numel());
      });
      const double encode = bench::seconds(all[i].encode), decode = bench::seconds(all[i].decode);
      if (round < 0) continue;
      copies.push_back(copy);
      encodes[i].push_back(encode);
      decodes[i].push_back(decode);
    }
  }
  const char* unit = log2 < 21 ? "us" : "ms";
  const double copy = bench::median(copies), ms = log2 < 21 ? 1e6 : 1e3;
  std::printf("\n%s, 2^%d floats, %d thread%s, %d rounds; memcpy %.2f %s\n", job.c_str(), log2, threads,
              threads == 1 ? "" : "s", rounds, copy * ms, unit);
  std::printf("%-39s %11s | encode %2s  memcpy   pcomp | decode %2s  memcpy   pcomp | rms error\n", "",
              "bytes", unit, unit);
  double best_eager = INFINITY;
  const double our_encode = bench::median(encodes[0]), our_decode = bench::median(decodes[0]);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Row r{all[i].name,
                all[i].eager,
                all[i].bytes(),
                bench::median(encodes[i]),
                bench::median(decodes[i]),
                rms_error(x.const_data_ptr<float>(), all[i].decoded(), x.numel())};
    if (r.eager) best_eager = std::min(best_eager, r.encode);
    std::printf("%-39s %11zu | %9.2f %7.2f %7.2f | %9.2f %7.2f %7.2f | %9.5f\n", r.name.c_str(), r.bytes,
                r.encode * ms, r.encode / copy, r.encode / our_encode, r.decode * ms, r.decode / copy,
                r.decode / our_decode, r.error);
    if (csv.is_open())
      csv << job << ",\"" << r.name << "\"," << x.numel() << ',' << threads << ','
          << (options.relu ? "relu" : "normal") << ',' << rounds << ',' << r.bytes << ',' << r.encode << ','
          << r.decode << ',' << copy << ',' << r.error << '\n';
  }
  std::fflush(stdout);
  return best_eager / our_encode;
}

void run(const Options& options) {
  const c10::InferenceMode no_graph;
  std::ofstream csv;
  if (!options.csv.empty()) {
    csv.open(options.csv);
    csv << "job,by,elements,threads,data,rounds,payload_bytes,encode_seconds,decode_seconds,memcpy_seconds,"
           "rms_error\n";
    if (!csv) throw pcomp::Error("cannot write " + options.csv);
  }
  std::printf(
      "%s\nData: normal random%s.\nMedians; every round takes the lines in a new order, each as memcpy of "
      "the tensor, "
      "encode, decode.\nColumns memcpy and pcomp: the time over memcpy's, and over that of the first line.\n",
      bench::processor().c_str(), options.relu ? ", negative values set to 0 (ReLU)" : "");
  std::string verdicts;
  for (const int log2 : options.sizes)
    for (const int threads : options.threads) {
      at::set_num_threads(threads);
      const pcomp::Extents shape = bench::shape_of(log2);
      at::Tensor x = at::empty(at::IntArrayRef(shape.begin(), shape.end()));
      bench::fill_normal(x.mutable_data_ptr<float>(), x.numel(), 1, options.relu);
      for (const Target& t : targets) {
        const double times = run_job(t.job, x, log2, threads, options, csv);
        char line[160];
        std::snprintf(line, sizeof line, "  2^%d, %d threads  %-14s %7.1f >= %2.0f  %s\n", log2, threads,
                      t.job, times, t.times, times >= t.times ? "met" : "missed");
        if (log2 == 24 && threads == 2) verdicts += line;
      }
    }
  if (!verdicts.empty())
    std::printf("\nLimits, times faster to encode than the faster of the two LibTorch eager lines\n%s",
                verdicts.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("pcomp's CPU codecs beside what does the same job today, alternating in one run");
  Options options;
  app.add_option("--sizes", options.sizes, "base-2 logarithms of the sizes in floats; by default 18,24")
      ->delimiter(',')
      ->check(CLI::Range(12, 28));
  app.add_option("--threads", options.threads, "numbers of threads; by default 2")
      ->delimiter(',')
      ->check(CLI::Range(1, 256));
  app.add_option("--rounds", options.rounds,
                 "rounds from 2^21 floats on, below 5 times as many; by default 15")
      ->check(CLI::Range(1, 1000));
  app.add_option("--bitsandbytes", options.bitsandbytes, "libbitsandbytes_cpu.so of that wheel")
      ->check(CLI::ExistingFile);
  app.add_flag("--relu", options.relu, "activations with their negative half set to 0");
  app.add_option("--csv", options.csv, "write the numbers to this file too");
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
}
