/* jwt_pgjwt--1.0.sql: the functions of pgjwt 0.2.0, and what its verify() is made of */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION jwt_pgjwt" to load this file. \quit

--
-- Names, arguments, defaults and results are pgjwt's. Privileges are the default ones, as
-- in pgjwt. Names are not qualified, because the extension is relocatable.
--
-- pgjwt declares every function IMMUTABLE. Where the result depends on more than the
-- arguments, that is a bug, and the function is STABLE here: verify() reads the clock,
-- and the functions on json convert between the server encoding and UTF-8 by a function
-- that a catalog names.
--
-- pgjwt's functions are not STRICT. Here those of one argument are, because they give
-- NULL for NULL.
--

CREATE FUNCTION url_encode(data bytea) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_pgjwt_url_encode'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION url_encode(bytea)
IS 'base64url without padding';

CREATE FUNCTION url_decode(data text) RETURNS bytea
AS 'MODULE_PATHNAME', 'jwt_sql_pgjwt_url_decode'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION url_decode(text)
IS 'the bytes of base64url or base64, with or without padding';

CREATE FUNCTION algorithm_sign(signables text, secret text, algorithm text) RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_pgjwt_algorithm_sign'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

COMMENT ON FUNCTION algorithm_sign(text, text, text)
IS 'the HMAC of a text under a secret, in base64url; the algorithm is HS256, HS384 or HS512';

CREATE FUNCTION sign(payload json, secret text, algorithm text DEFAULT 'HS256') RETURNS text
AS 'MODULE_PATHNAME', 'jwt_sql_pgjwt_sign'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION sign(json, text, text)
IS 'a JSON Web Token, signed by HMAC, with this text as its payload';

CREATE FUNCTION try_cast_double(inp text) RETURNS double precision
AS 'MODULE_PATHNAME', 'jwt_sql_pgjwt_try_cast_double'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION try_cast_double(text)
IS 'the number, or NULL if the text does not cast';

--
-- verify() is an SQL function, as in pgjwt, because the planner inlines it and drops the
-- columns that the query does not use. So "SELECT valid" gives false for a token whose
-- header is no JSON. A function in C would read the header and raise an error.
--

CREATE FUNCTION pgjwt_json(part bytea) RETURNS json
AS 'MODULE_PATHNAME', 'jwt_sql_pgjwt_json'
LANGUAGE C STABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION pgjwt_json(bytea)
IS 'internal: a decoded part of a token as json; only for verify()';

CREATE FUNCTION pgjwt_equal(a text, b text) RETURNS boolean
AS 'MODULE_PATHNAME', 'jwt_sql_pgjwt_equal'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION pgjwt_equal(text, text)
IS 'internal: compares signatures in constant time; only for verify()';

-- Its COST is higher than that of a signature, so "WHERE valid" checks the signature
-- first, as in pgjwt.
CREATE FUNCTION pgjwt_in_time(payload json) RETURNS boolean
AS 'MODULE_PATHNAME', 'jwt_sql_pgjwt_in_time'
LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;

COMMENT ON FUNCTION pgjwt_in_time(json)
IS 'internal: whether the time is in the range from nbf to exp; only for verify()';

CREATE FUNCTION verify(token text, secret text, algorithm text DEFAULT 'HS256')
RETURNS TABLE (header json, payload json, valid boolean)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT pgjwt_json(url_decode(part[1])),
		pgjwt_json(url_decode(part[2])),
		pgjwt_equal(part[3], algorithm_sign(part[1] || '.' || part[2], secret, algorithm))
			AND pgjwt_in_time(pgjwt_json(url_decode(part[2])))
	FROM regexp_split_to_array(token, '\.') AS part;
END;

COMMENT ON FUNCTION verify(text, text, text)
IS 'header and payload of a token, and whether its signature, exp and nbf are valid; jwt_verify() checks the rest, too';
