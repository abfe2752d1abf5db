// docs/metrics.md against what the server exports, so that neither drifts from the other: names, types, label names, and the table's form.
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <prometheus/metric_family.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/metrics.h"

namespace ration {
namespace {

struct Row {
  std::string type, unit, labels, meaning;
};

// Rows "| `name` | type | unit | labels | meaning |".
std::map<std::string, Row> Documented() {
  std::ifstream page("docs/metrics.md");
  EXPECT_TRUE(page.good());
  std::map<std::string, Row> rows;
  for (std::string line; std::getline(page, line);) {
    if (!absl::StartsWith(line, "| `")) continue;
    std::vector<std::string> cells = absl::StrSplit(line, '|');
    EXPECT_EQ(cells.size(), 7u) << line;
    if (cells.size() != 7u) continue;
    for (std::string& cell : cells) cell = std::string(absl::StripAsciiWhitespace(cell));
    const std::string name = cells[1].substr(1, cells[1].size() - 2);
    EXPECT_TRUE(rows.emplace(name, Row{cells[2], cells[3], cells[4], cells[5]}).second) << name << " twice";
  }
  return rows;
}

const char* TypeName(prometheus::MetricType type) {
  switch (type) {
    case prometheus::MetricType::Counter:
      return "counter";
    case prometheus::MetricType::Gauge:
      return "gauge";
    case prometheus::MetricType::Histogram:
      return "histogram";
    default:
      return "other";
  }
}

TEST(MetricsPage, HasExactlyTheFamiliesThatTheServerExports) {
  const Metrics metrics({"m", "A", "float32", "", "none"}, [] {
    EngineStats stats;
    stats.num_experts = 3;
    stats.num_layers = 1;
    stats.tenants.resize(1);
    stats.tenants[0].max_kv_bytes = 1;
    return stats;
  }, [] { return Metrics::EnginePulse(); }, [] { return Metrics::Refusals(); });
  std::map<std::string, Row> rows = Documented();
  for (const prometheus::MetricFamily& family : metrics.Collect()) {
    const auto row = rows.find(family.name);
    if (row == rows.end()) {
      ADD_FAILURE() << family.name << " is exported and not in docs/metrics.md";
      continue;
    }
    EXPECT_EQ(row->second.type, TypeName(family.type)) << family.name;
    std::set<std::string> labels;
    for (const prometheus::ClientMetric& metric : family.metric) {
      for (const prometheus::ClientMetric::Label& label : metric.label) labels.insert(label.name);
    }
    EXPECT_EQ(row->second.labels, labels.empty() ? "-" : absl::StrJoin(labels, ", ")) << family.name;
    EXPECT_FALSE(row->second.unit.empty()) << family.name;
    EXPECT_FALSE(row->second.meaning.empty()) << family.name;
    rows.erase(row);
  }
  for (const auto& [name, row] : rows) ADD_FAILURE() << name << " is in docs/metrics.md and not exported";
}

}  // namespace
}  // namespace ration
