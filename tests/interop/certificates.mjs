// Certificates made by the openssl program for one test run: two authorities that know nothing of each other, and what they signed.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from './environment.mjs';

const openssl = (...args) => execFileSync('openssl', args, { stdio: 'pipe' });
const at = (date) => date.toISOString().replace(/[-:T]|\.\d+/g, '');  // YYYYMMDDHHMMSSZ, as `openssl ca` reads it
const kDay = 24 * 3600 * 1000;

class Authority {
  constructor(folder, name) {
    this.folder = folder;
    this.name = name;
    this.certificate = join(folder, `${name}.pem`);
    this.key = join(folder, `${name}.key`);
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', `/CN=${name}`,
      '-keyout', this.key, '-out', this.certificate);
    writeFileSync(join(folder, `${name}.index`), '');
    this.config = join(folder, `${name}.conf`);
    writeFileSync(this.config, `[ca]\ndefault_ca=d\n[d]\ndatabase=${folder}/${name}.index\nnew_certs_dir=${folder}\nrand_serial=yes\n`
      + 'default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n');
  }

  // A certificate for localhost and its key, valid from `days[0]` to `days[1]` days from now.
  issue(name, days = [-1, 30]) {
    const [certificate, key, request] = ['pem', 'key', 'csr'].map((kind) => join(this.folder, `${name}.${kind}`));
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`, '-keyout', key, '-out', request);
    const [from, to] = days.map((day) => at(new Date(Date.now() + day * kDay)));
    openssl('ca', '-batch', '-config', this.config, '-extensions', 'x', '-cert', this.certificate, '-keyfile', this.key, '-in', request,
      '-out', certificate, '-notext', '-startdate', from, '-enddate', to);
    return { certificate, key };
  }
}

export function makeCertificates() {
  const folder = temporaryFolder('certificates');
  const ours = new Authority(folder, 'ours');
  const theirs = new Authority(folder, 'theirs');
  return {
    authority: ours.certificate,
    strangeAuthority: theirs.certificate,
    server: ours.issue('server'),
    client: ours.issue('client'),
    expiredClient: ours.issue('expired-client', [-30, -1]),
    strangeClient: theirs.issue('strange-client'),
    folder,
    ours,
  };
}
