CREATE EXTENSION jwt;
CREATE EXTENSION jwt_auth;
CREATE EXTENSION jwt_pgjwt;
-- the key of RFC 8037, and a token that it has signed
SELECT jwt_add_issuer('https://idp.example', audience => '{api}', algorithms => '{EdDSA}');
SELECT jwt_add_key('https://idp.example',
	'{"kty":"OKP","crv":"Ed25519","kid":"demo","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}');
SELECT jwt_verify('eyJhbGciOiJFZERTQSIsImtpZCI6ImRlbW8ifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkIjoiYXBpIiwic3ViIjoiYWxpY2UiLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6ImExIn0.SUh_Q9aB9I-2h0QMVZBRVkOaWSilfwncROF56iflkzdYM12-M76YbL5qn1ZpFCqmXGtalc8kf18TiO2oxzaDAw');
SELECT 1 / count(*) AS launcher FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher';
