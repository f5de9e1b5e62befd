// Serves a database with PostGraphile over HTTP on loopback. Writes its port, and ends
// at the end of standard input.
//
//     node postgraphile.mjs NODE_MODULES SOCKET_FOLDER PORT
//
// Or sends 200 concurrent requests to such a server, as two users in turn, and writes
// answers with rows of another user:
//
//     node postgraphile.mjs burst URL TOKEN OWNER TOKEN OWNER
import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const [first, ...rest] = process.argv.slice(2);

async function burst(url, users) {
	const query = JSON.stringify({ query: '{ allNotes { nodes { owner } } }' });
	const ask = async i => {
		const [token, owner] = users[i % users.length];
		const answer = await fetch(url, {
			method: 'POST', body: query,
			headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
		});
		const owners = (await answer.json()).data.allNotes.nodes.map(note => note.owner);
		return owners.length > 0 && owners.every(o => o === owner);
	};
	const good = await Promise.all(Array.from({ length: 200 }, (_, i) => ask(i)));
	console.log(`wrong ${good.filter(g => !g).length} of ${good.length}`);
}

function serve(modules, host, port) {
	const require = createRequire(`${modules}/`);
	const { postgraphile } = require('postgraphile');
	const handler = postgraphile(
		{ host, port: Number(port), user: 'app', database: 'postgres', max: 3 }, 'public', {
			pgSettings: req => ({ 'jwt.token': (req.headers.authorization ?? '').replace(/^Bearer +/i, '') }),
			disableQueryLog: true,
		});
	const server = createServer(handler).listen(0, '127.0.0.1', () => {
		console.log(`port ${server.address().port}`);
	});
	process.stdin.on('end', () => process.exit(0)).resume();
}

if (first === 'burst')
	await burst(rest[0], [[rest[1], rest[2]], [rest[3], rest[4]]]);
else
	serve(first, ...rest);
