/* jwt_fuzz--1.0.sql */

\echo Use "CREATE EXTENSION jwt_fuzz" to load this file. \quit

CREATE FUNCTION jwt_fuzz(target text, VARIADIC arguments text[]) RETURNS integer
AS 'MODULE_PATHNAME' LANGUAGE C STRICT;

COMMENT ON FUNCTION jwt_fuzz(text, text[]) IS 'runs libFuzzer on a target, with its command line arguments';
