// See sentencepiece_library.h.
#include "tests/engine/tokenizer/sentencepiece_library.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <cstdio>
#include <cstdlib>

namespace ration {
namespace {

void Check(const sentencepiece::util::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "sentencepiece: %s\n", status.ToString().c_str());
  std::abort();
}

class Iterator final : public sentencepiece::SentenceIterator {
 public:
  explicit Iterator(const std::vector<std::string>& sentences) : sentences_(sentences) {}
  bool done() const override { return at_ == sentences_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return sentences_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& sentences_;
  size_t at_ = 0;
};

}  // namespace

std::string TrainSentencePieceModel(const std::unordered_map<std::string, std::string>& options,
                                    const std::vector<std::string>& sentences) {
  Iterator iterator(sentences);
  std::string model;
  Check(sentencepiece::SentencePieceTrainer::Train(options, &iterator, &model));
  return model;
}

struct SentencePieceLibrary::State {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceLibrary::SentencePieceLibrary(const std::string& model) : state_(std::make_unique<State>()) {
  Check(state_->processor.LoadFromSerializedProto(model));
}

SentencePieceLibrary::~SentencePieceLibrary() = default;

int32_t SentencePieceLibrary::size() const { return state_->processor.GetPieceSize(); }

std::vector<int32_t> SentencePieceLibrary::Encode(const std::string& text) const {
  std::vector<int32_t> ids;
  Check(state_->processor.Encode(text, &ids));
  return ids;
}

std::string SentencePieceLibrary::Decode(const std::vector<int32_t>& ids) const {
  std::string text;
  Check(state_->processor.Decode(ids, &text));
  return text;
}

}  // namespace ration
