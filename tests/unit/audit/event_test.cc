// SPDX-License-Identifier: Apache-2.0
#include "audit/event.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <syslog.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace wrapd::audit {
namespace {

using ::testing::HasSubstr;

Event full_event() {
  Event event;
  event.kind = kind_of(policy::Class::unix_socket);
  event.time = std::chrono::sys_days(std::chrono::year(2024) / 2 / 29) + std::chrono::milliseconds(86399007);
  event.session_id = "0123abcd" + std::string(24, '0');
  event.uid = 1000;
  event.pid = 123;
  event.comm = "curl";
  event.exe = "/usr/bin/curl";
  event.operation = "connect";
  event.decision = "deny";
  event.rule = "no-docker";
  event.policy = "agents";
  event.mode = "enforce";
  event.action = "denied";
  event.reason = "r";
  event.path = "/run/docker.sock";
  event.target = "/t";
  event.command = "c";
  event.error = 13;
  event.count = 1;
  event.allowed = 2;
  event.denied = 3;
  event.peer_uid = 0;
  return event;
}

TEST(ToJson, AllFieldsInOrder) {
  EXPECT_EQ(to_json(full_event()),
            R"({"type":"unix_socket_op","timestamp":"2024-02-29T23:59:59.007Z","session_id":"0123abcd)" +
                std::string(24, '0') +
                R"(","uid":1000,"pid":123,"comm":"curl","exe":"/usr/bin/curl","operation":"connect","decision":"deny",)"
                R"("rule":"no-docker","policy":"agents","mode":"enforce","action":"denied","reason":"r",)"
                R"("path":"/run/docker.sock","abstract":false,"target":"/t","command":"c","error":13,"count":1,)"
                R"("allowed":2,"denied":3,"peer_uid":0})");
}

TEST(ToJson, WhatIsNotSetIsLeftOut) {
  Event event;
  event.kind = Kind::policy_loaded;
  EXPECT_EQ(to_json(event), R"({"type":"policy_loaded","timestamp":"1970-01-01T00:00:00.000Z"})");
  event.time = std::chrono::system_clock::time_point(std::chrono::milliseconds(-1));
  EXPECT_THAT(to_json(event), HasSubstr("1969-12-31T23:59:59.999Z"));
}

TEST(ToJson, TheEmptyAbstractNameIsShownAsAbstract) {
  Event event;
  event.abstract = true;
  EXPECT_THAT(to_json(event), HasSubstr("\"abstract\":true"));
}

// Whatever a program calls itself: one line, valid UTF-8, no field of its own, nothing lost.
TEST(ToJson, HostileBytesStayInTheirField) {
  std::string every;
  for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
  for (const std::string& hostile :
       {every, std::string("x\",\"decision\":\"allow"), std::string("a\nMESSAGE=b"), std::string("\xc2\x85\xe2\x80"),
        std::string("\xed\xa0\x80"), std::string(70000, '\xff'), std::string("\\x41\\")}) {
    Event event = full_event();
    for (std::string* field :
         {&event.session_id, &event.comm, &event.exe, &event.operation, &event.decision, &event.rule, &event.policy,
          &event.mode, &event.action, &event.reason, &event.path, &event.target, &event.command}) {
      *field = hostile;
    }
    std::string text = to_json(event);
    EXPECT_LT(text.size(), 60000U);
    for (char c : text) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
    auto json = nlohmann::json::parse(text, nullptr, false);
    ASSERT_TRUE(json.is_object()) << text;
    EXPECT_EQ(json.size(), 23U);
    EXPECT_EQ(json["type"], "unix_socket_op");
    EXPECT_EQ(json["uid"], 1000);
    std::string message = to_message(event);
    for (char c : message) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
  }
}

TEST(ToMessage, TellsWhatHappened) {
  Event event = full_event();
  event.reason.clear();
  event.target.clear();
  EXPECT_EQ(to_message(event), "denied connect to /run/docker.sock by curl[123] of session 0123abcd (rule no-docker)");
  event.abstract = true;
  event.path = "x11\n";
  event.rule.clear();
  event.operation = "bind";
  EXPECT_EQ(to_message(event), "denied bind of @x11\\x0a by curl[123] of session 0123abcd");
  event.operation = "socket";
  event.path.clear();
  event.abstract = false;
  event.comm.clear();
  event.reason = "datagram";
  EXPECT_EQ(to_message(event), "denied socket by process[123] of session 0123abcd (datagram)");
  event.operation = "rename";
  event.path = "/a";
  event.target = "/b";
  event.pid = 0;
  event.session_id.clear();
  event.action = "allowed";
  event.reason.clear();
  EXPECT_EQ(to_message(event), "allowed rename of /a to /b (decision deny)");
}

TEST(ToMessage, OtherKinds) {
  Event event = full_event();
  event.kind = Kind::session_opened;
  event.command = "make\n-j";
  EXPECT_EQ(to_message(event), "session 0123abcd of uid 1000 opened with policy agents (enforce): make\\x0a-j");
  event.kind = Kind::session_closed;
  event.reason.clear();
  EXPECT_EQ(to_message(event), "session 0123abcd of uid 1000 closed, 2 allowed, 3 denied");
  event.kind = Kind::peer_rejected;
  event.peer_uid = 65534;
  event.operation = "hand-off notify";
  event.reason = "not the session's user";
  event.count = 7;
  EXPECT_EQ(to_message(event),
            "peer of uid 65534 rejected at hand-off notify of session 0123abcd: not the session's user (7 peers)");
  event.kind = Kind::policy_loaded;
  event.path = "/etc/p.yaml";
  EXPECT_EQ(to_message(event), "policy agents loaded from /etc/p.yaml");
  event.kind = Kind::policy_rejected;
  event.reason = "p.yaml:1:1: bad";
  EXPECT_EQ(to_message(event), "policy /etc/p.yaml rejected: p.yaml:1:1: bad");
  event.policy.clear();
  EXPECT_EQ(to_message(event), "configuration /etc/p.yaml rejected: p.yaml:1:1: bad");
  event.kind = Kind::events_lost;
  event.reason.clear();
  event.session_id.clear();
  EXPECT_EQ(to_message(event), "7 audit events were lost");
}

TEST(Priority, DenialsStandOut) {
  Event event = full_event();
  EXPECT_EQ(priority(event), LOG_NOTICE);
  event.action = "allowed";
  event.decision = "audit";
  EXPECT_EQ(priority(event), LOG_NOTICE);
  event.decision = "allow";
  EXPECT_EQ(priority(event), LOG_INFO);
  event.kind = Kind::events_lost;
  EXPECT_EQ(priority(event), LOG_WARNING);
}

std::string source_file(const char* name) {
  std::ifstream in(std::string(WRAPD_TEST_SOURCE_ROOT) + "/" + name);
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return text.str();
}

TEST(Catalog, HasExactlyOurIds) {
  std::set<std::string> ids;
  std::istringstream catalog(source_file("units/wrapd.catalog"));
  for (std::string line; std::getline(catalog, line);) {
    if (!line.starts_with("-- ")) continue;
    EXPECT_TRUE(ids.insert(line.substr(3)).second) << line << " is there twice";
  }
  std::set<std::string> ours;
  for (Kind kind : kAllKinds) {
    std::string id(message_id(kind));
    EXPECT_EQ(id.size(), 32U);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_TRUE(ours.insert(id).second);
  }
  EXPECT_EQ(ids, ours);
}

TEST(Documentation, NamesEveryKindIdAndField) {
  std::string document = source_file("docs/audit.md");
  for (Kind kind : kAllKinds) {
    EXPECT_THAT(document, HasSubstr("| `" + std::string(to_string(kind)) + "` | `" + std::string(message_id(kind))));
  }
  auto fields = nlohmann::json::parse(to_json(full_event()));
  for (auto& [name, value] : fields.items()) {
    std::string journal = "WRAPD_";
    for (char c : name) journal += static_cast<char>(std::toupper(c));
    EXPECT_THAT(document, HasSubstr("| `" + name + "` | `" + journal + "` |"));
  }
}

}  // namespace
}  // namespace wrapd::audit
