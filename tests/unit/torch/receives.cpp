// When the executor posts its receives: once their bytes need nothing that this rank has yet to send, not before.
#include <deque>
#include <map>
#include <optional>
#include <pcomp/core.hpp>
#include <pcomp/runtime/batch.hpp>
#include <pcomp/runtime/engine.hpp>
#include <pcomp/runtime/results.hpp>
#include <pcomp/schedule/policies/one_f_one_b.hpp>
#include <pcomp/schedule/policies/zero_bubble.hpp>
#include <pcomp/transport/threads.hpp>
#include <set>

#include "../kernels/kernels.hpp"
#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;

namespace {

/// The links of Threads, which record every post of every rank.
class Watched final : public transport::Communicator {
 public:
  struct Post {
    bool sends;
    transport::Message message;
  };
  Watched(int ranks, const std::vector<int>& rank_of, std::chrono::milliseconds timeout)
      : threads_(ranks, static_cast<int>(rank_of.size()) - 1, timeout) {
    for (int r = 0; r < ranks; ++r) ends_.emplace_back(threads_.link(r), posts_[r]);
  }
  const std::vector<int>& here() const override { return threads_.here(); }
  const std::vector<int>& elsewhere() const override { return threads_.elsewhere(); }
  transport::Transport& link(int rank) override { return ends_.at(static_cast<std::size_t>(rank)); }
  void begin() override {
    threads_.begin();
    for (auto& [rank, posts] : posts_) posts.clear();
  }
  std::vector<std::string> exchange(const std::string& about, const std::string& text) override {
    return threads_.exchange(about, text);
  }
  const std::map<int, std::vector<Post>>& posts() const { return posts_; }

 private:
  class End final : public transport::Transport {
   public:
    End(transport::Transport& to, std::vector<Post>& posts) : to_(&to), posts_(&posts) {}
    void wait(Ticket t) override { to_->wait(t); }
    void abort(const transport::Failure& reason) noexcept override { to_->abort(reason); }
    transport::Failure aborted() const override { return to_->aborted(); }

   private:
    Ticket post_send(int to, const transport::Message& m, std::span<const std::byte> bytes,
                     transport::StreamFence* o) override {
      posts_->push_back({true, m});
      return to_->send(to, m, bytes, o);
    }
    Ticket post_receive(int from, const transport::Message& m, std::span<std::byte> bytes,
                        transport::StreamFence* o) override {
      posts_->push_back({false, m});
      return to_->receive(from, m, bytes, o);
    }
    transport::Transport* to_;
    std::vector<Post>* posts_;
  };

  transport::ThreadTransport threads_;
  std::map<int, std::vector<Post>> posts_;
  std::deque<End> ends_;
};

/// A link to another process on which a send ends when it is waited for.
class Remote final : public transport::Transport {
 public:
  std::size_t posted = 0, waited = 0;
  void wait(Ticket) override { ++waited; }
  void abort(const transport::Failure&) noexcept override {}
  transport::Failure aborted() const override { return {}; }

 private:
  Ticket post_send(int, const transport::Message&, std::span<const std::byte>,
                   transport::StreamFence*) override {
    return static_cast<Ticket>(posted++);
  }
  Ticket post_receive(int, const transport::Message&, std::span<std::byte>,
                      transport::StreamFence*) override {
    return 0;
  }
};

/// What this rank must have sent before the bytes of `m` can exist: of everything they depend on, the last message.
std::optional<transport::Message> needs(const transport::Message& m, int rank,
                                        const std::vector<int>& rank_of) {
  const int stages = static_cast<int>(rank_of.size());
  const auto own = [&](int stage) { return rank_of[static_cast<std::size_t>(stage)] == rank; };
  for (int s = m.boundary + 1; m.gradient && s < stages; ++s)
    if (own(s)) return transport::Message{s - 1, m.micro, true};
  for (int s = m.boundary; s >= 0; --s)
    if (own(s)) return transport::Message{s, m.micro, false};
  return std::nullopt;
}

}  // namespace

TEST_CASE("a receive is posted once nothing that this rank still has to send is missing for it") {
  const std::vector<const kernel::WireKernels*> wires(4, &kernel::wire_kernels(Quant<8>));
  const auto tables = {make_schedule(OneFOneB{}, 5, 5), make_schedule(ZeroBubble{}, 5, 6),
                       make_schedule(OneFOneB{}, 5, 5, schedule::RankMap{0, 1, 2, 3, 0}),
                       make_schedule(ZeroBubble{}, 5, 6, schedule::RankMap{0, 1, 1, 0, 2})};
  for (const schedule::ScheduleTable& table : tables) {
    INFO(table.policy << ' ' << table.ranks << " ranks");
    Watched* watched = nullptr;
    Engine engine(net::one_thread_each(), net::stages(), wires, table,
                  [&](const World& world, int ranks, const std::vector<int>& rank_of) {
                    auto links = std::make_unique<Watched>(ranks, rank_of, world.timeout);
                    watched = links.get();
                    return links;
                  });
    engine.step(torch::randn({12, 3, 9, 7}), torch::randint(10, {12}), cross_entropy);
    std::size_t ahead = 0;
    for (const auto& [rank, posts] : watched->posts()) {
      std::set<std::tuple<int, int, bool>> sent, asked;
      for (const auto& [sends, m] : posts) {
        INFO("rank " << rank << (sends ? " sends " : " receives ") << to_string(m));
        if (sends) {
          sent.insert({m.boundary, m.micro, m.gradient});
          // Counts where the next message to the same stage in the same direction has already been asked for.
          ahead += asked.count({m.gradient ? m.boundary + 1 : m.boundary - 1, m.micro + 1, m.gradient});
          continue;
        }
        asked.insert({m.boundary, m.micro, m.gradient});
        if (const auto first = needs(m, rank, table.rank_map()))
          CHECK(sent.count({first->boundary, first->micro, first->gradient}) == 1);
      }
    }
    CHECK(ahead > 0);
  }
}

TEST_CASE("what the last stage made has reached every process when its step is over") {
  Remote link;
  const std::vector<int> others{1, 2};
  const training::Loss loss = cross_entropy;
  pcomp::detail::Batch batch{training::split(4, 2), torch::zeros({4, 1}), {}, {}, &loss, {}};
  pcomp::detail::Results results(0, true);
  results.begin(batch, link, -1, others);
  for (int m : {0, 1}) results.set(m, torch::full({}, 1.5), nullptr);
  CHECK(link.posted == 2);
  results.receive();
  CHECK(link.waited == 2);
}
