--
-- jwk_set: valid JWK Sets, and similar invalid documents
--
SELECT plan(46);

CREATE FUNCTION pg_temp.verdict(document bytea) RETURNS text LANGUAGE sql
RETURN (SELECT coalesce(n::text, reason) FROM jwt_test_jwk_set(document));
CREATE FUNCTION pg_temp.nested(depth int) RETURNS text LANGUAGE sql IMMUTABLE
RETURN format('{"keys":[{"x":%s1%s}]}', repeat('[', depth - 3), repeat(']', depth - 3));

CREATE TEMP TABLE document (n serial, what text, document text, bytes bytea, verdict text);
INSERT INTO document (what, document, verdict) VALUES
	('one member', '{"keys":[{}]}', '1'),
	('with white space, and other members', E' \n\t{ "iss" : "x",\r"keys" : [ { } , {} ], "n":[{"a":1},{"a":1}] } \n', '2'),
	('members that are no keys', '{"keys":[1,"x",null,[],{"kty":"new"}]}', '5'),
	('the name escaped', '{"\u006beys":[{}]}', '1'),
	('empty', '', 'The document is not JSON.'),
	('white space', ' ', 'The document is not JSON.'),
	('no JSON', '{"keys":[{}]', 'The document is not JSON.'),
	('more than one', '{"keys":[{}]}{}', 'The document is not JSON.'),
	('a comma too many', '{"keys":[{},]}', 'The document is not JSON.'),
	('an array', '[{}]', 'The document is not a JSON object.'),
	('a string', '"keys"', 'The document is not a JSON object.'),
	('a JWK', '{"kty":"oct"}', 'The document has no member "keys".'),
	('no keys', '{}', 'The document has no member "keys".'),
	('another name', '{"Keys":[{}]}', 'The document has no member "keys".'),
	('an object of keys', '{"keys":{"a":{}}}', 'The member "keys" of the document is not an array.'),
	('null', '{"keys":null}', 'The member "keys" of the document is not an array.'),
	('a string of keys', '{"keys":"[{}]"}', 'The member "keys" of the document is not an array.'),
	('no key', '{"keys":[]}', 'The member "keys" of the document is empty.'),
	('keys twice', '{"keys":[{}],"keys":[{}]}', 'The document has two members of the same name.'),
	('keys twice, the second empty', '{"keys":[{}],"keys":[]}', 'The document has two members of the same name.'),
	('keys twice, one escaped', '{"keys":[{}],"\u006beys":[{}]}', 'The document has two members of the same name.'),
	('another member twice', '{"x":1,"keys":[{}],"x":1}', 'The document has two members of the same name.'),
	('a member''s kid twice', '{"keys":[{},{"kid":"a","kid":"b"}]}', 'The document has two members of the same name.'),
	('something twice deep in a member', '{"keys":[{"x":[[{"y":{"z":1,"z":1}}]]}]}', 'The document has two members of the same name.'),
	('the same names in two members', '{"keys":[{"kid":"a"},{"kid":"a"}]}', '2'),
	('NUL', '{"keys":[{"kid":"\u0000"}]}', 'The document has a string with \u0000 or half a surrogate pair.'),
	('half a surrogate pair', '{"keys":[{"kid":"\ud800"}]}', 'The document has a string with \u0000 or half a surrogate pair.'),
	('a number beyond numeric', '{"keys":[{"n":1e999999}]}', 'The document has a number beyond the range of type numeric.'),
	('64 levels', pg_temp.nested(64), '1'),
	('65 levels', pg_temp.nested(65), 'The document is nested too deep.'),
	('5,000 members', '{"keys":[' || repeat('{},', 4999) || '{}]}', '5000'),
	('5,001 members', '{"keys":[' || repeat('{},', 5000) || '{}]}', 'The document has 5001 keys; at most 5000 are accepted.');
UPDATE document SET bytes = convert_to(document, 'UTF8');
INSERT INTO document (what, bytes, verdict) VALUES
	('a byte order mark', '\xefbbbf' || convert_to('{"keys":[{}]}', 'UTF8'), 'The document is not JSON.'),
	('a byte of Latin-1', convert_to('{"keys":[{"kid":"', 'UTF8') || '\xe9' || convert_to('"}]}', 'UTF8'), 'The document is not UTF-8.'),
	('a character cut off', convert_to('{"keys":[{"kid":"', 'UTF8') || '\xc3', 'The document is not UTF-8.'),
	('an overlong slash', convert_to('{"keys":[{"kid":"', 'UTF8') || '\xc0af' || convert_to('"}]}', 'UTF8'), 'The document is not UTF-8.'),
	('a surrogate', convert_to('{"keys":[{"kid":"', 'UTF8') || '\xeda080' || convert_to('"}]}', 'UTF8'), 'The document is not UTF-8.'),
	('UTF-16', '\x7b007d00', 'The document is not UTF-8.'),
	('a NUL byte after it', convert_to('{"keys":[{}]}', 'UTF8') || '\x00', 'The document is not UTF-8.');
SELECT is(pg_temp.verdict(bytes), verdict, what) FROM document ORDER BY n;

-- The largest set, and one that is slightly too large.
SELECT is(pg_temp.verdict(convert_to('{"keys":[' || rtrim(repeat(format('{"kty":"RSA","kid":"%s","n":"%s","x5c":["%s"]},', repeat('k', 1000), repeat('n', 1366), repeat('c', 10000)), 5000), ',') || ']}', 'UTF8')),
	'5000', '5,000 members of 12 kB');
SELECT is(pg_temp.verdict(convert_to(format('{"keys":[{"n":[%s0]}]}', repeat('0,', n)), 'UTF8')), verdict, format('a member of %s numbers', n + 1))
FROM (VALUES (999996, '1'), (999997, 'The document has too many members and elements.')) v (n, verdict);
SELECT is(pg_temp.verdict(convert_to(format('{"keys":[{"x":[%s[]]}]}', repeat('[[]],', 499999)), 'UTF8')), 'The document has too many members and elements.', 'a million empty arrays');
SELECT is(pg_temp.verdict(convert_to(format('{"keys":[%s[]]}', repeat('[],', 20000000)), 'UTF8')), 'The document has too many members and elements.', '60 MB of brackets');
-- Values that jsonb cannot hold are refused, too.
SELECT is(pg_temp.verdict(convert_to(format('{"keys":[{"n":[%s1]}]}', repeat('1e-99,', 900000)), 'UTF8')), '1', 'many small numbers');

SELECT results_eq($$ SELECT first, last FROM jwt_test_jwk_set('{"keys":[{"kid":"a","x":["\\u00e9"]},2,{"kid":"b","y":{"z":null}}]}') $$,
	$$ VALUES ('{"kid":"a","x":["\u00e9"]}'::jsonb, '{"kid":"b","y":{"z":null}}'::jsonb) $$, 'the first and the last');

SELECT * FROM finish();
