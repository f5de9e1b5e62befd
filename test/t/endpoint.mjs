// An endpoint on loopback. The path of a request selects good or bad behaviour. Writes
// the ports of its certificates, and ends at the end of standard input.
//
//     node endpoint.mjs FOLDER
//
// FOLDER has the certificates of fixtures.py. The answer to /set/NAME is the file NAME
// with an entity tag. Each request adds a line to FOLDER/log.
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { createServer as createPlainServer } from 'node:http';
import { createServer } from 'node:https';

const folder = process.argv[2];
const ports = {};

function answer(request, response) {
	const { pathname, searchParams } = new URL(request.url, 'https://localhost');
	const [, what, name] = pathname.split('/');
	const headers = { 'content-type': 'application/json' };
	if (searchParams.has('max-age'))
		headers['cache-control'] = `public, max-age=${searchParams.get('max-age')}`;
	// after logging the request, because a client with the answer expects it in the log
	const end = (status, body = '', more = {}) => setImmediate(() => response.writeHead(status, { ...headers, ...more }).end(body));
	let note = '';
	const log = () => appendFileSync(`${folder}/log`, `${request.method} ${request.url}${note}\n`);

	switch (what) {
		case 'set': {
			if (!existsSync(`${folder}/${name}`)) {
				end(404);
				break;
			}
			const body = readFileSync(`${folder}/${name}`);
			const etag = `"${createHash('sha1').update(body).digest('hex')}"`;
			if (request.headers['if-none-match'] === etag) {
				note = ' 304';
				end(304, '', { etag });
			} else
				end(200, body, { etag });
			break;
		}
		case 'status': end(Number(name), '{"keys":[]}'); break;
		case 'redirect': end(302, '', { location: decodeURIComponent(searchParams.get('to')) }); break;
		case 'silent': break;
		case 'delay': // delay/MILLISECONDS-NAME
			setTimeout(() => end(200, readFileSync(`${folder}/${name.split('-')[1]}`)), Number(name.split('-')[0]));
			break;
		case 'held': { // what the set is now, once there is the file that NAME.gate names now
			const body = readFileSync(`${folder}/${name}`);
			const gate = existsSync(`${folder}/${name}.gate`) ? readFileSync(`${folder}/${name}.gate`) : name;
			const timer = setInterval(() => {
				if (existsSync(`${folder}/${gate}`)) {
					clearInterval(timer);
					end(200, body);
				}
			}, 10);
			response.on('close', () => clearInterval(timer));
			break;
		}
		case 'drip': {
			response.writeHead(200, headers);
			const timer = setInterval(() => response.write(' '), 50);
			response.on('close', () => clearInterval(timer));
			break;
		}
		case 'big': end(200, `{"keys":["${'x'.repeat(10_000_000)}"]}`); break;
		case 'endless': {
			response.writeHead(200, headers);
			const more = () => { while (response.write('x'.repeat(65536))); };
			response.on('drain', more);
			more();
			break;
		}
		case 'half':
			response.writeHead(200, { ...headers, 'content-length': 1000 });
			response.write('{"keys":[');
			setTimeout(() => response.destroy(), 20);
			break;
		case 'body': end(200, Buffer.from(name, 'hex')); break;
		case 'issuer': // discovery: /issuer/NAME/.well-known/openid-configuration
			end(200, existsSync(`${folder}/${name}.configuration`) ? readFileSync(`${folder}/${name}.configuration`) : '{}');
			break;
		case 'header': end(200, readFileSync(`${folder}/${name}`), { etag: `"${'x'.repeat(5000)}"`, 'cache-control': 'max-age=99999999999999999999' }); break;
		default: end(404);
	}
	log();
}

const names = ['good', 'wrong-host', 'expired', 'unknown-authority', 'forged-name'];
for (const name of names)
	await new Promise(resolve => {
		const server = createServer({ key: readFileSync(`${folder}/${name}.key`), cert: readFileSync(`${folder}/${name}.pem`) }, answer);
		server.listen(0, '127.0.0.1', () => { ports[name] = server.address().port; resolve(); });
	});
await new Promise(resolve => {
	const server = createPlainServer(answer);
	server.listen(0, '127.0.0.1', () => { ports.plain = server.address().port; resolve(); });
});
for (const [name, port] of Object.entries(ports))
	console.log(`${name} ${port}`);
console.log('ready');
process.stdin.on('end', () => process.exit(0)).resume();
