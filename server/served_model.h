// A model ready to be served, as Server takes it over: the engine that runs it, and what clients are told of it.
// Layer: server. Plain data; model_host makes it from a directory, tests make it by hand.
#ifndef RATION_SERVER_SERVED_MODEL_H_
#define RATION_SERVER_SERVED_MODEL_H_

#include <memory>
#include <string>

#include "engine/base/clock.h"
#include "engine/chat/chat_template.h"
#include "engine/engine.h"
#include "engine/model/model_info.h"
#include "engine/tokenizer/tokenizer.h"
#include "proto/generation.pb.h"

namespace ration {

// Members are destroyed in reverse order: the engine goes before what it points to.
struct ServedModel {
  std::shared_ptr<void> resources;       // what the engine needs and nobody here touches
  std::shared_ptr<const Tokenizer> tokenizer;  // nullptr: only token ids are served
  std::string no_tokenizer_reason;       // then: why
  std::shared_ptr<const ChatTemplate> chat_template;  // nullptr: messages are refused
  std::string no_chat_template_reason;   // then: why
  ModelInfo info;
  v1::GetModelInfoResponse description;  // the static part of GetModelInfo
  const Clock* clock = Clock::Real();    // the engine's
  std::unique_ptr<Engine> engine;
};

}  // namespace ration

#endif  // RATION_SERVER_SERVED_MODEL_H_
