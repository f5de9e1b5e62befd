// Tokens of every algorithm of jose, with their keys as JWK and as PEM.
import { SignJWT, exportJWK, exportSPKI, generateKeyPair } from 'jose';
import { randomBytes } from 'node:crypto';

const claims = { sub: 'alice', deep: { a: [1, 2.5, true, null, 'é€😀'] } };

function sign(alg, kid, key) {
  return new SignJWT(claims)
    .setProtectedHeader({ alg, kid, typ: 'JWT' })
    .setIssuer('https://jose.example').setAudience(['other', 'api'])
    .setIssuedAt().setNotBefore('0s').setExpirationTime('10m').setJti('1')
    .sign(key);
}

function print(record) {
  console.log(JSON.stringify({ by: 'jose', ...record }));
}

for (const alg of ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512',
  'ES256K', 'EdDSA', 'EdDSA/Ed448']) {
  const [name, crv] = alg.split('/');
  let pair;
  try {
    pair = await generateKeyPair(name, { extractable: true, ...(crv ? { crv } : {}) });
  } catch {
    continue; // this version of jose has it no longer
  }
  for (const form of ['jwk', 'pem']) {
    const kid = `jose ${alg} ${form}`;
    const key = form === 'pem' ? await exportSPKI(pair.publicKey)
      : JSON.stringify({ ...await exportJWK(pair.publicKey), kid, alg: name, use: 'sig' });
    print({ alg: name, kid, key, token: await sign(name, kid, pair.privateKey) });
  }
}
for (const [alg, size] of [['HS256', 32], ['HS384', 48], ['HS512', 64]]) {
  const secret = randomBytes(size);
  const kid = `jose ${alg}`;
  print({ alg, kid, secret: secret.toString('hex'), token: await sign(alg, kid, secret) });
}
