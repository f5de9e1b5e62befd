--
-- uri: the form in which the URIs of a DPoP proof and of a request are compared
-- (RFC 3986 sections 5.2.4, 6.2.2 and 6.2.3; RFC 9449 section 4.3)
--
SELECT plan(56);

SELECT is(jwt_test_uri(uri), normal, uri) FROM (VALUES
	('https://api.example/things', 'https://api.example/things'),
	-- letters
	('HTTPS://API.Example/Things', 'https://api.example/Things'),
	-- query and fragment are removed
	('https://api.example/a?b', 'https://api.example/a'), ('https://api.example/a#b?c', 'https://api.example/a'), ('https://api.example?a/b', 'https://api.example/'),
	-- empty paths and ports, and default ports
	('http://api.example', 'http://api.example/'), ('http://api.example:', 'http://api.example/'), ('http://api.example:80/', 'http://api.example/'),
	('https://api.example:443', 'https://api.example/'), ('https://api.example:80/', 'https://api.example:80/'), ('http://api.example:443/', 'http://api.example:443/'),
	-- escapes
	('https://api.example/%7ealice/%41', 'https://api.example/~alice/A'), ('https://api.example/a%2fb%3f', 'https://api.example/a%2Fb%3F'), ('https://a%50i.ex%C3%a9', 'https://api.ex%C3%A9/'),
	-- dots
	('https://h/a/b/c/./../../g', 'https://h/a/g'), ('https://h/mid/content=5/../6', 'https://h/mid/6'), ('https://h/../../g', 'https://h/g'),
	('https://h/a/..', 'https://h/'), ('https://h/a/.', 'https://h/a/'), ('https://h/.', 'https://h/'), ('https://h/a//../b', 'https://h/a/b'), ('https://h/...', 'https://h/...'),
	('https://h/a/%2e%2e/b', 'https://h/b'),
	-- addresses
	('https://[2001:DB8::1]:8443/a', 'https://[2001:db8::1]:8443/a'), ('http://[::1]', 'http://[::1]/'),
	-- forms that look alike and are not the same
	('https://api.example:0443/', 'https://api.example:0443/'), ('https://api.example./', 'https://api.example./'), ('https://[0:0:0:0:0:0:0:1]/', 'https://[0:0:0:0:0:0:0:1]/'),
	('https://api%2Eexample/', 'https://api.example/'), ('https://alice%40api.example/', 'https://alice%40api.example/'), ('https://api.example#@h/', 'https://api.example/'), ('https://api.example?@h/', 'https://api.example/'),
	('https://h//a', 'https://h//a'), ('https://h/a/..//b', 'https://h//b'), ('https://h/a/..;/b', 'https://h/a/..;/b'), ('https://h/a/%2e%2e%2fb', 'https://h/a/..%2Fb'),
	-- not such URIs
	('https://alice:x@h/', NULL), ('https://h:443:443/', NULL), ('https://[::1/', NULL), ('https://[fe80::1%25eth0]/', NULL), ('https://[v1.x]/', NULL),
	('https://api.example\h/', NULL), ('https://api．example/', NULL), (' https://h/', NULL), (E'https://h/\t', NULL),
	('', NULL), ('/a', NULL), ('api.example/a', NULL), ('ftp://api.example/', NULL), ('https:/a', NULL), ('https:///a', NULL), ('https://a@h/', NULL),
	('https://h/a b', NULL), ('https://h/%4', NULL), ('https://h:x/', NULL), ('https://h/é', NULL)
	) t (uri, normal);

SELECT * FROM finish();
