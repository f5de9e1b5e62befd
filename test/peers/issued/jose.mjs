// Verifies access tokens by npm's jose, and makes keys.
//
//     node jose.mjs NODE_MODULES URL ISSUER AUDIENCE
//
// URL is the JWK Set, which is cached for its max-age and not fetched earlier for a kid
// that it lacks. Commands on standard input, each answered by a line that begins with
// "= ":
//     verify TOKEN ...     how many are accepted, and why the first other one is not
//     make ALGORITHM FORM  a private key as one line: a JWK, or PEM as a JSON string
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [modules, url, issuer, audience] = process.argv.slice(2);
const { createRemoteJWKSet, exportJWK, exportPKCS8, generateKeyPair, jwtVerify } = createRequire(`${modules}/`)('jose');

const maxAge = (await fetch(url)).headers.get('cache-control').match(/max-age=(\d+)/)[1] * 1000;
const keys = createRemoteJWKSet(new URL(url), { cacheMaxAge: maxAge, cooldownDuration: Infinity });
const options = {
  issuer,
  audience,
  typ: 'at+jwt',
  algorithms: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'ES256K', 'EdDSA'],
  requiredClaims: ['sub', 'iat', 'nbf', 'exp', 'jti', 'sid', 'client_id', 'scope'],
};

const commands = {
  async verify(...tokens) {
    let accepted = 0;
    let reason = '';
    for (const token of tokens) {
      try {
        await jwtVerify(token, keys, options);
        accepted += 1;
      } catch (error) {
        reason ||= ` ${error.code} ${error.message}`;
      }
    }
    return accepted + reason;
  },
  async make(name, form) {
    const [algorithm, crv] = name.split('/');
    const { privateKey } = await generateKeyPair(algorithm, { extractable: true, ...(crv ? { crv } : {}) });
    return JSON.stringify(form === 'pem' ? await exportPKCS8(privateKey) : await exportJWK(privateKey));
  },
};

console.log('= ready');
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...words] = line.split(' ');
  console.log(`= ${await commands[command](...words)}`);
}
