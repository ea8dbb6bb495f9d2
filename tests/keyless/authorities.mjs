// The sigstore services of one test, on 127.0.0.1: Fulcio with its CT log, Rekor v1
// and a timestamp authority, all of @sigstore/mock. Instances differ by their path:
//   /main       what the trusted root names
//   /backdated  the same keys, but certificates that ended 30 days ago
//   /other      the same services under other keys
//
// usage: node authorities.mjs FOLDER   writes FOLDER/trusted_root.json and
// FOLDER/trusted_root.other.json, then prints the address and serves until it is ended.

import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

// The mock's own copies of what it is made of.
const require = createRequire(import.meta.url);
const mock = require('@sigstore/mock');
const ofMock = createRequire(require.resolve('@sigstore/mock'));
const x509 = ofMock('@peculiar/x509');
const pkijs = ofMock('pkijs');

const DAY_MS = 24 * 3600 * 1000;
const HOST = 'log.test';

// The mock writes each subject as a URI; an e-mail address becomes one here.
const Uri = x509.SubjectAlternativeNameExtension;
x509.SubjectAlternativeNameExtension = class extends Uri {
  constructor(names, critical) {
    const typed = ({ value }) =>
      value.includes('://') ? { type: 'url', value } : { type: 'email', value };
    super(names.map(typed), critical);
  }
};

const sha256 = (...parts) =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
const leafHash = (body) => sha256(Buffer.from([0]), body);
const nodeHash = (left, right) => sha256(Buffer.from([1]), left, right);

// Root and path of leaf `index` (RFC 6962, section 2.1) in a tree of 2^n leaves.
function merkle(leaves, index) {
  const path = [];
  let level = leaves;
  for (let at = index; level.length > 1; at >>= 1) {
    path.push(level[at ^ 1]);
    level = level.flatMap((left, i) => (i % 2 ? [] : [nodeHash(left, level[i + 1])]));
  }
  return { root: level[0], path };
}

// The mock proves entries in a tree of one leaf; here each is one of eight.
function proveInTree(tlog) {
  tlog.calculateInclusionProof = ({ body, logID }) => {
    const index = 5;
    const leaves = Array.from({ length: 8 }, (_, i) =>
      leafHash(i === index ? body : Buffer.from(`another entry ${i}`)),
    );
    const { root, path } = merkle(leaves, index);
    const note = `${HOST} - 1\n${leaves.length}\n${root.toString('base64')}\n`;
    const signed = sign('sha256', Buffer.from(note), tlog.privateKey);
    const hint = Buffer.concat([logID.subarray(0, 4), signed]).toString('base64');
    return {
      logIndex: index,
      treeSize: leaves.length,
      checkpoint: `${note}\n\u2014 ${HOST} ${hint}\n`,
      hashes: path.map((hash) => hash.toString('hex')),
      rootHash: root.toString('hex'),
    };
  };
}

const ellipticKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });

async function services(keys, certificateClock) {
  const ctlog = await mock.initializeCTLog(keys.ctlog);
  const ca = await mock.initializeCA(keys.ca, ctlog, certificateClock);
  const tlog = await mock.initializeTLog(`http://${HOST}`, keys.tlog);
  proveInTree(tlog);
  const tsa = await mock.initializeTSA(keys.tsa);
  // RFC 3161 allows fractions of a second, the verifier does not read them.
  tsa.getCurrentTime = () => new Date(Math.floor(Date.now() / 1000) * 1000);
  return { ctlog, ca, tlog, tsa };
}

const newKeys = () =>
  Object.fromEntries(['ctlog', 'ca', 'tlog', 'tsa'].map((name) => [name, ellipticKey()]));

function trustedRoot({ ctlog, ca, tlog, tsa }) {
  const base64 = (bytes) => Buffer.from(bytes).toString('base64');
  const validFor = { start: new Date(Date.now() - 60 * DAY_MS).toISOString() };
  const log = (key, baseUrl) => ({
    baseUrl,
    hashAlgorithm: 'SHA2_256',
    publicKey: { rawBytes: base64(key), keyDetails: 'PKIX_ECDSA_P256_SHA_256', validFor },
    logId: { keyId: base64(sha256(key)) },
  });
  const authority = (uri, certificates) => ({
    subject: { organization: 'gnomon test', commonName: 'test' },
    uri,
    certChain: { certificates: certificates.map((der) => ({ rawBytes: base64(der) })) },
    validFor,
  });
  return {
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: [log(tlog.publicKey, `http://${HOST}`)],
    certificateAuthorities: [authority('http://ca.test', [ca.rootCertificate])],
    ctlogs: [log(ctlog.publicKey, 'http://ct.test')],
    timestampAuthorities: [authority('http://tsa.test', [tsa.intCertificate, tsa.rootCertificate])],
  };
}

// RFC 3161 queries come as DER; the mock reads the JSON that its own client sends.
function timestampQuery(body, type) {
  if (type !== 'application/timestamp-query') return body.toString();
  const query = pkijs.TimeStampReq.fromBER(new Uint8Array(body));
  const hash = Buffer.from(query.messageImprint.hashedMessage.valueBlock.valueHexView);
  return JSON.stringify({
    artifactHash: hash.toString('base64'),
    hashAlgorithm: 'sha256',
    certificates: query.certReq ?? false,
  });
}

function routes(prefix, { ca, tlog, tsa }) {
  return [mock.fulcioHandler(ca), mock.rekorHandler(tlog), mock.tsaHandler(tsa)].map(
    ({ path, fn }) => [prefix + path, fn],
  );
}

const main = newKeys();
const instances = {
  '/main': await services(main),
  '/backdated': await services(main, new Date(Date.now() - 30 * DAY_MS)),
  '/other': await services(newKeys()),
};
const table = new Map(Object.entries(instances).flatMap(([prefix, all]) => routes(prefix, all)));

const folder = process.argv[2];
const save = (name, value) =>
  writeFileSync(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
save('trusted_root.json', trustedRoot(instances['/main']));
save('trusted_root.other.json', trustedRoot(instances['/other']));

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const handler = table.get(request.url);
  if (!handler) {
    response.writeHead(404).end('no such service');
    return;
  }
  const query = timestampQuery(Buffer.concat(chunks), request.headers['content-type']);
  const answer = await handler(query);
  response
    .writeHead(answer.statusCode, { 'content-type': answer.contentType ?? 'text/plain' })
    .end(answer.response);
});
server.listen(0, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
