// Keycloak. test/peers/fetch has unpacked and built it.
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { freePort, run } from './server.mjs';

export async function start(client, { folder, programs, listen }) {
	const port = await freePort(listen);
	const base = `http://127.0.0.1:${port}`;
	// Keycloak writes into its own folder
	cpSync(`${programs}/keycloak`, `${folder}/keycloak`, { recursive: true });
	mkdirSync(`${folder}/keycloak/data/import`, { recursive: true });
	writeFileSync(`${folder}/keycloak/data/import/peers.json`, JSON.stringify({
		realm: 'peers', enabled: true, sslRequired: 'none',
		users: ['alice', 'bob'].map(name => ({
			username: name, enabled: true, email: `${name}@peers.example`, emailVerified: true, firstName: name, lastName: name,
			credentials: [{ type: 'password', value: 'secret' }],
		})),
		clients: [{
			clientId: client.id, secret: client.secret, redirectUris: [client.home],
			attributes: {
				'backchannel.logout.url': client.logout, 'backchannel.logout.session.required': 'true',
				'post.logout.redirect.uris': client.home,
			},
			protocolMappers: [{
				name: 'audience', protocol: 'openid-connect', protocolMapper: 'oidc-audience-mapper',
				config: { 'included.custom.audience': 'api', 'access.token.claim': 'true' },
			}],
		}],
	}));
	const stop = await run(`${folder}/keycloak/bin/kc.sh`, [
		'start', '--optimized', '--import-realm', '--http-enabled=true', '--hostname-strict=false',
		'--cache=local', '--http-host=127.0.0.1', `--http-port=${port}`,
	], {
		folder, ready: `${base}/realms/peers/.well-known/openid-configuration`,
		env: { HOME: folder, KC_BOOTSTRAP_ADMIN_USERNAME: 'admin', KC_BOOTSTRAP_ADMIN_PASSWORD: 'secret', JAVA_OPTS_KC_HEAP: '-Xms64m -Xmx512m' },
	});

	return {
		stop,
		issuer: `${base}/realms/peers`,
		scope: 'openid',
		async end(sid) {
			const { access_token: token } = await (await fetch(`${base}/realms/master/protocol/openid-connect/token`, {
				method: 'POST', body: new URLSearchParams({ grant_type: 'password', client_id: 'admin-cli', username: 'admin', password: 'secret' }),
			})).json();
			const answer = await fetch(`${base}/admin/realms/peers/sessions/${sid}`, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } });
			if (!answer.ok)
				throw new Error(`${answer.status} ${await answer.text()}`);
		},
	};
}
