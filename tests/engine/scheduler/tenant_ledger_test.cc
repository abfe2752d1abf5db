#include "engine/scheduler/tenant_ledger.h"

#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TenantQuota Quota(const std::string& name, double weight = 1) {
  TenantQuota quota;
  quota.tenant = name;
  quota.weight = weight;
  return quota;
}

// Tenants "a", "b", "c", numbered 1, 2, 3.
class TenantLedgerTest : public ::testing::Test {
 protected:
  TenantLedgerTest() {
    ledger_.AdvanceTo(start_);
    ledger_.SetTenants({Quota("a"), Quota("b", 2), Quota("c")});
  }
  std::vector<int32_t> Order(std::vector<TenantLedger::Candidate> candidates) {
    ledger_.Order(candidates, 64);
    std::vector<int32_t> order;
    for (const TenantLedger::Candidate& candidate : candidates) order.push_back(candidate.tenant);
    return order;
  }

  const absl::Time start_ = absl::FromUnixSeconds(1000);
  TenantLedger ledger_{absl::Seconds(10)};
};

TEST_F(TenantLedgerTest, WhoIsNotListedSharesOneEntry) {
  EXPECT_EQ(ledger_.size(), 4);
  EXPECT_EQ(ledger_.Find("b"), 2);
  for (const char* unknown : {"", "x", "A", "other"}) EXPECT_EQ(ledger_.Find(unknown), TenantLedger::kOther);
  EXPECT_EQ(ledger_.quota(TenantLedger::kOther).tenant, "other");
  EXPECT_EQ(ledger_.quota(TenantLedger::kOther).weight, 1);
}

TEST_F(TenantLedgerTest, TheLeastServiceForItsWeightGoesFirst) {
  ledger_.BookPrefill(1, 100);
  ledger_.BookPrefill(2, 150);  // of weight 2: 75
  ledger_.BookPrefill(3, 80);
  EXPECT_THAT(Order({{1, 0}, {2, 0}, {3, 0}}), ElementsAre(2, 3, 1));
  for (int i = 0; i < 5; ++i) ledger_.BookGenerated(2);  // each counts double: 5 more
  EXPECT_THAT(Order({{1, 0}, {2, 0}, {3, 0}}), ElementsAre(2, 3, 1));
  ledger_.BookGenerated(2);
  EXPECT_THAT(Order({{1, 0}, {2, 0}, {3, 0}}), ElementsAre(3, 2, 1));
}

TEST_F(TenantLedgerTest, WhatIsAdmittedCountsBeforeItIsComputed) {
  ledger_.AddPending(1, 500);
  ledger_.BookPrefill(3, 300);
  EXPECT_THAT(Order({{1, 0}, {3, 0}}), ElementsAre(3, 1));
  EXPECT_TRUE(ledger_.PrefillsBefore(1, 3));  // but in a step it is what was computed that counts
  ledger_.ClearPending();
  EXPECT_THAT(Order({{1, 0}, {3, 0}}), ElementsAre(1, 3));
}

TEST_F(TenantLedgerTest, AmongEqualsFewerRunningRequestsGoFirst) {
  ledger_.Admit(1, 10, 0);
  EXPECT_THAT(Order({{1, 0}, {3, 0}}), ElementsAre(3, 1));
  EXPECT_TRUE(ledger_.PrefillsBefore(3, 1));
  ledger_.Leave(1, 10);
  EXPECT_THAT(Order({{1, 0}, {3, 0}}), ElementsAre(1, 3));
}

TEST_F(TenantLedgerTest, WhoWasAwayIsLiftedToTheLeastOfThoseThatWait) {
  ledger_.BookPrefill(1, 1000);
  ledger_.BookPrefill(2, 4000);
  const std::vector<int32_t> waiting = {1, 2};
  ledger_.ComeBack(3, waiting);
  EXPECT_EQ(ledger_.service(3), 1000);
  ledger_.BookPrefill(3, 500);
  ledger_.ComeBack(3, waiting);  // never lowered
  EXPECT_EQ(ledger_.service(3), 1500);
}

TEST_F(TenantLedgerTest, WhoIsHeldBackByItsOwnQuotaIsNoMeasure) {
  ledger_.BookPrefill(2, 4000);
  ledger_.SetHeldBack(1, true);
  ledger_.ComeBack(3, std::vector<int32_t>{1, 2});
  EXPECT_EQ(ledger_.service(3), 2000);
}

TEST_F(TenantLedgerTest, WhenNobodyWaitsItIsLiftedToThoseThatRunElseToTheLastAdmitted) {
  ledger_.Admit(1, 10, 0);
  ledger_.BookPrefill(1, 700);
  ledger_.Admit(2, 10, 0);
  ledger_.BookPrefill(2, 3000);
  ledger_.ComeBack(3, std::vector<int32_t>{3});
  EXPECT_EQ(ledger_.service(3), 700);
  ledger_.Leave(1, 10);
  ledger_.Leave(2, 10);
  ledger_.ComeBack(3, {});
  EXPECT_EQ(ledger_.service(3), 1500);
}

TEST_F(TenantLedgerTest, AHigherPriorityGoesFirstUntilAgingOvertakesIt) {
  ledger_.ComeBack(1, {});
  ledger_.AdvanceTo(start_ + absl::Seconds(9));
  ledger_.ComeBack(3, {});
  EXPECT_THAT(Order({{1, 0}, {3, 1}}), ElementsAre(3, 1));
  ledger_.AdvanceTo(start_ + absl::Seconds(11));
  ledger_.Admit(3, 10, 0);  // now it counts from here
  EXPECT_THAT(Order({{1, 0}, {3, 1}}), ElementsAre(1, 3));
  ledger_.Admit(1, 10, 0);
  EXPECT_THAT(Order({{1, 0}, {3, 1}}), ElementsAre(3, 1));
}

TEST_F(TenantLedgerTest, BetweenEqualPrioritiesWaitingCountsForNothing) {
  ledger_.ComeBack(1, {});
  ledger_.BookPrefill(1, 10);
  ledger_.AdvanceTo(start_ + absl::Hours(1));
  ledger_.ComeBack(3, {});
  EXPECT_THAT(Order({{1, 7}, {3, 7}}), ElementsAre(3, 1));
}

TEST_F(TenantLedgerTest, PrioritiesAreMergedByTheFirstOfEach) {
  for (int32_t tenant : {0, 1, 2, 3}) ledger_.ComeBack(tenant, {});
  ledger_.BookPrefill(0, 5);
  ledger_.BookPrefill(3, 5);
  EXPECT_THAT(Order({{0, 0}, {1, 0}, {2, 2}, {3, 2}}), ElementsAre(2, 3, 1, 0));
  // Nobody is lost behind the limit.
  std::vector<TenantLedger::Candidate> candidates = {{0, 0}, {1, 0}, {2, 2}, {3, 2}};
  ledger_.Order(candidates, 1);
  EXPECT_EQ(candidates.size(), 4u);
  EXPECT_EQ(candidates[0].tenant, 2);
}

TEST_F(TenantLedgerTest, WithinAPriorityServiceDecidesAlsoWhenOthersStandBetween) {
  ledger_.ComeBack(3, {});
  ledger_.AdvanceTo(start_ + absl::Seconds(5));
  ledger_.ComeBack(1, {});
  ledger_.ComeBack(2, {});
  ledger_.BookPrefill(2, 10);  // of weight 2: 5
  ledger_.BookPrefill(3, 10);
  EXPECT_THAT(Order({{1, 0}, {2, 1}, {3, 0}}), ElementsAre(2, 1, 3));
}

TEST(TenantLedger, WithoutAgingPrioritiesMeanNothing) {
  TenantLedger ledger(absl::ZeroDuration());
  ledger.SetTenants({Quota("a"), Quota("b")});
  ledger.BookPrefill(2, 10);
  std::vector<TenantLedger::Candidate> candidates = {{2, 100}, {1, -100}};
  ledger.Order(candidates, 64);
  EXPECT_EQ(candidates[0].tenant, 1);
}

TEST_F(TenantLedgerTest, KvQuotaCountsWhatRuns) {
  TenantQuota quota = Quota("a");
  quota.max_kv_bytes = 100;
  ledger_.SetTenants({quota, Quota("b")});
  EXPECT_TRUE(ledger_.HasRoom(1, 100));
  ledger_.Admit(1, 60, 0);
  EXPECT_TRUE(ledger_.HasRoom(1, 40));
  EXPECT_FALSE(ledger_.HasRoom(1, 41));
  EXPECT_TRUE(ledger_.HasRoom(2, int64_t{1} << 60));
  ledger_.Leave(1, 60);
  EXPECT_TRUE(ledger_.HasRoom(1, 100));
}

TEST_F(TenantLedgerTest, TheBucketHoldsASecondAndMayBeOverdrawn) {
  TenantQuota quota = Quota("a");
  quota.max_tokens_per_second = 100;
  ledger_.SetTenants({quota});
  ledger_.AdvanceTo(start_ + absl::Hours(1));  // full, not more
  ledger_.Admit(1, 10, 100);
  EXPECT_FALSE(ledger_.Throttled(1));  // at zero
  ledger_.Admit(1, 10, 250);
  EXPECT_TRUE(ledger_.Throttled(1));
  EXPECT_EQ(ledger_.RefillTime(1), ledger_.now() + absl::Seconds(2.5));
  ledger_.AdvanceTo(ledger_.now() + absl::Seconds(1));
  for (int i = 0; i < 50; ++i) ledger_.BookGenerated(1);
  EXPECT_EQ(ledger_.RefillTime(1), ledger_.now() + absl::Seconds(2));
  ledger_.AdvanceTo(ledger_.RefillTime(1));
  EXPECT_FALSE(ledger_.Throttled(1));
  EXPECT_EQ(ledger_.RefillTime(TenantLedger::kOther), absl::InfinitePast());
}

TEST_F(TenantLedgerTest, SettingTenantsAnewKeepsDebtsOfTokensAndForgetsService) {
  TenantQuota quota = Quota("a");
  quota.max_tokens_per_second = 100;
  ledger_.SetTenants({quota});
  ledger_.Admit(1, 10, 500);
  ledger_.BookPrefill(1, 500);
  ledger_.SetTenants({Quota("new"), quota});
  EXPECT_EQ(ledger_.RefillTime(2), start_ + absl::Seconds(4));
  EXPECT_EQ(ledger_.service(2), 0);
  EXPECT_EQ(ledger_.running(2), 0);
  ledger_.SetTenants({});
  EXPECT_EQ(ledger_.size(), 1);
}

TEST(TenantLedger, ValidateNamesTenantFieldLimitAndValue) {
  const auto message = [](const std::vector<TenantQuota>& quotas) { return std::string(TenantLedger::Validate(quotas).message()); };
  EXPECT_TRUE(TenantLedger::Validate({}).ok());
  EXPECT_TRUE(TenantLedger::Validate({Quota("a", 0.001), Quota("b", 1000)}).ok());
  EXPECT_EQ(message({Quota("")}), "tenant: the name must not be empty");
  EXPECT_EQ(message({Quota("other")}), "tenant \"other\": the name stands for everyone who is not listed");
  for (const char* name : {"a\nb", "t\xc3\xa9", "\xff", "\x1b[31m"}) {
    EXPECT_THAT(message({Quota(name)}), HasSubstr("the name must be of printable ASCII characters"));
  }
  EXPECT_EQ(message({Quota("a"), Quota("a")}), "tenant \"a\": listed twice");
  EXPECT_EQ(message({Quota(std::string(129, 'x'))}), "tenant: the name must have at most 128 bytes, not 129");
  for (double weight : {0.0, -1.0, 1e9, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THAT(message({Quota("a", weight)}), HasSubstr("tenant \"a\": weight: must be in [0.001, 1000], not "));
  }
  TenantQuota quota = Quota("a");
  quota.max_kv_bytes = 0;
  EXPECT_EQ(message({quota}), "tenant \"a\": max_kv_bytes: must be at least 1, not 0");
  quota = Quota("a");
  quota.max_queued_requests = -1;
  EXPECT_EQ(message({quota}), "tenant \"a\": max_queued_requests: must not be negative, not -1");
  quota = Quota("a");
  for (double rate : {0.0, -5.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    quota.max_tokens_per_second = rate;
    EXPECT_THAT(message({quota}), HasSubstr("max_tokens_per_second: must be > 0 and finite, not "));
  }
  std::vector<TenantQuota> many;
  for (int i = 0; i < 1025; ++i) many.push_back(Quota("t" + std::to_string(i)));
  EXPECT_EQ(message(many), "tenants: at most 1024 can be set, not 1025");
}

}  // namespace
}  // namespace ration
