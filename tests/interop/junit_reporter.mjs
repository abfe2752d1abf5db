// Writes node:test's results in the form of GoogleTest's test.xml, which Bazel and tests/summarize_tests.py read.
import { basename } from 'node:path';

const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c])
  .replace(/[^\t\n\r\x20-\ufffd]/g, '?');

export default async function* report(source) {
  const cases = [];
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.details?.type === 'suite' || data.name.endsWith('.mjs')) {
      if (type === 'test:pass' || data.nesting > 0) continue;
    }
    const name = `name="${escape(data.name)}" classname="${escape(basename(data.file ?? 'interop'))}"`;
    if (data.skip !== undefined) {
      cases.push(`<testcase ${name}><skipped message="${escape(String(data.skip))}"/></testcase>`);
    } else if (type === 'test:fail') {
      const { error } = data.details;
      cases.push(`<testcase ${name}><failure>${escape(`${error?.cause?.stack ?? error?.stack ?? error}`)}</failure></testcase>`);
    } else {
      cases.push(`<testcase ${name}/>`);
    }
  }
  yield `<?xml version="1.0"?>\n<testsuites><testsuite name="interop">\n${cases.join('\n')}\n</testsuite></testsuites>\n`;
}
