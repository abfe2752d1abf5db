// Access files: what is read, what is refused and how it is said; and who gets in.
#include "server/security/access_table.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/security/access_control.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// printf %s correct-horse-battery | sha256sum
constexpr char kToken[] = "correct-horse-battery";
constexpr char kTokenHash[] = "62249369389075490555a758353aec61500c6218fa597252d52dc4bd0148f12d";

std::string ErrorOf(const std::string& text) {
  const auto table = AccessTable::Parse(text);
  EXPECT_FALSE(table.ok()) << text;
  return std::string(table.status().message());
}

// A file of one client with `fields` beside its name.
std::string ClientWith(const std::string& fields) { return absl::StrCat("clients { name: 'chat' ", fields, " }"); }

TEST(AccessTable, ReadsClientsRolesAndQuotas) {
  const auto table = AccessTable::Parse(absl::StrCat(R"(
    # Two tenants.
    clients {
      name: "chat"
      token_sha256: ")", kTokenHash, R"("
      token: "another-token-for-chat"
      roles: ROLE_GENERATE
      quota { weight: 2.5 max_kv_bytes: "256MiB" max_queued_requests: 0 max_tokens_per_second: 500 max_priority: -5 }
    }
    clients { name: "operators" token: "token-of-operators" roles: [ROLE_GENERATE, ROLE_CONTROL] })"));
  ASSERT_TRUE(table.ok()) << table.status();
  for (const char* token : {kToken, "another-token-for-chat"}) {
    const Caller* chat = (*table)->Find(token);
    ASSERT_NE(chat, nullptr) << token;
    EXPECT_EQ(chat->tenant, "chat");
    EXPECT_TRUE(chat->may_generate);
    EXPECT_FALSE(chat->may_control);
    EXPECT_EQ(chat->max_priority, -5);
  }
  const Caller* operators = (*table)->Find("token-of-operators");
  ASSERT_NE(operators, nullptr);
  EXPECT_TRUE(operators->may_generate && operators->may_control);
  EXPECT_EQ(operators->max_priority, 100) << "no limit beside everybody's";
  for (const char* token : {"", "correct-horse-batterx", "correct-horse-battery ", "orrect-horse-battery", kTokenHash}) {
    EXPECT_EQ((*table)->Find(token), nullptr) << token;
  }

  ASSERT_EQ((*table)->quotas().size(), 2u);
  const TenantQuota& quota = (*table)->quotas()[0];
  EXPECT_EQ(quota.tenant, "chat");
  EXPECT_EQ(quota.weight, 2.5);
  EXPECT_EQ(quota.max_kv_bytes, 256 << 20);
  EXPECT_EQ(quota.max_queued_requests, 0);
  EXPECT_EQ(quota.max_tokens_per_second, 500.0);
  const TenantQuota& none = (*table)->quotas()[1];
  EXPECT_EQ(none.weight, 1.0);
  EXPECT_FALSE(none.max_kv_bytes.has_value() || none.max_queued_requests.has_value() || none.max_tokens_per_second.has_value());
}

TEST(AccessTable, RefusesWhatIsIncompleteOrOutOfRange) {
  const std::string good = absl::StrCat("token: '", kToken, "' roles: ROLE_GENERATE ");
  EXPECT_THAT(ErrorOf(""), HasSubstr("clients: must be 1 to 1024 entries, not 0"));
  EXPECT_THAT(ErrorOf("clients { " + good + "}"), HasSubstr("clients[0]: name: must be 1 to 64 characters"));
  EXPECT_THAT(ErrorOf("clients { name: 'a/b' " + good + "}"), HasSubstr("not \"a/b\""));
  EXPECT_THAT(ErrorOf(ClientWith("roles: ROLE_GENERATE")), HasSubstr("clients[0] (chat): a token_sha256 (or a token) is needed"));
  EXPECT_THAT(ErrorOf(ClientWith(absl::StrCat("token: '", kToken, "'"))), HasSubstr("roles: at least one"));
  EXPECT_THAT(ErrorOf(ClientWith(absl::StrCat("token: '", kToken, "' roles: ROLE_UNSPECIFIED"))), HasSubstr("not number 0"));
  EXPECT_THAT(ErrorOf(ClientWith(good + "quota { weight: 0 }")), HasSubstr("quota.weight: must be in [0.001, 1000], not 0"));
  EXPECT_THAT(ErrorOf(ClientWith(good + "quota { weight: nan }")), HasSubstr("quota.weight"));
  EXPECT_THAT(ErrorOf(ClientWith(good + "quota { max_kv_bytes: 'much' }")), HasSubstr("quota.max_kv_bytes: "));
  EXPECT_THAT(ErrorOf(ClientWith(good + "quota { max_kv_bytes: '0' }")), HasSubstr("quota.max_kv_bytes: must be >= 1"));
  EXPECT_THAT(ErrorOf(ClientWith(good + "quota { max_queued_requests: -1 }")), HasSubstr("quota.max_queued_requests: must be >= 0, not -1"));
  EXPECT_THAT(ErrorOf(ClientWith(good + "quota { max_tokens_per_second: 0 }")), HasSubstr("quota.max_tokens_per_second: must be > 0"));
  EXPECT_THAT(ErrorOf(ClientWith(good + "quota { max_priority: 101 }")), HasSubstr("quota.max_priority: must be in [-100, 100], not 101"));
  EXPECT_THAT(ErrorOf(ClientWith(good + "quota { max_priority: -101 }")), HasSubstr("quota.max_priority: must be in [-100, 100], not -101"));
  EXPECT_THAT(ErrorOf(ClientWith(good) + ClientWith("token: 'another-token-here' roles: ROLE_CONTROL")),
              HasSubstr("clients[1] (chat): name: another client has it"));
  EXPECT_THAT(ErrorOf(ClientWith(good) + "clients { name: 'b' roles: ROLE_CONTROL token_sha256: '" + kTokenHash + "' }"),
              HasSubstr("clients[1] (b): the same token was given before, for chat"));
}

TEST(AccessTable, ErrorsNameThePlaceAndNeverShowWhatMayBeAToken) {
  const std::string secret = "s3cr3t-s3cr3t-s3cr3t";
  const std::pair<std::string, std::string> cases[] = {
      {ClientWith("token: " + secret), "line 1, column 31: a text in quotes is expected here"},
      {ClientWith("\n" + secret + ": 1"), "line 2, column"},
      {ClientWith("roles: s3cr3t"), "no such role"},
      {ClientWith("sekret: 's3cr3t'"), "no such field here"},
      {ClientWith("token: '" + secret + " with spaces' roles: ROLE_CONTROL"), "token: must be 16 to 1024 printable"},
      {ClientWith("token: 's3cr3t' roles: ROLE_CONTROL"), "token: must be 16 to 1024 printable"},
      {ClientWith("token_sha256: '" + secret + "' roles: ROLE_CONTROL"), "token_sha256: must be 64 hexadecimal digits"},
      {ClientWith("quota { weight: 's3cr3t' }"), "a number is expected here"},
      {ClientWith("name: 's3cr3t'"), "this field was given before"}};
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(ErrorOf(text), HasSubstr(message)) << text;
    EXPECT_THAT(ErrorOf(text), Not(HasSubstr("s3cr3t"))) << text;
  }
}

class AccessControlTest : public ::testing::Test {
 protected:
  AccessControlTest() {
    access_.Use(AccessTable::Parse("clients { name: 'chat' token: 'token-of-the-chat' roles: ROLE_GENERATE }"
                                   "clients { name: 'ops' token: 'token-of-the-ops' roles: ROLE_CONTROL }")
                    .value());
  }
  absl::Status Try(const std::vector<absl::string_view>& authorization, std::initializer_list<Role> roles) {
    return access_.Authorize(authorization, roles).status();
  }
  AccessControl access_;
};

TEST_F(AccessControlTest, WithoutATableEverybodyMayDoEverything) {
  const auto caller = AccessControl().Authorize(std::vector<absl::string_view>{}, {Role::kControl});
  ASSERT_TRUE(caller.ok());
  EXPECT_EQ(caller->tenant, "");
  EXPECT_TRUE(caller->may_control && caller->may_generate);
}

TEST_F(AccessControlTest, KnowsCallersByTheirTokens) {
  EXPECT_EQ(access_.Authorize({"Bearer token-of-the-chat"}, {Role::kGenerate})->tenant, "chat");
  EXPECT_EQ(access_.Authorize({"bearer token-of-the-ops"}, {Role::kControl})->tenant, "ops") << "schemes have no case";
  EXPECT_EQ(access_.Authorize({"Bearer token-of-the-ops"}, {Role::kGenerate, Role::kControl})->tenant, "ops");
}

TEST_F(AccessControlTest, RefusesWithoutRepeatingTheToken) {
  const std::vector<std::vector<absl::string_view>> unknown = {
      {}, {""}, {"Bearer"}, {"Bearer "}, {"Bearer s3cr3t"}, {"Basic s3cr3t"}, {"token-of-the-chat"}, {"Bearer  token-of-the-chat"},
      {"Bearer token-of-the-chat", "Bearer token-of-the-chat"}};
  for (const auto& values : unknown) {
    const absl::Status status = Try(values, {Role::kGenerate});
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << (values.empty() ? "none" : values[0]);
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("s3cr3t")));
  }
  const absl::Status status = Try({"Bearer token-of-the-chat"}, {Role::kControl});
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ROLE_CONTROL"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("token-of-the-chat")));
}

}  // namespace
}  // namespace ration
