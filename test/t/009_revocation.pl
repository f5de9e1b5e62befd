# Revocation on whole servers: on a hot standby and a logical subscriber, after a
# crash, pruned by the worker; and while four sessions verify as fast as they can
# and another revokes 1,000 tokens and 100 subjects a second.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'jwt, jwt_jwks'
	restart_after_crash = on
	log_statement = none
});
$node->start;
setup_trust($node);
sub sql { return $node->safe_psql('postgres', shift) }

my ($t1, $t2) = (token('alice', jti => 't1'), token('bob', jti => 't2', iat => time() - 60));

# A standby learns of it when it has replayed it, a subscriber when it has applied
# it; each has the token in a session's cache.
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->start;
setup_trust($subscriber);
sql('CREATE PUBLICATION p FOR TABLE jwt_revocation');
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION p");
$subscriber->wait_for_subscription_sync($node, 's');

my %ask = map { $_->name => open_session($_->connstr('postgres')) } $standby, $subscriber;
my $cached = sub { my ($name, $token) = @_; return $ask{$name}->("SELECT jwt_try_verify('$token') IS NOT NULL") };
my $caught_up = sub { $node->wait_for_catchup($standby); $node->wait_for_catchup('s') };
for my $case ([ $t1, "SELECT jwt_revoke_id('https://idp.example', 't1', 'infinity')", "SELECT jwt_unrevoke_id('https://idp.example', 't1')" ],
	[ $t2, "SELECT jwt_revoke_subject('https://idp.example', 'bob')", "SELECT jwt_unrevoke_subject('https://idp.example', 'bob')" ])
{
	my ($token, $revoke, $unrevoke) = @$case;
	for my $name (qw(standby subscriber))
	{
		is($cached->($name, $token), 't', "$name: the token is valid") for 1 .. 2;
	}
	sql($revoke);
	$caught_up->();
	is($cached->($_, $token), 'f', "$_: after $revoke it is not") for qw(standby subscriber);
	sql($unrevoke);
	$caught_up->();
	is($cached->($_, $token), 't', "$_: and then it is again") for qw(standby subscriber);
}
# Who revokes the same on both sides has not stopped the stream.
my $both = "SELECT jwt_revoke_id('https://idp.example', 't1', 'infinity'), jwt_revoke_subject('https://idp.example', 'carol')";
$subscriber->safe_psql('postgres', $both);
sql($both);
sql("SELECT jwt_revoke_subject('https://idp.example', 'bob')");
$caught_up->();
is($cached->($_, $t2), 'f', "$_: a revocation after one that both sides have") for qw(standby subscriber);
sql('DELETE FROM jwt_revocation');
$subscriber->safe_psql('postgres', 'DELETE FROM jwt_revocation');
is($subscriber->safe_psql('postgres', 'SELECT has_revoked_ids, has_revoked_subjects FROM jwt_issuer'), 't|t', 'the subscriber looks for revocations by itself');
$_->() for values %ask;
$standby->stop;
$subscriber->stop;

# Crash recovery keeps what was committed.
sql("SELECT jwt_revoke_id('https://idp.example', 't1', 'infinity')");
$node->stop('immediate');
$node->start;
is(sql(verdict($t1)), '28J11', 'after a crash it is still revoked');

# Preloaded, the server counts who revokes: while nobody does, nobody asks the
# table, and whatever else happens, everybody does.
{
	my $token = token('carol', jti => 't3', iat => time() - 60);
	my $session = open_session($node->connstr('postgres'));
	my $other = open_session($node->connstr('postgres'));
	my $valid = "SELECT jwt_try_verify('$token') IS NOT NULL";
	my $revoke = q{SELECT 1 FROM jwt_revoke_id('https://idp.example', 't3', 'infinity')};
	my $unrevoke = q{SELECT 1 FROM jwt_unrevoke_id('https://idp.example', 't3')};
	my $insert = q{INSERT INTO jwt_revocation (issuer, jti, expires_at) VALUES ('https://idp.example', 't3', 'infinity')};

	# how often five statements look at the table
	my $looks = sub {
		my $statement = shift // $valid;
		my @scans = map {
			$session->($statement) for 1 .. 5;
			$session->('SELECT pg_stat_force_next_flush()');
			$session->(q{SELECT pg_stat_get_numscans(indexrelid) FROM pg_index WHERE indrelid = 'jwt_revocation'::regclass AND indkey[0] = 3 AND indnkeyatts = 2});
		} 1 .. 2;
		return $scans[1] - $scans[0];
	};
	is($session->($valid), 't', 'a token that is not revoked');
	is($looks->(), '0', 'is not looked for in every statement');
	$other->("BEGIN; $revoke");
	is($looks->(), '5', 'it is while somebody revokes');
	is($looks->("SELECT count(jwt_try_verify('$token')) FROM generate_series(1, 1000)"), '5', 'once for a statement, not for each row');
	is($session->($valid), 't', 'who has not committed');
	$other->('COMMIT');
	is($session->($valid), 'f', 'and then has');
	$other->($unrevoke);
	is($session->($valid), 't', 'and takes it back');
	is($looks->(), '0', 'it is looked for no longer');
	$other->("BEGIN; $revoke; ROLLBACK; BEGIN; SAVEPOINT a; $revoke; ROLLBACK TO a; COMMIT");
	is($session->($valid), 't', 'a revocation that is rolled back');
	is($looks->(), '0', 'is looked for no longer');

	# what this session has not committed
	$session->($_->[0]), is($session->($valid), $_->[1], "own transaction: $_->[0]")
	  for [ "BEGIN; $revoke", 'f' ], [ 'ROLLBACK', 't' ],
	  [ "BEGIN; SAVEPOINT a; $revoke", 'f' ], [ 'ROLLBACK TO a', 't' ], [ 'COMMIT', 't' ],
	  [ $revoke, 'f' ], [ "BEGIN; $unrevoke", 't' ], [ 'ROLLBACK', 'f' ],
	  [ "BEGIN; SAVEPOINT a; $unrevoke", 't' ], [ 'ROLLBACK TO a', 'f' ], [ 'COMMIT', 'f' ],
	  [ "BEGIN; TRUNCATE jwt_revocation", 't' ], [ 'ROLLBACK', 'f' ], [ $unrevoke, 't' ];

	# isolation levels that keep a snapshot
	for my $level ('REPEATABLE READ', 'SERIALIZABLE')
	{
		$session->("BEGIN ISOLATION LEVEL $level");
		is($session->($valid), 't', "$level: not revoked");
		$other->($revoke);
		is($session->($valid), 'f', "$level: revoked meanwhile");
		$session->('ROLLBACK');
		$other->($unrevoke);
		is($session->($valid), 't', 'and not any more');
	}

	# who revokes is ended in the middle
	my $doomed = open_session($node->connstr('postgres'));
	my $pid = $doomed->('SELECT pg_backend_pid()');
	$doomed->("BEGIN; $revoke");
	sql("SELECT pg_terminate_backend($pid, 5000)");
	is($session->($valid), 't', 'a revocation whose session was ended');
	is($looks->(), '0', 'is not waited for');

	# the trigger that counts does not fire
	for my $state ('DISABLE', 'ENABLE', 'ENABLE REPLICA')
	{
		my $role = $state eq 'ENABLE' ? 'replica' : 'origin';
		is($session->($valid), 't', 'not revoked');
		$other->("ALTER TABLE jwt_revocation $state TRIGGER jwt_revocation_added; SET session_replication_role = $role; $insert; RESET session_replication_role");
		is($session->($valid), 'f', "trigger $state, $role: revoked");
		$other->($unrevoke);
		is($session->($valid), 't', 'and not any more');
		is($looks->(), '5', 'it is looked for in every statement');
		$other->("SET session_replication_role = $role; $insert; RESET session_replication_role");
		is($session->($valid), 'f', 'and found again');
		$other->($unrevoke);
		$other->('ALTER TABLE jwt_revocation ENABLE ALWAYS TRIGGER jwt_revocation_added');
		is($session->($valid), 't', 'and not any more');
		is($looks->(), '0', 'nor looked for');
	}
	# nor does it tell the issuer that there is something to look for
	my $tell = slurp_file("$FindBin::RealBin/../keys.md");
	$tell = $tell =~ /^(SELECT format\('ALTER TABLE.*?)^```/ms ? $1 : die 'no remedy';
	for my $state ('DISABLE', 'ENABLE')
	{
		my $role = $state eq 'ENABLE' ? 'replica' : 'origin';
		$other->("TRUNCATE jwt_revocation; DELETE FROM jwt_issuer; INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://idp.example', '{api}', '{HS256}');"
			. "SELECT jwt_add_secret('https://idp.example', '\\x" . unpack('H*', JwtTest::secret()) . "', 'HS256', 'k1')");
		is($session->($valid), 't', 'of an issuer that has revoked nothing');
		is($looks->(), '0', 'none is looked for');
		$other->("ALTER TABLE jwt_revocation $state TRIGGER jwt_revocation_added");
		$other->("SET session_replication_role = $role; $insert; RESET session_replication_role");
		is($other->('SELECT has_revoked_ids FROM jwt_issuer'), 'f', "trigger $state, $role: its row does not know of it");
		is($session->($valid), 'f', 'a session does');
		is(sql($valid), 'f', 'and one that is new');
		sql($tell);
		is($other->('SELECT has_revoked_ids, has_revoked_subjects FROM jwt_issuer'), 't|f', 'after what doc/keys.md tells the row does, too');
		is($session->($valid), 'f', 'and the session still');
		$other->($unrevoke);
		is($session->($valid), 't', 'and not any more');
		is($looks->(), '0', 'nor looked for');
	}
	sql("SELECT jwt_revoke_id('https://idp.example', 't1', 'infinity')");
	$other->('CLUSTER jwt_revocation USING jwt_revocation_pkey; REINDEX TABLE jwt_revocation; VACUUM ANALYZE jwt_revocation');
	is($session->($valid), 't', 'the table rewritten');
	is($looks->(), '0', 'and not looked at');
	$other->($revoke);
	is($session->($valid), 'f', 'the token revoked at last');
	$_->() for $session, $other;

	# prepared transactions outlive their session, and the server
	sql($unrevoke);
	$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
	$node->restart;
	$session = open_session($node->connstr('postgres'));
	is($session->($valid), 't', 'with prepared transactions');
	sql("BEGIN; $revoke; PREPARE TRANSACTION 'a'");
	is($session->($valid), 't', 'a revocation that is prepared');
	sql("COMMIT PREPARED 'a'");
	is($session->($valid), 'f', 'and committed');
	$session->();
	sql($unrevoke);
	sql("BEGIN; $revoke; PREPARE TRANSACTION 'a'");
	$node->restart;
	$session = open_session($node->connstr('postgres'));
	is($session->($valid), 't', 'a revocation that was prepared before the server started');
	sql("COMMIT PREPARED 'a'");
	is($session->($valid), 'f', 'and committed');
	$session->();
	sql($unrevoke);
	$node->append_conf('postgresql.conf', 'max_prepared_transactions = 0');
	$node->restart;
}

# A message may hold many statements, and each is asked for anew, also those that
# have one snapshot, and within functions that remember what they have asked.
sql(q{CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN jwt_subject(); END $$; CREATE TABLE seen (who text)});
{
	my $token = token('carol', jti => 't3', iat => time() - 60);
	my $admin = open_session($node->connstr('postgres'));
	for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
	{
		for my $statement ('SELECT jwt_subject()', 'SELECT who()', 'INSERT INTO seen VALUES (jwt_subject())', 'DO $$ BEGIN PERFORM who(); END $$', "SELECT jwt_try_verify('$token') ->> 'sub'")
		{
			for my $change (q{SELECT jwt_revoke_id('https://idp.example', 't3', 'infinity') IS NOT NULL}, q{UPDATE jwt_key SET revoked_at = now()})
			{
				my ($out, $err) = ('', '');
				$admin->('SELECT pg_advisory_lock(7)');
				my $message = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-v', 'VERBOSITY=sqlstate', '-c',
						"BEGIN ISOLATION LEVEL $level; SET LOCAL jwt.token = '$token'; $statement; SELECT pg_advisory_xact_lock(7); $statement; COMMIT" ], '>', \$out, '2>', \$err);
				$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) or die;
				$admin->($change);
				$admin->('SELECT pg_advisory_unlock(7)');
				$message->finish;
				my $refused = $change =~ /revoke_id/ ? '28J11' : '28J03';
				my $first = $statement =~ /^SELECT/ ? "carol\n\n" : "\n";
				is($out . ($err =~ /(28J\d\d)/ ? $1 : $err), $first . ($statement =~ /try/ ? "\n" : $refused), "$level, in one message: " . ($statement =~ s/'eyJ[^']*'/token/r) . ", $refused");
				$admin->(q{DELETE FROM jwt_revocation WHERE jti = 't3'; UPDATE jwt_key SET revoked_at = NULL});
			}
		}
	}
	$admin->();
}

# Where somebody has added columns to jwt_issuer, those of a later version come
# after them.
for my $version ('1.0', '1.1')
{
	for my $change ('ADD note text', 'ADD note text, DROP note')
	{
		my $grown = sub { return $node->safe_psql('grown', shift) };
		sql('CREATE DATABASE grown');
		$grown->("CREATE EXTENSION jwt VERSION '$version'");
		$grown->("ALTER TABLE jwt_issuer $_") for split(/, /, $change);
		$grown->("ALTER EXTENSION jwt UPDATE; INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://idp.example', '{api}', '{HS256}');
			SELECT jwt_add_secret('https://idp.example', '\\x" . unpack('H*', JwtTest::secret()) . "', 'HS256', 'k1')");
		is($grown->(verdict($t1)), 'valid', "$version with $change, updated");
		$grown->("SELECT jwt_revoke('$t1'), jwt_revoke_subject('https://idp.example', 'bob')");
		is($grown->(verdict($_)), '28J11', 'revocations hold') for $t1, $t2;
		is($grown->(q{SELECT has_revoked_ids, has_revoked_subjects FROM jwt_issuer}), 't|t', 'and the issuer tells of them');
		$grown->(q{UPDATE jwt_issuer SET issuer = 'https://x'; UPDATE jwt_issuer SET issuer = 'https://idp.example', has_revoked_ids = false});
		is($grown->(verdict($_)), '28J11', 'whatever is done to its row') for $t1, $t2;
		$grown->(q{DELETE FROM jwt_revocation; ALTER TABLE jwt_issuer RENAME has_revoked_subjects TO x});
		is($grown->(verdict($t2)), 'valid', 'where one of its columns has another name');
		$grown->(q{ALTER TABLE jwt_revocation DISABLE TRIGGER jwt_revocation_added; INSERT INTO jwt_revocation (issuer, sub, issued_before) VALUES ('https://idp.example', 'bob', now())});
		is($grown->(verdict($t2)), '28J11', 'they are looked for all the same');
		sql('DROP DATABASE grown');
	}
}

# Expired ones are pruned by the worker of jwt_jwks, which a source wakes.
sql(q{INSERT INTO jwt_revocation (issuer, jti, expires_at) SELECT 'https://idp.example', 'old' || i, now() - interval '1 day' FROM generate_series(1, 25000) i;
	INSERT INTO jwt_revocation (issuer, jti, expires_at) VALUES ('https://idp.example', 'young', now());
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://idp.example', 'https://nowhere.example/')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM jwt_revocation'), 'the worker prunes what has expired');
is(sql(q{SELECT string_agg(jti, ' ' ORDER BY jti) FROM jwt_revocation}), 't1 young', 'and nothing else');
sql('DELETE FROM jwt_jwks_source');

# Under load. Tokens 1 to $ids are revoked, ten in a transaction, those of the
# subjects after them by subject, one in a transaction, and some not at all.
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
# a server under sanitizers has less to do, and a machine that is busy with something
# else takes more rounds for as much
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
# 1,000 and 100 a second, unless the machine is busy with something else
cmp_ok($n_ids, '>', 250 * $seconds * $least, 'and revocations of tokens');
cmp_ok($n_subjects, '>', 25 * $seconds * $least, 'and of subjects');
is(sql('SELECT count(*) FROM verdict v JOIN revoked r USING (n) WHERE v.at > r.at AND v.valid'), '0',
	'no statement that started after a revocation had committed accepted the token');
cmp_ok(sql('SELECT count(*) FROM verdict v JOIN revoked r USING (n) WHERE v.at > r.at AND NOT v.valid'), '>', 500 * $least, 'they refused it');
is(sql(q{SELECT count(*) FROM verdict v LEFT JOIN (
		SELECT substr(coalesce(jti, sub), 2)::int AS n, revoked_at FROM jwt_revocation WHERE coalesce(jti, sub) ~ '^[ns][0-9]+$') r
	USING (n) WHERE NOT v.valid AND (r.n IS NULL OR r.revoked_at > v.done)}), '0',
	'no good token was refused');
cmp_ok(sql('SELECT count(*) FROM verdict v JOIN revoked r USING (n) WHERE v.at < r.at AND v.valid'), '>', 500 * $least, 'they were accepted before');
is(sql(q{SELECT count(*) FROM verdict WHERE valid AND n > } . ($ids + $subjects)) > 100, 1, 'and others all the time');
$node->stop;

done_testing();
