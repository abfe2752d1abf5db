// Checks Kubernetes objects, a JSON array in a file, against their schemas: values by kubernetes-models' validators, and names of fields,
// which those let pass, by TypeScript, which allows no field that a type does not have. Exit status 1 if one object is wrong.
//
//   node check_schemas.mjs OBJECTS.json SCHEMAS     SCHEMAS is what tests/fetch_node_modules.sh prints
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The package that has the types of an API group; undefined: nobody's.
const packages = { "monitoring.coreos.com": "@kubernetes-models/prometheus-operator", "gateway.networking.k8s.io": "@kubernetes-models/gateway-api" };
const withoutSchema = new Set(["inference.networking.k8s.io/v1 InferencePool"]);

const [objectsFile, schemas] = process.argv.slice(2);
const objects = JSON.parse(fs.readFileSync(objectsFile, "utf8"));
let wrong = 0;

function fail(object, message) {
  console.log(`${object.kind} ${object.metadata.name}: ${message}`);
  ++wrong;
}

const lines = [];
for (const [index, object] of objects.entries()) {
  const kind = `${object.apiVersion} ${object.kind}`;
  if (withoutSchema.has(kind)) {
    console.log(`${object.kind} ${object.metadata.name}: nobody publishes its schema as a package; only its cross-references are checked`);
    continue;
  }
  const group = object.apiVersion.includes("/") ? object.apiVersion.split("/")[0] : "";
  const module = `${packages[group] ?? "kubernetes-models"}/${object.apiVersion}/${object.kind}`;
  const file = path.join(schemas, "node_modules", `${module}.js`);
  if (!fs.existsSync(file)) {
    fail(object, `no such kind: ${kind}`);
    continue;
  }
  const model = (await import(pathToFileURL(file)))[object.kind];
  try {
    new model(object).validate();
  } catch (error) {
    fail(object, error.message);
  }
  lines.push(`import type { I${object.kind} as T${index} } from "${module}";`);
  lines.push(`const object${index}: T${index} = ${JSON.stringify(object)};`);
}

const ts = createRequire(path.join(schemas, "package.json"))("typescript");
const work = fs.mkdtempSync(path.join(process.env.TEST_TMPDIR ?? os.tmpdir(), "schemas-"));
fs.symlinkSync(path.join(schemas, "node_modules"), path.join(work, "node_modules"));
const source = path.join(work, "objects.mts");
fs.writeFileSync(source, lines.join("\n"));
const program = ts.createProgram([source], {
  noEmit: true, strict: true, skipLibCheck: true, types: [], target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext });
for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
  const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n  ");
  const line = diagnostic.file?.getLineAndCharacterOfPosition(diagnostic.start).line ?? 0;
  const object = /^const object(\d+)/.exec(lines[line] ?? "");
  fail(object ? objects[Number(object[1])] : { kind: "types", metadata: { name: `line ${line + 1}` } }, message);
}
fs.rmSync(work, { recursive: true });
console.log(`${objects.length} objects, ${wrong} problems`);
process.exit(wrong === 0 ? 0 : 1);
