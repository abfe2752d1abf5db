// See decoder.h.
#include "engine/tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/check.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The byte of a token such as "<0x0A>"; -1 if it is none. "+A" is a number to the original's parser, so it is here.
int ByteOf(absl::string_view token) {
  if (token.size() != 6 || !absl::StartsWith(token, "<0x") || token[5] != '>') return -1;
  const int high = token[3] == '+' ? 0 : HexDigit(token[3]);
  const int low = HexDigit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// The length of the longest end of `text` that is a beginning of `pattern`, but not all of it.
size_t PartialMatch(absl::string_view text, absl::string_view pattern) {
  size_t length = std::min(text.size(), pattern.size() - 1);
  while (length > 0 && !absl::EndsWith(text, pattern.substr(0, length))) --length;
  return length;
}

std::string Repeat(absl::string_view text, int64_t times) {
  std::string result;
  result.reserve(text.size() * static_cast<size_t>(times));
  for (int64_t i = 0; i < times; ++i) result.append(text.data(), text.size());
  return result;
}

}  // namespace

void DecoderChain::Emit(size_t step, Part part, std::string& text) {
  if (step == steps_->size()) {
    text.append(part.text.data(), part.text.size());
    return;
  }
  const DecoderStep& config = (*steps_)[step];
  State& state = states_[step];
  switch (config.kind) {
    case DecoderStep::Kind::kReplace:
      return EmitReplaced(step, part, text);
    case DecoderStep::Kind::kByteFallback:
      return EmitBytes(step, part, text);
    case DecoderStep::Kind::kStrip:
      return EmitStripped(step, part, text);
    case DecoderStep::Kind::kByteLevel:
      return EmitByteLevel(step, part, text);
    case DecoderStep::Kind::kFuse: {
      const bool begins = !state.started;
      state.started = true;
      return Emit(step + 1, {part.text, begins, false}, text);
    }
    case DecoderStep::Kind::kMetaspace: {
      if (part.begins) state.in_first = !state.started;
      state.started = true;
      const absl::string_view space = state.in_first && config.drop_in_first ? "" : " ";
      const std::string spaced = absl::StrReplaceAll(part.text, {{config.content, space}});
      return Emit(step + 1, {spaced, part.begins, part.ends}, text);
    }
    case DecoderStep::Kind::kJoin: {
      const bool separate = part.begins && state.started;
      state.started = true;
      const std::string joined = absl::StrCat(separate ? config.content : "", part.text);
      return Emit(step + 1, {joined, part.begins, part.ends}, text);
    }
  }
}

void DecoderChain::Finish(std::string& text) {
  for (size_t step = 0; step < steps_->size(); ++step) {
    State& state = states_[step];
    if ((*steps_)[step].kind == DecoderStep::Kind::kByteFallback) FlushBytes(step, text);
    // Always one token, even of nothing; its end reaches the steps after it.
    if ((*steps_)[step].kind == DecoderStep::Kind::kFuse) Emit(step + 1, {"", !state.started, true}, text);
    if ((*steps_)[step].kind == DecoderStep::Kind::kByteLevel) {
      // A character that is not completed is one U+FFFD, however many bytes it has so far.
      const absl::string_view rest = state.pending.empty() ? "" : kReplacementCharacter;
      state.pending.clear();
      Emit(step + 1, {rest, !state.started, true}, text);
    }
  }
}

void DecoderChain::EmitReplaced(size_t step, Part part, std::string& text) {
  const DecoderStep& config = (*steps_)[step];
  std::string& pending = states_[step].pending;
  if (part.begins && part.ends && !absl::StrContains(part.text, config.pattern)) return Emit(step + 1, part, text);

  const std::string source = absl::StrCat(pending, part.text);
  pending.clear();
  std::string replaced;
  absl::string_view rest = source;
  for (size_t found; (found = rest.find(config.pattern)) != absl::string_view::npos;) {
    absl::StrAppend(&replaced, rest.substr(0, found), config.content);
    rest.remove_prefix(found + config.pattern.size());
  }
  if (!part.ends) {
    const size_t partial = PartialMatch(rest, config.pattern);
    pending = std::string(rest.substr(rest.size() - partial));
    rest.remove_suffix(partial);
  }
  absl::StrAppend(&replaced, rest);
  Emit(step + 1, {replaced, part.begins, part.ends}, text);
}

void DecoderChain::EmitBytes(size_t step, Part part, std::string& text) {
  RATION_CHECK(part.begins && part.ends);
  State& state = states_[step];
  const int byte = ByteOf(part.text);
  if (byte < 0) {
    FlushBytes(step, text);
    return Emit(step + 1, part, text);
  }
  if (state.broken) return Emit(step + 1, {kReplacementCharacter, true, true}, text);
  state.pending.push_back(static_cast<char>(byte));
  const int length = Utf8CharLength(absl::string_view(state.pending).substr(state.char_begin));
  if (length > 0) state.char_begin = state.pending.size();
  if (length < 0) {
    // Nothing that follows can make the run valid.
    const size_t count = state.pending.size();
    state.pending.clear();
    state.char_begin = 0;
    state.broken = true;
    for (size_t i = 0; i < count; ++i) Emit(step + 1, {kReplacementCharacter, true, true}, text);
  }
}

void DecoderChain::FlushBytes(size_t step, std::string& text) {
  State& state = states_[step];
  const std::string run = std::move(state.pending);
  const bool whole = state.char_begin == run.size();
  state.pending.clear();
  state.char_begin = 0;
  state.broken = false;
  if (run.empty()) return;
  if (whole) return Emit(step + 1, {run, true, true}, text);
  for (size_t i = 0; i < run.size(); ++i) Emit(step + 1, {kReplacementCharacter, true, true}, text);
}

void DecoderChain::EmitByteLevel(size_t step, Part part, std::string& text) {
  RATION_CHECK(part.begins && part.ends);
  State& state = states_[step];
  AppendBytesOfToken(part.text, state.pending);
  std::string characters;
  absl::string_view rest = state.pending;
  while (!rest.empty()) {
    const int length = Utf8CharLength(rest);
    if (length == 0) break;  // the next token may complete it
    if (length > 0) {
      characters.append(rest.data(), static_cast<size_t>(length));
      rest.remove_prefix(static_cast<size_t>(length));
      continue;
    }
    // As many bytes as could begin a character.
    size_t broken = 1;
    while (broken < rest.size() && Utf8CharLength(rest.substr(0, broken + 1)) == 0) ++broken;
    absl::StrAppend(&characters, kReplacementCharacter);
    rest.remove_prefix(broken);
  }
  state.pending.erase(0, state.pending.size() - rest.size());
  const bool begins = !state.started;
  state.started = true;
  Emit(step + 1, {characters, begins, false}, text);
}

void DecoderChain::EmitStripped(size_t step, Part part, std::string& text) {
  const DecoderStep& config = (*steps_)[step];
  State& state = states_[step];
  if (part.begins) {
    state.at_front = true;
    state.front = 0;
    state.held = 0;
  }
  absl::string_view rest = part.text;
  while (state.at_front && !rest.empty()) {
    if (state.front < config.start && absl::StartsWith(rest, config.content)) {
      rest.remove_prefix(config.content.size());
      ++state.front;
    } else {
      state.at_front = false;
    }
  }
  int64_t trailing = 0;
  while (trailing < config.stop && absl::EndsWith(rest, config.content)) {
    rest.remove_suffix(config.content.size());
    ++trailing;
  }
  std::string out;
  if (rest.empty()) {
    // Everything is at the end so far; what exceeds `stop` cannot be stripped any more.
    state.held += trailing;
    const int64_t excess = std::max<int64_t>(0, state.held - config.stop);
    state.held -= excess;
    out = Repeat(config.content, excess);
  } else {
    out = absl::StrCat(Repeat(config.content, state.held), rest);
    state.held = trailing;
  }
  if (part.ends) state.held = 0;
  Emit(step + 1, {out, part.begins, part.ends}, text);
}

}  // namespace ration
