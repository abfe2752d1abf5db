// How long a tokenizer takes to load and what it holds, how fast it encodes a text file, and what a megabyte of the texts
// that are hard to cut costs. Usage: tokenizer_bench DIRECTORY TEXT_FILE (a Hugging Face directory, any UTF-8 text).
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace {

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Resident memory of this process in MB.
double ResidentMb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stod(line.substr(6)) / 1024;
  }
  return 0;
}

std::string Repeat(const std::string& piece, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += piece;
  return text;
}

// Random bytes, each taken for a Latin-1 character; `letters`: random letters of a few alphabets instead.
std::string Random(size_t bytes, bool letters) {
  std::mt19937 random(1);
  std::string text;
  while (text.size() < bytes) {
    const unsigned c = letters ? 0x3B1 + random() % 25 : random() % 256;
    if (c < 0x80) {
      text.push_back(static_cast<char>(c));
    } else {
      text.push_back(static_cast<char>(0xC0 | (c >> 6)));
      text.push_back(static_cast<char>(0x80 | (c & 0x3F)));
    }
  }
  return text;
}

// The best of three.
void Measure(const ration::Tokenizer& tokenizer, const char* name, const std::string& text) {
  double best = 1e9;
  size_t tokens = 0;
  for (int round = 0; round < 3; ++round) {
    const double start = Now();
    const auto ids = tokenizer.Encode(text, false);
    best = std::min(best, Now() - start);
    if (!ids.ok()) {
      std::printf("  %-16s %s\n", name, ids.status().ToString().c_str());
      return;
    }
    tokens = ids->size();
  }
  const double mb = static_cast<double>(text.size()) / 1e6;
  std::printf("  %-16s %6.2f MB  %8zu tokens  %7.3f s  %7.2f MB/s\n", name, mb, tokens, best, mb / best);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: tokenizer_bench DIRECTORY TEXT_FILE\n");
    return 2;
  }
  const double before = ResidentMb(), start = Now();
  const auto tokenizer = ration::LoadTokenizer(argv[1]);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
    return 1;
  }
  std::printf("%s: %d ids, loaded in %.2f s, %.0f MB resident\n", argv[1], (*tokenizer)->vocab_size(), Now() - start,
              ResidentMb() - before);

  std::ifstream file(argv[2], std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Measure(**tokenizer, "the file", text);
  constexpr size_t kMegabyte = 1000 * 1000;
  const std::pair<const char*, std::string> hard[] = {
      {"one letter", Repeat("a", kMegabyte)},
      {"spaces", Repeat(" ", kMegabyte)},
      {"digits", Repeat("7", kMegabyte)},
      {"newlines", Repeat("\n", kMegabyte)},
      {"an emoji", Repeat("\U0001F600", kMegabyte)},
      {"space, newline", Repeat(" \n", kMegabyte)},
      {"quotes", Repeat("'", kMegabyte)},
      {"Latin-1 bytes", Random(kMegabyte, false)},
      {"one long word", Random(kMegabyte, true)},
  };
  for (const auto& [name, repeated] : hard) Measure(**tokenizer, name, repeated);
  return 0;
}
