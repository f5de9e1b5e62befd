--
-- private_keys: what is a private key, and what it signs
--
CREATE EXTENSION IF NOT EXISTS jwt_auth;
SELECT plan(21);

-- New keys of each algorithm that the loaded OpenSSL has. Making RSA keys is slow, so one
-- algorithm stands for all.
CREATE TEMP TABLE new_key AS
SELECT a AS alg, k.*
FROM unnest('{PS256,ES256,ES384,ES512,ES256K,Ed25519,Ed448,EdDSA,ML-DSA-44,ML-DSA-65,ML-DSA-87}'::text[]) a, jwt_test_private_key('new', NULL, a) k
WHERE a !~ '^ML' OR jwt_test_available(a);
SELECT is_empty('SELECT alg, reason FROM new_key WHERE der IS NULL OR reason IS NOT NULL', 'each algorithm gives a key');
SELECT is_empty($$ SELECT alg FROM new_key n, jwt_test_private_key('der', der, alg) k WHERE n.der <> k.der OR n.jwk <> k.jwk OR n.thumbprint <> k.thumbprint OR k.reason IS NOT NULL $$,
	'its PKCS #8 gives the same key');
SELECT is_empty($$ SELECT alg FROM new_key WHERE convert_from(jws_verify(jwt_test_sign(der, alg, '{"alg":"' || alg || '"}', 'x'), jwk, alg), 'UTF8') <> 'x' $$, 'what it signs verifies');
SELECT is_empty($$ SELECT alg FROM new_key, LATERAL (SELECT E'-----BEGIN PRIVATE KEY-----\n' || encode(der, 'base64') || E'\n-----END PRIVATE KEY-----\n') p (pem),
	jwt_test_private_key('text', convert_to(pem, 'UTF8'), alg) k WHERE k.der IS DISTINCT FROM new_key.der $$, 'its PEM gives the same key');
SELECT is_empty($$ SELECT alg, n FROM new_key, generate_series(0, length(der) - 1) n, jwt_test_private_key('der', substr(der, 1, n), alg) k WHERE k.reason IS NULL $$, 'no part of it is a key');

-- The private keys of RFC 7515 appendices A.1 to A.3 and RFC 8037 appendix A.
CREATE TEMP TABLE example (alg text, jwk jsonb);
INSERT INTO example VALUES
	('RS256', '{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB","d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ","p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc","q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc","dp":"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0","dq":"h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU","qi":"IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U"}'),
	('ES256', '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}'),
	('EdDSA', '{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'),
	('HS256', '{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}');
SELECT is(jws_sign('Example of Ed25519 signing', jwk, alg),
	'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg', 'RFC 8037 appendix A.4')
FROM example WHERE alg = 'EdDSA';
CREATE FUNCTION pg_temp.joe() RETURNS bytea LANGUAGE sql AS $$ SELECT convert_to(E'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}', 'UTF8') $$;
SELECT is(jwt_test_sign(convert_to(jwk::text, 'UTF8'), alg, E'{"typ":"JWT",\r\n "alg":"HS256"}', pg_temp.joe()),
	'eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk', 'RFC 7515 appendix A.1')
FROM example WHERE alg = 'HS256';
-- An RSA JWK may omit what follows from d.
SELECT is(jws_sign(pg_temp.joe(), given, alg),
	'eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw', 'RFC 7515 appendix A.2, ' || what)
FROM example, LATERAL (VALUES ('all members', jwk), ('without its factors', jwk - '{p,q,dp,dq,qi}'::text[])) v (what, given) WHERE alg = 'RS256';
SELECT is(count(DISTINCT k.der), 1::bigint, 'both have the same PKCS #8')
FROM example, LATERAL (VALUES (jwk), (jwk - '{p,q,dp,dq,qi}'::text[])) v (given), jwt_test_private_key('text', convert_to(given::text, 'UTF8'), alg) k WHERE alg = 'RS256';
SELECT is_empty($$ SELECT alg FROM example WHERE convert_from(jws_verify(jws_sign('x', jwk, alg, '{"kid":"k"}'), jwk - '{d,p,q,dp,dq,qi}'::text[], alg), 'UTF8') <> 'x' $$, 'a private JWK signs');

-- Keys that are refused, each similar to one of these.
CREATE FUNCTION pg_temp.outcome(jwk jsonb, alg text, header jsonb DEFAULT '{}', payload bytea DEFAULT 'x') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	RETURN CASE WHEN jws_verify(jws_sign(payload, jwk, alg, header), jwk - '{d,p,q,dp,dq,qi}'::text[], alg) = payload THEN 'signed' END;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN sqlstate || ' ' || sqlerrm || ': ' || detail;
END $$;
CREATE TEMP TABLE bad (what text, alg text, change jsonb);
INSERT INTO bad VALUES
	('d is wrong', 'RS256', '{"d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznw"}'),
	('p is wrong', 'RS256', '{"p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUU"}'),
	('q is wrong', 'RS256', '{"q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdU"}'),
	('dp is wrong', 'RS256', '{"dp":"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo8"}'),
	('dq is wrong', 'RS256', '{"dq":"h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHc"}'),
	('qi is wrong', 'RS256', '{"qi":"IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3c"}'),
	('dp is dp + p - 1', 'RS256', '{"dp":"5x9jaFttUgUpadcSbs6SaK2eatgdmh95hvgTSnmEVfMt1bf-dCOrpUmLtkkJLtHxjUjSgzAl7-qHzyPij4Y1yM_J3huhDk_SrSbgEGeONmJcKuwydaq95k8LutoGSkHQSGzZeDiMQp6Pc7IViGNs51-Z6BI4A_bCgjjj9nENe9M"}'),
	('qi is qi + p', 'RS256', '{"qi":"AQGkPx1e6lPRTudKHbu38iKI5ABuoCWlIUYopf-yTaTcn9NN_G-xJUNQixlT5b9Yk1iAgB7Bw80gI6f7kqxkOZpY-LC9J0XthiQFs5GswBjgUU966tco3NYTWRQ6a1eWrZLmeXSDcEcKx6JuDGyjPFP9F6_rc01N3xBhoQXKHly8"}'),
	('p and q in the place of each other', 'RS256', '{"p":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc","q":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc"}'),
	('the factors 1 and n', 'RS256', '{"p":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","q":"AQ"}'),
	('d is 1', 'RS256', '{"d":"AQ"}'),
	('d is too long', 'RS256', '{"d":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'),
	('d is d + (p - 1)(q - 1)', 'RS256', '{"d":"tKaHr0yw0-ApTN-ZqmK6VUjz8tuOyzmU815vNWmcRrN5yBlS15TmFzebY5rLgDPwPPG8JFK-hdJzsojbULAMAK4TqO-HF4aEE5e_22P-mNkfh9SYqCbgFZqGA-V27LYsAa88m1Bg2BQ7lN2MfyXNHPMA2TEven2R9B6ZuBXHcPWkumpAnnNqNKes08Kty7_zj6GcYuozhF0-2uCC9ZBkXYcgVGKumRtUSYxPUdGiIB4KsAe8TPslbsiMgd5WOAGrzrl7m0Y_w4UqeewNX2r2CbCZayuiWxA-PoodldWZI7LWjvwsJz_TBL-tbtSvZV-WAPzI2MDpmzWrR_LYVS7qIQ"}'),
	('d is huge', 'RS256', jsonb_build_object('d', repeat('_', 20000))),
	('p is huge', 'RS256', jsonb_build_object('p', repeat('_', 20000))),
	('n is huge', 'RS256', jsonb_build_object('n', repeat('_', 5464))),
	('e is huge', 'RS256', jsonb_build_object('e', repeat('_', 20000))),
	('n is even', 'RS256', '{"n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoA"}'),
	('n is short', 'RS256', '{"n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63ko"}'),
	('a third prime', 'RS256', '{"oth":[{"r":"Aw","d":"AQ","t":"AQ"}]}'),
	('dp is null', 'RS256', '{"dp":null}'),
	('q is empty', 'RS256', '{"q":""}'),
	('halves do not fit', 'ES256', '{"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LM"}'),
	('d is 0', 'ES256', '{"d":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'),
	('d is n', 'ES256', '{"d":"_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE"}'),
	('d is n + 1', 'ES256', '{"d":"_____wAAAAD__________7zm-q2nF56E87nKwvxjJVI"}'),
	('d is too long', 'ES256', '{"d":"AI6bEJ5xkJi_mASH3x9dd-nLKWBuvtImO19XwhPfhPSy"}'),
	('d is no base64url', 'ES256', '{"d":"="}'),
	('d is no string', 'ES256', '{"d":1}'),
	('wrong curve', 'ES256', '{"crv":"secp256k1"}'),
	('not to sign', 'ES256', '{"key_ops":["verify"]}'),
	('to encrypt', 'ES256', '{"use":"enc"}'),
	('another alg', 'ES256', '{"alg":"ES384"}'),
	('halves do not fit', 'EdDSA', '{"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2E"}'),
	('d is short', 'EdDSA', '{"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyufw"}'),
	('another curve', 'EdDSA', '{"crv":"Ed448"}'),
	('short secret', 'HS256', '{"k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}');
SELECT is_empty($$ SELECT what, alg, o FROM bad JOIN example USING (alg), LATERAL pg_temp.outcome(jwk || change, alg) o
	WHERE o NOT LIKE '22023 key is not acceptable: %.' OR EXISTS (SELECT FROM jsonb_each_text(change) c WHERE length(value) > 20 AND position(left(value, 20) IN o) > 0) $$, 'bad keys are refused, without a byte of them');
SELECT is_empty($$ SELECT member, o FROM example, unnest('{p,q,dp,dq,qi}'::text[]) member, LATERAL pg_temp.outcome(jwk - member, alg) o
	WHERE alg = 'RS256' AND o <> '22023 key is not acceptable: The JWK has no member "' || member || '", so it is no complete private key.' $$, 'of the factors of an RSA key, all or none are needed');
SELECT is_empty($$ SELECT alg, o FROM example, LATERAL pg_temp.outcome(jwk - 'd' - 'k', alg) o WHERE o NOT LIKE '22023 key is not acceptable: The JWK has no member "_"%' $$, 'a public key is refused');
-- The search for the factors of a prime takes long, and can be cancelled. This one is
-- 2 ^ 4423 - 1.
\set ON_ERROR_STOP off
SET statement_timeout = '50ms';
SELECT jws_sign('x', jsonb_build_object('kty', 'RSA', 'n', 'f' || repeat('_', 735) || '_w', 'e', 'AQAB',
	'd', 'WmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWmmlllpppZZaaaWWWQ'), 'RS256');
\set state :SQLSTATE
RESET statement_timeout;
\set ON_ERROR_STOP on
SELECT is(:'state'::text, '57014', 'the search for factors is cancelled');
SELECT is_empty($$ SELECT h, o FROM example, unnest('{"{\"alg\":\"none\"}","{\"crit\":[\"b64\"]}","{\"b64\":true}","{\"kid\":1}","[]"}'::jsonb[] ||
	jsonb_build_object('jwk', jwk)) h, LATERAL pg_temp.outcome(jwk, alg, h) o WHERE alg = 'ES256' AND o NOT LIKE '22023 header is not acceptable: %' $$, 'bad headers are refused');
-- jws_verify() reads tokens of up to 1 MB.
SET jwt.max_token_size = 1048576;
SELECT is_empty($$ SELECT header, payload, o FROM example, unnest('{0,200,393000,393600,786000,786500,2000000}'::int[]) header, unnest('{0,200,393000,393600,786000,786500,2000000}'::int[]) payload,
	LATERAL pg_temp.outcome(jwk, alg, jsonb_build_object('x', repeat('x', header)), convert_to(repeat('x', payload), 'UTF8')) o WHERE alg = 'ES256'
	AND o <> CASE WHEN header + payload < 786300 THEN 'signed' ELSE '22023 header and payload are too long: A token has at most 1048576 bytes.' END $$, 'what is signed is short enough');
RESET jwt.max_token_size;

\if `[ -n "${JWT_SANITIZE:-}" ] && echo true || echo false`
SELECT skip('a sanitizer has too much memory to search', 1);
\else
SELECT is_empty($$ SELECT alg FROM new_key WHERE jwt_test_residue(alg, false) > 0 OR jwt_test_residue(alg, true) = 0 $$, 'no private key stays in memory');
\endif

-- The text of a key, as it is imported: each refused text is similar to an accepted one.
INSERT INTO jwt_token_policy (issuer, audience) VALUES ('https://signing.example', '{api}');
SELECT jwt_add_issuer('https://signing.example', '{api}', '{ES256,RS256,EdDSA}') \g /dev/null
CREATE FUNCTION pg_temp.imported(key text, key_alg text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM jwt_import_signing_key('https://signing.example', key, key_alg);
	DELETE FROM jwt_signing_key;
	DELETE FROM jwt_key WHERE issuer = 'https://signing.example';
	RETURN 'imported';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN sqlstate || ' ' || sqlerrm || ': ' || detail;
END $$;
CREATE FUNCTION pg_temp.pem(label text, body text) RETURNS text LANGUAGE sql AS $$ SELECT format(E'-----BEGIN %1$s-----\n%2$s\n-----END %1$s-----\n', label, body) $$;
CREATE TEMP TABLE imported AS
WITH good AS (SELECT encode(k.der, 'base64') AS body, example.jwk::text AS jwk FROM example, jwt_test_private_key('text', convert_to(example.jwk::text, 'UTF8'), alg) k WHERE alg = 'ES256')
SELECT what, pg_temp.imported(key) AS outcome, reason FROM good, LATERAL (VALUES
	('PKCS #8', pg_temp.pem('PRIVATE KEY', body), 'imported'),
	('with spaces around it', E'\n ' || pg_temp.pem('PRIVATE KEY', body) || E'\n', 'imported'),
	('with carriage returns', replace(pg_temp.pem('PRIVATE KEY', body), E'\n', E'\r\n'), 'imported'),
	('encrypted', pg_temp.pem('ENCRYPTED PRIVATE KEY', body), 'The private key is encrypted. "openssl pkcs8 -topk8 %" converts it.'),
	('of OpenSSH', pg_temp.pem('OPENSSH PRIVATE KEY', body), 'The private key is in the format of OpenSSH; % "ssh-keygen -p -m PKCS8 %" converts it.'),
	('traditional RSA', pg_temp.pem('RSA PRIVATE KEY', body), 'The private key is in the traditional format; accepted is PKCS #8. "openssl pkcs8 -topk8 %'),
	('traditional EC', pg_temp.pem('EC PRIVATE KEY', body), 'The private key is in the traditional format; %'),
	('of a curve only', pg_temp.pem('EC PARAMETERS', 'BggqhkjOPQMBBw=='), 'The PEM block has the parameters of a curve; %'),
	('public', pg_temp.pem('PUBLIC KEY', body), 'The PEM block is "PUBLIC KEY", which has no private key; accepted is PRIVATE KEY.'),
	('a certificate', pg_temp.pem('CERTIFICATE', body), 'The PEM block is "CERTIFICATE", which %'),
	('a label of another case', pg_temp.pem('Private Key', body), 'The PEM block is "Private Key", which %'),
	('a longer label', pg_temp.pem('PRIVATE KEY ', body), 'The PEM block is "PRIVATE KEY ", which %'),
	('two blocks', repeat(pg_temp.pem('PRIVATE KEY', body), 2), 'The text has more than one PEM block.'),
	('another end', replace(pg_temp.pem('PRIVATE KEY', body), 'END PRIVATE', 'END PUBLIC'), 'The PEM block has no end.'),
	('no end', left(pg_temp.pem('PRIVATE KEY', body), 100), 'The PEM block has no end.'),
	('no label', '-----BEGIN', 'The text is not a PEM block.'),
	('dashes', '-----', 'The text is not a PEM block.'),
	('headers', pg_temp.pem('PRIVATE KEY', E'Proc-Type: 4,ENCRYPTED\n\n' || body), 'The %PEM block %'),
	('base64url', pg_temp.pem('PRIVATE KEY', '_' || substr(body, 2)), 'The contents of the PEM block are not base64.'),
	('no padding', pg_temp.pem('PRIVATE KEY', rtrim(body, '=')), 'The contents of the PEM block are not base64.'),
	('too much padding', pg_temp.pem('PRIVATE KEY', body || '='), 'The contents of the PEM block are not base64.'),
	('nothing in it', pg_temp.pem('PRIVATE KEY', ''), 'The private key is not PKCS #8 in DER.'),
	('another type', pg_temp.pem('PRIVATE KEY', 'MC4CAQAwBQYDK2VuBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g'), 'The private key is of a type or on a curve that no accepted algorithm uses; %'),
	('something after it', pg_temp.pem('PRIVATE KEY', encode(decode(body, 'base64') || '\x00', 'base64')), 'The private key is not PKCS #8 in DER.'),
	('a JWK', jwk, 'imported'),
	('d twice', left(jwk, -1) || ',"d":"AA"}', 'The JWK has two members of the same name.'),
	('d twice, the same', left(jwk, -1) || ',"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}', 'The JWK has two members of the same name.'),
	('kty twice', left(jwk, -1) || ',"kty":"EC"}', 'The JWK has two members of the same name.'),
	('d twice, escaped', left(jwk, -1) || ',"\u0064":"AA"}', 'The JWK has two members of the same name.'),
	('a JWK that is cut', left(jwk, -1), 'The JWK %'),
	('a JWK Set', '{"keys":[' || jwk || ']}', 'The JWK %'),
	('an array', '[' || jwk || ']', 'The key is neither a JWK nor a PEM block.'),
	('nothing', '', 'The key is neither a JWK nor a PEM block.'),
	('too long', jwk || repeat(' ', 65536), 'The key is longer than 65536 bytes.')) k (what, key, reason);
SELECT is_empty($$ SELECT what, outcome FROM imported WHERE outcome NOT LIKE CASE reason WHEN 'imported' THEN reason ELSE '22023 key is not acceptable: ' || reason END $$, 'what is imported, and why the rest is not');
SELECT is(count(*), 34::bigint, 'all were tried') FROM imported;
SELECT is_empty($$ SELECT what FROM imported, example, jwt_test_private_key('text', convert_to(example.jwk::text, 'UTF8'), alg) k WHERE alg = 'ES256'
	AND (position('jpsQnnGQmL' IN outcome) > 0 OR position(substr(encode(k.der, 'base64'), 50, 10) IN outcome) > 0) $$, 'without a byte of it');
DELETE FROM jwt_token_policy;
DELETE FROM jwt_issuer;

SELECT * FROM finish();
DROP EXTENSION jwt_auth;
