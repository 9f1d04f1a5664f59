// SPDX-License-Identifier: Apache-2.0
#pragma once

// Every limit of the messages, for both ends: who sends cuts what is only shown, and who receives refuses what is
// longer. Lengths are bytes before they are escaped.

#include <climits>
#include <cstddef>
#include <cstdint>

namespace wrapd::wire {

inline constexpr int kProtocolVersion = 1;

// Whole messages, as they are sent.
inline constexpr size_t kMaxOpenRequest = 16384;
inline constexpr size_t kMaxReply = 65536;
inline constexpr size_t kMaxSupervisorConfig = 65536;
inline constexpr size_t kMaxChannelMessage = 32768;
inline constexpr size_t kMaxProfileDescription = 65536;

// JSON: the deepest is session configuration > reply > confinement > scopes. Keys are searched one by one.
inline constexpr size_t kMaxDepth = 4;
inline constexpr size_t kMaxKeys = 64;

// What is only shown.
inline constexpr size_t kMaxCommand = 4096;
inline constexpr size_t kMaxOperation = 32;
inline constexpr size_t kMaxTarget = 4200;  // a path of 4095 plain bytes is never cut
inline constexpr size_t kMaxName = 256;     // rules, policies, programs, who answered
inline constexpr size_t kMaxGuidance = 1024;
inline constexpr size_t kMaxEndedBy = 256;
inline constexpr size_t kMaxErrorMessage = 4096;
inline constexpr size_t kMaxNotice = 1024;
inline constexpr size_t kMaxNotices = 16;

// Texts of one exact form.
inline constexpr size_t kMaxPath = 4095;
inline constexpr size_t kIdDigits = 32;
inline constexpr size_t kTokenDigits = 64;
inline constexpr size_t kMaxCode = 32;

// Numbers. -1 means "leave it" to setresuid(2) and its like: the one number that must never get there.
inline constexpr uint64_t kMaxId = UINT32_MAX - 1;
inline constexpr uint64_t kMaxPid = INT_MAX;
inline constexpr uint64_t kMaxRecordSlot = 65535;
inline constexpr uint64_t kMaxWaitingCalls = 1024;
inline constexpr uint64_t kMaxQuestionTimeout = uint64_t{24} * 60 * 60 * 1000;  // milliseconds

// Of a session, told and not gone. A supervisor with more is taken for one that is not ours.
inline constexpr size_t kMaxOpenQuestions = 16;
// Of one supervisor; one that sends more is taken for one that is not ours, too. An honest one sends a question and its
// end for each that a policy can allow in a second, ten denials and the counters (supervisor/session/broker_link.h),
// and at once what had gathered in the channel while nobody read it: no program can make it send more.
inline constexpr double kMaxReportsPerSecond = 300;
inline constexpr double kMaxReportsAtOnce = 1000;

}  // namespace wrapd::wire
