--
-- encodings: keys, sets and tokens in databases of other encodings. A character that the
-- encoding lacks is refused, and never stored as another one.
--
\set encoding LATIN1
\ir encoding.psql
\set latin1 :answers
\set encoding EUC_JP
\ir encoding.psql
\set euc_jp :answers
\set encoding SQL_ASCII
\ir encoding.psql
SELECT plan(27);
SELECT is(answer, expected[n], format('%s: %s', encoding, asked))
FROM (VALUES (1, 'LATIN1', :'latin1'), (2, 'EUC_JP', :'euc_jp'), (3, 'SQL_ASCII', :'answers')) e (i, encoding, answers),
	unnest(string_to_array(answers, E'\n')) WITH ORDINALITY a (answer, n),
	LATERAL (SELECT max(asked) FILTER (WHERE line = n) AS asked, array_agg((ARRAY[latin1, coalesce(euc_jp, latin1), coalesce(sql_ascii, latin1)])[i] ORDER BY line) AS expected
		FROM (VALUES
			(1, 'a kid', '\xc3a9 | \xc3a9', NULL, NULL),
			(2, 'a kid escaped', '\xc3a9 | \xc3a9', NULL, NULL),
			(3, 'a kid of Japanese', 'The JWK has characters that the server encoding cannot hold. | The document has characters that the server encoding cannot hold.',
				'\xe697a5e69cac | \xe697a5e69cac', '\xe697a5e69cac | \xe697a5e69cac'),
			(4, 'a kid beyond 16 bits', 'The JWK has characters that the server encoding cannot hold. | The document has characters that the server encoding cannot hold.',
				NULL, '\xf09f9880 | \xf09f9880'),
			(5, 'a byte of Latin-1', '\xc3a9 | \xc3a9', 'no text', 'The JWK is not UTF-8. | The document is not UTF-8.'),
			(6, 'a token', 'ünï', NULL, NULL),
			(7, 'a token with escapes', 'ünï', NULL, NULL),
			(8, 'a token with a kid of Japanese', '28J01 The header of the token has characters that the server encoding cannot hold.',
				'28J03 Of 1 key, none has the kid "日本".', '28J03 Of 1 key, none has the kid "日本".'),
			(9, 'a token of another issuer', '28J07 The token''s issuer is "https://ü.example"; its key belongs to the issuer "https://é.example".', NULL, NULL))
			v (line, asked, latin1, euc_jp, sql_ascii)) v;
SELECT * FROM finish();
