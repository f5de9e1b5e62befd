# Tokens that are bound to a key: their sender needs a DPoP proof. For every rule of RFC
# 9449 section 4.3 there is a proof that breaks only this rule.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $order = order_maker();
sub order { return $order->(@_) }
my $secret = JwtTest::secret();
sub bound { return order(token => { sub => 'alice', cnf => $_[0], @_[1 .. $#_] }, secret => $secret) }
my $jkt = order(key => 'alice', alg => 'ES256');
our $token = bound({ jkt => $jkt });
sub proof { my ($key, %changes) = @_; return order(proof => $key, token => $token, %changes) }

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = jwt\nlog_min_error_statement = panic\nrestart_after_crash = on");
$node->start;
setup_trust($node);
# The subject after an attempt to authenticate, or the error.
my $attempt = q{
	CREATE FUNCTION attempt(token text, proof text DEFAULT NULL, method text DEFAULT 'GET', uri text DEFAULT 'https://api.example/things',
		nonce text DEFAULT NULL, is_local boolean DEFAULT true) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		reason text;
	BEGIN
		PERFORM jwt_authenticate(token, is_local, NULL, proof, method, uri, nonce);
		RETURN coalesce(jwt_subject(), 'nobody');
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
		RETURN sqlstate || ' ' || coalesce(nullif(reason, ''), sqlerrm);
	END $$;
};
$node->safe_psql('postgres', $attempt);
sub ask { my ($sql, @more) = @_; return $node->safe_psql('postgres', $sql, @more) }
sub literal { return join(', ', map { defined $_ ? "'" . s/'/''/gr . "'" : 'NULL' } @_) }
sub attempt { return ask('SELECT attempt(' . literal(@_) . ')') }

# A server that has just started refuses proofs that may have been used before.
like(attempt($token, proof('alice')), qr/^(28J13 .*before this server started|alice)/, 'a proof right after the start');
for (1 .. 100)
{
	last if attempt($token, proof('alice')) eq 'alice';
	sleep 0.2;
}
is(attempt($token, proof('alice')), 'alice', 'a good proof');

# Bearer tokens.
like(attempt($token), qr/^28J13 .*has not been confirmed/, 'without a proof');
like(ask("SELECT sqlstate || ' ' || valid FROM jwt_inspect('$token')"), qr/^28J13 false/, 'jwt_inspect has none');
is(ask("SELECT jwt_try_verify('$token') IS NULL"), 't', 'nor has jwt_try_verify');
my ($out, $err) = ('', '');
$node->psql('postgres', "SET jwt.token = '$token'; SELECT jwt_subject()", stderr => \$err);
like($err, qr/sender of the JSON Web Token is not confirmed/, 'nor has a token that is set');
like(attempt(token('alice'), proof('alice')), qr/^28J13 .*not bound to a key/, 'a proof for a token that is not bound');
is(attempt(token('alice')), 'alice', 'which passes without one');
for (
	[ 'cnf that is no object', 'x', '28J09' ], [ 'an empty cnf', {}, '28J13' ], [ 'a member that is not understood', { kid => 'x' }, '28J13' ],
	[ 'a jkt of another length', { jkt => 'x' }, '28J13' ], [ 'a jkt that is a number', { jkt => 1 }, '28J13' ],
	[ 'an x5t#S256 that is null', { 'x5t#S256' => undef }, '28J13' ])
{
	my ($name, $cnf, $code) = @$_;
	like(attempt(bound($cnf)), qr/^$code /, $name);
}
{
	local $token = bound({ jkt => $jkt, kid => 'x', jwk => {} });
	is(attempt($token, proof('alice')), 'alice', 'members beside it that are not understood');
	$token = bound({ jkt => $jkt, 'x5t#S256' => 'A' x 43 });
	like(attempt($token, proof('alice')), qr/^28J13 .*client certificate/, 'each that is understood must be confirmed');
}

# If a gateway confirms senders, a bound token is a bearer token here. A proof is checked
# if there is one.
ask("UPDATE jwt_issuer SET confirmation = 'gateway'");
is(attempt($token), 'alice', 'behind a gateway: a token that is bound to a key');
is(attempt(bound($_->[1])), 'alice', "behind a gateway: $_->[0]") for [ 'to a certificate', { 'x5t#S256' => 'A' x 43 } ], [ 'to something else', { kid => 'x' } ], [ 'to nonsense', 'x' ];
is(attempt($token, proof('alice')), 'alice', 'behind a gateway: a good proof');
like(attempt($token, proof('alice', remove => ['jti'])), qr/^28J13 .*jti/, 'behind a gateway: a bad one');
like(attempt(bound('x'), proof('alice')), qr/^28J13 .*not bound to a key/, 'behind a gateway: one for nothing');
ask("UPDATE jwt_issuer SET confirmation = 'none'");
like(attempt($token), qr/^28J0[37]/, 'neither required nor gateway: the issuer is not usable');
ask("UPDATE jwt_issuer SET confirmation = DEFAULT");
like(attempt($token), qr/^28J13 .*has not been confirmed/, 'required again');
# A stolen token can be revoked without its key.
is(ask("BEGIN; SELECT jwt_revoke('" . bound({ jkt => $jkt }, jti => 'stolen') . "') IS NOT NULL; ROLLBACK"), 't', 'jwt_revoke takes a bound token');

# RFC 9449 section 4.3, each rule by its number. Cases are a name, changes to the proof,
# changes to the request, and the error.
my @cases = (
	[ '2: no JWT', { raw => 'x' }, {}, qr/refused: The token has 1 part/ ],
	[ '2: an empty proof', { raw => '' }, {}, qr/refused: The token is empty/ ],
	[ '2: two proofs', { raw => ',' }, {}, qr/refused: The token has five parts/ ],
	[ '2: a header with a member twice', { header_text => '{"typ":"dpop+jwt","typ":"dpop+jwt","alg":"ES256"}' }, {}, qr/refused: The header of the token/ ],
	[ '2: a payload that is no object', { claims_text => '[]' }, {}, qr/The payload of the DPoP proof/ ],
	[ '2: a payload with a member twice', { claims_text => '{"jti":"a","jti":"a"}' }, {}, qr/The payload of the DPoP proof/ ],
	[ '2: crit', { header => { crit => ['exp'] } }, {}, qr/"crit"/ ],
	[ '2: b64', { header => { b64 => JSON::PP::false } }, {}, qr/"b64"/ ],
	(map { [ "3: no $_", { remove => [$_] }, {}, qr/no "$_"/ ] } qw(jti htm htu iat ath)),
	(map { [ "3: $_ that is a number", { claims => { $_ => 1 } }, {}, qr/no "$_" that is a string/ ] } qw(jti htm htu ath nonce)),
	[ '3: iat that is a string', { claims => { iat => '1' } }, {}, qr/no "iat" that is a number/ ],
	[ '3: jti that is empty', { claims => { jti => '' } }, {}, qr/"jti" is empty/ ],
	# its bytes differ from encoding to encoding, and so from database to database
	(map { [ "3: jti with the character " . ord, { claims => { jti => "x$_" } }, {}, qr/"jti" has a character that is not of ASCII/ ] } "\x{80}", "\x{e9}", "\x{ffe4}", "\x{1f512}"),
	[ '4: no typ', { remove => ['typ'] }, {}, qr/no "typ"/ ],
	(map { [ "4: typ $_", { header => { typ => $_ } }, {}, qr/"typ" is/ ] } qw(JWT at+jwt DPOP+JWT application/dpop+jwt)),
	[ '5: none', { alg => 'none' }, {}, qr/"alg" is "none"/ ],
	[ '5: symmetric', { alg => 'HS256' }, {}, qr/asymmetric/ ],
	[ '5: an unknown algorithm', { header => { alg => 'ES257' } }, {}, qr/"alg" is "ES257"/ ],
	[ '5: that of another key', { header => { alg => 'ES384' } }, {}, qr/does not fit/ ],
	[ '5: no alg', { remove => ['alg'] }, {}, qr/no "alg"/ ],
	[ '6: signed by another key', { sign => 'mallory' }, {}, qr/has not signed/ ],
	[ '6: no jwk', { remove => ['jwk'] }, {}, qr/no "jwk"/ ],
	[ '6: a jwk that is a string', { header => { jwk => 'x' } }, {}, qr/no "jwk"/ ],
	[ '6: a jwk without y', { remove_jwk => ['y'] }, {}, qr/no member "y"/ ],
	[ '6: a jwk for encryption', { jwk_members => { use => 'enc' } }, {}, qr/"use"/ ],
	[ '6: a jwk for another algorithm', { jwk_members => { alg => 'ES384' } }, {}, qr/"alg" of the JWK/ ],
	(map { [ "7: the private member $_", { jwk_members => { $_ => 'AA' } }, {}, qr/private member "$_"/ ] } qw(d p q dp dq qi oth priv)),
	[ '7: a secret', { header => { jwk => { kty => 'oct', k => 'A' x 43 } } }, {}, qr/does not fit/ ],
	[ '8: another method', {}, { method => 'POST' }, qr/"htm" is "GET"/ ],
	[ '8: in small letters', { claims => { htm => 'get' } }, {}, qr/"htm" is "get"/ ],
	(map { [ "9: $_", { claims => { htu => $_ } }, {}, qr/"htu" is/ ] }
		'https://api.example/thing', 'https://api.example/things/', 'https://api.example/Things', 'https://other.example/things', 'http://api.example/things',
		'https://api.example:8443/things', 'https://api.example/a/../../things/.', 'https://api.example/th%2Fings', '/things', 'things', '',
		'https://alice@api.example/things', 'https://api.example/thi ngs', 'https://api.example/%zz', 'ftp://api.example/things', 'https:///things'),
	[ '9: a request to somewhere else', {}, { uri => 'https://api.example/others' }, qr/the request's URI is/ ],
	[ '9: a request to no URI', {}, { uri => '/things' }, qr/The request's URI is not/ ],
	[ '10: no nonce', {}, { nonce => 'n1' }, qr/no "nonce"/ ],
	[ '10: another nonce', { claims => { nonce => 'n2' } }, { nonce => 'n1' }, qr/"nonce" is not/ ],
	[ '10: an empty nonce', { claims => { nonce => '' } }, { nonce => 'n1' }, qr/"nonce" is not/ ],
	[ '11: 65 seconds old', { age => -65 }, {}, qr/too old/ ],
	[ '11: in 15 seconds', { age => 15 }, {}, qr/from the future/ ],
	[ '11: of 1970', { claims => { iat => 0 } }, {}, qr/too old/ ],
	[ '11: of the end of time', { claims => { iat => 1e300 } }, {}, qr/from the future/ ],
	[ '11: before the beginning', { claims => { iat => -1e300 } }, {}, qr/too old/ ],
	[ '11: expired', { claims => { exp => 1 } }, {}, qr/too old/ ],
	[ '11: not valid before tomorrow', { claims => { nbf => time() + 86400 } }, {}, qr/from the future/ ],
	[ '12: of another token', { claims => { ath => 'A' x 43 } }, {}, qr/"ath" is not/ ],
	[ '12: a key that the token is not bound to', { proof => 'mallory' }, {}, qr/not the one that the token is bound to/ ],
);
# similar cases that are accepted
my @accepted = (
	(map { [ "3: a jti of 1,024 bytes that ends in $_", { claims => { jti => 'x' x 1023 . $_ } }, {} ] } 'a', '~'),
	[ '3: more claims than these', { claims => { sub => 'x', exp => time() + 600, nbf => 1, nonce => 'n1' } }, {} ],
	[ '6: a jwk with a kid and for signatures', { jwk_members => { kid => 'x', use => 'sig', alg => 'ES256', key_ops => ['verify'] } }, {} ],
	[ '8: POST', { claims => { htm => 'POST' } }, { method => 'POST' } ],
	(map { [ "9: $_", { claims => { htu => $_ } }, {} ] }
		'HTTPS://API.example/things', 'https://api.example:443/things', 'https://api.example:/things', 'https://api.example/things?a=b', 'https://api.example/things#x',
		'https://api.example/./a/../things', 'https://api.example/%74hings', 'https://api.example/%2e%2E/things', 'https://%61pi.example/things'),
	[ '9: a request with a query', {}, { uri => 'https://api.example/things?a=https://x/y#z' } ],
	[ '9: no path', { claims => { htu => 'http://[::1]:80' } }, { uri => 'http://[::1]/' } ],
	[ '9: escapes', { claims => { htu => 'https://api.example/%c3%a9' } }, { uri => 'https://api.example/%C3%A9' } ],
	[ '10: the nonce', { claims => { nonce => 'n1' } }, { nonce => 'n1' } ],
	[ '11: 50 seconds old', { age => -50 }, {} ],
	[ '11: in 3 seconds', { age => 3 }, {} ],
	[ '11: a fraction of a second', { age => -0.5 }, {} ],
);
order(key => 'mallory', alg => 'ES256');
# a proof of 50 seconds ago could have been used before this server started
sleep 0.5 while ask("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) < 57") eq 't';
sub try_case
{
	my ($changes, $request) = @_;
	my %changes = %$changes;
	my $made = $changes{raw} // order(token => $token, proof => delete($changes{proof}) // 'alice', %changes);
	$made = join(',', proof('alice'), proof('alice')) if $made eq ',';
	return attempt($token, $made, $request->{method} // 'GET', $request->{uri} // 'https://api.example/things', $request->{nonce});
}
for (@cases)
{
	my ($name, $changes, $request, $said) = @$_;
	my $answer = try_case($changes, $request);
	like($answer, qr/^28J13 .*$said/, $name);
}
is(try_case($_->[1], $_->[2]), 'alice', $_->[0]) for @accepted;

# Every algorithm, and weak keys.
for my $alg (qw(ES256 ES384 ES512 ES256K RS256 RS384 RS512 PS256 PS384 PS512 Ed25519 Ed448))
{
	local $token = bound({ jkt => order(key => $alg, alg => $alg) });
	is(attempt($token, proof($alg)), 'alice', $alg);
	is(attempt($token, proof($alg, header => { alg => 'EdDSA' })), 'alice', "$alg as EdDSA") if $alg =~ /^Ed/;
}
{
	local $token = bound({ jkt => order(key => 'short', alg => 'RS256', bits => 1024) });
	like(attempt($token, proof('short')), qr/^28J13 .*1024 bits/, 'an RSA key of 1024 bits');
	local $token = bound({ jkt => order(key => 'ed', alg => 'Ed25519') });
	like(attempt($token, proof('ed', jwk_members => { x => 'AQ' . 'A' x 41 })), qr/^28J13 .*public key for Ed25519/, 'a point of small order');
}

# A proof is used once: in other sessions, other databases, after a rollback, and for
# another request.
my $used = proof('alice');
is(attempt($token, $used), 'alice', 'a proof');
like(attempt($token, $used), qr/^28J13 .*used before/, 'and again');
$used = proof('alice');
is(ask("BEGIN; SELECT attempt('$token', '$used'); ROLLBACK"), 'alice', 'in a transaction that rolls back');
like(attempt($token, $used), qr/^28J13 .*used before/, 'it was used');
$used = proof('alice');
ask("CREATE DATABASE other");
setup_trust($node, 'other');
$node->safe_psql('other', $attempt);
is($node->safe_psql('other', "SELECT attempt('$token', '$used')"), 'alice', 'in another database');
like(attempt($token, $used), qr/^28J13 .*used before/, 'it was used');
my %same = (claims => { jti => 'the same' });
is(attempt($token, proof('alice', %same)), 'alice', 'a jti');
like(attempt($token, proof('alice', claims => { jti => 'the same', htm => 'PUT' }), 'PUT'), qr/^28J13 .*used before/, 'in another proof by the key');
{
	local $token = bound({ jkt => order(key => 'other', alg => 'ES256') });
	is(attempt($token, proof('other', %same)), 'alice', 'and in one by another key, which is none of its business');
}
my %long = (claims => { jti => 'x' x 1023 . 'b' });
is(attempt($token, proof('alice', %long)), 'alice', 'a long jti');
like(attempt($token, proof('alice', %long)), qr/^28J13 .*used before/, 'is used once, too');
# A refused proof is not used.
$used = proof('alice');
like(attempt($token, $used, 'POST'), qr/^28J13 .*htm/, 'a proof for another request');
is(attempt($token, $used), 'alice', 'is good for its own');
$used = proof('alice');
ask("SELECT jwt_revoke_subject('https://idp.example', 'alice')");
like(attempt($token, $used), qr/^28J11/, 'a revoked token');
ask("SELECT jwt_unrevoke_subject('https://idp.example', 'alice')");
is(attempt($token, $used), 'alice', 'uses up no proof');
# If several sessions use a proof at the same time, one of them is accepted.
for my $round (1 .. 10)
{
	$used = proof('alice');
	my @clients = map { my $out = ''; [ IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT attempt('$token', '$used')" ], '>', \$out), \$out ] } 1 .. 8;
	$_->[0]->finish for @clients;
	is(scalar(grep { ${ $_->[1] } eq "alice\n" } @clients), 1, "one of eight at once, round $round");
}

# A confirmation is valid for this transaction and this token.
is(ask("BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); SELECT jwt_subject(); COMMIT; SELECT coalesce(jwt_subject(), 'nobody'), current_setting('jwt.confirmed') = ''"),
	"alice\nalice\nnobody|t", 'until the end of the transaction');
like(ask("BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); SELECT attempt('$token'); SELECT jwt_subject(); COMMIT"),
	qr/^alice\n28J13 .*\nalice$/, 'a second call without a proof is refused, and changes nothing');
my $bearer = token('bob');
is(ask("BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); SELECT attempt('$bearer'); SELECT current_setting('jwt.confirmed'); SET LOCAL jwt.token = '$token'; DO \$\$ BEGIN PERFORM jwt_subject(); RAISE 'accepted'; EXCEPTION WHEN SQLSTATE '28J13' THEN NULL; END \$\$; COMMIT"),
	"alice\nbob\n", 'jwt_authenticate without a proof clears it');
is(ask("BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); SELECT jwt_authenticate(NULL) IS NULL, current_setting('jwt.confirmed') = ''; COMMIT"),
	"alice\nt|t", 'nobody clears it');
is(ask("BEGIN; SAVEPOINT s; SELECT attempt('$token', '" . proof('alice') . "'); ROLLBACK TO s; SELECT coalesce(jwt_subject(), 'nobody'), current_setting('jwt.confirmed') = ''; COMMIT"),
	"alice\nnobody|t", 'a savepoint undoes it');
is(ask("BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); SAVEPOINT s; SELECT attempt('$bearer'); ROLLBACK TO s; SELECT jwt_subject(); COMMIT"),
	"alice\nbob\nalice", 'and brings it back');
for my $reset ('RESET jwt.confirmed', 'RESET ALL', 'SET jwt.confirmed TO DEFAULT', 'SET LOCAL jwt.confirmed TO DEFAULT')
{
	like(ask("BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); $reset; SET LOCAL jwt.token = '$token'; SELECT sqlstate FROM jwt_inspect('$token'); SELECT current_setting('jwt.confirmed'); COMMIT"),
		qr/^alice\n28J13\n$/, $reset);
}
ask("BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); COMMIT; DISCARD ALL; SELECT jwt_subject()");
like(attempt($token, proof('alice'), 'GET', 'https://api.example/things', undef, 'false'), qr/^22023 .*one request/, 'for a session it is an error');
like(attempt($token, proof('alice'), undef), qr/^22023 .*needs the method/, 'without a method, too');
like(attempt($token, proof('alice'), 'GET', undef), qr/^22023 .*needs the method/, 'or a URI');
is(ask(q{
	CREATE PROCEDURE twice(token text, proof text) LANGUAGE plpgsql AS $$
	BEGIN
		RAISE NOTICE '%', attempt(token, proof);
		COMMIT;
		INSERT INTO seen VALUES (coalesce(jwt_subject(), 'nobody'));
	END $$;
	CREATE TABLE seen (who text);
	} . "CALL twice('$token', '" . proof('alice') . "'); TABLE seen"), 'nobody', 'a procedure that commits has lost it');

# No role can set what was confirmed.
my $digest = ask("BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); SELECT current_setting('jwt.confirmed'); COMMIT") =~ s/^alice\n//r;
like($digest, qr/^dpop [\w-]{43}$/, 'what is confirmed');
my $refused = qr/cannot be set|cannot be changed|not allowed in this file/;
for my $name ('confirmed', 'certificate')
{
	for my $sql ("SET jwt.$name = '$digest'", "SET LOCAL jwt.$name = '$digest'", "SELECT set_config('jwt.$name', '$digest', false)", "ALTER ROLE CURRENT_USER SET jwt.$name = '$digest'",
		"ALTER DATABASE postgres SET jwt.$name = '$digest'", "ALTER SYSTEM SET jwt.$name = '$digest'", "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET jwt.$name = '$digest' AS 'SELECT 1'",
		"SET jwt.$name = 'x'", "SET jwt.$name = ''", "SET LOCAL jwt.$name = ''", "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET jwt.$name = '' AS 'SELECT 1'", "UPDATE pg_settings SET setting = '$digest' WHERE name = 'jwt.$name'")
	{
		$err = '';
		$node->psql('postgres', $sql, stderr => \$err);
		if ($sql =~ /^UPDATE/)
		{
			is($err, '', "$name is not to be seen in pg_settings");
			next;
		}
		like($err, $refused, $sql =~ s/ =.*| '.*//r . " $name");
	}
	is(ask("SELECT count(*) FROM pg_settings WHERE name = 'jwt.$name'"), 0, "$name is not listed");
	$node->psql('postgres', "SELECT 1", stderr => \$err, connstr => $node->connstr('postgres') . " options='-c jwt.$name=x'");
	like($err, qr/cannot be set/, "$name as an option of the connection");
}
# within the transaction a function cannot keep the value
($out, $err) = ('', '');
$node->psql('postgres', "BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); CREATE FUNCTION keeper() RETURNS int LANGUAGE sql SET jwt.confirmed FROM CURRENT AS 'SELECT 1'", stderr => \$err);
like($err, $refused, 'FROM CURRENT is refused');
# an error in a parallel query, while the setting is restored, has no effect
$node->psql('postgres', qq{
	CREATE FUNCTION in_parallel(text, boolean, text, text, text, text, text) RETURNS jsonb LANGUAGE c PARALLEL SAFE AS 'jwt', 'jwt_sql_authenticate';
	SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET max_parallel_workers = 0;
	CREATE TABLE many AS SELECT i FROM generate_series(1, 1000) i; ANALYZE many;
	SELECT in_parallel('$token', true, NULL, '} . proof('alice') . qq{', 'GET', 'https://api.example/things', NULL) FROM many WHERE i < 3;
	SET jwt.confirmed = '$digest';
}, stderr => \$err, on_error_stop => 0);
like($err, qr/parallel operation.*parameter "jwt.confirmed" cannot be set/s, 'nor after an error in a parallel query');

# The token cannot be read back.
my $whoami = 'SELECT coalesce(jwt_subject(), \'nobody\')';
is(ask("SET jwt.token = '$bearer'; SHOW jwt.token; SELECT current_setting('jwt.token'), set_config('jwt.token', '$bearer', false); $whoami; RESET jwt.token; SHOW jwt.token"),
	"(a token)\n(a token)|(a token)\nbob\n", 'SHOW, current_setting and set_config');
is(ask("SET jwt.token = '$bearer'; SELECT count(*) FROM pg_settings WHERE name = 'jwt.token' OR setting ~ 'eyJ' OR reset_val ~ 'eyJ' OR boot_val ~ 'eyJ'"), 0, 'pg_settings');
unlike(ask("SET jwt.token = '$bearer'; SHOW ALL"), qr/jwt\.token|eyJ/, 'SHOW ALL');
unlike(ask("SET jwt.token = '$bearer'; EXPLAIN (SETTINGS) SELECT 1"), qr/eyJ/, 'EXPLAIN (SETTINGS)');
for my $who ('FUNCTION f() RETURNS int LANGUAGE sql SET jwt.token FROM CURRENT AS \'SELECT 1\'', "ROLE", 'DATABASE')
{
	my $sql = $who =~ /FUNCTION/ ? "CREATE $who" : "ALTER $who " . ($who eq 'ROLE' ? 'CURRENT_USER' : 'postgres') . ' SET jwt.token FROM CURRENT';
	$node->psql('postgres', "SET jwt.token = '$bearer'; $sql", stderr => \$err);
	like($err, qr/"jwt.token" cannot be stored/, "FROM CURRENT: $sql");
	unlike($err, qr/eyJ|\(a token\)/, 'the error shows nothing');
}
my ($dump) = run_command([ 'pg_dumpall', '--no-sync', '-d', $node->connstr('postgres') ]);
like($dump, qr/CREATE ROLE/, 'pg_dumpall');
unlike($dump, qr/eyJ|jwt\.(token|confirmed|certificate)/, 'has none');
is(ask("SET jwt.token = '$bearer'; DISCARD ALL; SHOW jwt.token; $whoami"), "\nnobody", 'DISCARD ALL');
is(ask("SET jwt.token = '$bearer'; RESET ALL; $whoami"), 'nobody', 'RESET ALL');
is($node->safe_psql('postgres', "SHOW jwt.token; $whoami; SET jwt.token = ''; $whoami; RESET jwt.token; $whoami; DISCARD ALL; $whoami",
	connstr => $node->connstr('postgres') . " options='-c jwt.token=$bearer'"), "(a token)\nbob\nnobody\nbob\nbob", 'an option of the connection is what RESET returns to');
ask(qq{CREATE FUNCTION by_clause() RETURNS text LANGUAGE sql SET jwt.token = '' AS 'SELECT coalesce(jwt_subject(), current_setting(''jwt.token''))'});
is(ask("SET jwt.token = '$bearer'; SELECT '[' || by_clause() || ']', jwt_subject()"), '[]|bob', 'a SET clause');

# Parallel workers read a policy with the token of their leader, and its confirmation.
setup_notes($node);
my $parallel = 'SET ROLE reader; SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET parallel_leader_participation = off; ';
my $count = 'SELECT count(*), min(owner) FROM note';
like(ask("$parallel EXPLAIN (COSTS OFF) $count"), qr/Workers Planned/, 'a parallel plan');
is(ask("$parallel BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); $count; COMMIT"), "alice\n2500|alice", 'workers know that the token was confirmed');
is(ask("$parallel SET jwt.token = '$bearer'; $count; SHOW jwt.token"), "2500|bob\n(a token)", 'and get the token itself');
$node->psql('postgres', "$parallel BEGIN; SELECT attempt('$token', '" . proof('alice') . "'); RESET jwt.confirmed; $count", stderr => \$err);
like($err, qr/is not confirmed/, 'they refuse without it');

# Bounds: for each key, and in all.
$node->append_conf('postgresql.conf', "jwt.dpop_max_proofs = 1024");
$node->restart;
my $first;
do
{
	sleep 0.2 if $first;
	$first = time();
} until (attempt($token, proof('alice')) eq 'alice');
# Use a number of proofs of a key. Returns how many were good, and the last error.
sub use_up
{
	my ($key, $n) = @_;
	my @answers = split(/\n/, ask(join(';', map { 'SELECT attempt(' . literal($token, proof($key)) . ')' } 1 .. $n)));
	return (scalar(grep { $_ eq 'alice' } @answers), $answers[-1]);
}
# a proof with an iat in the future is good for the longest time
$used = proof('alice', age => 4);
is(attempt($token, $used), 'alice', 'a proof that is good for longer than a minute');
my ($good, $said) = use_up('alice', 70);
is($good, 62, 'a key may fill a sixteenth');
like($said, qr/^28J13 Too many DPoP proofs of this key/, 'then it is refused');
for (my $i = 1; $i < 40 && $said !~ /proofs have been used/; $i++)
{
	local $token = bound({ jkt => order(key => "k$i", alg => 'ES256') });
	my ($some, $why) = use_up("k$i", 65);
	$good += $some;
	$said = $why =~ /this key/ ? '' : $why;
}
is($good, 1022, 'all keys together fill the rest');
like($said, qr/^28J13 Too many DPoP proofs have been used/, 'then all are refused');
is(attempt($bearer), 'bob', 'but not who is not bound');
my ($waited, $twice) = (0, 0);
my $again;
do
{
	sleep 0.5 if $waited;
	$twice++ if attempt($token, $used) eq 'alice';
	$again = attempt($token, proof('alice'));
} until ($again eq 'alice' || $waited++ > 200);
is($twice, 0, 'no proof is forgotten while it is good');
is($again, 'alice', 'what is too old makes room');
cmp_ok(time() - $first, '>=', 64, 'after a minute');
# a restart does not make a proof good again
$used = proof('alice', age => 4);
is(attempt($token, $used), 'alice', 'a proof that is a little ahead of us');
$node->stop('immediate');
$node->start;
like(attempt($token, $used), qr/^28J13 .*before this server started/, 'is not accepted again after a restart');
# nor does a crash, after which the postmaster makes its shared memory anew
sleep 0.2 while attempt($token, proof('alice')) ne 'alice';
$used = proof('alice', age => 4);
is(attempt($token, $used), 'alice', 'another one');
{
	my $victim = open_session($node->connstr('postgres'));
	kill('KILL', $victim->('SELECT pg_backend_pid()'));
	wait_until(sub { logged($node, qr/all server processes terminated; reinitializing/, 0) && eval { attempt($token) } }) or die 'no restart';
	$victim->();
}
like(attempt($token, $used), qr/^28J13 .*before this server started/, 'is not accepted again after a crash');

# Without shared memory there is no DPoP.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
like(attempt($token, proof('alice')), qr/^28J13 .*cannot remember/, 'not preloaded');
$node->psql('postgres', "SELECT jwt_authenticate('$token', true, NULL, '" . proof('alice') . "', 'GET', 'https://api.example/things')", stderr => \$err);
like($err, qr/HINT:  Add jwt to shared_preload_libraries/, 'the hint');
unlike($err, qr/eyJ/, 'no token');

# Placeholders from before the library is loaded have no effect.
($out, $err) = ('', '');
$node->psql('postgres', "SET jwt.confirmed = '$digest'; SET jwt.certificate = '" . 'A' x 43 . "'; SET jwt.token = '$token'; SELECT jwt_subject()", stdout => \$out, stderr => \$err);
is($out, '', 'placeholders confirm nothing');
like($err, qr/WARNING:  .*jwt.certificate.*jwt.confirmed.*is not confirmed|WARNING:  .*jwt.confirmed.*jwt.certificate.*is not confirmed/s, 'a warning says so, and the token is refused');
is(ask("SET jwt.token = '$bearer'; $whoami; SHOW jwt.token"), "bob\n(a token)", 'one that holds a token is the current token');
like(ask("SET jwt.confirmed = '$digest'; LOAD 'jwt'; SHOW jwt.confirmed"), qr/^$/, 'nothing is left of one that was refused');
$node->psql('postgres', "$parallel SET jwt.confirmed = '$digest'; SET jwt.certificate = '" . 'A' x 43 . "'; SET jwt.token = '$token'; $count", stdout => \$out, stderr => \$err);
is($out, '', 'nor in parallel workers');
is(ask("$parallel SET jwt.token = '$bearer'; $count"), '2500|bob', 'where one that holds a token is the current token');
# nor does the SET clause of a function that a worker runs and that was created before
ask("CREATE FUNCTION forge() RETURNS text LANGUAGE plpgsql PARALLEL SAFE SET jwt.confirmed = '$digest' AS \$\$ BEGIN RETURN current_setting('jwt.confirmed'); END \$\$");
$node->psql('postgres', "LOAD 'jwt'; $parallel RESET ROLE; SELECT DISTINCT forge() FROM many", stdout => \$out, stderr => \$err);
is($out, '', 'nor by a function in a parallel worker');
like($err, qr/"jwt.confirmed" cannot be set/, 'which is refused');

$node->stop;
done_testing();
