#pragma once
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "../core/error.hpp"

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

/// Opens a listening socket on one address of this machine.
///
/// Errors: `Error` if the port is in use or the address is not this machine's.
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
  if (error == EADDRINUSE)
    throw Error("pcomp: rank 0 cannot keep the store at " + where +
                ": the port is in use, by another run perhaps: set MASTER_PORT to a free one on every rank");
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
    char text[NI_MAXHOST];
    const bool ok = ::connect(s, a->ai_addr, a->ai_addrlen) == 0 &&  // a datagram socket: sends nothing
                    ::getsockname(s, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
                    ::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof text, nullptr, 0,
                                  NI_NUMERICHOST) == 0;
    ::close(s);
    if (ok) return text;
  }
  throw Error("pcomp: no way leads from this machine to " + host);
}

}  // namespace pcomp::detail
