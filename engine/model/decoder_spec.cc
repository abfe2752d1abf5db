#include "engine/model/decoder_spec.h"

namespace ration {

std::string FindPrefix(const TensorSource& source, std::initializer_list<const char*> prefixes, const std::string& name) {
  for (const char* prefix : prefixes) {
    if (source.Has(prefix + name)) return prefix;
  }
  return *prefixes.begin();
}

DecoderSpec DescribeDecoder(const ModelConfig& config, const TensorSource& source) {
  switch (config.family) {
    case ModelFamily::kOpt:
      return DescribeOpt(config, source);
    case ModelFamily::kGemma2:
      return DescribeGemma2(config, source);
    case ModelFamily::kLlama:
      break;
  }
  return DescribeLlama(config, source);
}

}  // namespace ration
