// See added_tokens.h.
#include "engine/tokenizer/added_tokens.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "engine/tokenizer/utf8.h"

namespace ration {

AddedTokenMatcher::AddedTokenMatcher(std::vector<Pattern> patterns)
    : patterns_(std::move(patterns)), pattern_at_node_(1, -1) {
  for (size_t i = 0; i < patterns_.size(); ++i) {
    const std::string& text = patterns_[i].text;
    if (text.empty()) continue;
    first_byte_[static_cast<unsigned char>(text[0])] = true;
    uint64_t node = 0;
    for (char c : text) {
      const auto [child, inserted] = children_.try_emplace((node << 8) | static_cast<unsigned char>(c),
                                                           static_cast<uint32_t>(pattern_at_node_.size()));
      if (inserted) pattern_at_node_.push_back(-1);
      node = child->second;
    }
    if (pattern_at_node_[node] < 0) pattern_at_node_[node] = static_cast<int32_t>(i);
  }
}

AddedTokenMatcher::Found AddedTokenMatcher::Longest(absl::string_view text) const {
  Found found;
  if (!first_byte_[static_cast<unsigned char>(text[0])]) return found;
  uint64_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto child = children_.find((node << 8) | static_cast<unsigned char>(text[i]));
    if (child == children_.end()) break;
    node = child->second;
    if (pattern_at_node_[node] >= 0) found = {pattern_at_node_[node], i + 1};
  }
  return found;
}

void AddedTokenMatcher::Split(absl::string_view text, std::vector<Piece>& pieces) const {
  size_t done = 0;  // everything before is in `pieces`
  for (size_t position = 0; position < text.size();) {
    const Found found = Longest(text.substr(position));
    if (found.pattern < 0) {
      ++position;
      continue;
    }
    const AddedToken& token = patterns_[static_cast<size_t>(found.pattern)].token;
    size_t begin = position;
    size_t end = position + found.length;
    position = end;  // also when the match does not count
    const absl::string_view before = text.substr(0, begin), after = text.substr(end);
    if (token.single_word &&
        ((!before.empty() && IsWordCharacter(FirstCodePoint(before.substr(LastCharOffset(before))))) ||
         (!after.empty() && IsWordCharacter(FirstCodePoint(after))))) {
      continue;
    }
    if (token.lstrip) begin = StripTrailingWhiteSpace(before).size();
    if (token.rstrip) end = text.size() - StripLeadingWhiteSpace(after).size();
    begin = std::max(begin, done);  // the token before may have taken that space
    if (begin > done) pieces.push_back({text.substr(done, begin - done), -1});
    pieces.push_back({text.substr(begin, end - begin), token.id});
    done = std::max(done, end);
  }
  if (done < text.size()) pieces.push_back({text.substr(done), -1});
}

}  // namespace ration
