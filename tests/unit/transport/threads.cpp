// What both ends of a mailbox must agree on, what an abort does, and the parts that processes add: each on its own.
#include <netinet/in.h>

#include <pcomp/transport/c10d/address.hpp>
#include <pcomp/transport/c10d/timed_call.hpp>
#include <pcomp/transport/fingerprint.hpp>
#include <pcomp/transport/threads.hpp>

#include "../schedule/catch.hpp"

using namespace pcomp;

namespace {

/// One end of a message, as it is posted.
struct End {
  int rank, peer;
  transport::Message message;
  std::size_t size;
};
const std::string sends = "rank 0 sends 8 bytes to rank 1, the activation of micro-batch 3 over boundary 0; ";

/// What the second post says, in either order.
std::string mismatch(End send, End receive, bool receive_first) {
  transport::ThreadTransport links(3, 2, std::chrono::seconds(1));
  std::byte from[16] = {}, to[16] = {};
  const auto post_send = [&] { links.link(send.rank).send(send.peer, send.message, {from, send.size}); };
  const auto post_receive = [&] {
    links.link(receive.rank).receive(receive.peer, receive.message, {to, receive.size});
  };
  return thrown([&] {
    receive_first ? post_receive() : post_send();
    receive_first ? post_send() : post_receive();
  });
}

}  // namespace

TEST_CASE("lengths, messages or ranks that differ at both ends are one error") {
  const End send{0, 1, {0, 3, false}, 8}, receive{1, 0, {0, 3, false}, 8};
  for (const bool receive_first : {false, true}) {
    CHECK(mismatch(send, receive, receive_first) == "nothing");
    for (const std::size_t size : {std::size_t{7}, std::size_t{9}, std::size_t{0}}) {
      End other = receive;
      other.size = size;
      CHECK(mismatch(send, other, receive_first) ==
            "pcomp: " + sends + "rank 1 expects " + std::to_string(size) +
                " bytes from rank 0, the activation of micro-batch 3 over boundary 0");
    }
    End other = receive;
    other.message.micro = 4;
    CHECK(mismatch(send, other, receive_first) ==
          "pcomp: " + sends +
              "rank 1 expects 8 bytes from rank 0, the activation of micro-batch 4 over boundary 0");
    other = receive, other.peer = 2;
    CHECK(mismatch(send, other, receive_first) ==
          "pcomp: " + sends +
              "rank 1 expects 8 bytes from rank 2, the activation of micro-batch 3 over boundary 0");
    other = receive, other.rank = 2;
    CHECK(mismatch(send, other, receive_first) ==
          "pcomp: " + sends +
              "rank 2 expects 8 bytes from rank 0, the activation of micro-batch 3 over boundary 0");
    // Another boundary or direction is another mailbox: nobody is there.
    other = receive, other.message.gradient = true;
    CHECK(mismatch(send, other, receive_first) == "nothing");
    for (const int boundary : {-1, 2}) {
      other = receive, other.message.boundary = boundary;
      CHECK(mismatch(send, other, receive_first) ==
            "pcomp: there are 2 boundaries, no boundary " + std::to_string(boundary));
    }
  }
}

TEST_CASE("messages of one boundary and direction arrive in order, each where it belongs") {
  transport::ThreadTransport links(2, 2, std::chrono::seconds(20));
  std::vector<std::byte> from(8), to(8);
  std::vector<transport::Transport::Ticket> sent, received;
  std::size_t i = 0;
  for (int boundary : {1, 0})
    for (bool gradient : {true, false})
      for (int micro : {0, 1}) {
        from[i] = std::byte(16 * boundary + 8 * gradient + micro + 1);
        sent.push_back(links.link(0).send(1, {boundary, micro, gradient}, {&from[i++], 1}));
      }
  i = 0;
  for (int boundary : {1, 0})
    for (bool gradient : {true, false})
      for (int micro : {0, 1})
        received.push_back(links.link(1).receive(0, {boundary, micro, gradient}, {&to[i++], 1}));
  for (const auto t : sent) links.link(0).wait(t);
  for (const auto t : received) links.link(1).wait(t);
  CHECK(to == from);
}

TEST_CASE("an abort ends a wait at once, its first reason wins, and a new step forgets it") {
  transport::ThreadTransport links(2, 1, std::chrono::seconds(60));
  std::byte bytes[4] = {};
  const auto ticket = links.link(0).receive(1, {0, 0, false}, bytes);
  std::string said;
  std::thread waits([&] { said = thrown([&] { links.link(0).wait(ticket); }); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto begin = std::chrono::steady_clock::now();
  links.link(1).abort("pcomp: rank 1 has had enough");
  links.link(1).abort("pcomp: and says so twice");
  waits.join();
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
  CHECK(said == "pcomp: rank 1 has had enough");
  CHECK(links.link(0).aborted().text == "pcomp: rank 1 has had enough");
  links.begin();
  CHECK(links.link(0).aborted().empty());
  const std::byte seven[4] = {std::byte{7}, std::byte{7}, std::byte{7}, std::byte{7}};
  const auto sent = links.link(1).send(0, {0, 0, false}, seven);
  const auto received = links.link(0).receive(1, {0, 0, false}, bytes);
  links.link(1).wait(sent), links.link(0).wait(received);
  CHECK(std::equal(seven, seven + 4, bytes));
}

TEST_CASE(
    "a wait past the limit is a Timeout, other sizes are a Mismatch, and the aborting rank says of which "
    "type") {
  transport::ThreadTransport links(2, 1, std::chrono::milliseconds(30));
  std::byte bytes[4] = {};
  const auto alone = links.link(0).receive(1, {0, 0, false}, bytes);
  try {
    links.link(0).wait(alone);
    FAIL("it did not wait for anything");
  } catch (const Timeout& e) {
    CHECK(e.rank == 1);
    CHECK(e.stage == -1);
    CHECK(e.microbatch == -1);
  }
  links.begin();
  links.link(0).send(1, {0, 0, false}, bytes);
  CHECK_THROWS_AS(links.link(1).receive(0, {0, 0, false}, std::span(bytes).first(3)), Mismatch);
  links.begin();
  const auto ended = links.link(0).receive(1, {0, 0, false}, bytes);
  links.link(1).abort(transport::Failure::of(PeerLost("pcomp: rank 7 is lost", 7, 2, 3)));
  try {
    links.link(0).wait(ended);
    FAIL("the abort was not seen");
  } catch (const PeerLost& e) {
    CHECK(std::string(e.what()) == "pcomp: rank 7 is lost");
    CHECK((e.rank == 7 && e.stage == 2 && e.microbatch == 3));
  }
}

TEST_CASE("a failure that went through the store is thrown as it was, whatever its text") {
  const std::vector<std::exception_ptr> all{
      std::make_exception_ptr(PeerLost("L1,2,3,", -1, 0, 12)), std::make_exception_ptr(Timeout("a,b", 3)),
      std::make_exception_ptr(Mismatch("two\nlines")), std::make_exception_ptr(Error("!T"))};
  for (const std::exception_ptr& given : all) {
    transport::Failure sent;
    try {
      std::rethrow_exception(given);
    } catch (const std::exception& e) {
      sent = transport::Failure::of(e);
    }
    const transport::Failure came = transport::Failure::unpacked(sent.packed());
    CHECK(came.text == sent.text);
    CHECK((came.kind == sent.kind && came.rank == sent.rank));
    CHECK((came.stage == sent.stage && came.microbatch == sent.microbatch));
    try {
      came.raise();
    } catch (const std::exception& e) {
      try {
        std::rethrow_exception(given);
      } catch (const std::exception& other) {
        CHECK(typeid(e) == typeid(other));
      }
    }
  }
  for (const char* damaged : {"", "T", "T1", "T1,2", "T1,2,3", "T1,2,x,a", "X1,2,3,a", "L,,,a"}) {
    const transport::Failure f = transport::Failure::unpacked(damaged);
    CHECK(f.text == damaged);
    CHECK(f.kind == transport::Failure::Kind::Other);
  }
  CHECK_NOTHROW(transport::Failure().raise_if_any());
}

TEST_CASE("ranks agree on every line, or all are told where they differ") {
  const auto text = [](std::vector<std::pair<std::string, std::string>> lines) {
    transport::Fingerprint f;
    for (auto& [name, value] : lines) f.add(name, value);
    return f.text();
  };
  const std::string a = text({{"wire", "Raw"}, {"stages", "4"}});
  CHECK_NOTHROW(transport::Fingerprint::expect_alike({a, a, a}));
  CHECK_NOTHROW(transport::Fingerprint::expect_alike({a}));
  const std::string b = text({{"wire", "Half"}, {"stages", "4"}});
  CHECK(thrown([&] {
          transport::Fingerprint::expect_alike({a, a, b});
        }) ==
        "pcomp: the ranks do not agree: rank 2 differs from rank 0 where * stands\n"
        "          rank 0  rank 2\n"
        "* wire    Raw     Half\n"
        "  stages  4       4");
  CHECK(thrown([&] {
          transport::Fingerprint::expect_alike({a, b, a, b});
        })
            .find("rank 1 differs from rank 0 where * stands "
                  "(ranks 1, 3 differ from it)") != std::string::npos);
  const std::string more = text({{"wire", "Raw"}, {"stages", "4"}, {"seed", "1"}}),
                    less = text({{"wire", "Raw"}});
  CHECK(thrown([&] {
          transport::Fingerprint::expect_alike({a, more});
        }).find("* seed    (none)  1") != std::string::npos);
  CHECK(thrown([&] {
          transport::Fingerprint::expect_alike({a, less});
        }).find("* stages  4       (none)") != std::string::npos);
}

TEST_CASE("a port that is in use is told by -1, and an address of another machine is an error of its own") {
  const int taken = detail::listen_on("127.0.0.1", 0);
  sockaddr_in own{};
  socklen_t size = sizeof own;
  REQUIRE(::getsockname(taken, reinterpret_cast<sockaddr*>(&own), &size) == 0);
  const int port = ntohs(own.sin_port);
  CHECK(detail::listen_on("127.0.0.1", port) == -1);  // the caller asks whose it is
  ::close(taken);
  CHECK(thrown([&] { detail::listen_on("192.0.2.1", port); })
            .find("this is no address of its machine: set "
                  "MASTER_ADDR") != std::string::npos);
  CHECK(detail::address_towards("127.0.0.1") == "127.0.0.1");
}

TEST_CASE("a call on another thread returns, throws or is given up") {
  detail::TimedCaller timed_caller;
  int done = 0;
  CHECK(timed_caller.run([&] { ++done; }, std::chrono::seconds(20)));
  CHECK(done == 1);
  CHECK(thrown([&] { timed_caller.run([] { throw Error("pcomp: no"); }, std::chrono::seconds(20)); }) ==
        "pcomp: no");
  CHECK(timed_caller.run([&] { ++done; }, std::chrono::seconds(20)));  // what was thrown is thrown once
  CHECK(done == 2);
  const auto go = std::make_shared<std::atomic<bool>>(false);
  const auto wait = [go] {
    while (!*go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  CHECK_FALSE(timed_caller.run(wait, std::chrono::milliseconds(1)));
  CHECK_FALSE(timed_caller.run([&] { ++done; }, std::chrono::milliseconds(1)));  // the first has not returned
  *go = true;
}

namespace {
/// A device that counts what is asked of it and copies at once.
struct Counting : transport::StreamFence {
  int awaited = 0;
  Mark mark() override { return std::make_shared<int>(); }
  void await(const Mark&) override { ++awaited; }
  bool passed(const Mark&) override { return true; }
  void drain() override {}
  Mark copy(Place to, Place from, std::size_t size, const Mark&, const Mark&) override {
    std::memcpy(to.data, from.data, size);
    return mark();
  }
};
}  // namespace

TEST_CASE("each end of a copy waits for it on its own device, and an empty message needs none") {
  transport::ThreadTransport links(2, 1, std::chrono::seconds(20));
  Counting first, second;
  std::byte from[4] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}}, to[4] = {};
  const auto sent = links.link(0).send(1, {0, 0, false}, from, &first);
  const auto received = links.link(1).receive(0, {0, 0, false}, to, &second);
  links.link(0).wait(sent);
  CHECK((first.awaited == 1 && second.awaited == 0));
  links.link(1).wait(received);
  CHECK((first.awaited == 1 && second.awaited == 1));
  CHECK(std::equal(from, from + 4, to));
  const auto nothing = links.link(0).send(1, {0, 1, false}, {}, &first);
  const auto got = links.link(1).receive(0, {0, 1, false}, {}, &second);
  links.link(0).wait(nothing), links.link(1).wait(got);
  CHECK((first.awaited == 1 && second.awaited == 1));
}
