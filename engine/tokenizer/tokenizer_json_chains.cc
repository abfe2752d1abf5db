// See tokenizer_json_chains.h.
#include "engine/tokenizer/tokenizer_json_chains.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/split_pre_tokenizer.h"
#include "engine/tokenizer/tokenizer_json.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

absl::StatusOr<std::string> StringMember(const JsonPart& part, absl::string_view name, size_t max_bytes) {
  RATION_ASSIGN_OR_RETURN(const JsonPart member, part.Member(name));
  RATION_ASSIGN_OR_RETURN(std::string text, member.String());
  if (text.size() > max_bytes) {
    return member.InvalidArgument(absl::StrCat("has ", text.size(), " bytes; the limit is ", max_bytes));
  }
  return text;
}

absl::StatusOr<std::string> CharacterMember(const JsonPart& part, absl::string_view name) {
  RATION_ASSIGN_OR_RETURN(const JsonPart member, part.Member(name));
  RATION_ASSIGN_OR_RETURN(std::string text, member.String());
  if (text.empty() || Utf8CharLength(text) != static_cast<int>(text.size())) {
    return member.InvalidArgument(absl::StrCat("must be one character, not ", Quoted(text)));
  }
  return text;
}

absl::Status UnknownType(const JsonPart& part, absl::string_view chain, absl::string_view type) {
  return part.Unimplemented(absl::StrCat(chain, " type ", Quoted(type), " is not supported"));
}

// Calls `step` with every part that is not itself a Sequence, in order; `list` is the member that holds a Sequence's
// parts.
absl::Status ForEachStep(const JsonPart& part, absl::string_view list, size_t& steps,
                         absl::FunctionRef<absl::Status(const JsonPart&, absl::string_view type)> step) {
  RATION_ASSIGN_OR_RETURN(const std::string type, StringMember(part, "type", kMaxTokenBytes));
  if (type != "Sequence") {
    if (++steps > kMaxChainSteps) return part.InvalidArgument(absl::StrCat("more than ", kMaxChainSteps, " steps"));
    return step(part, type);
  }
  RATION_ASSIGN_OR_RETURN(const JsonPart parts, part.Member(list));
  RATION_RETURN_IF_ERROR(parts.ExpectArray(kMaxChainSteps));
  for (size_t i = 0; i < parts.value().size(); ++i)
    RATION_RETURN_IF_ERROR(ForEachStep(parts.Element(i), list, steps, step));
  return absl::OkStatus();
}

// {"String": "x"} or {"Regex": "x"}; an expression that says no more than a string comes out as one.
absl::StatusOr<std::variant<std::string, Regex>> ParsePattern(const JsonPart& part) {
  RATION_ASSIGN_OR_RETURN(const JsonPart pattern, part.Member("pattern"));
  const bool is_regex = pattern.OptionalMember("Regex").has_value();
  RATION_ASSIGN_OR_RETURN(std::string text, StringMember(pattern, is_regex ? "Regex" : "String", kMaxTokenBytes));
  if (text.empty()) return pattern.InvalidArgument("must not be empty");
  if (!is_regex || text.find_first_of("\\^$.|?*+()[]{}") == std::string::npos) return text;
  absl::StatusOr<Regex> regex = Regex::Compile(text);
  if (regex.ok()) return *std::move(regex);
  return absl::IsUnimplemented(regex.status()) ? pattern.Unimplemented(regex.status().message())
                                               : pattern.InvalidArgument(regex.status().message());
}

// Multiplies `growth` by how much longer a replacement can make a text.
absl::Status LimitGrowth(const JsonPart& part, size_t pattern_bytes, size_t content_bytes, int64_t& growth) {
  if (content_bytes > pattern_bytes)
    growth *= static_cast<int64_t>((content_bytes + pattern_bytes - 1) / pattern_bytes);
  if (growth <= kMaxReplacementGrowth) return absl::OkStatus();
  return part.InvalidArgument(
      absl::StrCat("with this step a text may grow ", growth, " times longer; the limit is ", kMaxReplacementGrowth));
}

absl::StatusOr<NormalizerStep> ParseNormalizerStep(const JsonPart& part, absl::string_view type, int64_t& growth) {
  using Kind = NormalizerStep::Kind;
  NormalizerStep step;
  if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    RATION_ASSIGN_OR_RETURN(step.content, StringMember(part, "prepend", kMaxTokenBytes));
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    RATION_ASSIGN_OR_RETURN(auto pattern, ParsePattern(part));
    RATION_ASSIGN_OR_RETURN(step.content, StringMember(part, "content", kMaxTokenBytes));
    size_t pattern_bytes;
    if (auto* regex = std::get_if<Regex>(&pattern)) {
      if (regex->may_match_empty()) return part.Unimplemented("a regular expression that may match nothing");
      pattern_bytes = regex->min_length();
      step.regex = std::make_shared<const Regex>(std::move(*regex));
    } else {
      step.pattern = std::get<std::string>(std::move(pattern));
      pattern_bytes = step.pattern.size();
    }
    RATION_RETURN_IF_ERROR(LimitGrowth(part, pattern_bytes, step.content.size(), growth));
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    RATION_ASSIGN_OR_RETURN(step.strip_left, part.BoolMember("strip_left", true));
    RATION_ASSIGN_OR_RETURN(step.strip_right, part.BoolMember("strip_right", true));
  } else if (type == "NFC") {
    step.kind = Kind::kNfc;
  } else if (type == "NFD") {
    step.kind = Kind::kNfd;
  } else if (type == "NFKC") {
    step.kind = Kind::kNfkc;
  } else if (type == "NFKD") {
    step.kind = Kind::kNfkd;
  } else if (type == "Lowercase") {
    step.kind = Kind::kLowercase;
  } else {
    return UnknownType(part, "normalizer", type);
  }
  return step;
}

absl::StatusOr<MetaspacePreTokenizer::Prepend> ParsePrependScheme(const JsonPart& part) {
  using Prepend = MetaspacePreTokenizer::Prepend;
  // Older files say add_prefix_space only.
  RATION_ASSIGN_OR_RETURN(const bool add_prefix_space, part.BoolMember("add_prefix_space", true));
  const std::optional<JsonPart> scheme = part.OptionalMember("prepend_scheme");
  if (!scheme.has_value()) return add_prefix_space ? Prepend::kAlways : Prepend::kNever;
  RATION_ASSIGN_OR_RETURN(const std::string name, scheme->String());
  if (name != "never" && !add_prefix_space) {
    return scheme->InvalidArgument(absl::StrCat(Quoted(name), " contradicts \"add_prefix_space\": false"));
  }
  if (name == "always") return Prepend::kAlways;
  if (name == "first") return Prepend::kFirst;
  if (name == "never") return Prepend::kNever;
  return scheme->InvalidArgument(absl::StrCat("must be always, first or never, not ", Quoted(name)));
}

absl::StatusOr<SplitPreTokenizer::Behavior> ParseBehavior(const JsonPart& part, absl::string_view default_name) {
  using Behavior = SplitPreTokenizer::Behavior;
  constexpr std::pair<absl::string_view, Behavior> kNames[] = {{"Removed", Behavior::kRemoved},
                                                               {"Isolated", Behavior::kIsolated},
                                                               {"MergedWithPrevious", Behavior::kMergedWithPrevious},
                                                               {"MergedWithNext", Behavior::kMergedWithNext},
                                                               {"Contiguous", Behavior::kContiguous}};
  std::string name(default_name);
  const std::optional<JsonPart> given = part.OptionalMember("behavior");
  if (given.has_value()) {
    RATION_ASSIGN_OR_RETURN(name, given->String());
  }
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  return (given.has_value() ? *given : part)
      .Unimplemented(absl::StrCat("behavior ", Quoted(name), " is not supported"));
}

absl::StatusOr<std::unique_ptr<PreTokenizer>> ParsePreTokenizerStep(const JsonPart& part, absl::string_view type) {
  using Behavior = SplitPreTokenizer::Behavior;
  const auto split_at = [](SplitPreTokenizer::Pattern pattern, Behavior behavior, bool invert = false) {
    return std::make_unique<SplitPreTokenizer>(std::move(pattern), behavior, invert);
  };
  if (type == "Metaspace") {
    RATION_ASSIGN_OR_RETURN(std::string replacement, CharacterMember(part, "replacement"));
    RATION_ASSIGN_OR_RETURN(const MetaspacePreTokenizer::Prepend prepend, ParsePrependScheme(part));
    RATION_ASSIGN_OR_RETURN(const bool split, part.BoolMember("split", true));
    return std::make_unique<MetaspacePreTokenizer>(std::move(replacement), prepend, split);
  }
  if (type == "ByteLevel") {
    RATION_ASSIGN_OR_RETURN(const bool add_prefix_space, part.BoolMember("add_prefix_space", true));
    RATION_ASSIGN_OR_RETURN(const bool use_regex, part.BoolMember("use_regex", true));
    std::optional<Regex> words;
    if (use_regex) {
      RATION_ASSIGN_OR_RETURN(words, Regex::Compile(kGpt2WordRegex));
    }
    return std::make_unique<ByteLevelPreTokenizer>(add_prefix_space, std::move(words));
  }
  if (type == "Split") {
    RATION_ASSIGN_OR_RETURN(auto parsed, ParsePattern(part));
    RATION_ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(part, ""));
    RATION_ASSIGN_OR_RETURN(const bool invert, part.BoolMember("invert", false));
    if (auto* regex = std::get_if<Regex>(&parsed)) return split_at(std::move(*regex), behavior, invert);
    return split_at(std::get<std::string>(std::move(parsed)), behavior, invert);
  }
  if (type == "Digits") {
    RATION_ASSIGN_OR_RETURN(const bool individual, part.BoolMember("individual_digits", false));
    return split_at(&IsNumeric, individual ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "Punctuation") {
    RATION_ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(part, "Isolated"));
    return split_at(&IsPunctuation, behavior);
  }
  if (type == "WhitespaceSplit") return split_at(&IsWhiteSpace, Behavior::kRemoved);
  if (type == "Whitespace") {
    // \w+|[^\w\s]+ with the \w of Rust's regular expressions, which this type is defined by.
    constexpr char kWord[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}";
    RATION_ASSIGN_OR_RETURN(Regex words, Regex::Compile(absl::StrCat("[", kWord, "]+|[^", kWord, "\\s]+")));
    return split_at(std::move(words), Behavior::kRemoved, true);
  }
  return UnknownType(part, "pre_tokenizer", type);
}

absl::StatusOr<DecoderStep> ParseDecoderStep(const JsonPart& part, absl::string_view type, bool fused,
                                             int64_t& growth) {
  using Kind = DecoderStep::Kind;
  DecoderStep step;
  if (type == "Replace") {
    step.kind = Kind::kReplace;
    RATION_ASSIGN_OR_RETURN(auto pattern, ParsePattern(part));
    if (std::holds_alternative<Regex>(pattern)) return part.Unimplemented("a regular expression in a decoder");
    step.pattern = std::get<std::string>(std::move(pattern));
    RATION_ASSIGN_OR_RETURN(step.content, StringMember(part, "content", kMaxTokenBytes));
    RATION_RETURN_IF_ERROR(LimitGrowth(part, step.pattern.size(), step.content.size(), growth));
  } else if (type == "ByteFallback" || type == "ByteLevel") {
    step.kind = type == "ByteLevel" ? Kind::kByteLevel : Kind::kByteFallback;
    if (fused) return part.Unimplemented(absl::StrCat(type, " after Fuse or ByteLevel is not supported"));
  } else if (type == "Fuse") {
    step.kind = Kind::kFuse;
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    RATION_ASSIGN_OR_RETURN(step.content, CharacterMember(part, "content"));
    RATION_ASSIGN_OR_RETURN(const JsonPart start, part.Member("start"));
    RATION_ASSIGN_OR_RETURN(step.start, start.Int(0, INT32_MAX));
    RATION_ASSIGN_OR_RETURN(const JsonPart stop, part.Member("stop"));
    RATION_ASSIGN_OR_RETURN(step.stop, stop.Int(0, INT32_MAX));
  } else if (type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    RATION_ASSIGN_OR_RETURN(step.content, CharacterMember(part, "replacement"));
    RATION_ASSIGN_OR_RETURN(const MetaspacePreTokenizer::Prepend prepend, ParsePrependScheme(part));
    step.drop_in_first = prepend != MetaspacePreTokenizer::Prepend::kNever;
  } else {
    return UnknownType(part, "decoder", type);
  }
  return step;
}

}  // namespace

absl::StatusOr<std::vector<NormalizerStep>> ParseNormalizer(const JsonPart& root) {
  std::vector<NormalizerStep> steps;
  const std::optional<JsonPart> normalizer = root.OptionalMember("normalizer");
  if (!normalizer.has_value()) return steps;
  int64_t growth = 1;
  size_t count = 0;
  RATION_RETURN_IF_ERROR(
      ForEachStep(*normalizer, "normalizers", count, [&](const JsonPart& part, absl::string_view type) {
        absl::StatusOr<NormalizerStep> step = ParseNormalizerStep(part, type, growth);
        if (step.ok()) steps.push_back(*std::move(step));
        return step.status();
      }));
  return steps;
}

absl::StatusOr<std::vector<std::unique_ptr<PreTokenizer>>> ParsePreTokenizer(const JsonPart& root) {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  const std::optional<JsonPart> pre_tokenizer = root.OptionalMember("pre_tokenizer");
  if (!pre_tokenizer.has_value()) return steps;
  bool metaspace = false, byte_level = false;
  size_t count = 0;
  RATION_RETURN_IF_ERROR(ForEachStep(
      *pre_tokenizer, "pretokenizers", count, [&](const JsonPart& part, absl::string_view type) -> absl::Status {
        // These lengthen each word; between other steps a few of them would make any text enormous.
        bool* lengthened = type == "Metaspace" ? &metaspace : type == "ByteLevel" ? &byte_level : nullptr;
        if (lengthened != nullptr) {
          if (*lengthened) return part.Unimplemented(absl::StrCat("a second ", type, " is not supported"));
          *lengthened = true;
        }
        RATION_ASSIGN_OR_RETURN(std::unique_ptr<PreTokenizer> step, ParsePreTokenizerStep(part, type));
        steps.push_back(std::move(step));
        return absl::OkStatus();
      }));
  return steps;
}

absl::StatusOr<std::vector<DecoderStep>> ParseDecoder(const JsonPart& root) {
  std::vector<DecoderStep> steps;
  const std::optional<JsonPart> decoder = root.OptionalMember("decoder");
  if (!decoder.has_value()) {
    DecoderStep join;
    join.kind = DecoderStep::Kind::kJoin;
    join.content = " ";
    steps.push_back(std::move(join));
    return steps;
  }
  int64_t growth = 1;
  size_t count = 0;
  RATION_RETURN_IF_ERROR(ForEachStep(*decoder, "decoders", count, [&](const JsonPart& part, absl::string_view type) {
    const bool fused = std::any_of(steps.begin(), steps.end(), [](const DecoderStep& step) {
      return step.kind == DecoderStep::Kind::kFuse || step.kind == DecoderStep::Kind::kByteLevel;
    });
    absl::StatusOr<DecoderStep> step = ParseDecoderStep(part, type, fused, growth);
    if (step.ok()) steps.push_back(*std::move(step));
    return step.status();
  }));
  return steps;
}

}  // namespace ration
