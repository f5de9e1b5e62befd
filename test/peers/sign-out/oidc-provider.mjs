// npm's oidc-provider. Its access tokens have a sid only if extraTokenClaims adds it.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

export async function start(client, { modules, listen }) {
	const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));
	const { SignJWT } = await import(pathToFileURL(`${modules}/jose/dist/node/esm/index.js`));
	const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
	const sessions = {};
	let handler;
	const issuer = `http://127.0.0.1:${await listen(createServer((request, response) => handler(request, response)))}`;

	const provider = new Provider(issuer, {
		clients: [{
			client_id: client.id, client_secret: client.secret, redirect_uris: [client.home], post_logout_redirect_uris: [client.home],
			grant_types: ['authorization_code', 'refresh_token'], id_token_signed_response_alg: 'ES256',
			backchannel_logout_uri: client.logout, backchannel_logout_session_required: true,
		}],
		jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'k1', alg: 'ES256', use: 'sig' }] },
		issueRefreshToken: () => true,
		extraTokenClaims: ({ oidc: { entities } }, token) => {
			const { sid } = entities.AuthorizationCode ?? entities.RefreshToken;
			sessions[sid] = token.sessionUid;
			return { sid };
		},
		features: {
			backchannelLogout: { enabled: true },
			dPoP: { enabled: true },
			resourceIndicators: {
				enabled: true,
				defaultResource: () => 'https://api.example',
				useGrantedResource: () => true,
				getResourceServerInfo: () => ({
					scope: 'read', audience: 'api', accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'ES256' } },
				}),
			},
		},
	});
	handler = provider.callback();

	return {
		issuer,
		scope: 'openid read',
		request: { resource: 'https://api.example' },
		// It has no interface for administrators. An application would do this.
		async end(sid) {
			const session = await provider.Session.findByUid(sessions[sid]);
			await (await provider.Client.find(client.id)).backchannelLogout(session.accountId, sid);
			await session.destroy();
		},
		sign: (header, claims) => new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'k1', ...header }).sign(privateKey),
	};
}
