#pragma once
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "../world.hpp"

/// Chooses the address of this machine to listen on. All bytes travel through c10d.
namespace pcomp::detail {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

/// Errors: `Error` for a name that cannot be resolved.
inline Addresses resolve(const std::string& host, int port, int type) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = type;
  if (const int e = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found))
    throw Error("pcomp: there is no machine '" + host + "': " + gai_strerror(e));
  return {found, &freeaddrinfo};
}

inline std::string text_of(const sockaddr* address, socklen_t size) {
  char text[NI_MAXHOST];
  return ::getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0 ? text : "";
}
/// Whether no other machine reaches this address.
inline bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1" || address.starts_with("::ffff:127.");
}
inline bool is_literal(const std::string& host) {
  in6_addr any{};
  return ::inet_pton(AF_INET, host.c_str(), &any) == 1 || ::inet_pton(AF_INET6, host.c_str(), &any) == 1;
}
/// The address of an interface of this machine; what is no interface's name is an address already.
inline std::string address_of(const std::string& interface) {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return interface;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> held(all, &::freeifaddrs);
  for (const int family : {AF_INET, AF_INET6})
    for (const ifaddrs* a = all; a; a = a->ifa_next)
      if (a->ifa_addr && a->ifa_addr->sa_family == family && interface == a->ifa_name)
        return text_of(a->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
  return interface;
}

/// Where this process meets the others: MASTER_ADDR or, where that leads to this machine alone (Debian's /etc/hosts
/// maps a machine's own name to 127.0.1.1), the address of `interface`.
///
/// Errors: `Error` at once for such a MASTER_ADDR without an interface, unless all ranks are known to be on this
///   machine or it says so itself, as localhost and 127.0.0.1 do: the others would wait until the time limit.
inline std::string meeting_host(const transport::LauncherEnvironment& launch, const std::string& interface) {
  if (launch.local_size == launch.size) return launch.host;
  const Addresses all = resolve(launch.host, launch.port, SOCK_STREAM);
  const std::string chosen = all ? text_of(all->ai_addr, all->ai_addrlen) : "";
  if (!is_loopback(chosen)) return launch.host;
  const bool meant = is_literal(launch.host) || launch.host == "localhost";
  if (meant && !launch.local_size) return launch.host;
  if (!interface.empty()) {
    const std::string own = address_of(interface);
    return is_loopback(own) ? launch.host : own;
  }
  throw Error(
      "pcomp: rank " + std::to_string(launch.rank) + ": MASTER_ADDR=" + launch.host +
      (meant ? " leads" : " is " + chosen + " on this machine (by its /etc/hosts perhaps), which leads") +
      " to no other machine, and " +
      (launch.local_size ? "only " + std::to_string(launch.local_size) + " of the " : "the ") +
      std::to_string(launch.size) + " ranks " + (launch.local_size ? "are here" : "may be on several") +
      ": set PCOMP_INTERFACE to the interface or address of this machine that the others reach, or "
      "MASTER_ADDR "
      "to rank 0's address; if all ranks are on this machine, MASTER_ADDR=127.0.0.1");
}

/// Opens a listening socket on one address of this machine; -1 if the port is in use.
///
/// Errors: `Error` if the address is not this machine's.
inline int listen_on(const std::string& host, int port) {
  const Addresses all = resolve(host, port, SOCK_STREAM);
  int error = 0;
  for (const addrinfo* a = all.get(); a; a = a->ai_next) {
    const int s = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    const int on = 1;
    if (s >= 0 && ::setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        ::bind(s, a->ai_addr, a->ai_addrlen) == 0 && ::listen(s, 1024) == 0)
      return s;
    error = errno;
    if (s >= 0) ::close(s);
  }
  const std::string where = host + ":" + std::to_string(port);
  if (error == EADDRINUSE) return -1;
  if (error == EADDRNOTAVAIL)
    throw Error("pcomp: rank 0 cannot keep the store at " + where +
                ": this is no address of its machine: set MASTER_ADDR to one that the others reach");
  throw Error("pcomp: rank 0 cannot keep the store at " + where + ": " + std::strerror(error));
}

/// The address of this machine from which packets to `host` are sent.
inline std::string address_towards(const std::string& host) {
  const Addresses all = resolve(host, 9, SOCK_DGRAM);
  for (const addrinfo* a = all.get(); a; a = a->ai_next) {
    const int s = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    if (s < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    std::string text;
    const bool ok = ::connect(s, a->ai_addr, a->ai_addrlen) == 0 &&  // a datagram socket: sends nothing
                    ::getsockname(s, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
                    !(text = text_of(reinterpret_cast<sockaddr*>(&own), size)).empty();
    ::close(s);
    if (ok) return text;
  }
  throw Error("pcomp: no way leads from this machine to " + host);
}

}  // namespace pcomp::detail
