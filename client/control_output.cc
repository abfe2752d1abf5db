#include "client/control_output.h"

#include <cmath>
#include <utility>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/console.h"

namespace ration {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Json = nlohmann::ordered_json;

// "MODE_AUTO" -> "auto": the first value of an enum, PREFIX_UNSPECIFIED, tells the prefix.
std::string EnumName(const google::protobuf::EnumDescriptor& type, int number) {
  const google::protobuf::EnumValueDescriptor* value = type.FindValueByNumber(number);
  if (value == nullptr) return absl::StrCat(number);
  absl::string_view prefix = type.value(0)->name();
  absl::ConsumeSuffix(&prefix, "UNSPECIFIED");
  absl::string_view name = value->name();
  absl::ConsumePrefix(&name, prefix);
  return absl::AsciiStrToLower(name);
}

Json ToJson(const Message& message);

// One value: of a field, or of a repeated field's element if index >= 0.
Json ValueJson(const Message& message, const FieldDescriptor& field, int index) {
  const google::protobuf::Reflection& get = *message.GetReflection();
  const bool one = index < 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return one ? get.GetInt32(message, &field) : get.GetRepeatedInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return one ? get.GetInt64(message, &field) : get.GetRepeatedInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const double value = one ? get.GetDouble(message, &field) : get.GetRepeatedDouble(message, &field, index);
      return std::isfinite(value) ? Json(value) : Json(nullptr);
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      return one ? get.GetBool(message, &field) : get.GetRepeatedBool(message, &field, index);
    case FieldDescriptor::CPPTYPE_STRING:
      return one ? get.GetString(message, &field) : get.GetRepeatedString(message, &field, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumName(*field.enum_type(),
                      one ? get.GetEnumValue(message, &field) : get.GetRepeatedEnumValue(message, &field, index));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(one ? get.GetMessage(message, &field) : get.GetRepeatedMessage(message, &field, index));
    default:  // control.proto has none of the others
      return nullptr;
  }
}

Json ToJson(const Message& message) {
  const google::protobuf::Reflection& get = *message.GetReflection();
  Json json = Json::object();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    if (field.is_repeated()) {
      Json array = Json::array();
      for (int j = 0; j < get.FieldSize(message, &field); ++j) array.push_back(ValueJson(message, field, j));
      json[field.name()] = std::move(array);
    } else if (!field.has_presence() || get.HasField(message, &field)) {
      json[field.name()] = ValueJson(message, field, -1);
    }
  }
  return json;
}

std::string Percent(double share) { return absl::StrFormat("%.1f %%", 100 * share); }

void AddLine(std::string* text, absl::string_view label, absl::string_view value, bool colored) {
  absl::StrAppend(text, Dim(absl::StrFormat("%-13s", label), colored), value, "\n");
}

std::string TenantText(const v1::TenantState& tenant) {
  const std::string limit = tenant.has_max_kv_bytes() ? absl::StrCat(" of ", HumanBytes(tenant.max_kv_bytes())) : "";
  return absl::StrCat(absl::Utf8SafeCHexEscape(tenant.tenant()), absl::StrFormat(": weight %.4g, ", tenant.weight()),
                      tenant.requests_running(), " running, ", tenant.requests_waiting(), " waiting, ", HumanBytes(tenant.reserved_bytes()), limit, " reserved, ",
                      tenant.prompt_tokens(), " + ", tenant.generated_tokens(), " tokens, ", tenant.requests_rejected(), " refused");
}

}  // namespace

std::string MessageToJson(const Message& message) {
  return ToJson(message).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string ModeText(v1::Mode mode) { return EnumName(*v1::Mode_descriptor(), mode); }
std::string BudgetPolicyText(v1::BudgetPolicy policy) { return EnumName(*v1::BudgetPolicy_descriptor(), policy); }

std::string RatioText(const v1::ServerState& state) {
  return absl::StrJoin(state.experts(), ":", [](std::string* out, const v1::ExpertState& expert) {
    absl::StrAppend(out, absl::StrFormat("%.3g", expert.ratio()));
  });
}

std::string UptimeText(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  if (whole < 60) return absl::StrCat(whole, " s");
  if (whole < 3600) return absl::StrCat(whole / 60, " min ", whole % 60, " s");
  if (whole < 86400) return absl::StrCat(whole / 3600, " h ", whole / 60 % 60, " min");
  return absl::StrCat(whole / 86400, " d ", whole / 3600 % 24, " h");
}

std::string StateText(const v1::ServerState& state, bool colored) {
  std::string text;
  AddLine(&text, "policy",
          absl::StrCat(BudgetPolicyText(state.budget_policy()), ", mode ", Bold(ModeText(state.mode()), colored), ", epoch ",
                       state.epoch(), ", up ", UptimeText(state.uptime_seconds()), state.draining() ? ", draining" : ""),
          colored);
  std::string budget = absl::StrCat(HumanBytes(state.used_bytes()), " of ", HumanBytes(state.budget_bytes()), " used (",
                                    Percent(state.pressure()), "), ", HumanBytes(state.reserved_bytes()), " reserved, ",
                                    HumanBytes(state.waste_bytes()), " in unfilled pages");
  if (state.has_target_budget_bytes()) {
    absl::StrAppend(&budget, "; on its way to ", HumanBytes(state.target_budget_bytes()));
  }
  AddLine(&text, "KV budget", budget, colored);
  AddLine(&text, "KV fraction",
          absl::StrFormat("%.3f requested, %.3f wanted, %.3f of what is cached", state.kv_fraction(), state.wanted_kv_fraction(),
                          state.realised_kv_fraction()),
          colored);
  for (int e = 0; e < state.experts_size(); ++e) {
    const v1::ExpertState& expert = state.experts(e);
    const std::string keeps = expert.group_size() == 1 ? "keeps all heads" : absl::StrCat("keeps 1/", expert.group_size());
    AddLine(&text, absl::StrCat("expert ", e + 1),
            absl::StrFormat("%s, %s of new tokens, %.0f tokens cached in %s", keeps, Percent(expert.ratio()),
                            expert.cached_tokens(), HumanBytes(expert.cached_bytes())),
            colored);
  }
  AddLine(&text, "requests",
          absl::StrCat(state.requests_running(), " running, ", state.requests_waiting(), " waiting (", state.waiting_tokens(),
                       " tokens); ", state.requests_finished(), " finished, ", state.requests_rejected(), " refused, ",
                       state.requests_failed(), " failed, ", state.preemptions(), " preemptions"),
          colored);
  AddLine(&text, "tokens",
          absl::StrCat(state.prompt_tokens(), " of prompts, ", state.generated_tokens(), " generated, ", state.regrouped_tokens(),
                       " regrouped, in ", state.steps(), " steps"),
          colored);
  for (const v1::TenantState& tenant : state.tenants()) {
    AddLine(&text, "tenant", TenantText(tenant), colored);
  }
  AddLine(&text, "memory", absl::StrCat(HumanBytes(state.resident_bytes()), " resident, pages of ", HumanBytes(state.page_bytes())),
          colored);
  return text;
}

std::string PolicyText(const v1::Policy& policy, bool colored) {
  std::string text;
  const std::vector<std::pair<const char*, std::string>> lines = {
      {"mode", ModeText(policy.mode())},
      {"floor", absl::StrFormat("%.4g", policy.floor())},
      {"ceiling", absl::StrFormat("%.4g", policy.ceiling())},
      {"ladder", absl::StrJoin(policy.ladder(), "  ")},
      {"rise", absl::StrFormat("%.4g a second", policy.rise_per_second())},
      {"dead band", absl::StrFormat("%.4g", policy.dead_band())},
      {"headroom", absl::StrFormat("%.4g of the budget", policy.headroom())},
      {"queue", absl::StrCat(policy.max_queued_requests(), " requests, ", policy.max_queued_tokens(), " tokens")},
      {"overcommit", absl::StrFormat("%.4g", policy.admission_overcommit())}};
  for (const auto& [label, value] : lines) AddLine(&text, label, value, colored);
  return text;
}

std::string StateLine(const v1::ServerState& state) {
  return absl::StrFormat(
      "%.1f s  used %s of %s (%s)  fraction %.3f wanted %.3f cached %.3f  ratio %s  %s epoch %d  running %d waiting %d  generated %d "
      "regrouped %d refused %d",
      state.uptime_seconds(), HumanBytes(state.used_bytes()), HumanBytes(state.budget_bytes()), Percent(state.pressure()),
      state.kv_fraction(), state.wanted_kv_fraction(), state.realised_kv_fraction(), RatioText(state), ModeText(state.mode()),
      state.epoch(), state.requests_running(), state.requests_waiting(), state.generated_tokens(), state.regrouped_tokens(),
      state.requests_rejected());
}

}  // namespace ration
