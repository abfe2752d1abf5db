#!/usr/bin/env node
// Compares expected.json with what @huggingface/jinja makes of the same templates, and lists where the two references differ.
//
//     npm install @huggingface/jinja@0.5.11 && node compare_huggingface.mjs
//
// Where they differ jinja2 counts: transformers renders with it.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const { Template } = createRequire(path.join(process.cwd(), 'package.json'))('@huggingface/jinja');
const read = (name) => fs.readFileSync(path.join(here, name), 'utf8');
const tokens = { bos_token: '<s>', eos_token: '</s>' };

// strftime_now of the library reads the clock.
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...parts) {
    super(...(parts.length > 0 ? parts : [2024, 6, 26, 10, 5, 0]));
  }
};

function render(template, input) {
  try {
    const text = new Template(template).render({
      tools: null,
      documents: null,
      ...tokens,
      ...(input.variables ?? {}),
      messages: input.messages ?? [],
      add_generation_prompt: input.add_generation_prompt ?? true,
    });
    return { text };
  } catch (error) {
    return { error: String(error) };
  }
}

const expected = JSON.parse(read('expected.json'));
const conversations = Object.fromEntries(JSON.parse(read('conversations.json')).map((c) => [c.name, c]));
const variables = JSON.parse(read('variables.json'));
for (const kind of ['families', 'snippets']) {
  let same = 0;
  for (const entry of expected[kind]) {
    const family = kind === 'families';
    const template = family ? read('templates/' + entry.template) : entry.template;
    const made = render(template, family ? conversations[entry.conversation] : { variables });
    if (made.text === entry.text) {
      same += 1;
    } else {
      console.log(family ? `${entry.template} with ${entry.conversation}` : JSON.stringify(entry.template));
      console.log('  jinja2            ', JSON.stringify(entry.text ?? entry.error ?? entry.refused));
      console.log('  @huggingface/jinja', JSON.stringify(made.text ?? made.error));
    }
  }
  console.log(`${kind}: ${same} of ${expected[kind].length} the same`);
}
