// An HTTP proxy on loopback that supports only CONNECT. Writes its port, and a line for
// each request into FOLDER/proxy.log. Ends at the end of standard input.
//
//     node proxy.mjs FOLDER
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';

const log = request => appendFileSync(`${process.argv[2]}/proxy.log`, `${request.method} ${request.url}\n`);
const server = createServer((request, response) => { log(request); response.writeHead(403).end(); });
server.on('connect', (request, socket, head) => {
	log(request);
	const [host, port] = request.url.split(':');
	const other = connect(Number(port), host === 'localhost' ? '127.0.0.1' : host, () => {
		socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
		other.write(head);
		other.pipe(socket).pipe(other);
	});
	other.on('error', () => socket.destroy());
	socket.on('error', () => other.destroy());
});
server.listen(0, '127.0.0.1', () => console.log(`proxy ${server.address().port}\nready`));
process.stdin.on('end', () => process.exit(0)).resume();
