// A browser without a screen. It keeps cookies, follows redirects and fills in forms.
export class Browser {
	#cookies = [];

	// Request a URL, or post a form to it. Follow redirects until there are none, or one
	// leads to the URL home. Returns the page.
	async open(url, home, form) {
		for (let hops = 0; hops < 30; hops++) {
			if (url.startsWith(home))
				return { url, text: '' };
			const answer = await fetch(url, {
				redirect: 'manual', method: form ? 'POST' : 'GET', body: form && new URLSearchParams(form),
				headers: { cookie: this.#for(new URL(url)) },
			});
			this.#keep(new URL(url), answer.headers.getSetCookie());
			const to = answer.headers.get('location');
			if (!to || answer.status < 300 || answer.status > 399)
				return { url, text: await answer.text() };
			url = new URL(to, url).href;
			form = undefined;
		}
		throw new Error(`redirected without end: ${url}`);
	}

	// The same, but fill these fields into each form and post it. Returns the parameters
	// with which home is reached.
	async walk(url, home, fields) {
		let page = await this.open(url, home);
		for (let forms = 0; !page.url.startsWith(home); forms++) {
			const form = page.text.match(/<form[^>]*>.*?<\/form>/s)?.[0];
			const action = form?.match(/action="([^"]*)"/)?.[1];
			if (action === undefined || forms === 5)
				throw new Error(`cannot go on from ${page.url}: ${page.text.replace(/<style.*?<\/style>|<[^>]*>|\s+/gs, ' ').slice(0, 500)}`);
			const hidden = [...form.matchAll(/<input[^>]*type="hidden"[^>]*>/g)].map(([input]) =>
				[input.match(/name="([^"]*)"/)?.[1] ?? '', plain(input.match(/value="([^"]*)"/)?.[1] ?? '')]);
			page = await this.open(new URL(plain(action), page.url).href, home, { ...Object.fromEntries(hidden), ...fields });
		}
		return new URL(page.url).searchParams;
	}

	#for(url) {
		return this.#cookies.filter(cookie => cookie.host === url.hostname && url.pathname.startsWith(cookie.path))
			.map(cookie => `${cookie.name}=${cookie.value}`).join('; ');
	}

	#keep(url, lines) {
		for (const line of lines) {
			const [pair, ...attributes] = line.split(/; */);
			const [, name, value] = pair.match(/^([^=]*)=(.*)$/);
			const attribute = Object.fromEntries(attributes.map(text => text.split('=')).map(([key, of]) => [key.toLowerCase(), of]));
			const cookie = { name, value, host: url.hostname, path: attribute.path ?? url.pathname.replace(/\/[^/]*$/, '') };
			this.#cookies = this.#cookies.filter(old => !['name', 'host', 'path'].every(key => old[key] === cookie[key]));
			if (attribute['max-age'] !== '0' && !(Date.parse(attribute.expires) < Date.now()))
				this.#cookies.push(cookie);
		}
	}
}

function plain(text) {
	return text.replace(/&quot;/g, '"').replace(/&#39;|&#x27;/g, "'").replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&#x2F;/g, '/').replace(/&amp;/g, '&');
}
