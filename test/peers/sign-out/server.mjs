// Runs a provider that is a program of its own.
import { spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';

// A port that is free now.
export async function freePort(listen) {
	const server = createServer();
	const port = await listen(server);
	await new Promise(resolve => server.close(resolve));
	return port;
}

// Start a program in a process group, and wait until the URL ready answers. Returns a
// function that ends the group.
export async function run(command, args, { folder, env, ready }) {
	const log = openSync(`${folder}/log`, 'a');
	const child = spawn(command, args, { cwd: folder, env: { ...process.env, ...env }, detached: true, stdio: ['ignore', log, log] });
	let ended = false;
	const end = new Promise(resolve => child.on('exit', resolve).on('error', resolve)).then(() => { ended = true; });
	process.on('exit', () => ended || process.kill(-child.pid, 'SIGKILL'));
	while (!await fetch(ready).then(answer => answer.ok, () => false)) {
		if (ended)
			throw new Error(`${command} ended: ${readFileSync(`${folder}/log`, 'utf8').slice(-2000)}`);
		await new Promise(resolve => setTimeout(resolve, 200));
	}
	return async () => {
		if (!ended)
			process.kill(-child.pid, 'SIGTERM');
		const force = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), 30000);
		await end;
		clearTimeout(force);
	};
}
