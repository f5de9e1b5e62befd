# Lack of resources: any allocation of OpenSSL or PostgreSQL can fail, and the disk can
# be full. No verdict is wrong, no key is lost, nothing leaks, and afterwards everything
# works.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256);
use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $libdir = $node->config_data('--pkglibdir');
plan skip_all => "there is no $libdir/jwt_alloc.so" unless -f "$libdir/jwt_alloc.so";
plan skip_all => 'a sanitizer has an allocator of its own' if $ENV{JWT_SANITIZE};
$node->init;
$node->append_conf('postgresql.conf', 'log_min_messages = fatal');
{
	local $ENV{LD_PRELOAD} = "$libdir/jwt_alloc.so";
	$node->start;
}
sub sql { return $node->safe_psql('postgres', shift) }

sql('CREATE EXTENSION jwt; CREATE EXTENSION jwt_test');
my $fixture = `/usr/bin/python3 $FindBin::RealBin/../life/dump/fixture.py`;
is($?, 0, 'keys of every kind');
$node->safe_psql('postgres', $fixture);

# The results of a call in which one allocation fails, for each allocation that it
# makes. The session's key cache is emptied before each call. "good" lists the accepted
# results besides the errors 53200 and 38000. The first of them is the result without a
# failure, and must be the result of the next call after each failure.
sql(q{
CREATE FUNCTION sweep(who text, call text, good text[], lasting boolean = false) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	again text;
	failed boolean;
	times int := 0;
	silent int := 0;
	bad text := '';
BEGIN
	FOR n IN 1 .. 100000 LOOP
		UPDATE jwt_issuer SET leeway = leeway WHERE issuer = 'https://idp.example';
		BEGIN
			PERFORM jwt_test_fail_allocation(who, CASE WHEN lasting THEN -n ELSE n END);
			EXECUTE call INTO answer;
			failed := (jwt_test_allocations()).fired;
		EXCEPTION WHEN OTHERS THEN
			failed := (jwt_test_allocations()).fired;
			answer := CASE WHEN sqlstate IN ('53200', '38000') THEN '53200' ELSE sqlstate END;
		END;
		IF NOT failed THEN
			RETURN CASE WHEN answer IS DISTINCT FROM good[1] THEN format('without a failure: %s', answer)
				WHEN bad <> '' THEN format('of %s failures:%s', times, bad)
				WHEN times = 0 THEN 'nothing was allocated'
				ELSE format('good (%s of %s failures looked like a verdict)', silent, times) END;
		END IF;
		times := times + 1;
		silent := silent + (answer <> '53200' AND answer <> good[1])::int;
		EXECUTE call INTO again;
		IF again IS DISTINCT FROM good[1] THEN
			bad := bad || format(' after %s: %s,', n, again);
		END IF;
		IF answer IS NULL OR answer <> '53200' AND answer <> ALL (good) THEN
			bad := bad || format(' %s: %s,', n, answer);
		END IF;
	END LOOP;
	RETURN 'endless';
END $$;
CREATE FUNCTION spoilt(token text) RETURNS text LANGUAGE sql AS $$
	-- another first byte of the signature
	SELECT parts[1] || '.' || parts[2] || '.' || translate(left(parts[3], 1), 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', 'BADCFEHGJILKNMPORQTSVUXWZYbadcfehgjilknmporqtsvuxwzy1032547698_-') || substr(parts[3], 2)
	FROM string_to_array(token, '.') parts
$$;
CREATE FUNCTION verdict(token text) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(sqlstate, 'valid') FROM jwt_inspect(token) $$;
});

my $session = open_session($node->connstr('postgres'));
$session->('SET client_min_messages = error');
# memory after emptying the key cache
my $live = sub { return (split(/\n/, $session->(q{UPDATE jwt_issuer SET leeway = leeway WHERE issuer = 'https://idp.example'; SELECT verdict(token) FROM tokens LIMIT 1; SELECT live FROM jwt_test_allocations()})))[-1] };
my $sweep = sub {
	my ($who, $call, $good, $what, $lasting) = @_;
	my $how = $session->("SELECT sweep('$who', \$q\$$call\$q\$, '$good', " . ($lasting ? 'true' : 'false') . ')');
	like($how, qr/^good/, "$who, $what: $how");
};

my @tokens = split(/\n/, sql(q{SELECT DISTINCT ON (kid) kid, token FROM (SELECT jwt_header(token) ->> 'kid' AS kid, token FROM tokens
	WHERE verdict = 'valid') t WHERE kid !~ 'set-|window'}));
cmp_ok(scalar(@tokens), '>=', 9, 'tokens of every kind');
my $before;
for my $line (@tokens)
{
	my ($kid, $token) = split(/\|/, $line);
	# OpenSSL does not always report the reason; no failure may become a verdict
	$sweep->('openssl', "SELECT verdict('$token')", '{valid}', "$kid, a good token");
	$sweep->('openssl', "SELECT verdict(spoilt('$token'))", '{28J04}', "$kid, a bad token");
	$sweep->('openssl', "SELECT length(jws_verify('$token', (SELECT jwk FROM jwt_key WHERE kid = '$kid'), (SELECT alg FROM jwt_key WHERE kid = '$kid'))) > 0",
		'{true}', "$kid, a token and its key");
	$sweep->('openssl', "SELECT verdict('$token')", '{valid}', "$kid, a good token, and from then on", 1);
	$sweep->('openssl', "SELECT verdict(spoilt('$token'))", '{28J04}', "$kid, a bad token, and from then on", 1);
	is($session->("SELECT verdict('$token')"), 'valid', "$kid: afterwards it is valid");
}
my $key = q{SELECT jwk FROM jwt_key WHERE kid = 'ES256'};
my $pem = `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null | openssl pkey -pubout`;
my $certificate = `openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=x 2>/dev/null`;
$sweep->('openssl', "SELECT length(jwt_thumbprint(($key)))", '{43}', 'a thumbprint');
my $write = q{INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT issuer, 'w' || random(), alg, jwk FROM jwt_key WHERE kid = '%s' RETURNING alg};
$sweep->('openssl', sprintf($write, $_), "{$_}", "a key that is written, $_") for qw(ES256 EdDSA HS256 RS256 PS512);
$before = $live->();
for my $lasting (0, 1)
{
	$sweep->('openssl', "SELECT jwt_jwk('$pem') ->> 'kty'", '{EC}', 'a PEM', $lasting);
	$sweep->('openssl', "SELECT jwt_jwk('$certificate') ->> 'kty'", '{RSA}', 'a certificate', $lasting);
	$before = $live->() unless $lasting;
}
# a public key that is stored as a secret
my $der = unpack('H*', `openssl genpkey -algorithm ed25519 | openssl pkey -pubout -outform DER`);
sql(q{CREATE FUNCTION state_of(call text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE call; RETURN 'done'; EXCEPTION WHEN OTHERS THEN RETURN sqlstate; END $$});
$sweep->('openssl', "SELECT state_of(\$c\$SELECT jwt_add_secret('https://idp.example', '\\x$der', 'HS256', 'x')\$c\$)", '{22023}', 'a public key as a secret', $_) for 0, 1;
is(sql(q{SELECT count(*) FROM jwt_key WHERE kid = 'x'}), '0', 'is never taken');
cmp_ok(abs($live->() - $before), '<=', 20, "OpenSSL has what it had: $before");

# Private keys. No failure may become a verdict on a key, and none may give a bad signature.
my %private = (
	HS256 => '{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}',
	ES256 => '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}',
	EdDSA => '{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
	# without its factors
	RS256 => '{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB","d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ"}');
sql('CREATE EXTENSION jwt_auth');
sql(q{CREATE FUNCTION signed_well(jwk jsonb, algorithm text) RETURNS boolean LANGUAGE sql AS $$
	SELECT jws_verify(jws_sign('x', jwk, algorithm), CASE WHEN algorithm LIKE 'HS%' THEN jwk ELSE jwk - 'd' END, algorithm) = 'x' $$});
$before = $live->();
for my $lasting (0, 1)
{
	for my $alg (sort keys %private)
	{
		my $key = $private{$alg};
		my $wrong = $key =~ s/"d":"../"d":"AA/r;
		# to check whether the factors of an RSA key are prime takes too long
		my $how = $alg =~ /^RS/ ? 'jwk' : 'text';
		my $read = "(jwt_test_private_key('$how', convert_to('$key', 'UTF8'), '$alg'))";
		$sweep->('openssl', "SELECT signed_well('$key', '$alg')", '{true}', "a signature by $alg", $lasting);
		next if $alg =~ /^HS/;
		$sweep->('openssl', "SELECT state_of(\$c\$SELECT jws_sign('x', '$wrong', '$alg')\$c\$)", '{22023}', "one by a wrong key for $alg", $lasting);
		$sweep->('openssl', "SELECT $read.thumbprint", '{' . sql("SELECT jwt_thumbprint('$key'::jsonb - 'd')") . '}', "a key is read and written, $alg", $lasting);
		$sweep->('openssl', "SELECT length((jwt_test_private_key('new', NULL, '$alg')).thumbprint)", '{43}', "a new key, $alg", $lasting) unless $alg =~ /^RS/;
	}
	$before = $live->() unless $lasting;
}
cmp_ok(abs($live->() - $before), '<=', 20, "OpenSSL has what it had: $before");
$sweep->('postgres', "SELECT signed_well('$private{$_}', '$_')", '{true}', "a signature by $_") for sort keys %private;

# PostgreSQL's own memory.
my ($hs, $rs) = map { my $kid = $_; (split(/\|/, (grep { /^$kid\|/ } @tokens)[0]))[1] } qw(HS256 RS256);
for my $token ($hs, $rs)
{
	$sweep->('postgres', "SELECT verdict('$token')", '{valid}', 'a good token');
	$sweep->('postgres', "SELECT verdict(spoilt('$token'))", '{28J04}', 'a bad token');
	$sweep->('postgres', "SELECT set_config('jwt.token', '$token', true), jwt_subject() FROM generate_series(1, 3) LIMIT 1", q({"(a token)"}), 'the current token');
}
# A token that is bound to a key is never taken for one that is not; an event is written,
# or is an error.
sql(q{SELECT jwt_add_issuer('https://op.example', audience => '{api}', algorithms => '{HS256}', event_audience => '{app}');
	SELECT jwt_add_secret('https://op.example', sha256('op'), 'HS256', 'op');
	CREATE FUNCTION event(token text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		answer jsonb;
	BEGIN
		DELETE FROM jwt_denylist;
		answer := jwt_receive_event(token);
		RETURN coalesce(answer #>> '{revoked,0,written}', 'no') || ' ' || (SELECT count(*) FROM jwt_denylist WHERE value = 's1');
	END $$;
});
sub signed { my $input = join('.', map { JwtTest::base64url($_) } @_); return "$input." . JwtTest::base64url(hmac_sha256($input, Digest::SHA::sha256('op'))) }
my $bound = signed('{"alg":"HS256","kid":"op"}', '{"iss":"https://op.example","aud":"api","sub":"alice","exp":4102444800,"cnf":{"jkt":"' . 'A' x 43 . '"}}');
my $logout = signed('{"alg":"HS256","kid":"op","typ":"logout+jwt"}',
	'{"iss":"https://op.example","aud":"app","iat":1767225600,"exp":4102444800,"jti":"l1","sid":"s1","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}');
for my $who (qw(postgres openssl))
{
	$sweep->($who, "SELECT verdict('$bound')", '{28J13}', 'a token that is bound to a key');
	$sweep->($who, "SELECT event('$logout')", '{true 1}', 'an event');
	$sweep->($who, "SELECT event(spoilt('$logout'))", '{no 0}', 'an event that nobody has signed');
}
my $set = sql(q{SELECT jsonb_build_object('keys', jsonb_agg(jsonb_build_object('kty', 'OKP', 'crv', 'Ed25519', 'kid', 'n' || i,
	'x', jwt_test_ed25519(i::text)))) FROM generate_series(1, 100) i});
$session->("INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{EdDSA}'); CREATE TABLE document AS SELECT '$set'::text AS set");
my $import = q{SELECT count(*) FROM document, jwt_import_jwks('https://set.example', set)};
$sweep->('postgres', $import, '{100}', 'an import');
$sweep->('openssl', $import, '{100}', 'an import');
is($session->(q{SELECT count(*) FROM jwt_key WHERE issuer = 'https://set.example'}), '100', 'and it has all keys');

# A new session makes more allocations.
my $wrong = '';
for (my $n = 1; $n < 400; $n += 3)
{
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT jwt_test_fail_allocation('postgres', $n); SELECT coalesce(sqlstate, 'valid') FROM jwt_inspect('$rs'); SELECT jwt_test_allocations(); SELECT verdict('$rs')", extra_params => [ '-v', 'ON_ERROR_STOP=0' ]);
	$wrong .= " $n: $out $err" if $out !~ /^valid$/m || $out =~ /28J/ || $err =~ /(ERROR|FATAL)(?!:  out of memory)/;
}
is($wrong, '', 'new sessions');
is($session->("SELECT verdict('$_')"), 'valid', 'at last all is well') for $hs, $rs;

SKIP:
{
	my $disk = $ENV{JWT_SMALL_DISK};
	skip 'only root can make a small disk', 10 unless $disk;
	sql("CREATE TABLESPACE small LOCATION '$disk'");
	sql("ALTER TABLE $_ SET TABLESPACE small") for qw(jwt_key jwt_denylist);
	sql('CREATE TABLE filler (x text) TABLESPACE small');
	sql(q{DO $$ BEGIN LOOP BEGIN INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 100); EXCEPTION WHEN disk_full THEN EXIT; END; END LOOP; END $$});
	my $keys = sql('SELECT count(*), md5(string_agg(k::text, chr(10) ORDER BY id)) FROM jwt_key k');
	my $many = q{SELECT count(*) FROM jwt_import_jwks('https://set.example', (SELECT jsonb_build_object('keys', jsonb_agg(jsonb_build_object('kty', 'OKP', 'crv', 'Ed25519', 'kid', 'n' || i,
		'x', jwt_test_ed25519(i::text))))::text FROM generate_series(50, 3000) i))};
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$many");
	like($err, qr/ERROR:  53100:/, 'an import that does not find room');
	is(sql('SELECT count(*), md5(string_agg(k::text, chr(10) ORDER BY id)) FROM jwt_key k'), $keys, 'has changed nothing');
	is($session->("SELECT verdict('$_')"), 'valid', 'tokens are valid') for $hs, $rs;
	($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT jwt_revoke_id('https://idp.example', repeat(i::text, 200), 'infinity') FROM generate_series(1, 3000) i");
	like($err, qr/ERROR:  53100:/, 'revocations that do not find room');
	is(sql(q{SELECT count(*) FROM jwt_denylist WHERE value LIKE '%00000%'}), '0', 'are not there');
	is($session->("SELECT verdict('$rs')"), 'valid', 'and revoke nothing');
	sql('DROP TABLE filler');
	sql($many);
	is(sql(q{SELECT count(*) FROM jwt_key WHERE issuer = 'https://set.example' AND retired_at IS NULL}), '2951', 'with room the import has all keys');
	is($session->("SELECT verdict('$_')"), 'valid', 'and tokens are valid') for $hs, $rs;
}
is($session->(q{SELECT entries BETWEEN 0 AND 100 AND bytes BETWEEN 0 AND 4194304 AND hits >= 0 AND misses > 0 AND evictions >= 0 AND invalidations > 0 FROM jwt_cache()}),
	't', 'the counters are sane');
$session->();
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|was terminated by signal/, 'nobody crashed');
done_testing();
