// Checks that jose and the extension agree on stored keys.
import { importJWK, jwtVerify } from 'jose';
import { readFileSync } from 'node:fs';

let checked = 0;
for (const { jwk, alg, token, kid } of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  await jwtVerify(token, await importJWK(jwk, alg), { algorithms: [alg] }).catch((error) => {
    console.log(`# ${kid}: ${error.message}`);
    process.exitCode = 1;
  });
  checked += 1;
}
if (checked === 0) process.exitCode = 1;
