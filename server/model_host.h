// Loads the model that the options name and describes it for clients and for the log.
// Layer: server.
#ifndef RATION_SERVER_MODEL_HOST_H_
#define RATION_SERVER_MODEL_HOST_H_

#include "absl/status/statusor.h"
#include "server/served_model.h"
#include "server/server_options.h"

namespace ration {

// May take a while. Logs what was loaded and warns about what will not work (no readable tokenizer: only token ids are served; a
// router without calibration). Errors name the file, tensor, key or option that is wrong.
absl::StatusOr<ServedModel> LoadServedModel(const RationdOptions& options);

}  // namespace ration

#endif  // RATION_SERVER_MODEL_HOST_H_
