// Starts an identity provider, and signs users in and out there.
//
//     node people.mjs PROVIDER NODE_MODULES PROGRAMS FOLDER RECEIVER
//
// PROVIDER is a file in this folder. PROGRAMS is the folder of test/peers/fetch. FOLDER is
// an empty folder for the provider's files. The provider's posts at sign-out are forwarded
// to the URL RECEIVER.
//
// Commands on standard input. The answer to each is a line that begins with "= ":
//     issuer                 the issuer, the client's id and the key set
//     sign-in BROWSER USER   an access token, by authorization code; with a third
//                            argument it is bound to a key of the browser
//     id-token BROWSER       the ID token that came with it
//     refresh BROWSER        a refreshed access token, or "refused"
//     sign-out BROWSER       by the user
//     end BROWSER            by the administrator
//     proof BROWSER METHOD URI
//                            a DPoP proof for the token, by the browser's key
//     post N                 waits for the Nth post: the status of the receiver's answer,
//                            its Cache-Control, and the logout token
//     sign HEADER CLAIMS     a token that the provider's own key signs (oidc-provider)
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { Browser } from './browser.mjs';

const [name, modules, programs, folder, receiver] = process.argv.slice(2);
const { exportJWK, generateKeyPair, SignJWT } = await import(pathToFileURL(`${modules}/jose/dist/node/esm/index.js`));
const random = () => randomBytes(16).toString('base64url');
const digest = text => createHash('sha256').update(text).digest('base64url');

// The provider posts to this server, which notes the post and forwards it.
const posts = [];
const waiting = [];
const post = createServer(async (request, response) => {
	let body = '';
	for await (const part of request)
		body += part;
	const answer = await fetch(receiver, { method: 'POST', body, headers: { 'content-type': request.headers['content-type'] } })
		.catch(error => new Response(error.message, { status: 502 }));
	const cache = answer.headers.get('cache-control');
	posts.push(`${answer.status} ${cache} ${new URLSearchParams(body).get('logout_token')}`);
	response.writeHead(answer.status, cache ? { 'cache-control': cache } : {}).end(await answer.text());
	waiting.splice(0).forEach(wake => wake());
});
const listen = server => new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
const home = 'http://127.0.0.1:9/home';	// never requested

const client = { id: 'app', secret: 'secret', home, logout: `http://127.0.0.1:${await listen(post)}/logout` };
const { start } = await import(`./${name}.mjs`);
const provider = await start(client, { modules, programs, folder, listen });
const metadata = await (await fetch(`${provider.issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)).json();

const sessions = {};

async function askForTokens({ key }, form) {
	const answer = await fetch(metadata.token_endpoint, {
		method: 'POST', body: new URLSearchParams(form),
		headers: {
			authorization: `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}`,
			...key && { dpop: await prove(key, { htm: 'POST', htu: metadata.token_endpoint }) },
		},
	});
	return answer.json();
}

// A DPoP proof (RFC 9449 section 4.2).
async function prove({ privateKey, publicKey }, claims) {
	return new SignJWT({ jti: random(), ...claims }).setIssuedAt()
		.setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk: await exportJWK(publicKey) }).sign(privateKey);
}

function keep(browser, tokens) {
	if (!tokens.access_token)
		throw new Error(JSON.stringify(tokens));
	Object.assign(sessions[browser].tokens, tokens);
	return tokens.access_token;
}

const commands = {
	async issuer() {
		return `${provider.issuer} ${client.id} ${await (await fetch(metadata.jwks_uri)).text()}`.replace(/\s+/g, ' ');
	},
	async 'sign-in'(browser, user, bound) {
		const verifier = random() + random();
		sessions[browser] = { browser: new Browser(), tokens: {}, key: bound && await generateKeyPair('ES256') };
		const answer = await sessions[browser].browser.walk(`${metadata.authorization_endpoint}?${new URLSearchParams({
			response_type: 'code', client_id: client.id, redirect_uri: home, scope: provider.scope, state: random(), nonce: random(),
			code_challenge: digest(verifier), code_challenge_method: 'S256', ...provider.request,
		})}`, home, { login: user, username: user, password: 'secret' });
		if (!answer.get('code'))
			throw new Error(answer.toString());
		return keep(browser, await askForTokens(sessions[browser], {
			grant_type: 'authorization_code', code: answer.get('code'), redirect_uri: home, code_verifier: verifier,
		}));
	},
	async 'id-token'(browser) {
		return sessions[browser].tokens.id_token;
	},
	async refresh(browser) {
		const tokens = await askForTokens(sessions[browser], { grant_type: 'refresh_token', refresh_token: sessions[browser].tokens.refresh_token });
		return tokens.error ? 'refused' : keep(browser, tokens);
	},
	async 'sign-out'(browser) {
		await sessions[browser].browser.walk(`${metadata.end_session_endpoint}?${new URLSearchParams({
			id_token_hint: sessions[browser].tokens.id_token, post_logout_redirect_uri: home, state: random(),
		})}`, home, { logout: 'yes' });
		return 'signed out';
	},
	async end(browser) {
		const claims = JSON.parse(Buffer.from(sessions[browser].tokens.id_token.split('.')[1], 'base64url'));
		await provider.end(claims.sid);
		return 'ended';
	},
	async proof(browser, htm, htu) {
		return prove(sessions[browser].key, { htm, htu, ath: digest(sessions[browser].tokens.access_token) });
	},
	async post(n) {
		while (posts.length < n)
			await new Promise(resolve => waiting.push(resolve));
		return posts[n - 1];
	},
	async sign(header, claims) {
		return provider.sign(JSON.parse(header), JSON.parse(claims));
	},
};

let stopping = false;
async function stop() {
	if (!stopping) {
		stopping = true;
		await provider.stop?.();
		process.exit(0);
	}
}
process.on('SIGTERM', stop).on('SIGINT', stop);

console.log('= ready');
for await (const line of createInterface({ input: process.stdin })) {
	const [command, ...args] = line.split(' ');
	try {
		console.log(`= ${await commands[command](...args)}`);
	} catch (error) {
		console.log(`= error ${`${error.message} ${error.cause ?? ''}`.replace(/\s+/g, ' ')}`);
	}
}
await stop();
