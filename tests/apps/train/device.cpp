#include "run/device.hpp"

#include <ATen/Context.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/scalar_tensor.h>

#include <limits>
#include <pcomp/base/error.hpp>

#include "../../unit/torch/catch.hpp"
#include "data/feed.hpp"
#include "run/loss_sum.hpp"
#include "run/train.hpp"

using namespace cifar;

TEST_CASE("Batches made on the device are those of the host, bit for bit") {
  const DataSet set = synthetic(3, 300, 50);
  const Normalisation n = normalisation(set.train);
  const DeviceImages there(set.train, n, at::kCPU);
  for (const bool augment : {true, false})
    for (const int limit : {0, 200}) {
      Order order;
      order.seed = 5, order.epoch = 2, order.augment = augment, order.batch = 64, order.limit = limit;
      Feed host(set.train, nullptr, n, order), device(set.train, &there, n, order);
      TensorBatch a, b;
      int count = 0;
      for (; host.next(a); ++count) {
        REQUIRE(device.next(b));
        CHECK(at::equal(a.x, b.x));
        CHECK(at::equal(a.y, b.y));
        CHECK(at::equal(a.sample_ids, b.sample_ids));
        CHECK(b.x.is_contiguous(at::MemoryFormat::ChannelsLast));
      }
      CHECK(!device.next(b));
      CHECK(count == batch_count(300, order));
    }
}

TEST_CASE("Without pictures a feed has their shape and the labels") {
  const DataSet set = synthetic(3, 20, 10);
  Order order;
  order.batch = 8, order.pictures = false;
  Feed feed(set.train, nullptr, normalisation(set.train), order);
  TensorBatch b;
  REQUIRE(feed.next(b));
  CHECK(b.x.sizes() == at::IntArrayRef({8, 3, 32, 32}));
  CHECK(b.y[3].item<int>() ==
        set.train.labels[static_cast<std::size_t>(b.sample_ids[3].item<std::int64_t>())]);
}

TEST_CASE("Losses are weighted by images, and one that is not finite is seen in the next look") {
  const auto loss = [](float v) { return at::scalar_tensor(v); };
  LossSum each(1), seldom(3);
  for (LossSum* sum : {&each, &seldom}) {
    CHECK(sum->add(loss(1), 10));
    CHECK(sum->add(loss(4), 30));
    CHECK(sum->unseen() == (sum == &each ? 0 : 2));
    CHECK(sum->look());
    CHECK(sum->mean() == 3.25);
    CHECK(sum->images() == 40);
  }
  const float bad = std::numeric_limits<float>::quiet_NaN();
  CHECK(!each.add(loss(bad), 10));
  CHECK(each.unseen() == 1);
  CHECK(seldom.add(loss(1), 10));
  CHECK(seldom.add(loss(bad), 10));
  CHECK(!seldom.add(loss(1), 10));
  CHECK(seldom.unseen() == 3);
}

TEST_CASE("The option --device cuda says what is missing, the program's CUDA or the machine's GPU") {
  CHECK(cuda_trouble(false, 0).starts_with(
      "this program was built without CUDA: configure with -DPCOMP_CUDA=ON"));
  CHECK(cuda_trouble(true, 0).starts_with("this program has CUDA, but LibTorch sees no GPU"));
  CHECK(cuda_trouble(true, 1).empty());
  CHECK(find_device("cpu").is_cpu());
  if (at::hasCUDA())
    CHECK(find_device("cuda").is_cuda());
  else
    CHECK_THROWS_WITH(find_device("cuda"), Catch::Contains("--device cuda: this program "));
}

TEST_CASE("The option --link nccl is refused where the ranks are threads") {
  Settings s;
  s.link = "nccl";
  CHECK_THROWS_WITH(train(s), Catch::Contains("--link nccl: the ranks are threads of this one process"));
}
