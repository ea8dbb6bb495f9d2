// Makes bundles as a CI would, with the real client, against `authorities.mjs`.
//
// usage: node bundles.mjs ADDRESS FOLDER

import { X509Certificate, createHash, generateKeyPairSync, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundleToJSON, toMessageSignatureBundle } from '@sigstore/bundle';
import {
  FulcioSigner,
  MessageSignatureBundleBuilder,
  RekorWitness,
  TSAWitness,
} from '@sigstore/sign';

const [address, folder] = process.argv.slice(2);
const save = (name, text) => writeFileSync(join(folder, name), text);

const ISSUER = 'https://ci.test';
const IDENTITY = 'https://ci.test/acme/heaters/.github/workflows/release.yml@refs/heads/main';
const ARTIFACT = 'the bytes of a module, as far as a signature is concerned\n';
const OTHER_ARTIFACT = 'the bytes of another module\n';

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
// The mock authority believes a token without a signature.
const token = (claims) => `${base64url({ alg: 'none' })}.${base64url(claims)}.`;

const services = (instance) => `${address}/${instance}`;
const certificate = (instance, sub = IDENTITY, iss = ISSUER) =>
  new FulcioSigner({
    fulcioBaseURL: services(instance),
    identityProvider: { getToken: async () => token({ iss, sub, aud: 'sigstore' }) },
  });
const log = (instance = 'main') => new RekorWitness({ rekorBaseURL: services(instance) });
const stamp = (instance = 'main') =>
  new TSAWitness({ tsaBaseURL: `${services(instance)}/api/v1/timestamp` });

function managedKey() {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const signer = {
    sign: async (data) => ({
      signature: sign('sha256', data, privateKey),
      key: { $case: 'publicKey', publicKey: pem, hint: 'release-key' },
    }),
  };
  return { pem, signer };
}

// The client itself packs a signature over bytes as v0.2; v0.3 differs in carrying the
// one certificate instead of a chain.
class BundleBuilder extends MessageSignatureBundleBuilder {
  async package({ data }, { signature, key }) {
    const certified = key.$case === 'x509Certificate';
    return toMessageSignatureBundle({
      digest: createHash('sha256').update(data).digest(),
      signature,
      certificate: certified ? new X509Certificate(key.certificate).raw : undefined,
      keyHint: certified ? undefined : key.hint,
      certificateChain: false,
    });
  }
}

async function bundle(name, signer, witnesses = [log()], artifact = ARTIFACT) {
  const builder = new BundleBuilder({ signer, witnesses });
  const made = await builder.create({ data: Buffer.from(artifact) });
  save(`${name}.json`, JSON.stringify(bundleToJSON(made)));
}

const key = managedKey();
save('artifact.txt', ARTIFACT);
save('other-artifact.txt', OTHER_ARTIFACT);
save('publisher.pem', key.pem);
save('other-publisher.pem', managedKey().pem);

await bundle('good', certificate('main'));
await bundle('good-timestamp', certificate('main'), [log(), stamp()]);
await bundle('good-email', certificate('main', 'releases@acme.test'));
await bundle('good-key', key.signer);
await bundle('good-key-timestamp', key.signer, [log(), stamp()]);

await bundle('other-identity', certificate('main', `${IDENTITY}s`));
await bundle('other-issuer', certificate('main', IDENTITY, `${ISSUER}/`));
await bundle('other-artifact', certificate('main'), [log()], OTHER_ARTIFACT);
await bundle('other-key', managedKey().signer);
await bundle('other-authority', certificate('other'));
await bundle('other-log', certificate('main'), [log('other')]);
await bundle('other-stamp', certificate('main'), [log(), stamp('other')]);
// A key that leaked after its certificate had ended, logged by an honest log.
await bundle('late-key', certificate('backdated'));
await bundle('late-key-timestamp', certificate('backdated'), [log(), stamp()]);
save('made.json', `${JSON.stringify({ identity: IDENTITY, issuer: ISSUER, time_ms: Date.now() })}\n`);
