--
-- quote: how messages quote untrusted strings, in several server encodings
--
SELECT plan(10);

CREATE TEMP TABLE quoted (encoding name, what text, string bytea, expected bytea);
-- Each character that can change how other characters are shown, the characters next to
-- it, and characters of each length.
INSERT INTO quoted
SELECT encoding, 'U+' || to_hex(c), convert_to('a' || chr(c) || 'b', 'UTF8'),
	convert_to('a' || CASE WHEN spared THEN chr(c) ELSE '\u' || lpad(to_hex(c), 4, '0') END || 'b', 'UTF8')
FROM unnest('{UTF8,SQL_ASCII}'::name[]) encoding, (
	SELECT c, false FROM (VALUES (1, 31), (127, 159), (1564, 1564), (8206, 8207), (8232, 8238), (8294, 8297), (65279, 65279)) r (first, last),
		generate_series(first, last) c UNION ALL
	SELECT c, true FROM unnest('{32,126,160,233,1563,1565,8205,8208,8231,8239,8293,8298,8364,65278,65280,128512}'::int[]) c) t (c, spared);
-- Invalid bytes, and lengths.
INSERT INTO quoted
SELECT encoding, what, string, convert_to(expected, 'UTF8') FROM unnest('{UTF8,SQL_ASCII}'::name[]) encoding, (VALUES
	('nothing', ''::bytea, ''),
	('bytes that begin no character', '\x61ff80c062', 'a\xff\x80\xc0b'),
	('a character cut off', '\x61e282', 'a\xe2\x82'),
	('an overlong slash', '\xc0af', '\xc0\xaf'),
	('a surrogate', '\xeda080', '\xed\xa0\x80'),
	('a NUL byte', '\x610062', 'a\x00b'),
	('256 bytes', convert_to(repeat('x', 256), 'UTF8'), repeat('x', 256)),
	('257 bytes', convert_to(repeat('x', 257), 'UTF8'), repeat('x', 256) || '...'),
	('128 characters of 2 bytes', convert_to(repeat(chr(233), 128), 'UTF8'), repeat(chr(233), 128)),
	('129 characters of 2 bytes', convert_to(repeat(chr(233), 129), 'UTF8'), repeat(chr(233), 128) || '...'),
	('a character across byte 256', convert_to(repeat('x', 255) || chr(233) || 'y', 'UTF8'), repeat('x', 255) || '...'),
	('one of 4 bytes across it', convert_to(repeat('x', 253) || chr(128512), 'UTF8'), repeat('x', 253) || '...'),
	('one of 4 bytes up to it', convert_to(repeat('x', 252) || chr(128512), 'UTF8'), repeat('x', 252) || chr(128512)),
	('controls alone', convert_to(repeat(E'\n', 270), 'UTF8'), repeat('\u000a', 256) || '...')) v (what, string, expected);
-- Encodings of one byte: C0 and DEL in all, C1 and marks of direction where they
-- have them, and bytes that are no character.
INSERT INTO quoted
SELECT encoding, 'byte ' || b, set_byte('\x616162', 1, b),
	CASE WHEN b < 32 OR b = 127 OR (b BETWEEN 128 AND 159 AND encoding IN ('LATIN1', 'ISO_8859_8')) OR (b IN (253, 254) AND encoding IN ('ISO_8859_8', 'WIN1256')) OR
		(encoding = 'ISO_8859_8' AND (b IN (161, 251, 252, 255) OR b BETWEEN 191 AND 222))
		THEN convert_to('a\x' || lpad(to_hex(b), 2, '0') || 'b', 'UTF8') ELSE set_byte('\x616162', 1, b) END
FROM unnest('{LATIN1,ISO_8859_8,WIN1256,KOI8R}'::name[]) encoding, generate_series(1, 255) b;
INSERT INTO quoted VALUES
	('LATIN1', '257 bytes', decode(repeat('e9', 257), 'hex'), decode(repeat('e9', 256), 'hex') || '...'),
	('EUC_JP', 'a character, and a control', '\x61c3e30a62', '\x61c3e3' || convert_to('\x0ab', 'UTF8')),
	('EUC_JP', 'half a character', '\x61c3', convert_to('a\xc3', 'UTF8')),
	('EUC_JP', 'a character across byte 256', convert_to(repeat('x', 255), 'UTF8') || '\xc3e3', convert_to(repeat('x', 255) || '...', 'UTF8'));
SELECT is_empty(format($$ SELECT what, string, expected, jwt_test_quote(string, encoding) FROM quoted
	WHERE encoding = %L AND jwt_test_quote(string, encoding) IS DISTINCT FROM expected $$, encoding), format('%s: %s strings', encoding, count(*)))
FROM quoted GROUP BY encoding ORDER BY encoding COLLATE "C";

-- A whole message.
INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://quote.example', '{api}', '{HS256}');
SELECT jwt_add_secret('https://quote.example', secret(), 'HS256', 'h1') \g /dev/null
SELECT is(detail, expected, 'a claim') FROM (VALUES
	('a\u0085b', 'The token is for "a\u0085b"; accepted is "api".'),
	('api\u202eipa', 'The token is for "api\u202eipa"; accepted is "api".'),
	('é', 'The token is for "é"; accepted is "api".')) v (aud, expected),
	jwt_inspect(sign('{"iss":"https://quote.example","aud":"' || aud || '","exp":4000000000}', '{"alg":"HS256","kid":"h1"}')) i;

SELECT * FROM finish();
DELETE FROM jwt_issuer;
