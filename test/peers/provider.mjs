// A real identity provider, npm's oidc-provider, for the clients alice and bob, on a
// loopback port behind a TLS proxy.
//
//     node provider.mjs NODE_MODULES PORT ISSUER CA_FILE
//
// Commands on standard input, each answered by a line that begins with "= ":
//     keys KID ...            sign by these, the first of each algorithm; a kid
//                             begins with its algorithm, and is made when new
//     token CLIENT ALGORITHM  an access token, through the front
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { request } from 'node:https';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [modules, port, issuer, caFile] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));

const made = {};
function key(kid) {
	const alg = kid.split('-')[0];
	made[kid] ??= {
		RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
		PS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
		ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
		EdDSA: () => generateKeyPairSync('ed25519'),
	}[alg]().privateKey.export({ format: 'jwk' });
	return { ...made[kid], kid, alg, use: 'sig' };
}

let handler;
function serve(kids) {
	const client = id => ({
		client_id: id, client_secret: 'secret', grant_types: ['client_credentials'],
		redirect_uris: [], response_types: [], id_token_signed_response_alg: kids[0].split('-')[0],
	});
	const provider = new Provider(issuer, {
		clients: [client('alice'), client('bob')],
		jwks: { keys: kids.map(key) },
		features: {
			devInteractions: { enabled: false },
			clientCredentials: { enabled: true },
			resourceIndicators: {
				enabled: true,
				getResourceServerInfo: (context, resource) => ({
					scope: 'read', audience: 'api', accessTokenFormat: 'jwt', accessTokenTTL: 600,
					jwt: { sign: { alg: resource.split('/').pop() } },
				}),
			},
		},
	});
	provider.proxy = true;
	handler = provider.callback();
}

function token(client, alg) {
	const body = new URLSearchParams({
		grant_type: 'client_credentials', scope: 'read', resource: `https://api.example/${alg}`,
	}).toString();
	return new Promise((resolve, reject) => {
		const call = request(`${issuer}/token`, {
			method: 'POST', ca: readFileSync(caFile),
			headers: {
				authorization: `Basic ${Buffer.from(`${client}:secret`).toString('base64')}`,
				'content-type': 'application/x-www-form-urlencoded',
			},
		}, response => {
			let text = '';
			response.on('data', data => text += data);
			response.on('end', () => resolve(JSON.parse(text).access_token ?? `error ${text}`));
		});
		call.on('error', reject);
		call.end(body);
	});
}

createServer((request, response) => handler(request, response)).listen(Number(port), '127.0.0.1', () => console.log('= ready'));

for await (const line of createInterface({ input: process.stdin })) {
	const [command, ...args] = line.split(' ');
	try {
		if (command === 'keys') {
			serve(args);
			console.log('= ok');
		} else if (command === 'token')
			console.log(`= ${await token(...args)}`);
	} catch (error) {
		console.log(`= error ${error.message}`);
	}
}
process.exit(0);
