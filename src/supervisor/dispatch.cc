// SPDX-License-Identifier: Apache-2.0
#include "supervisor/dispatch.h"

#include "supervisor/calls/rename_link.h"
#include "supervisor/calls/socket.h"

namespace wrapd::supervisor {

template <class Made>
void Dispatch::add(const SessionObjects& session, plan::TrapSet groups) {
  handlers_.push_back(std::make_unique<Made>(session));
  for (size_t i = 0; i < by_group_.size(); ++i) {
    if (groups.has(static_cast<plan::TrapGroup>(i))) by_group_[i] = handlers_.back().get();
  }
}

Dispatch::Dispatch(const SessionObjects& session) {
  using enum plan::TrapGroup;
  add<SocketHandler>(session, {sockets, socket_creation});
  add<RenameLinkHandler>(session, {rename_link});
}

}  // namespace wrapd::supervisor
