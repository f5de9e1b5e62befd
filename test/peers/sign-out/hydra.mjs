// Ory Hydra, with its pages for login, consent and logout. test/peers/fetch has built it.
// Access tokens have a sid because the consent adds it.
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { freePort, run } from './server.mjs';

export async function start(client, { folder, programs, listen }) {
	const [publicPort, adminPort] = [await freePort(listen), await freePort(listen)];
	const issuer = `http://127.0.0.1:${publicPort}`;
	const admin = `http://127.0.0.1:${adminPort}/admin`;
	const ask = async (method, path, body) => {
		const answer = await fetch(admin + path, { method, body: body && JSON.stringify(body), headers: { 'content-type': 'application/json' } });
		if (!answer.ok)
			throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
		return answer.status === 204 ? undefined : answer.json();
	};

	// each page accepts
	const pages = `http://127.0.0.1:${await listen(createServer(async (request, response) => {
		const { pathname, searchParams } = new URL(request.url, 'http://127.0.0.1');
		const kind = pathname.slice(1);
		const challenge = searchParams.get(`${kind}_challenge`);
		const path = `/oauth2/auth/requests/${kind}`;
		let body = '';
		for await (const part of request)
			body += part;
		try {
			let grant = {};
			if (kind === 'login' && request.method === 'GET') {
				response.end(`<form method="post" action="${request.url.replace(/&/g, '&amp;')}"></form>`);
				return;
			}
			if (kind === 'login')
				grant = { subject: new URLSearchParams(body).get('login'), remember: true };
			if (kind === 'consent') {
				const { login_session_id: sid, requested_scope } = await ask('GET', `${path}?consent_challenge=${challenge}`);
				grant = { grant_scope: requested_scope, grant_access_token_audience: ['api'], session: { access_token: { sid } } };
			}
			const { redirect_to } = await ask('PUT', `${path}/accept?${kind}_challenge=${challenge}`, grant);
			response.writeHead(303, { location: redirect_to }).end();
		} catch (error) {
			response.writeHead(500).end(error.message);
		}
	}))}`;

	writeFileSync(`${folder}/hydra.json`, JSON.stringify({
		dsn: 'memory', dev: true, sqa: { opt_out: true },
		serve: { public: { host: '127.0.0.1', port: publicPort }, admin: { host: '127.0.0.1', port: adminPort } },
		urls: {
			self: { issuer, public: issuer }, login: `${pages}/login`, consent: `${pages}/consent`, logout: `${pages}/logout`,
			post_logout_redirect: client.home,
		},
		strategies: { access_token: 'jwt' },
		oauth2: { allowed_top_level_claims: ['sid'], mirror_top_level_claims: false },
		secrets: { system: ['a secret of the tests alone'] },
	}));
	const stop = await run(`${programs}/hydra`, ['serve', 'all', '--dev', '--sqa-opt-out', '--config', `${folder}/hydra.json`],
		{ folder, ready: `http://127.0.0.1:${adminPort}/health/ready`, env: { HOME: folder } });
	client.id = (await ask('POST', '/clients', {
		client_secret: client.secret, redirect_uris: [client.home], post_logout_redirect_uris: [client.home],
		grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], scope: 'openid offline', audience: ['api'],
		backchannel_logout_uri: client.logout, backchannel_logout_session_required: true,
	})).client_id;

	return {
		stop,
		issuer,
		scope: 'openid offline',
		end: sid => ask('DELETE', `/oauth2/auth/sessions/login?sid=${encodeURIComponent(sid)}`),
	};
}
