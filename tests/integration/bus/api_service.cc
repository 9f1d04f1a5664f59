// SPDX-License-Identifier: Apache-2.0

// The D-Bus API on a service that is all in memory, for the tests of this directory.
//   api_service --table                 prints the table of methods as JSON
//   api_service POLKIT_MS RETRY_MS      serves; each line of stdin is an order, answered by a line that begins with
//   "ok".
// What the API makes the service do is told on stdout, a line each.

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/io.h"
#include "daemon/bus/bus_api.h"
#include "daemon/bus/members.h"
#include "daemon/event_loop.h"
#include "daemon/service_api.h"

namespace wrapd::daemon {
namespace {

class MemoryService final : public ServiceApi {
 public:
  explicit MemoryService(EventLoop& loop) : loop_(loop) {}

  void order(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "add") {
      std::string id, command;
      uid_t uid = 0;
      words >> id >> uid;
      std::getline(words >> std::ws, command);
      add(id, uid, command);
    } else if (verb == "add-many") {
      unsigned count = 0;
      uid_t uid = 0;
      words >> count >> uid;
      for (unsigned i = 0; i < count; ++i) add(random_hex(16), uid, "many");
    } else if (verb == "add-long") {
      // As many sessions, each with a command of as many bytes.
      unsigned count = 0;
      uid_t uid = 0;
      size_t size = 0;
      words >> count >> uid >> size;
      for (unsigned i = 0; i < count; ++i) add(random_hex(16), uid, std::string(size, 'c'));
    } else if (verb == "remove") {
      std::string id;
      words >> id;
      remove(id);
    } else if (verb == "reset") {
      while (!sessions_.empty()) remove(sessions_.begin()->first);
      while (!questions_.empty()) drop(questions_.begin()->first, "withdrawn");
      sockets_.clear();
      refusals_.clear();
      end_at_once_ = false;
      reload_problem_.clear();
    } else if (verb == "stale") {
      std::string id;
      words >> id;
      sessions_.at(id).stale = true;
      if (observer_ != nullptr) observer_->session_changed(sessions_.at(id));
    } else if (verb == "give") {
      std::string id;
      words >> id;
      words >> sessions_.at(id).uid;
    } else if (verb == "count") {
      std::string id;
      words >> id;
      sessions_.at(id).denied += 1;
      if (observer_ != nullptr) observer_->session_changed(sessions_.at(id));
    } else if (verb == "denied") {
      std::string id, target;
      words >> id >> target;
      wire::DenialReport report;
      report.call = {.operation = "connect",
                     .target = target,
                     .second = "/b\n",
                     .rule = "no",
                     .policy = "p",
                     .pid = 7,
                     .comm = "cat\n"};
      report.count = 3;
      if (observer_ != nullptr) observer_->denied(sessions_.at(id), report);
    } else if (verb == "deny-many") {
      std::string id;
      unsigned count = 0;
      size_t size = 0;
      words >> id >> count >> size;
      wire::DenialReport report;
      report.call = {.operation = "connect", .target = std::string(size, 't'), .rule = "no", .pid = 7, .comm = "cat"};
      for (unsigned i = 0; i < count && observer_ != nullptr; ++i) observer_->denied(sessions_.at(id), report);
    } else if (verb == "come-and-go") {
      unsigned count = 0;
      uid_t uid = 0;
      words >> count >> uid;
      for (unsigned i = 0; i < count; ++i) {
        const std::string id = random_hex(16);
        add(id, uid, "short");
        remove(id);
      }
    } else if (verb == "no-account") {
      uid_t uid = 0;
      words >> uid;
      strangers_.insert(uid);
    } else if (verb == "ask") {
      QuestionInfo question;
      std::string target = "/run/x\x1b[2J";
      words >> question.id >> question.session >> target;
      question.uid = sessions_.at(question.session).uid;
      question.call = {.operation = "connect", .target = target, .rule = "ask", .policy = "p", .pid = 7, .comm = "cat"};
      question.deadline = std::chrono::system_clock::now() + std::chrono::minutes(1);
      questions_[question.id] = question;
      if (observer_ != nullptr) observer_->question_added(question);
    } else if (verb == "answered") {
      std::string id;
      words >> id;
      drop(id, "expired");
    } else if (verb == "end-at-once") {
      end_at_once_ = true;
    } else if (verb == "reload-fails") {
      reload_problem_ = "default.yaml:1:1: broken";
    } else if (verb == "refusals") {
      for (const std::string& refusal : std::exchange(refusals_, {})) told(refusal);
    } else if (verb == "calls") {
      told(std::to_string(calls_));
    } else if (verb == "busy") {
      // From here on newcomers always wait for their turn.
      int ends[2];
      if (::pipe2(ends, O_CLOEXEC) < 0 || ::write(ends[1], "x", 1) != 1) std::abort();
      sockets_.emplace_back(ends[0]);
      sockets_.emplace_back(ends[1]);
      auto source = loop_.on_io(
          ends[0], EPOLLIN, [this](uint32_t) { ++turns_; }, EventLoop::kNewConnections);
      timers_.push_back(std::move(*source));
    } else if (verb == "turns") {
      told(std::to_string(turns_));
    } else if (verb == "stop") {
      loop_.stop();
    } else {
      std::abort();
    }
  }

  void note_call() { ++calls_; }

  void observe(ServiceObserver* observer) override { observer_ = observer; }
  void open_session(const wire::OpenRequest& request, const PeerCredentials& caller, UniqueFd pidfd,
                    std::function<void(ApiResult<OpenedSession>)> done) override {
    int ends[2];
    if (!pidfd_alive(pidfd.get()) || ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) std::abort();
    const std::string id = random_hex(16);
    told("open " + id + " " + std::to_string(caller.uid) + " " + std::to_string(caller.gid) + " " +
         std::to_string(caller.pid) + " " + (request.profile ? "profile" : "-") + " " + request.command);
    sockets_.emplace_back(ends[0]);
    add(id, caller.uid, request.command);
    done(OpenedSession{.id = id, .connection = UniqueFd(ends[1])});
  }
  std::vector<SessionInfo> sessions() const override {
    std::vector<SessionInfo> out;
    for (const auto& [id, info] : sessions_) out.push_back(info);
    return out;
  }
  std::optional<SessionInfo> session(std::string_view id) const override {
    auto it = sessions_.find(std::string(id));
    return it == sessions_.end() ? std::nullopt : std::optional(it->second);
  }
  ApiResult<> terminate(std::string_view id, std::string_view by) override {
    auto it = sessions_.find(std::string(id));
    if (it == sessions_.end()) return std::unexpected(ApiError{"NoSuchSession", "no session"});
    told("terminate " + it->first + " by " + std::string(by));
    it->second.state = SessionState::terminating;
    if (observer_ != nullptr) observer_->session_changed(it->second);
    if (end_at_once_) remove(it->first);
    return {};
  }
  std::vector<PolicyInfo> policies(const PeerCredentials& caller) const override {
    return {{.name = "default",
             .file = "/p",
             .mode = "enforce",
             .problem = std::to_string(caller.uid),
             .is_default = true}};
  }
  ApiResult<PolicyText> describe_policy(const PeerCredentials&, std::string_view name) const override {
    if (name != "default") return std::unexpected(ApiError{"NoSuchPolicy", "no policy " + std::string(name)});
    return PolicyText{.info = {.name = "default", .file = "/p", .mode = "enforce"}, .text = "version: 1\n"};
  }
  void test_policy(const PeerCredentials&, std::string_view name, std::string_view, std::string_view target,
                   std::function<void(ApiResult<PolicyVerdict>)> done) override {
    if (name == "throw") throw std::runtime_error("not an sdbus::Error");
    auto later = loop_.after(std::chrono::milliseconds(0), [done, target = std::string(target)] {
      done(PolicyVerdict{.decision = "deny", .rule = target});
    });
    timers_.push_back(std::move(*later));
  }
  void check_policy(const PeerCredentials&, std::string_view text,
                    std::function<void(ApiResult<std::vector<std::string>>)> done) override {
    if (text.empty()) return done(std::unexpected(ApiError{"InvalidArgument", "no text"}));
    done(std::vector<std::string>{"1:1: bad"});
  }
  void note_refusal(const PeerCredentials& caller, std::string_view operation, std::string_view session,
                    std::string reason) override {
    refusals_.push_back(std::to_string(caller.uid) + " " + std::string(operation) + " " +
                        (session.empty() ? "-" : std::string(session)) + " " + reason);
  }
  void reload(std::string by, std::function<void(ApiResult<>)> done) override {
    told("reload by " + by);
    if (!reload_problem_.empty()) return done(std::unexpected(ApiError{"InvalidPolicy", reload_problem_}));
    done({});
  }
  std::vector<QuestionInfo> questions() const override {
    std::vector<QuestionInfo> out;
    for (const auto& [id, question] : questions_) out.push_back(question);
    return out;
  }
  std::optional<QuestionInfo> question(std::string_view id) const override {
    auto it = questions_.find(std::string(id));
    return it == questions_.end() ? std::nullopt : std::optional(it->second);
  }
  ApiResult<> answer_question(std::string_view id, bool allow, std::string_view by) override {
    if (!question(id)) return std::unexpected(ApiError{"NoSuchApproval", "no question"});
    told(std::string(allow ? "allow " : "deny ") + std::string(id) + " by " + std::string(by));
    drop(std::string(id), allow ? "allowed" : "denied");
    return {};
  }
  void has_account(uid_t uid, std::function<void(bool)> done) override { done(!strangers_.contains(uid)); }
  std::vector<std::string> features() const override { return {"unix-sockets"}; }

 private:
  static void told(const std::string& line) { std::cout << line << std::endl; }
  void add(const std::string& id, uid_t uid, const std::string& command) {
    SessionInfo info{.id = id, .uid = uid, .leader = 42, .policy = "default", .mode = "enforce"};
    info.state = SessionState::running;
    info.since = std::chrono::system_clock::now();
    info.command = command;
    sessions_[id] = info;
    if (observer_ != nullptr) observer_->session_added(info);
  }
  void remove(const std::string& id) {
    auto node = sessions_.extract(id);
    if (!node.empty() && observer_ != nullptr) observer_->session_removed(node.mapped());
  }
  void drop(const std::string& id, std::string_view how) {
    auto node = questions_.extract(id);
    if (!node.empty() && observer_ != nullptr) observer_->question_removed(node.mapped(), how);
  }

  EventLoop& loop_;
  ServiceObserver* observer_ = nullptr;
  std::map<std::string, SessionInfo> sessions_;
  std::map<std::string, QuestionInfo> questions_;
  std::set<uid_t> strangers_;
  std::vector<std::string> refusals_;
  std::vector<UniqueFd> sockets_;
  std::vector<EventSource> timers_;
  std::string reload_problem_;
  bool end_at_once_ = false;
  unsigned calls_ = 0;
  uint64_t turns_ = 0;
};

int print_table() {
  constexpr const char* kAccess[] = {"nobody", "read", "change", "own_free", "polkit"};
  auto out = nlohmann::json::array();
  auto text = [](const char* word) { return nlohmann::json(word == nullptr ? "" : word); };
  for (const bus::Method& method : bus::methods()) {
    out.push_back({{"interface", method.interface},
                   {"name", method.name},
                   {"in", method.in},
                   {"access", kAccess[static_cast<size_t>(method.authorisation.access)]},
                   {"own", text(method.authorisation.own)},
                   {"others", text(method.authorisation.others)}});
  }
  std::cout << out.dump() << std::endl;
  return 0;
}

int run(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--table") return print_table();
  if (argc != 3) return 2;
  ::signal(SIGPIPE, SIG_IGN);
  auto loop = EventLoop::create();
  MemoryService service(*loop);
  {
    bus::BusSettings settings;
    settings.polkit_timeout = std::chrono::milliseconds(std::atoi(argv[1]));
    settings.retry_first = settings.retry_most = std::chrono::milliseconds(std::atoi(argv[2]));
    settings.on_call = [&service] { service.note_call(); };
    auto api = bus::BusApi::create(*loop, service, settings);
    if (!api) return 1;
    std::string pending;
    auto orders = loop->on_io(STDIN_FILENO, EPOLLIN, [&](uint32_t) {
      char buffer[4096];
      ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
      if (n <= 0) return loop->stop();
      pending.append(buffer, static_cast<size_t>(n));
      for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
        service.order(pending.substr(0, end));
        std::cout << "ok" << std::endl;
      }
    });
    if (!orders || !loop->run()) return 1;
  }
  std::cout << "stopped" << std::endl;
  return 0;
}

}  // namespace
}  // namespace wrapd::daemon

int main(int argc, char** argv) {
  return wrapd::daemon::run(argc, argv);
}
