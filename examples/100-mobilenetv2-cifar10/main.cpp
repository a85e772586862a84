// MobileNetV2 on CIFAR-10 in three stages, which send each other a tenth of the bytes and less.
//
//   example-100-mobilenetv2-cifar10 data/cifar-10-batches-bin     one process: a thread for each stage
//   torchrun --no-python --nproc-per-node 3 example-100-... data/cifar-10-batches-bin     or a process
//
// `./dev data` fetches the images. `./dev train` is this with options, checkpoints, progress and a choice of wires.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <numbers>
#include <pcomp/pcomp.hpp>

using namespace pcomp;
namespace nn = torch::nn;

/// Adds a convolution and its normalisation. Statement by statement, as each layer draws its first weights.
void convolve(nn::SequentialImpl& to, int in, int out, int kernel, int stride = 1, int groups = 1) {
  to.push_back(nn::Conv2d(
      nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).groups(groups).bias(false)));
  to.push_back(nn::BatchNorm2d(out));
}

/// Expand, filter each channel, project; added to its input where the shapes are alike.
struct InvertedResidualImpl : nn::Module {
  InvertedResidualImpl(int in, int out, int expansion, int stride) : adds(stride == 1 && in == out) {
    register_module("layers", layers);
    const int inner = in * expansion;
    convolve(*layers, in, inner, 1);
    layers->push_back(nn::ReLU6());
    convolve(*layers, inner, inner, 3, stride, inner);
    layers->push_back(nn::ReLU6());
    convolve(*layers, inner, out, 1);
  }
  at::Tensor forward(const at::Tensor& x) { return adds ? x + layers->forward(x) : layers->forward(x); }
  bool adds;
  nn::Sequential layers;
};
TORCH_MODULE(InvertedResidual);

void blocks(nn::SequentialImpl& to, int in, int out, int expansion, int count, int stride) {
  for (int i = 0; i < count; ++i)
    to.push_back(InvertedResidual(i ? out : in, out, expansion, i ? 1 : stride));
}

// The stages: any default-constructible modules. For images of 32x32 the first strides are 1.
struct FrontImpl : nn::SequentialImpl {
  FrontImpl() {
    convolve(*this, 3, 32, 3), push_back(nn::ReLU6());
    blocks(*this, 32, 16, 1, 1, 1), blocks(*this, 16, 24, 6, 2, 1), blocks(*this, 24, 32, 6, 3, 2);
  }
};
struct MiddleImpl : nn::SequentialImpl {
  MiddleImpl() { blocks(*this, 32, 64, 6, 4, 2), blocks(*this, 64, 96, 6, 3, 1); }
};
struct BackImpl : nn::SequentialImpl {
  BackImpl() {
    blocks(*this, 96, 160, 6, 3, 2), blocks(*this, 160, 320, 6, 1, 1);
    convolve(*this, 320, 1280, 1), push_back(nn::ReLU6());
    push_back(nn::AdaptiveAvgPool2d(1)), push_back(nn::Flatten()), push_back(nn::Linear(1280, 10));
  }
};
TORCH_MODULE(Front);
TORCH_MODULE(Middle);
TORCH_MODULE(Back);

using Net =
    Pipeline<Stage<Front, Wire<Quant<4> | Downsample<2>>>,  // to the next stage, and the gradient back
             Stage<Middle, Wire<Quant<3>, Quant<4>>>,       // activations in 3 bits, gradients in 4
             Stage<Back>>;
using Plan = Net::Plan<OneFOneB, 8>;  // 8 micro-batches a step

/// The pictures of CIFAR-10's binary files, as N x 3 x 32 x 32 around 0, and their classes.
std::pair<at::Tensor, at::Tensor> read(const std::filesystem::path& folder, std::vector<std::string> files) {
  std::vector<char> bytes;
  for (const std::string& name : files) {
    std::ifstream file(folder / name, std::ios::binary);
    if (!file) throw Error("there is no " + (folder / name).string() + ": ./dev data fetches CIFAR-10");
    bytes.insert(bytes.end(), std::istreambuf_iterator<char>(file), {});
  }
  const auto all =
      at::from_blob(bytes.data(), {static_cast<std::int64_t>(bytes.size()) / 3073, 3073}, at::kByte);
  const auto x = all.narrow(1, 1, 3072).reshape({-1, 3, 32, 32}).to(at::kFloat) / 64 - 2;
  return {x, all.select(1, 0).to(at::kLong)};
}

int main(int argc, char** argv) try {
  const std::filesystem::path folder = argc > 1 ? argv[1] : "data/cifar-10-batches-bin";
  const int epochs = argc > 2 ? std::stoi(argv[2]) : 30, batch = 128;
  const auto [x, y] = read(folder, {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                    "data_batch_4.bin", "data_batch_5.bin"});
  const auto [test_x, test_y] = read(folder, {"test_batch.bin"});

  torch::manual_seed(1);
  const World world = World::from_env();
  Engine pipe(world, Net{}, Plan{});
  torch::optim::SGD opt(pipe.parameters(), torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(5e-4));
  at::Generator shuffle =
      at::make_generator<at::CPUGeneratorImpl>(7);  // its own: the same order on every rank
  const std::int64_t steps = std::max<std::int64_t>(1, x.size(0) / batch);

  for (int epoch = 0; epoch < epochs; ++epoch) {
    const auto order = at::randperm(x.size(0), shuffle, at::kLong);
    pipe.train();
    double loss = 0;
    for (std::int64_t step = 0; step < steps; ++step) {
      const double done = static_cast<double>(epoch * steps + step) / static_cast<double>(epochs * steps);
      static_cast<torch::optim::SGDOptions&>(opt.param_groups()[0].options())
          .lr(0.025 * (1 + std::cos(std::numbers::pi * done)));
      const auto now = order.slice(0, step * batch, (step + 1) * batch);
      const auto images = x.index_select(0, now);
      opt.zero_grad();
      loss +=
          pipe.step(step % 2 ? images.flip(3) : images, y.index_select(0, now), cross_entropy).item<double>();
      opt.step();
      if (world.rank() == 0 && step % 10 == 9)
        std::cout << "\repoch " << epoch + 1 << ", step " << step + 1 << " of " << steps << ", loss "
                  << std::fixed << std::setprecision(3) << loss / static_cast<double>(step + 1) << std::flush;
    }
    pipe.eval();
    double right = 0;
    for (const auto& part : at::arange(test_x.size(0)).split(500))  // no output leaves the last stage's rank
      right += pipe.evaluate(test_x.index_select(0, part), test_y.index_select(0, part), cross_entropy,
                             {training::CountCorrect{}})
                   .metrics[0]
                   .item<double>();
    if (world.rank() == 0)
      std::cout << "\repoch " << epoch + 1 << ", loss " << std::fixed << std::setprecision(3)
                << loss / static_cast<double>(steps) << ", right " << std::setprecision(1)
                << 100 * right / static_cast<double>(test_x.size(0)) << " %            " << std::endl;
  }
  const auto report = runtime::total_report(pipe);  // of all ranks: every rank asks
  if (world.rank() == 0) report.print_traffic(std::cout);
} catch (const std::exception& e) {
  std::cerr << e.what() << '\n';
  return 1;
}
