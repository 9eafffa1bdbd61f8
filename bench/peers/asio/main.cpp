// echo and relay on stand-alone Asio: one io_context, as many threads as workers, handlers that call each other.
//
// The relay copies a message to what waits for each member of a room; a write takes all that waits in one piece,
// and what comes meanwhile waits in another. With several workers a lock guards the rooms and each member.

#include <asio.hpp>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

using asio::ip::tcp;

namespace {

constexpr std::size_t kReadBytes = 16 * 1024;
constexpr std::size_t kFrameBytesMax = 16 * 1024;
constexpr std::size_t kOutboxBytesMax = 256 * 1024;
constexpr std::uint16_t kJoin = 1, kJoined = 2, kMsg = 10;

class EchoSession : public std::enable_shared_from_this<EchoSession> {
 public:
  explicit EchoSession(tcp::socket socket) : socket_(std::move(socket)) {}

  void start() { read(); }

 private:
  void read() {
    socket_.async_read_some(asio::buffer(buffer_), [self = shared_from_this()](std::error_code error, std::size_t length) {
      if (!error) self->write(length);
    });
  }

  void write(std::size_t length) {
    asio::async_write(socket_, asio::buffer(buffer_.data(), length),
                      [self = shared_from_this()](std::error_code error, std::size_t) {
                        if (!error) self->read();
                      });
  }

  tcp::socket socket_;
  std::array<char, kReadBytes> buffer_;
};

class Member;

class Rooms {
 public:
  void enter(std::uint32_t room, const std::shared_ptr<Member>& member);
  void leave(std::uint32_t room, const std::shared_ptr<Member>& member);
  void say(std::uint32_t room, std::string_view message);

 private:
  std::mutex mutex_;
  std::unordered_map<std::uint32_t, std::unordered_set<std::shared_ptr<Member>>> rooms_;
};

class Member : public std::enable_shared_from_this<Member> {
 public:
  Member(tcp::socket socket, Rooms& rooms) : socket_(std::move(socket)), rooms_(rooms) {}

  void start() { read(); }

  void deliver(std::string_view message) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    if (waiting_.size() + message.size() > kOutboxBytesMax) {
      // It does not read: its next read or write fails.
      closed_ = true;
      asio::post(socket_.get_executor(), [self = shared_from_this()] { self->socket_.close(); });
      return;
    }
    waiting_.append(message);
    if (!writing_) write();
  }

 private:
  void read() {
    const std::size_t room = buffer_.size() - filled_;
    socket_.async_read_some(asio::buffer(buffer_.data() + filled_, room),
                            [self = shared_from_this()](std::error_code error, std::size_t length) {
                              if (error || !self->take(length)) return self->end();
                              self->read();
                            });
  }

  bool take(std::size_t length) {
    filled_ += length;
    std::size_t start = 0;
    while (filled_ - start >= 4) {
      const std::size_t size = number(start);
      if (size < 4 || size > kFrameBytesMax) return false;
      if (filled_ - start < size) break;
      if (!dispatch(start, size)) return false;
      start += size;
    }
    std::memmove(buffer_.data(), buffer_.data() + start, filled_ - start);
    filled_ -= start;
    return true;
  }

  bool dispatch(std::size_t start, std::size_t size) {
    const std::uint16_t id = number(start + 2);
    const std::string_view message(buffer_.data() + start, size);
    if (id == kMsg && in_room_) {
      rooms_.say(room_, message);
      return true;
    }
    if (id != kJoin || size != 8) return false;
    if (in_room_) rooms_.leave(room_, shared_from_this());
    room_ = number(start + 4) | static_cast<std::uint32_t>(number(start + 6)) << 16;
    in_room_ = true;
    rooms_.enter(room_, shared_from_this());
    std::string answer(message);
    answer[2] = static_cast<char>(kJoined);
    deliver(answer);
    return true;
  }

  std::uint16_t number(std::size_t at) const {
    const auto* bytes = reinterpret_cast<const unsigned char*>(buffer_.data() + at);
    return static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8);
  }

  // With the lock held: everything that waits goes out in one write.
  void write() {
    writing_ = true;
    flying_.clear();
    std::swap(flying_, waiting_);
    asio::async_write(socket_, asio::buffer(flying_), [self = shared_from_this()](std::error_code error, std::size_t) {
      const std::lock_guard<std::mutex> lock(self->mutex_);
      self->writing_ = false;
      if (error) {
        self->closed_ = true;
      } else if (!self->waiting_.empty()) {
        self->write();
      }
    });
  }

  void end() {
    if (in_room_) rooms_.leave(room_, shared_from_this());
    in_room_ = false;
    std::error_code ignored;
    socket_.close(ignored);
  }

  tcp::socket socket_;
  Rooms& rooms_;
  std::array<char, kReadBytes + kFrameBytesMax> buffer_;
  std::size_t filled_ = 0;
  bool in_room_ = false;
  std::uint32_t room_ = 0;
  std::mutex mutex_;
  std::string waiting_;
  std::string flying_;
  bool writing_ = false;
  bool closed_ = false;
};

void Rooms::enter(std::uint32_t room, const std::shared_ptr<Member>& member) {
  const std::lock_guard<std::mutex> lock(mutex_);
  rooms_[room].insert(member);
}

void Rooms::leave(std::uint32_t room, const std::shared_ptr<Member>& member) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = rooms_.find(room);
  if (found != rooms_.end()) found->second.erase(member);
}

void Rooms::say(std::uint32_t room, std::string_view message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& member : rooms_[room]) member->deliver(message);
}

class Server {
 public:
  Server(asio::io_context& io, const tcp::endpoint& endpoint, bool relay) : acceptor_(io), relay_(relay) {
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(tcp::acceptor::reuse_address(true));
    acceptor_.bind(endpoint);
    acceptor_.listen(4096);
    std::cout << "listening on " << acceptor_.local_endpoint() << std::endl;
    accept();
  }

 private:
  void accept() {
    acceptor_.async_accept([this](std::error_code error, tcp::socket socket) {
      if (!error) {
        std::error_code ignored;
        socket.set_option(tcp::no_delay(true), ignored);
        if (relay_) {
          std::make_shared<Member>(std::move(socket), rooms_)->start();
        } else {
          std::make_shared<EchoSession>(std::move(socket))->start();
        }
      }
      accept();
    });
  }

  tcp::acceptor acceptor_;
  bool relay_;
  Rooms rooms_;
};

}  // namespace

int main(int count, char** words) {
  std::string app = "echo", address = "127.0.0.1:0";
  int workers = 1;
  for (int at = 1; at + 1 < count; at += 2) {
    const std::string word = words[at];
    if (word == "--app") app = words[at + 1];
    if (word == "--addr") address = words[at + 1];
    if (word == "--workers") workers = std::atoi(words[at + 1]);
  }
  const auto colon = address.rfind(':');
  const auto port = static_cast<unsigned short>(std::atoi(address.c_str() + colon + 1));
  const tcp::endpoint endpoint(asio::ip::make_address(address.substr(0, colon)), port);
  // The hint lets a context of one thread leave its locks out.
  asio::io_context io(workers);
  Server server(io, endpoint, app == "relay");
  std::vector<std::thread> threads;
  for (int worker = 1; worker < workers; ++worker) threads.emplace_back([&io] { io.run(); });
  io.run();
  for (auto& thread : threads) thread.join();
}
