// Verifies access tokens by the rules of RFC 9068, by npm's oauth4webapi.
//
//     node oauth4webapi.mjs NODE_MODULES URL ISSUER AUDIENCE
//
// The command "verify" is that of jose.mjs.
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [modules, url, issuer, audience] = process.argv.slice(2);
const { allowInsecureRequests, clockTolerance, validateJwtAccessToken } = await import(pathToFileURL(`${modules}/oauth4webapi/build/index.js`));

console.log('= ready');
for await (const line of createInterface({ input: process.stdin })) {
  let accepted = 0;
  let reason = '';
  for (const token of line.split(' ').slice(1)) {
    try {
      const request = new Request('https://api.example/', { headers: { authorization: `Bearer ${token}` } });
      await validateJwtAccessToken({ issuer, jwks_uri: url }, request, audience, { [allowInsecureRequests]: true, [clockTolerance]: 0 });
      accepted += 1;
    } catch (error) {
      reason ||= ` ${error.code} ${error.message} ${JSON.stringify(error.cause ?? '')}`.replace(/\n/g, ' ');
    }
  }
  console.log(`= ${accepted}${reason}`);
}
