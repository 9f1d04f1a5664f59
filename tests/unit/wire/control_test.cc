// SPDX-License-Identifier: Apache-2.0
#include "wire/control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "wire/profile_description.h"
#include "wire/supervisor_config.h"

namespace wrapd::wire {
namespace {

using ::testing::HasSubstr;

SessionReply good_reply() {
  SessionReply reply;
  reply.id = std::string(32, 'a');
  reply.directory = "/run/wrapd/sessions/" + reply.id;
  reply.notify_token = std::string(64, '1');
  reply.signal_token = std::string(64, '2');
  reply.ptrace_token = std::string(64, '3');
  reply.policy = "agents";
  reply.mode = "enforce";
  reply.confinement.scopes.abstract_socket = true;
  reply.notices = {"first", "second\nline \x1b[2J"};
  return reply;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what << " is not in " << text;
  return at == std::string::npos ? text : text.replace(at, what.size(), by);
}

TEST(OpenRequest, RoundTrip) {
  OpenRequest request{.command = "make -j2 'a\nb' \xff\\x41",
                      .cwd = "/home/\xff \\ \x01 \xc3\xa4/\"p\"",
                      .policy = "agents-1.x_y",
                      .profile = true,
                      .traps = {plan::TrapGroup::sockets, plan::TrapGroup::rename_link},
                      .events = true};
  auto back = decode_open_request(encode(request));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->command, request.command);
  EXPECT_EQ(back->cwd, request.cwd);
  EXPECT_EQ(back->policy, request.policy);
  EXPECT_EQ(back->traps, request.traps);
  EXPECT_TRUE(back->profile && back->events);
}

TEST(OpenRequest, OptionalKeysMayBeMissing) {
  auto back = decode_open_request(R"({"version":1,"request":"open","command":"","cwd":"/"})");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_FALSE(back->policy || back->profile || !back->traps.empty() || back->events);
  EXPECT_EQ(encode(*back), R"({"version":1,"request":"open","command":"","cwd":"/"})");
}

TEST(OpenRequest, ProtocolDocumentsExample) {
  auto back = decode_open_request(
      "{\"version\":1,\"request\":\"open\",\"command\":\"make -j2\",\"cwd\":\"/home/alice/p\",\"policy\":\"agents\",\n"
      " \"profile\":true,\"traps\":[\"sockets\",\"socket_creation\",\"rename_link\"],\"events\":true}");
  ASSERT_TRUE(back) << back.error().message;
  using enum plan::TrapGroup;
  EXPECT_EQ(back->traps, (plan::TrapSet{sockets, socket_creation, rename_link}));
}

TEST(OpenRequest, LongCommandIsCutBySenderAndStillFits) {
  for (char c : {'x', '\x01', '"', '\\', '\xff'}) {
    OpenRequest request{.command = std::string(100000, c), .cwd = "/"};
    std::string text = encode(request);
    EXPECT_LE(text.size(), kMaxOpenRequest);
    auto back = decode_open_request(text);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_LE(back->command.size(), kMaxCommand);
    EXPECT_TRUE(back->command.ends_with("..."));
  }
}

struct Bad {
  const char* text;
  const char* expected;
};

class BadOpenRequest : public ::testing::TestWithParam<Bad> {};

TEST_P(BadOpenRequest, IsRefusedAndNamed) {
  auto back = decode_open_request(GetParam().text);
  ASSERT_FALSE(back) << GetParam().text;
  EXPECT_THAT(back.error().message, HasSubstr(GetParam().expected)) << GetParam().text;
  EXPECT_EQ(back.error().message.find('\n'), std::string::npos);
}

#define OPEN R"("version":1,"request":"open","command":"x","cwd":"/")"
const std::string kMostTraps = "a list of at most " + std::to_string(plan::kTrapGroups.size());
const std::string kTooManyTraps = [] {
  std::string text = "{" OPEN ",\"traps\":[\"sockets\"";
  for (size_t i = 0; i < plan::kTrapGroups.size(); ++i) text += ",\"rename_link\"";
  return text + "]}";
}();
INSTANTIATE_TEST_SUITE_P(
    All, BadOpenRequest,
    ::testing::Values(
        Bad{"", "not a JSON object"}, Bad{"[]", "not a JSON object"}, Bad{"{", "not JSON"}, Bad{"null", "not a JSON"},
        Bad{"\xEF\xBB\xBF{" OPEN "}", "not a JSON object"}, Bad{"{" OPEN "}x", "not JSON"},
        Bad{"{" OPEN "}{}", "not JSON"}, Bad{"{" OPEN ",}", "not JSON"}, Bad{"{" OPEN "/*c*/}", "not JSON"},
        Bad{"{" OPEN ",\"extra\":1}", "unknown key \"extra\""},
        Bad{"{" OPEN ",\"ex\\u0000\\ntra\":1}", "unknown key \"ex\\x00\\x0atra\""},
        Bad{"{" OPEN ",\"cwd\":\"/\"}", "\"cwd\" is there twice"},
        Bad{"{" OPEN ",\"cw\\u0064\":\"/\"}", "\"cwd\" is there twice"},
        Bad{R"({"request":"open","command":"x","cwd":"/"})", "\"version\" is missing"},
        Bad{R"({"version":2,"request":"open","command":"x","cwd":"/"})", "\"version\" must be 1"},
        Bad{R"({"version":1.0,"request":"open","command":"x","cwd":"/"})", "whole numbers"},
        Bad{R"({"version":1e0,"request":"open","command":"x","cwd":"/"})", "whole numbers"},
        Bad{R"({"version":-1,"request":"open","command":"x","cwd":"/"})", "negative"},
        Bad{R"({"version":18446744073709551616,"request":"open","command":"x","cwd":"/"})", "whole numbers"},
        Bad{R"({"version":"1","request":"open","command":"x","cwd":"/"})", "\"version\" must be a number"},
        Bad{R"({"version":true,"request":"open","command":"x","cwd":"/"})", "\"version\" must be a number"},
        Bad{R"({"version":1,"request":"finish","command":"x","cwd":"/"})", "\"request\" must be \"open\""},
        Bad{R"({"version":1,"request":"open","cwd":"/"})", "\"command\" is missing"},
        Bad{R"({"version":1,"request":"open","command":["x"],"cwd":"/"})", "\"command\" must be a string"},
        Bad{R"({"version":1,"request":"open","command":null,"cwd":"/"})", "null"},
        Bad{R"({"version":1,"request":"open","command":"x"})", "\"cwd\" is missing"},
        Bad{R"({"version":1,"request":"open","command":"x","cwd":""})", "\"cwd\" must be an absolute"},
        Bad{R"({"version":1,"request":"open","command":"x","cwd":"a"})", "\"cwd\" must be an absolute"},
        Bad{R"({"version":1,"request":"open","command":"x","cwd":"/a/../b"})", "\"cwd\" must be an absolute"},
        Bad{R"({"version":1,"request":"open","command":"x","cwd":"/.."})", "\"cwd\" must be an absolute"},
        Bad{R"({"version":1,"request":"open","command":"x","cwd":"/\\x2e\\x2e/b"})", "\"cwd\" must be an absolute"},
        Bad{R"({"version":1,"request":"open","command":"x","cwd":"/a\u0000"})", "\"cwd\" must be an absolute"},
        Bad{R"({"version":1,"request":"open","command":"x","cwd":"/a\\x00"})", "\"cwd\" must be an absolute"},
        Bad{R"({"version":1,"request":"open","command":"\\","cwd":"/"})", "escaped"},
        Bad{R"({"version":1,"request":"open","command":"\\x4","cwd":"/"})", "escaped"},
        Bad{R"({"version":1,"request":"open","command":"\\x4G","cwd":"/"})", "escaped"},
        Bad{R"({"version":1,"request":"open","command":"\\n12","cwd":"/"})", "escaped"},
        Bad{"{" OPEN ",\"policy\":\"\"}", "\"policy\" must be"},
        Bad{"{" OPEN ",\"policy\":\"a/b\"}", "\"policy\" must be"},
        Bad{"{" OPEN ",\"policy\":\"a b\"}", "\"policy\" must be"},
        Bad{"{" OPEN ",\"policy\":\"\xc3\xa4\"}", "\"policy\" must be"},
        Bad{"{" OPEN ",\"policy\":7}", "must be a string"},
        Bad{"{" OPEN ",\"profile\":1}", "\"profile\" must be true or false"},
        Bad{"{" OPEN ",\"events\":\"yes\"}", "\"events\" must be true or false"},
        Bad{"{" OPEN ",\"traps\":\"rename_link\"}", "\"traps\" must be a list"},
        Bad{"{" OPEN ",\"traps\":[\"files\"]}", "\"traps\" must be a list"},
        Bad{"{" OPEN ",\"traps\":[1]}", "\"traps\" must be a list"},
        Bad{"{" OPEN ",\"traps\":[\"rename_link\",\"rename_link\"]}", "at most once"},
        Bad{kTooManyTraps.c_str(), kMostTraps.c_str()}, Bad{"{" OPEN ",\"traps\":[[[[[]]]]]}", "nested deeper"},
        Bad{"{" OPEN ",\"x\":\"\xff\"}", "not JSON"}, Bad{"{" OPEN ",\"x\":\"\xed\xa0\x80\"}", "not JSON"},
        Bad{"{" OPEN ",\"x\":\"\n\"}", "not JSON"}));

TEST(OpenRequest, LimitsInBytes) {
  auto request = [](size_t command, size_t cwd) {
    return R"({"version":1,"request":"open","command":")" + std::string(command, 'c') + R"(","cwd":"/)" +
           std::string(cwd - 1, 'd') + "\"}";
  };
  EXPECT_TRUE(decode_open_request(request(kMaxCommand, 4095)));
  EXPECT_FALSE(decode_open_request(request(kMaxCommand + 1, 1)));
  EXPECT_FALSE(decode_open_request(request(1, 4096)));
  std::string long_name = R"({"version":1,"request":"open","command":"x","cwd":"/","policy":")";
  EXPECT_TRUE(decode_open_request(long_name + std::string(64, 'p') + "\"}"));
  EXPECT_FALSE(decode_open_request(long_name + std::string(65, 'p') + "\"}"));
  std::string padded = R"({"version":1,"request":"open","command":"x","cwd":"/")";
  std::string fits = padded + std::string(kMaxOpenRequest - padded.size() - 1, ' ') + "}";
  EXPECT_TRUE(decode_open_request(fits));
  auto over = decode_open_request(fits + " ");
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, EMSGSIZE);
}

TEST(OpenRequest, DeepNestingCostsNothing) {
  EXPECT_FALSE(decode_open_request("{\"a\":" + std::string(16000, '[')));
  std::string many = "{";
  for (int i = 0; i < 1200; ++i) many += "\"k" + std::to_string(i) + "\":1,";
  auto back = decode_open_request(many + "\"z\":1}");
  ASSERT_FALSE(back);
  EXPECT_THAT(back.error().message, HasSubstr("64 keys"));
}

TEST(SessionReply, RoundTrip) {
  SessionReply reply = good_reply();
  reply.confinement.filtered = false;
  reply.confinement.traps = {plan::TrapGroup::rename_link};
  reply.confinement.scopes.signal = false;
  reply.confinement.monitor_unsupported = true;
  auto back = decode_session_reply(encode(reply));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->id, reply.id);
  EXPECT_EQ(back->directory, reply.directory);
  EXPECT_EQ(back->notify_token, reply.notify_token);
  EXPECT_EQ(back->signal_token, reply.signal_token);
  EXPECT_EQ(back->ptrace_token, reply.ptrace_token);
  EXPECT_EQ(back->policy, reply.policy);
  EXPECT_EQ(back->mode, reply.mode);
  EXPECT_EQ(back->confinement, reply.confinement);
  EXPECT_FALSE(back->confinement.filtered);
  EXPECT_EQ(back->confinement.traps, plan::TrapSet{plan::TrapGroup::rename_link});
  EXPECT_FALSE(back->confinement.scopes.signal);
  EXPECT_TRUE(back->confinement.scopes.abstract_socket);
  EXPECT_TRUE(back->confinement.monitor_unsupported);
  EXPECT_EQ(back->notices, reply.notices);
}

TEST(SessionReply, IsBoundedWhateverTheNoticesAre) {
  SessionReply reply = good_reply();
  reply.notices.assign(1000, std::string(100000, '"'));
  std::string text = encode(reply);
  EXPECT_LE(text.size(), kMaxReply);
  auto back = decode_session_reply(text);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->notices.size(), 16U);
}

TEST(SessionReply, EveryKeyIsRequiredAndTyped) {
  auto object = nlohmann::ordered_json::parse(encode(good_reply()));
  ASSERT_TRUE(decode_session_reply(object.dump()));
  for (auto& [key, value] : object.items()) {
    auto without = object;
    without.erase(key);
    EXPECT_FALSE(decode_session_reply(without.dump())) << key;
    for (auto wrong : {nlohmann::ordered_json(1.5), nlohmann::ordered_json(nullptr), nlohmann::ordered_json(7),
                       nlohmann::ordered_json::object(), nlohmann::ordered_json("/no?")}) {
      if (key == "directory" && wrong.is_string()) continue;  // that one is a good directory
      auto other = object;
      other[key] = wrong;
      EXPECT_FALSE(decode_session_reply(other.dump())) << other.dump();
    }
    if (!value.is_object()) continue;
    for (auto& [inner, unused] : value.items()) {
      auto cut = object;
      cut[key].erase(inner);
      EXPECT_FALSE(decode_session_reply(cut.dump())) << key << '.' << inner;
    }
    auto more = object;
    more[key]["more"] = true;
    EXPECT_FALSE(decode_session_reply(more.dump())) << key;
  }
}

TEST(SessionReply, IdsAreExactlyLowerCaseHex) {
  std::string good = encode(good_reply());
  std::string id = "\"id\":\"" + std::string(32, 'a');
  EXPECT_FALSE(decode_session_reply(replaced(good, id, "\"id\":\"" + std::string(31, 'a'))));
  EXPECT_FALSE(decode_session_reply(replaced(good, id, "\"id\":\"" + std::string(33, 'a'))));
  EXPECT_FALSE(decode_session_reply(replaced(good, id, "\"id\":\"" + std::string(31, 'a') + "A")));
  EXPECT_FALSE(decode_session_reply(replaced(good, id, "\"id\":\"" + std::string(31, 'a') + "g")));
  EXPECT_FALSE(decode_session_reply(replaced(good, std::string(64, '2'), std::string(63, '2'))));
  EXPECT_FALSE(decode_session_reply(replaced(good, "/run/wrapd", "run/wrapd")));
  EXPECT_FALSE(decode_session_reply(replaced(good, "\"enforce\"", "\"relaxed\"")));
  EXPECT_FALSE(decode_session_reply(replaced(good, "\"deny\"", "\"ask\"")));
}

TEST(ErrorReply, BecomesAnErrorOnOneLine) {
  auto back = decode_session_reply(encode(ErrorReply{.code = "unknown-policy", .message = "no policy\n\"x\": \xff"}));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().message, "no policy\\x0a\"x\": \\xff");
  EXPECT_FALSE(decode_session_reply(R"({"version":1,"reply":"error","code":"A B","message":"m"})"));
  auto unknown = decode_session_reply(R"({"version":1,"reply":"error","code":"a","message":"m","x":1})");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, HasSubstr("unknown key"));
}

TEST(FinishRequest, OnlyItself) {
  EXPECT_EQ(encode_profile_invitation(), R"({"version":1,"reply":"profile"})");
  EXPECT_TRUE(is_profile_invitation(encode_profile_invitation()));
  EXPECT_FALSE(is_profile_invitation(R"({"version":1,"reply":"error"})"));
  EXPECT_FALSE(is_profile_invitation(R"({"version":1,"reply":"profile","x":1})"));
  EXPECT_EQ(encode_finish_request(), R"({"version":1,"request":"finish"})");
  EXPECT_TRUE(is_finish_request(encode_finish_request()));
  EXPECT_FALSE(is_finish_request(""));
  EXPECT_FALSE(is_finish_request(R"({"version":1,"request":"open"})"));
  EXPECT_FALSE(is_finish_request(R"({"version":1,"request":"finish","x":1})"));
}

Summary good_summary() {
  Summary summary{.allowed = 1, .denied = UINT64_MAX, .audited = 3, .lost = 4, .denials = {}, .more = 5};
  summary.denials.push_back({.operation = "connect",
                             .target = std::string("a\0b\n\xff", 5),
                             .second = "/b\n\xff",
                             .abstract = true,
                             .count = 2,
                             .rule = "no-docker",
                             .policy = "agents",
                             .rules = "x_rules",
                             .guidance = "Ask.",
                             .enforced = false});
  return summary;
}

TEST(SummaryMessage, RoundTrip) {
  auto back = decode_session_message(encode(good_summary()));
  ASSERT_TRUE(back) << back.error().message;
  const auto* summary = std::get_if<Summary>(&*back);
  ASSERT_NE(summary, nullptr);
  EXPECT_EQ(summary->denied, UINT64_MAX);
  EXPECT_EQ(summary->lost, 4U);
  EXPECT_EQ(summary->more, 5U);
  ASSERT_EQ(summary->denials.size(), 1U);
  const DenialLine& line = summary->denials[0];
  EXPECT_EQ(line.target, std::string("a\0b\n\xff", 5));
  EXPECT_EQ(line.second, "/b\n\xff");
  EXPECT_TRUE(line.abstract);
  EXPECT_FALSE(line.enforced);
  EXPECT_EQ(line.rules, "x_rules");
  EXPECT_EQ(line.guidance, "Ask.");
}

TEST(SummaryMessage, WhatDoesNotFitIsCounted) {
  Summary summary = good_summary();
  summary.denials.assign(5000, summary.denials[0]);
  summary.denials[0].target = std::string(100000, '\x02');
  std::string text = encode(summary);
  EXPECT_LE(text.size(), kMaxReply);
  auto back = decode_session_message(text);
  ASSERT_TRUE(back) << back.error().message;
  const auto& fitted = std::get<Summary>(*back);
  EXPECT_GT(fitted.denials.size(), 100U);
  EXPECT_EQ(fitted.denials.size() + fitted.more, 5005U);
}

TEST(SummaryMessage, BadOnesAreRefused) {
  std::string good = encode(good_summary());
  EXPECT_FALSE(decode_session_message(replaced(good, "\"count\":2", "\"count\":2.0")));
  EXPECT_FALSE(decode_session_message(replaced(good, "\"count\":2", "\"count\":\"2\"")));
  EXPECT_FALSE(decode_session_message(replaced(good, "\"count\":2,", "")));
  EXPECT_FALSE(decode_session_message(replaced(good, "\"count\":2,", "\"count\":2,\"x\":1,")));
  EXPECT_FALSE(decode_session_message(replaced(good, "\"lost\":4,", "")));
  EXPECT_FALSE(decode_session_message(replaced(good, "[{", "[1,{")));
  EXPECT_FALSE(decode_session_message(R"({"version":1,"message":"other"})"));
  EXPECT_FALSE(decode_session_message(R"({"version":1})"));
}

TEST(EventMessage, KeepsTheEventAndItsOrder) {
  std::string event = R"({"type":"unix_socket_op","z":1,"a":true,"path":"a\"b\\x0a"})";
  auto back = decode_session_message(encode(EventMessage{event}));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(std::get<EventMessage>(*back).json, event);
  EXPECT_FALSE(decode_session_message(encode(EventMessage{R"({"a":{"b":1}})"})));
  EXPECT_FALSE(decode_session_message(encode(EventMessage{R"({"a":1,"a":2})"})));
  EXPECT_FALSE(decode_session_message(encode(EventMessage{R"("a")"})));
}

TEST(SupervisorConfig, RoundTrip) {
  SupervisorConfig config;
  config.own_uid = 998;
  config.own_gid = 997;
  config.uid = 1000;
  config.gid = 0;
  config.groups = {4, 27, 4294967294U};
  config.client_pid = 4711;
  config.command = "a\nb";
  config.events = true;
  config.waiting_calls = 77;
  config.reply = good_reply();
  auto back = decode_supervisor_config(encode(config));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->own_uid, 998U);
  EXPECT_EQ(back->own_gid, 997U);
  EXPECT_EQ(back->uid, 1000U);
  EXPECT_EQ(back->gid, 0U);
  EXPECT_EQ(back->groups, config.groups);
  EXPECT_EQ(back->client_pid, 4711);
  EXPECT_EQ(back->command, "a\nb");
  EXPECT_TRUE(back->events);
  EXPECT_EQ(back->waiting_calls, 77U);
  EXPECT_EQ(encode(back->reply), encode(config.reply));
  for (size_t wrong : {size_t{0}, size_t{kMaxWaitingCalls} + 1}) {
    config.waiting_calls = wrong;
    EXPECT_FALSE(decode_supervisor_config(encode(config)));
  }
}

TEST(SupervisorConfig, ForgottenIdsAreRefused) {
  SupervisorConfig config;
  config.reply = good_reply();
  for (uid_t* id : {&config.own_uid, &config.own_gid, &config.uid, &config.gid}) {
    EXPECT_FALSE(decode_supervisor_config(encode(config)));
    *id = 1;
  }
  EXPECT_TRUE(decode_supervisor_config(encode(config)));
  config.groups = {static_cast<gid_t>(-1)};
  EXPECT_FALSE(decode_supervisor_config(encode(config)));
  config.groups.clear();
  config.client_pid = -1;
  EXPECT_FALSE(decode_supervisor_config(encode(config)));
  config.client_pid = 1;
  config.reply.id = "x";
  EXPECT_FALSE(decode_supervisor_config(encode(config)));
}

TEST(SupervisorConfig, UnknownKeysAreRefused) {
  SupervisorConfig config;
  config.own_uid = 1;
  config.own_gid = 1;
  config.uid = 1;
  config.gid = 1;
  config.reply = good_reply();
  std::string good = encode(config);
  ASSERT_TRUE(decode_supervisor_config(good));
  EXPECT_FALSE(decode_supervisor_config(replaced(good, "\"events\"", "\"x\":1,\"events\"")));
  EXPECT_FALSE(decode_supervisor_config(replaced(good, "\"mode\"", "\"x\":1,\"mode\"")));
  EXPECT_FALSE(decode_supervisor_config(replaced(good, ",\"uid\":1", ",\"uid\":1,\"uid\":0")));
}

TEST(WaitingCall, ComesBackAsItWas) {
  auto back = decode_session_message(encode(WaitingCall{"connect", "/run/a\n\xff", true}));
  ASSERT_TRUE(back);
  const auto* waiting = std::get_if<WaitingCall>(&*back);
  ASSERT_NE(waiting, nullptr);
  EXPECT_EQ(waiting->operation, "connect");
  EXPECT_EQ(waiting->target, "/run/a\n\xff");
  EXPECT_TRUE(waiting->abstract);
  EXPECT_TRUE(decode_session_message(encode(WaitingCall{std::string(9999, 'x'), std::string(9999, '\xff'), false})));
}

TEST(WaitingCall, IsParsedStrictly) {
  const std::string good = encode(WaitingCall{"connect", "/run/a", false});
  ASSERT_TRUE(decode_session_message(good));
  EXPECT_FALSE(decode_session_message(replaced(good, "\"target\":\"/run/a\",", "")));
  EXPECT_FALSE(decode_session_message(replaced(good, "\"abstract\":false", "\"abstract\":0")));
  EXPECT_FALSE(decode_session_message(replaced(good, "/run/a", "/run/\\\\q")));
  EXPECT_FALSE(decode_session_message(replaced(good, "/run/a", std::string(4201, 'x'))));
  EXPECT_FALSE(decode_session_message(replaced(good, "}", ",\"id\":\"1\"}")));
  EXPECT_FALSE(decode_session_message(replaced(good, "waiting", "waited")));
}

TEST(Terminated, ComesBackAsItWas) {
  auto back = decode_session_message(encode(Terminated{"uid 0\n\xff"}));
  ASSERT_TRUE(back);
  EXPECT_EQ(std::get<Terminated>(*back).by, "uid 0\n\xff");
  EXPECT_FALSE(decode_session_message(R"({"version":1,"message":"terminated"})"));
  EXPECT_FALSE(decode_session_message(R"({"version":1,"message":"terminated","reason":"x","by":"y"})"));
  EXPECT_TRUE(decode_session_message(encode(Terminated{std::string(10000, '\xff')})));
}

TEST(ProfileDescription, ComesBackAsItWas) {
  const ProfileDescription profile{.policy = "mine",
                                   .mode = "audit",
                                   .confinement = {.traps = {plan::TrapGroup::sockets},
                                                   .scopes = {.abstract_socket = true},
                                                   .monitor_unsupported = true},
                                   .notices = {"a\nb"}};
  auto back = decode_profile_description(encode(profile) + "\n");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->policy, profile.policy);
  EXPECT_EQ(back->mode, profile.mode);
  EXPECT_EQ(back->confinement, profile.confinement);
  EXPECT_EQ(back->notices, profile.notices);
}

TEST(ProfileDescription, WhatAnotherVersionMightSayIsRefused) {
  const std::string good = encode(ProfileDescription{.policy = "mine", .mode = "enforce"});
  ASSERT_TRUE(decode_profile_description(good));
  for (auto [from, to] : {std::pair{"\"traps\":[]", "\"traps\":[\"files\"]"},
                          {"\"traps\":[],", ""},
                          {"\"scopes\":[\"signal\"]", "\"scopes\":[\"everything\"]"},
                          {"\"filtered\":true", "\"filtered\":1"},
                          {"\"deny\"", "\"ignore\""},
                          {"\"notices\":[]", "\"notices\":[],\"more\":1"},
                          {"\"version\":1", "\"version\":2"}}) {
    EXPECT_FALSE(decode_profile_description(replaced(good, from, to))) << to;
  }
}

}  // namespace
}  // namespace wrapd::wire
