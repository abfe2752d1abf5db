// Text next to tokens: stop strings, the ending token's text, and streams that add up to what the tokenizer decodes.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "engine/engine.h"
#include "tests/engine/engine_harness.h"
#include "tests/testing/tiny_tokenizer.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::HarnessOptions;
using testing::RecordingSink;

HarnessOptions WithTokenizer(std::vector<int32_t> eos = {}) {
  HarnessOptions options;
  options.tokenizer = MakeTinyTokenizer();
  options.model.vocab_size = options.tokenizer->vocab_size();
  options.engine.eos_token_ids = std::move(eos);
  return options;
}

std::string DecodeAll(const std::vector<int32_t>& prompt, const std::vector<int32_t>& generated) {
  const std::unique_ptr<Tokenizer> tokenizer = MakeTinyTokenizer();
  std::vector<int32_t> all = prompt;
  all.insert(all.end(), generated.begin(), generated.end());
  return tokenizer->Decode(all, true)->substr(tokenizer->Decode(prompt, true)->size());
}

// A request whose output is plain characters only, so that texts are easy to cut: bytes and specials are biased away.
GenerationRequest LettersOnly(const EngineHarness& harness, const std::string& id, int64_t new_tokens) {
  GenerationRequest request = harness.Request(id, 12, new_tokens);
  for (int32_t& token : request.prompt_tokens) token = kTinyFirstCharacterId + 1 + token % 26;
  for (int32_t token = 0; token <= kTinyFirstCharacterId; ++token)
    request.sampling.logit_bias.push_back({token, -100.0f});
  return request;
}

TEST(EngineText, TheStreamsTextIsTheDecodedTokens) {
  EngineHarness harness(WithTokenizer());
  for (const char* id : {"a", "b", "c", "d"}) {
    const GenerationRequest request = LettersOnly(harness, id, 80);
    RecordingSink& sink = harness.Submit(request);
    harness.RunUntilIdle();
    EXPECT_EQ(sink.text(), DecodeAll(request.prompt_tokens, sink.token_ids()));
    EXPECT_GE(sink.text().size(), 80u);
  }
}

TEST(EngineText, BytesThatAreNoCharacterComeOutAsReplacements) {
  EngineHarness harness(WithTokenizer());
  GenerationRequest request = LettersOnly(harness, "a", 30);
  request.sampling.logit_bias.clear();
  // Bytes from 0x80 on only: mostly not UTF-8.
  for (int32_t token = kTinyFirstByteId + 0x80; token < kTinyFirstCharacterId; ++token) {
    request.sampling.logit_bias.push_back({token, 50.0f});
  }
  RecordingSink& sink = harness.Submit(request);
  harness.RunUntilIdle();
  EXPECT_TRUE(absl::StrContains(sink.text(), "\xEF\xBF\xBD"));
  EXPECT_EQ(sink.text(), DecodeAll(request.prompt_tokens, sink.token_ids()));
}

TEST(EngineText, AStopStringCutsTheTextButNotTheTokens) {
  EngineHarness harness(WithTokenizer());
  GenerationRequest request = LettersOnly(harness, "a", 60);
  RecordingSink& whole = harness.Submit(request);
  harness.RunUntilIdle();
  const std::string text = whole.text();
  // Three characters from the middle, which no earlier place spells.
  size_t at = 20;
  while (text.find(text.substr(at, 3)) != at) ++at;
  const std::string stop = text.substr(at, 3);

  request.request_id = "stops";
  request.stopping.stop_strings = {"\x01never", stop};
  RecordingSink& sink = harness.Submit(request);
  request.request_id = "includes";
  request.stopping.include_stop_string = true;
  RecordingSink& including = harness.Submit(request);
  harness.RunUntilIdle();
  EXPECT_EQ(sink.text(), text.substr(0, at));
  EXPECT_EQ(including.text(), text.substr(0, at + 3));
  for (RecordingSink* ended : {&sink, &including}) {
    EXPECT_EQ(ended->finish()->reason, FinishReason::kStop);
    EXPECT_EQ(ended->finish()->stop_string, stop);
    EXPECT_FALSE(ended->finish()->stop_token_id.has_value());
    // The tokens that spelt the stop string are there.
    EXPECT_GE(DecodeAll(request.prompt_tokens, ended->token_ids()).size(), at + 3);
  }

  // Before min_new_tokens a stop string is just text.
  request.request_id = "too early";
  request.stopping.min_new_tokens = 60;
  RecordingSink& early = harness.Submit(request);
  harness.RunUntilIdle();
  EXPECT_EQ(early.finish()->reason, FinishReason::kLength);
  EXPECT_EQ(early.text(), text);
}

TEST(EngineText, TextHeldBackForAStopStringComesWithTheEnd) {
  EngineHarness harness(WithTokenizer());
  GenerationRequest request = LettersOnly(harness, "a", 40);
  RecordingSink& whole = harness.Submit(request);
  harness.RunUntilIdle();
  const std::string text = whole.text();
  // The last five characters begin a stop string that never completes.
  request.stopping.stop_strings = {text.substr(text.size() - 5) + "\x01"};
  request.request_id = "length";
  RecordingSink& by_length = harness.Submit(request);
  harness.RunUntilIdle();
  EXPECT_EQ(by_length.text(), text);

  request.request_id = "aborted";
  request.stopping.max_new_tokens = 100;
  RecordingSink& by_abort = harness.Submit(request);
  while (by_abort.num_deltas() < 40) harness.engine().Step();
  const std::string before = by_abort.text();
  EXPECT_LE(before.size(), text.size() - 5);
  harness.engine().Abort("aborted");
  EXPECT_EQ(by_abort.text(), text);
}

TEST(EngineText, TheEndingTokenHasNoText) {
  EngineHarness probe(WithTokenizer());
  const GenerationRequest request = LettersOnly(probe, "a", 30);
  RecordingSink& whole = probe.Submit(request);
  probe.RunUntilIdle();
  const std::vector<int32_t> tokens = whole.token_ids();
  size_t at = 4;
  while (std::find(tokens.begin(), tokens.begin() + at, tokens[at]) != tokens.begin() + at) ++at;

  EngineHarness harness(WithTokenizer({tokens[at]}));
  RecordingSink& sink = harness.Submit(request);
  harness.RunUntilIdle();
  EXPECT_EQ(sink.finish()->stop_token_id, tokens[at]);
  EXPECT_EQ(sink.token_ids(), std::vector<int32_t>(tokens.begin(), tokens.begin() + at + 1));
  EXPECT_EQ(sink.text(), DecodeAll(request.prompt_tokens, {tokens.begin(), tokens.begin() + at}));
}

TEST(EngineText, TokensBeyondTheTokenizersVocabularyAreEmptyText) {
  HarnessOptions options = WithTokenizer();
  const int32_t natural = static_cast<int32_t>(options.model.vocab_size);
  options.model.vocab_size += 50;  // padded embedding
  EngineHarness harness(std::move(options));
  GenerationRequest request = harness.Request("a", 5, 10);
  for (int32_t token = natural; token < natural + 50; ++token) request.sampling.logit_bias.push_back({token, 100.0f});
  for (int32_t& token : request.prompt_tokens) token %= natural;
  RecordingSink& sink = harness.Submit(request);
  harness.RunUntilIdle();
  for (int32_t token : sink.token_ids()) EXPECT_GE(token, natural);
  EXPECT_EQ(sink.text(), "");
}

}  // namespace
}  // namespace ration
