// Publishes the keys of an issuer: /ISSUER is its JWK Set, which the database gives for
// each request.
//
//     node server.mjs NODE_MODULES PORT MAX_AGE
//
// Each line on standard input is answered by "= " and the number of requests so far.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [modules, port, maxAge] = process.argv.slice(2);
const { Pool } = createRequire(`${modules}/`)('pg');
const pool = new Pool();
let requests = 0;

const server = createServer(async (request, response) => {
  requests += 1;
  try {
    const issuer = decodeURIComponent(request.url.slice(1));
    const { rows: [{ keys }] } = await pool.query('SELECT jwt_jwks($1)::text AS keys', [issuer]);
    response.writeHead(keys === null ? 404 : 200, {
      'content-type': 'application/jwk-set+json',
      'cache-control': `public, max-age=${maxAge}`,
    }).end(keys);
  } catch (error) {
    console.error(error);
    response.writeHead(500).end();
  }
});
server.listen(port, '127.0.0.1', () => console.log('= ready'));
createInterface({ input: process.stdin }).on('line', () => console.log(`= ${requests}`));
