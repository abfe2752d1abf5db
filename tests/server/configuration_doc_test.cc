// docs/configuration.md against config.proto: the page's tables of settings are exactly what this test makes of the declaration. When it
// fails, it prints the tables: put them in place of the page's, from its first "### " to the end.
#include <fstream>
#include <sstream>
#include <string>

#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "proto/config.pb.h"
#include "server/flag_parser.h"

namespace ration {
namespace {

using google::protobuf::FieldDescriptor;

const char* TypeName(const FieldDescriptor& field) {
  if (field.is_repeated()) return "list of texts";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "switch";
    case FieldDescriptor::CPPTYPE_INT64:
      return "whole number";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "number";
    default:
      return "text";
  }
}

std::string Tables() {
  std::string text;
  const google::protobuf::Descriptor& fields = *v1::ServerConfig::descriptor();
  for (int i = 0; i < fields.field_count(); ++i) {
    const FieldDescriptor& field = *fields.field(i);
    if (field.options().HasExtension(v1::section)) {
      absl::StrAppend(&text, i == 0 ? "" : "\n", "### ", field.options().GetExtension(v1::section),
                      "\n\n| setting | type | default | meaning |\n|---|---|---|---|\n");
    }
    const std::string default_text = DefaultText(field);
    absl::StrAppend(&text, "| `", field.name(), "` | ", TypeName(field), " | ",
                    default_text.empty() ? "-" : absl::StrCat("`", default_text, "`"), " | ",
                    absl::StrReplaceAll(field.options().GetExtension(v1::help), {{"|", "\\|"}}), " |\n");
  }
  return text;
}

TEST(ConfigurationPage, HasEverySettingAsItIsDeclared) {
  std::ostringstream page;
  page << std::ifstream("docs/configuration.md").rdbuf();
  const size_t start = page.str().find("\n### ");
  ASSERT_NE(start, std::string::npos);
  const std::string tables = Tables();
  EXPECT_TRUE(page.str().substr(start + 1) == tables) << "The tables should be:\n\n" << tables;
}

}  // namespace
}  // namespace ration
