# Revocation on whole servers: after a crash, in prepared transactions, in a message of
# several statements, and pruning by the worker. Then under load: four sessions verify
# as fast as they can, and another one revokes 1,000 tokens and 100 subjects a second.
use strict;
use warnings FATAL => 'all';

use FindBin;
use IO::Socket::UNIX;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'jwt, jwt_jwks'
	restart_after_crash = on
	log_statement = none
});
$node->start;
setup_trust($node);
sub sql { return $node->safe_psql('postgres', shift) }

my $t1 = token('alice', jti => 't1');

# Crash recovery keeps committed revocations.
sql("SELECT jwt_revoke_id('https://idp.example', 't1', 'infinity')");
$node->stop('immediate');
$node->start;
is(sql(verdict($t1)), '28J11', 'after a crash it is still revoked');

# A prepared transaction outlives its session, and the server.
{
	my $token = token('carol', jti => 't3', iat => time() - 60);
	my $valid = "SELECT jwt_try_verify('$token') IS NOT NULL";
	my $revoke = q{SELECT 1 FROM jwt_revoke_id('https://idp.example', 't3', 'infinity')};
	$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
	$node->restart;
	sql("BEGIN; $revoke; PREPARE TRANSACTION 'a'");
	$node->restart;
	my $session = open_session($node->connstr('postgres'));
	is($session->($valid), 't', 'a revocation that was prepared before the server started');
	sql("COMMIT PREPARED 'a'");
	is($session->($valid), 'f', 'and committed');
	$session->();
	sql(q{SELECT jwt_unrevoke_id('https://idp.example', 't3')});
	$node->append_conf('postgresql.conf', 'max_prepared_transactions = 0');
	$node->restart;
}

# The unnamed portal is executed in portions, and the token is revoked in between.
{
	my $token = token('carol', jti => 't4', iat => time() - 60);
	my $client = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die $!;
	my $user = sql('SELECT current_user');
	my $message = sub { my ($type, $body) = @_; print $client $type, pack('N', 4 + length $body), $body };
	# collect values and error codes until a message of one of these types
	my $answer = sub {
		my ($types) = @_;
		my @said;
		while (1)
		{
			read($client, my $head, 5) == 5 or die 'the server has closed the connection';
			my ($type, $len) = unpack('aN', $head);
			read($client, my $body, $len - 4);
			push @said, unpack('x2 N/a*', $body) if $type eq 'D';
			push @said, $body =~ /\0C([^\0]+)/ if $type eq 'E';
			return "@said" if index($types, $type) >= 0;
		}
	};
	$client->autoflush(1);
	$message->('', pack('N', 196608) . "user\0$user\0database\0postgres\0\0");
	$answer->('Z');
	$message->('Q', "BEGIN; SELECT set_config('jwt.token', '$token', true)\0");
	$answer->('Z');
	$message->(@$_) for [ 'P', "\0SELECT jwt_subject() FROM generate_series(1, 9)\0\0\0" ], [ 'B', "\0\0" . "\0" x 6 ], [ 'E', "\0" . pack('N', 2) ], [ 'H', '' ];
	is($answer->('sE'), 'carol carol', 'the first portion of an unnamed portal');
	sql(q{SELECT 1 FROM jwt_revoke_id('https://idp.example', 't4', 'infinity')});
	$message->(@$_) for [ 'E', "\0" . pack('N', 2) ], [ 'S', '' ];
	is($answer->('Z'), '28J11', 'the next, after a revocation');
	close $client;
	sql(q{SELECT jwt_unrevoke_id('https://idp.example', 't4')});
}

# In a message of several statements each statement checks again, also if they share a
# snapshot, and within functions that keep their plans.
sql(q{CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN jwt_subject(); END $$; CREATE TABLE seen (who text)});
{
	my $token = token('carol', jti => 't3', iat => time() - 60);
	my $admin = open_session($node->connstr('postgres'));
	for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
	{
		for my $statement ('SELECT jwt_subject()', 'SELECT who()', 'INSERT INTO seen VALUES (jwt_subject())', 'DO $$ BEGIN PERFORM who(); END $$', "SELECT jwt_try_verify('$token') ->> 'sub'")
		{
			for my $change (q{SELECT jwt_revoke_id('https://idp.example', 't3', 'infinity') IS NOT NULL}, q{SELECT jwt_revoke_key('https://idp.example', 'k1') IS NOT NULL})
			{
				my ($out, $err) = ('', '');
				$admin->('SELECT pg_advisory_lock(7)');
				my $message = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-v', 'VERBOSITY=sqlstate', '-c',
						"BEGIN ISOLATION LEVEL $level; SET LOCAL jwt.token = '$token'; $statement; SELECT pg_advisory_xact_lock(7); $statement; COMMIT" ], '>', \$out, '2>', \$err);
				$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) or die;
				$admin->($change);
				$admin->('SELECT pg_advisory_unlock(7)');
				$message->finish;
				my $first = $statement =~ /^SELECT/ ? "carol\n\n" : "\n";
				is($out . ($err =~ /(28J\d\d)/ ? $1 : $err), $first . ($statement =~ /try/ ? "\n" : '28J11'), "$level, in one message: " . ($statement =~ s/'eyJ[^']*'/token/r) . ", $change");
				$admin->(q{DELETE FROM jwt_denylist WHERE value = 't3' OR kind = 'key'});
			}
		}
	}
	$admin->();
}

# The worker of jwt_jwks, woken by a source, prunes expired revocations.
sql(q{INSERT INTO jwt_denylist (issuer, kind, value, expires_at) SELECT 'https://idp.example', 'jti', 'old' || i, now() - interval '1 day' FROM generate_series(1, 25000) i;
	INSERT INTO jwt_denylist (issuer, kind, value, expires_at) VALUES ('https://idp.example', 'jti', 'young', now());
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://idp.example', 'https://nowhere.example/')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM jwt_denylist'), 'the worker prunes what has expired');
is(sql(q{SELECT string_agg(value, ' ' ORDER BY value) FROM jwt_denylist}), 't1 young', 'and nothing else');
sql('DELETE FROM jwt_jwks_source');

# Under load: tokens 1 to $ids are revoked, ten in a transaction. The tokens after them
# are revoked by subject, one subject in a transaction. Some are not revoked.
my ($seconds, $ids, $subjects, $others) = (8, 10000, 1000, 1000);
my $all = $ids + $subjects + $others;
my $hex = unpack('H*', JwtTest::secret());
sql(JwtTest::hmac_function() . qq{
	CREATE ROLE app LOGIN;
	CREATE TABLE token AS
	SELECT n, input || '.' || translate(encode(hmac(input::bytea, '\\x$hex', 'sha256'), 'base64'), '+/=', '-_') AS token
	FROM generate_series(1, $all) n, LATERAL (SELECT
		translate(encode('{"alg":"HS256","kid":"k1"}', 'base64'), E'+/=\\n', '-_') || '.' ||
		translate(encode(format('{"iss":"https://idp.example","aud":"api","jti":"n%s","sub":"s%s","iat":%s,"exp":%s}',
			n, n, extract(epoch FROM now())::bigint - 60, extract(epoch FROM now())::bigint + 3600)::bytea, 'base64'), E'+/=\\n', '-_')) i (input);
	ALTER TABLE token ADD PRIMARY KEY (n);
	CREATE SEQUENCE next_id INCREMENT 10;
	CREATE SEQUENCE next_subject START @{[ $ids + 1 ]};
	CREATE UNLOGGED TABLE revoked (n int, at timestamptz);
	CREATE UNLOGGED TABLE verdict (n int, at timestamptz, done timestamptz, valid boolean);
	GRANT SELECT ON token TO app;
	GRANT INSERT ON verdict TO app;
});
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/verify", qq{
\\set n random(1, $all)
SELECT token FROM token WHERE n = :n \\gset
INSERT INTO verdict SELECT :n, statement_timestamp(), clock_timestamp(), v FROM (SELECT jwt_try_verify(:token) IS NOT NULL OFFSET 0) t (v);
});
append_to_file("$dir/revoke_id", q{
SELECT nextval('next_id') AS n \gset
SELECT jwt_revoke_id('https://idp.example', 'n' || i, 'infinity') FROM generate_series(:n, :n + 9) i WHERE i <= } . $ids . q{;
INSERT INTO revoked SELECT i, clock_timestamp() FROM generate_series(:n, :n + 9) i WHERE i <= } . $ids . q{;
});
append_to_file("$dir/revoke_subject", q{
SELECT nextval('next_subject') AS n \gset
SELECT jwt_revoke_subject('https://idp.example', 's' || :n) WHERE :n <= } . ($ids + $subjects) . q{;
INSERT INTO revoked SELECT :n, clock_timestamp() WHERE :n <= } . ($ids + $subjects) . q{;
});
my ($v_out, $v_err, $r_out, $r_err) = ('', '', '', '');
my $load = "pgbench -n -M prepared -c 4 -j 2 -T 2 -f $dir/verify '" . $node->connstr('postgres') . " user=app'";
my $verify = IPC::Run::start([ 'bash', '-c', "until [ -e $dir/enough ]; do $load || exit; done" ], '>', \$v_out, '2>', \$v_err);
ok($node->poll_query_until('postgres', 'SELECT count(*) > 500 FROM verdict'), 'sessions verify');
# less work for a server under sanitizers; more rounds on a busy machine
my $least = $ENV{JWT_SANITIZE} ? 0.02 : 1;
my $rounds = 0;
do
{
	IPC::Run::run([ 'pgbench', '-n', '-M', 'prepared', '-c', 1, '-T', $seconds, '-R', 230, '-f', "$dir/revoke_id", '-f', "$dir/revoke_subject", $node->connstr('postgres') ],
		'>', \$r_out, '2>>', \$r_err);
} until ++$rounds == 10 || sql("SELECT count(*) FILTER (WHERE n <= $ids) > 250 * $seconds * $least AND count(*) FILTER (WHERE n > $ids) > 25 * $seconds * $least FROM revoked") eq 't';
append_to_file("$dir/enough", 'x');
$verify->finish;
unlike("$v_err$r_err", qr/ERROR|aborted/, 'nobody had an error');
my ($n_verdicts, $n_ids, $n_subjects) = split(/\|/, sql(qq{
	SELECT (SELECT count(*) FROM verdict), count(*) FILTER (WHERE n <= $ids), count(*) FILTER (WHERE n > $ids) FROM revoked}));
note sprintf('%d verdicts, while %d tokens and %d subjects were revoked in %d s', $n_verdicts, $n_ids, $n_subjects, $rounds * $seconds);
cmp_ok($n_verdicts, '>', 5000 * $least, 'there were verdicts');
# 1,000 and 100 a second, unless the machine is busy
cmp_ok($n_ids, '>', 250 * $seconds * $least, 'and revocations of tokens');
cmp_ok($n_subjects, '>', 25 * $seconds * $least, 'and of subjects');
is(sql('SELECT count(*) FROM verdict v JOIN revoked r USING (n) WHERE v.at > r.at AND v.valid'), '0',
	'no statement that started after a revocation had committed accepted the token');
cmp_ok(sql('SELECT count(*) FROM verdict v JOIN revoked r USING (n) WHERE v.at > r.at AND NOT v.valid'), '>', 500 * $least, 'they refused it');
is(sql(q{SELECT count(*) FROM verdict v LEFT JOIN (
		SELECT substr(value, 2)::int AS n, revoked_at FROM jwt_denylist WHERE value ~ '^[ns][0-9]+$') r
	USING (n) WHERE NOT v.valid AND (r.n IS NULL OR r.revoked_at > v.done)}), '0',
	'no good token was refused');
cmp_ok(sql('SELECT count(*) FROM verdict v JOIN revoked r USING (n) WHERE v.at < r.at AND v.valid'), '>', 500 * $least, 'they were accepted before');
is(sql(q{SELECT count(*) FROM verdict WHERE valid AND n > } . ($ids + $subjects)) > 100, 1, 'and others all the time');
$node->stop;

done_testing();
