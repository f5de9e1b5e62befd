# Each way to change trust with each way to read it: the verdicts of all sessions before
# the change, before its commit, after a rollback, and after the commit. The readers are
# on the server, on a hot standby and on a logical subscriber.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use JwtTest;
use LifeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
$primary->append_conf('postgresql.conf', q{
	max_prepared_transactions = 5
	max_worker_processes = 20
	max_parallel_workers = 8
	max_connections = 60
	log_statement = none
});
$primary->start;
setup_trust($primary);
$primary->safe_psql('postgres', q{
	CREATE TABLE beacon (n int PRIMARY KEY);
	CREATE TABLE many (token text, owner text) WITH (parallel_workers = 2);
	CREATE ROLE app LOGIN;
	CREATE TABLE note (owner text);
	INSERT INTO note VALUES ('alice');
	ALTER TABLE note ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON note USING (owner = jwt_subject());
	GRANT SELECT ON note TO app;
});

my $functions = q{
	-- the verdict of an accessor, and that of jwt_inspect if it differs
	CREATE FUNCTION seen() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		v text;
	BEGIN
		BEGIN
			IF jwt_subject() = 'alice' THEN
				v := 'valid';
			ELSE
				v := 'nobody';
			END IF;
		EXCEPTION WHEN OTHERS THEN
			v := SQLSTATE;
		END;
		IF v IS DISTINCT FROM coalesce((jwt_inspect(current_setting('test.token'))).sqlstate, 'valid') THEN
			v := v || ' or ' || coalesce((jwt_inspect(current_setting('test.token'))).sqlstate, 'valid');
		END IF;
		RETURN v;
	END $$;

	-- the same repeatedly in one statement: each time that a lock is released, the
	-- verdict becomes the session's application_name
	CREATE PROCEDURE loop(k int, commits boolean) LANGUAGE plpgsql AS $$
	DECLARE
		v text;
	BEGIN
		FOR n IN 0 .. 100000 LOOP
			PERFORM pg_advisory_lock(k, n);
			PERFORM pg_advisory_unlock(k, n);
			v := seen();
			PERFORM set_config('application_name', n || ' ' || v, false);
			IF commits THEN
				COMMIT;
			END IF;
		END LOOP;
	END $$;

	-- the verdicts before a write, after it, after its rollback, and after its
	-- repetition, all in one statement
	CREATE FUNCTION within(write text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		r text := seen();
	BEGIN
		BEGIN
			EXECUTE write;
			r := r || ', ' || seen();
			RAISE EXCEPTION USING ERRCODE = 'ZZ001';
		EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
			r := r || ', ' || seen();
		END;
		EXECUTE write;
		RETURN r || ', ' || seen();
	END $$;
};
$primary->safe_psql('postgres', $functions);
$primary->safe_psql('postgres', 'CREATE PUBLICATION trust FOR TABLE jwt_issuer, jwt_key, jwt_denylist, beacon');

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# long transactions of readers must not delay replay
$standby->append_conf('postgresql.conf', q{
	hot_standby_feedback = on
	wal_receiver_status_interval = 1s
	max_standby_streaming_delay = -1
});
$standby->start;

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', "max_prepared_transactions = 5\nmax_connections = 60\nlog_statement = none");
$subscriber->start;
$subscriber->safe_psql('postgres', "CREATE EXTENSION jwt; CREATE TABLE beacon (n int PRIMARY KEY); $functions");
$subscriber->safe_psql('postgres', sprintf(q{CREATE SUBSCRIPTION trust CONNECTION '%s dbname=postgres' PUBLICATION trust}, $primary->connstr));
$subscriber->wait_for_subscription_sync($primary, 'trust');

my %server = (primary => $primary, standby => $standby, subscriber => $subscriber);
my @claims = (jti => 't1', sid => 's1', iat => time() - 60);
my $token = token('alice', @claims);
# jwt_try_verify uses the cache, and jwt_inspect has the reason
my $expression = q{CASE WHEN jwt_try_verify(%1$s) IS NOT NULL THEN 'valid' ELSE coalesce((jwt_inspect(%1$s)).sqlstate, 'only inspected') END};
my $inspect = "SELECT $expression";
my $verdict = sprintf($inspect, "'$token'");
# jwt.token is write-only
my $set_token = "SET jwt.token = '$token'; SET test.token = '$token'";
my @parallel = ('SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0', 'SET min_parallel_table_scan_size = 0',
	'SET max_parallel_workers_per_gather = 2', 'SET parallel_leader_participation = off');
my $parallel = "SELECT v FROM (SELECT " . sprintf($expression, 'token') . " AS v FROM many) x GROUP BY v";
$primary->safe_psql('postgres', "INSERT INTO many SELECT '$token', 'alice' FROM generate_series(1, 100); ANALYZE many");

#
# Readers
#

# For each server: a name, the setup of the session, and its query.
my $cursor = sub { "DECLARE c CURSOR FOR SELECT $_[0] FROM generate_series(1, 100000)" };
my $n_token = 0;
my @readers = (
	[ 'primary standby subscriber', 'a new transaction', [], $verdict ],
	[ 'primary standby subscriber', 'a new transaction, a token never seen', [], sub { sprintf($inspect, "'" . token('alice', @claims, n => ++$n_token) . "'") } ],
	[ 'primary standby', 'a policy', [ $set_token ], q{SELECT coalesce(min('valid'), 'no row') FROM note}, 'app' ],
	[ 'primary', 'a prepared statement', [ 'SET plan_cache_mode = force_generic_plan', $verdict =~ s/^/PREPARE q AS /r ], 'EXECUTE q' ],
	[ 'primary standby subscriber', 'READ COMMITTED', [ 'BEGIN', 'SELECT 1' ], $verdict ],
	[ 'primary', 'READ COMMITTED, PL/pgSQL', [ $set_token, 'BEGIN' ], 'SELECT seen()' ],
	[ 'primary standby subscriber', 'REPEATABLE READ', [ 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1' ], $verdict ],
	[ 'primary standby', 'REPEATABLE READ, PL/pgSQL', [ $set_token, 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1' ], 'SELECT seen()' ],
	[ 'primary', 'READ ONLY DEFERRABLE', [ 'BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE', 'SELECT 1' ], $verdict ],
	[ 'primary', 'SERIALIZABLE', [ 'BEGIN ISOLATION LEVEL SERIALIZABLE', 'SELECT 1' ], $verdict ],
	[ 'primary standby subscriber', 'a cursor', [ 'BEGIN', $cursor->($verdict =~ s/^SELECT //r) ], 'FETCH c' ],
	[ 'primary', 'a cursor, REPEATABLE READ, PL/pgSQL', [ $set_token, 'BEGIN ISOLATION LEVEL REPEATABLE READ', $cursor->('seen()') ], 'FETCH c' ],
	[ 'primary standby', 'a parallel worker', \@parallel, $parallel ],
	[ 'primary', 'a policy in a parallel worker', [ $set_token, @parallel ], q{SELECT CASE count(*) WHEN 100 THEN 'valid' ELSE 'no row' END FROM many WHERE owner = jwt_subject()} ],
	[ 'primary', 'a parallel worker, REPEATABLE READ', [ @parallel, 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1' ], $parallel ],
	[ 'primary standby subscriber', 'a loop in one statement', [ $set_token ], 'no' ],
	[ 'primary standby', 'a loop in one statement, REPEATABLE READ', [ $set_token, 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1' ], 'no' ],
	[ 'primary', 'a procedure that commits', [ $set_token ], 'yes' ],
);

# Make a session for each.
my (@asked, @looping, %controller);
my $step = 0;
for my $name (sort keys %server)
{
	$controller{$name} = LifeTest->new($server{$name}->connstr('postgres'));
	for my $reader (@readers)
	{
		my ($where, $what, $set_up, $ask, $user) = @$reader;
		next unless $where =~ /\b$name\b/;
		my $session = LifeTest->new($server{$name}->connstr('postgres') . ($user ? " user=$user" : ''), @$set_up);
		my $entry = { server => $name, name => "$name: $what", session => $session, ask => $ask };
		if ($ask =~ /^(no|yes)$/)
		{
			$entry->{k} = @looping + 1;
			$entry->{pid} = $session->must('SELECT pg_backend_pid()');
			$controller{$name}->must("SELECT FROM pg_advisory_lock($entry->{k}, 0)");
			$session->send_sql("CALL loop($entry->{k}, '$ask')");
			push @looping, $entry;
		}
		else
		{
			push @asked, $entry;
		}
	}
}
my @all = (@asked, @looping);

# The current verdict of every reader, by name.
sub read_all
{
	my %verdict;

	# the loops first, because they take long
	for my $name (sort keys %server)
	{
		my @here = grep { $_->{server} eq $name } @looping;
		$controller{$name}->must(join('; ', map { sprintf('SELECT FROM pg_advisory_lock(%d, %d)', $_->{k}, $step + 1), sprintf('SELECT FROM pg_advisory_unlock(%d, %d)', $_->{k}, $step) } @here));
	}
	my @answers = ask_all(map { $_->{session}, ref $_->{ask} ? $_->{ask}->() : $_->{ask} } @asked);
	$verdict{ $_->{name} } = (shift @answers) =~ s/^ERROR:\s+//r for @asked;
	for my $entry (@looping)
	{
		my $application;
		until_true(sub {
			$application = $controller{ $entry->{server} }->must("SELECT application_name FROM pg_stat_activity WHERE pid = $entry->{pid}");
			return $application =~ s/^$step //;
		}) or die "$entry->{name} does not answer";
		$verdict{ $entry->{name} } = $application;
	}
	$step++;
	return \%verdict;
}

my $beacon = 0;
my $writer = LifeTest->new($primary->connstr('postgres'), $set_token, @parallel);
my $other = LifeTest->new($primary->connstr('postgres'));

# Wait until committed changes have arrived everywhere.
sub catch_up
{
	$beacon++;
	$other->must("INSERT INTO beacon VALUES ($beacon)");
	for my $name (qw(standby subscriber))
	{
		until_true(sub { $controller{$name}->must('SELECT coalesce(max(n), 0) FROM beacon') == $beacon })
		  or die "the $name does not catch up";
	}
	return;
}

# hot_standby_feedback must be effective before rows can be pruned
until_true(sub { $controller{primary}->must('SELECT count(backend_xmin) > 0 FROM pg_stat_replication') eq 't' }) or die 'no feedback';

my $plan = $writer->must("EXPLAIN (COSTS OFF) $parallel");
like($plan, qr/Gather.*Parallel Seq Scan on many/s, 'the plan is parallel');
my $calls = 'SELECT hits + misses FROM jwt_cache()';
my $before = $writer->must($calls);
$writer->must($parallel);
is($writer->must($calls), $before, 'and the leader verifies nothing');

#
# Writers
#

my $issuer = 'https://idp.example';
my $key_id = '11111111-1111-1111-1111-111111111111';
my $deny_id = '22222222-2222-2222-2222-222222222222';
my $jwk = sprintf('{"k": "%s", "kty": "oct"}', JwtTest::base64url(JwtTest::secret()));
my $dir = PostgreSQL::Test::Utils::tempdir();
sub file
{
	my ($name, $text) = @_;
	append_to_file("$dir/$name", $text);
	return "'$dir/$name'";
}

my %row = (
	issuer => "INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('$issuer', '{api}', '{HS256}')",
	key => "INSERT INTO jwt_key (id, issuer, kid, alg, jwk) VALUES ('$key_id', '$issuer', 'k1', 'HS256', '$jwk')",
	denylist => "INSERT INTO jwt_denylist (id, issuer, kind, value) VALUES ('$deny_id', '$issuer', 'jti', 't1')",
);
my $nothing = join('; ', map { "DELETE FROM jwt_$_" } qw(denylist key issuer));
my $trusted = "$nothing; $row{issuer}; $row{key}";
my $hex = unpack('H*', JwtTest::secret());
my $thumbprint = $other->must("SELECT jwt_thumbprint('$jwk')");
my $revoked = "$trusted; $row{denylist}";

# A name, the rows before, the write, and the verdicts before and after.
my @ways = (
	[ 'jwt_issuer: INSERT', "$nothing; $row{key}", $row{issuer}, '28J03', 'valid' ],
	[ 'jwt_issuer: INSERT, ON CONFLICT DO NOTHING', "$nothing; $row{key}", "$row{issuer} ON CONFLICT DO NOTHING", '28J03', 'valid' ],
	[ 'jwt_issuer: ON CONFLICT DO UPDATE', $trusted, "$row{issuer} ON CONFLICT (issuer) DO UPDATE SET audience = '{other}'", 'valid', '28J08' ],
	[ 'jwt_issuer: UPDATE', $trusted, "UPDATE jwt_issuer SET audience = '{other}'", 'valid', '28J08' ],
	[ 'jwt_issuer: UPDATE of the name', $trusted, "UPDATE jwt_issuer SET issuer = 'https://other.example'", 'valid', '28J07' ],
	[ 'jwt_issuer: DELETE', $trusted, 'DELETE FROM jwt_issuer', 'valid', '28J03' ],
	[ 'jwt_issuer: MERGE that updates', $trusted, "MERGE INTO jwt_issuer i USING (VALUES ('$issuer')) v (name) ON i.issuer = v.name WHEN MATCHED THEN UPDATE SET algorithms = '{ES256}'", 'valid', '28J02' ],
	[ 'jwt_issuer: MERGE that inserts', "$nothing; $row{key}", "MERGE INTO jwt_issuer i USING (VALUES ('$issuer')) v (name) ON i.issuer = v.name WHEN NOT MATCHED THEN INSERT (issuer, audience, algorithms) VALUES (v.name, '{api}', '{HS256}')", '28J03', 'valid' ],
	[ 'jwt_issuer: MERGE that deletes', $trusted, "MERGE INTO jwt_issuer i USING (VALUES ('$issuer')) v (name) ON i.issuer = v.name WHEN MATCHED THEN DELETE", 'valid', '28J03' ],
	[ 'jwt_issuer: COPY', "$nothing; $row{key}", 'COPY jwt_issuer (issuer, audience, algorithms) FROM ' . file('issuer', "$issuer\t{api}\t{HS256}\n"), '28J03', 'valid' ],
	[ 'jwt_issuer: TRUNCATE', $trusted, 'TRUNCATE jwt_issuer', 'valid', '28J03' ],
	[ 'jwt_issuer: a writable CTE', $trusted, "WITH w AS (UPDATE jwt_issuer SET audience = '{other}' RETURNING 1) SELECT count(*) < 0 FROM w", 'valid', '28J08' ],
	[ 'jwt_issuer: jwt_add_issuer', "$nothing; $row{key}", "SELECT FROM jwt_add_issuer('$issuer', '{api}', '{HS256}')", '28J03', 'valid' ],

	[ 'jwt_key: INSERT', "$nothing; $row{issuer}", $row{key}, '28J03', 'valid' ],
	[ 'jwt_key: ON CONFLICT DO UPDATE', $trusted, "$row{key} ON CONFLICT (id) DO UPDATE SET not_after = now() - interval '1 hour'", 'valid', '28J03' ],
	[ 'jwt_key: UPDATE', $trusted, "UPDATE jwt_key SET kid = 'other'", 'valid', '28J03' ],
	[ 'jwt_key: UPDATE of the window', $trusted, "UPDATE jwt_key SET not_before = now() + interval '1 day'", 'valid', '28J03' ],
	[ 'jwt_key: UPDATE of the key', $trusted, qq(UPDATE jwt_key SET jwk = '{"kty": "oct", "k": "b3RoZXIgc2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2gsIGJ1dCBub3QgaXQ"}'), 'valid', '28J04' ],
	[ 'jwt_key: DELETE', $trusted, 'DELETE FROM jwt_key', 'valid', '28J03' ],
	[ 'jwt_key: MERGE that updates', $trusted, "MERGE INTO jwt_key k USING (VALUES ('$issuer')) v (name) ON k.issuer = v.name WHEN MATCHED THEN UPDATE SET not_after = now() - interval '1 hour'", 'valid', '28J03' ],
	[ 'jwt_key: MERGE that inserts', "$nothing; $row{issuer}", "MERGE INTO jwt_key k USING (VALUES ('$issuer')) v (name) ON k.issuer = v.name WHEN NOT MATCHED THEN INSERT (issuer, kid, alg, jwk) VALUES (v.name, 'k1', 'HS256', '$jwk')", '28J03', 'valid' ],
	[ 'jwt_key: COPY', "$nothing; $row{issuer}", 'COPY jwt_key (id, issuer, kid, alg, jwk) FROM ' . file('key', "$key_id\t$issuer\tk1\tHS256\t$jwk\n"), '28J03', 'valid' ],
	[ 'jwt_key: TRUNCATE', $trusted, 'TRUNCATE jwt_key', 'valid', '28J03' ],
	[ 'jwt_key: a writable CTE', $trusted, 'WITH w AS (DELETE FROM jwt_key RETURNING 1) SELECT count(*) < 0 FROM w', 'valid', '28J03' ],
	[ 'jwt_key: jwt_add_secret', "$nothing; $row{issuer}", "SELECT FROM jwt_add_secret('$issuer', '\\x$hex', 'HS256', 'k1')", '28J03', 'valid' ],

	[ 'jwt_denylist: INSERT of a jti', $trusted, $row{denylist}, 'valid', '28J11' ],
	[ 'jwt_denylist: INSERT of a session', $trusted, "INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('$issuer', 'sid', 's1')", 'valid', '28J11' ],
	[ 'jwt_denylist: INSERT of a subject', $trusted, "INSERT INTO jwt_denylist (issuer, kind, value, issued_before) VALUES ('$issuer', 'sub', 'alice', now())", 'valid', '28J11' ],
	[ 'jwt_denylist: INSERT of an issuer', $trusted, "INSERT INTO jwt_denylist (issuer, kind, issued_before) VALUES ('$issuer', 'iss', now())", 'valid', '28J11' ],
	[ 'jwt_denylist: INSERT of a key', $trusted, "INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('', 'key', '$thumbprint')", 'valid', '28J11' ],
	[ 'jwt_denylist: ON CONFLICT DO UPDATE', "$revoked; UPDATE jwt_denylist SET value = 'other'", "$row{denylist} ON CONFLICT (id) DO UPDATE SET value = 't1'", 'valid', '28J11' ],
	[ 'jwt_denylist: UPDATE', "$revoked; UPDATE jwt_denylist SET value = 'other'", "UPDATE jwt_denylist SET value = 't1'", 'valid', '28J11' ],
	[ 'jwt_denylist: UPDATE that unrevokes', $revoked, "UPDATE jwt_denylist SET kind = 'sid'", '28J11', 'valid' ],
	[ 'jwt_denylist: DELETE', $revoked, 'DELETE FROM jwt_denylist', '28J11', 'valid' ],
	[ 'jwt_denylist: MERGE that inserts', $trusted, "MERGE INTO jwt_denylist d USING (VALUES ('t1')) v (value) ON d.value = v.value WHEN NOT MATCHED THEN INSERT (issuer, kind, value) VALUES ('$issuer', 'jti', v.value)", 'valid', '28J11' ],
	[ 'jwt_denylist: MERGE that deletes', $revoked, "MERGE INTO jwt_denylist d USING (VALUES ('t1')) v (value) ON d.value = v.value WHEN MATCHED THEN DELETE", '28J11', 'valid' ],
	[ 'jwt_denylist: COPY', $trusted, 'COPY jwt_denylist (issuer, kind, value) FROM ' . file('denylist', "$issuer\tjti\tt1\n"), 'valid', '28J11' ],
	[ 'jwt_denylist: TRUNCATE', $revoked, 'TRUNCATE jwt_denylist', '28J11', 'valid' ],
	[ 'jwt_denylist: a writable CTE', $trusted, "WITH w AS ($row{denylist} RETURNING 1) SELECT count(*) < 0 FROM w", 'valid', '28J11' ],
	[ 'jwt_denylist: jwt_revoke', $trusted, "SELECT FROM jwt_revoke('$token')", 'valid', '28J11' ],
	[ 'jwt_denylist: jwt_revoke_session', $trusted, "SELECT FROM jwt_revoke_session('$issuer', 's1')", 'valid', '28J11' ],
	[ 'jwt_denylist: jwt_revoke_subject', $trusted, "SELECT FROM jwt_revoke_subject('$issuer', 'alice')", 'valid', '28J11' ],
	[ 'jwt_denylist: jwt_revoke_issuer', $trusted, "SELECT FROM jwt_revoke_issuer('$issuer')", 'valid', '28J11' ],
	[ 'jwt_denylist: jwt_revoke_key', $trusted, "SELECT FROM jwt_revoke_key('$issuer', 'k1')", 'valid', '28J11' ],
	[ 'jwt_denylist: jwt_unrevoke_id', $revoked, "SELECT FROM jwt_unrevoke_id('$issuer', 't1')", '28J11', 'valid' ],
	[ 'jwt_denylist: jwt_prune_revocations', "$revoked; UPDATE jwt_denylist SET expires_at = now() - interval '2 hours'", 'SELECT FROM jwt_prune_revocations()', '28J11', 'valid' ],
	[ 'all tables at once: TRUNCATE', $trusted, 'TRUNCATE jwt_denylist, jwt_issuer, jwt_key', 'valid', '28J03' ],
);

# Bring the tables to a state, in a session where nothing cascades.
sub set_up
{
	my ($sql) = @_;
	$other->must("SET session_replication_role = replica; BEGIN; $sql; COMMIT; RESET session_replication_role");
	return;
}

my ($way, %history, $own_history, $expected, $own_expected);

# Record actual and expected verdicts of all readers and of the writer. A verdict that is
# undef is not read.
sub phase
{
	my ($name, $should, $own) = @_;
	if (defined $should)
	{
		my $verdict = read_all();
		$history{$_} .= " $name=$verdict->{$_}" for keys %$verdict;
		$expected .= " $name=$should";
	}
	return unless defined $own;
	$own_history .= " $name=" . $writer->ask('SELECT seen()') . '/' . $writer->ask($parallel);
	$own_expected .= " $name=$own/$own";
	return;
}

sub clear_history
{
	$history{ $_->{name} } = '' for @all;
	$expected = $own_history = $own_expected = '';
	return;
}

# Test the recorded verdicts of one way to write: once for each reader.
sub compare_history
{
	my ($name) = @_;
	is($history{ $_->{name} }, $expected, "$name, seen by $_->{name}") for @all;
	is($own_history, $own_expected, "$name, seen by the writer");
	clear_history();
	return;
}
clear_history();

# Set up the rows before a write, and record the verdicts.
sub begin_with
{
	my ($state, $verdict) = @_;
	set_up($state);
	catch_up();
	phase(before => $verdict, $verdict);
	return;
}

for my $w (@ways)
{
	my ($name, $state, $write, $old, $new) = @$w;
	# TRUNCATE blocks all other sessions
	my $meanwhile = $write =~ /TRUNCATE/ ? undef : $old;

	begin_with($state, $old);

	$writer->must("BEGIN; $write");
	phase(open => $meanwhile, $new);
	$writer->must('ROLLBACK');
	phase(rollback => $old, $old);

	$writer->must("BEGIN; SAVEPOINT a; $write");
	$own_history .= ' ' . $writer->ask('SELECT seen()');
	$writer->must('ROLLBACK TO a');
	$own_history .= ' ' . $writer->ask('SELECT seen()');
	$own_expected .= " $new $old";
	$writer->must('COMMIT');
	catch_up();
	phase(rollback_to => $old, $old);

	$writer->must("BEGIN; $write; PREPARE TRANSACTION 'p'");
	phase(prepared => $meanwhile, $meanwhile);
	$other->must("ROLLBACK PREPARED 'p'");
	$writer->must("BEGIN; $write; PREPARE TRANSACTION 'p'");
	$other->must("COMMIT PREPARED 'p'");
	catch_up();
	phase(commit_prepared => $new, $new);

	begin_with($state, $old);
	$writer->must("BEGIN; SAVEPOINT a; $write; RELEASE a; COMMIT");
	catch_up();
	phase(savepoint => $new, $new);

	begin_with($state, $old);
	$writer->must($write);
	catch_up();
	phase(committed => $new, $new);

	set_up($state);
	(my $quoted = $write) =~ s/'/''/g;
	$own_history .= ' ' . $writer->ask("BEGIN; SELECT within('$quoted'); ROLLBACK");
	$own_expected .= " $old, $new, $old, $new";
	$own_history .= ' ' . $writer->ask('SELECT seen()');
	$own_expected .= " $old";
	compare_history($name);
}

#
# Changed triggers on the server and on the subscriber, and a writer for which the
# triggers do not fire
#

my %writes = map { $_->[0] => $_ } @ways;
my @some = map { $writes{$_} } map { my $table = $_; map { "$table: $_" } qw(UPDATE DELETE COPY TRUNCATE) } qw(jwt_issuer jwt_key);
push @some, map { $writes{"jwt_denylist: $_"} } 'INSERT of a jti', 'INSERT of a key', qw(UPDATE DELETE COPY TRUNCATE), 'jwt_revoke';

my @triggers = split /\n/, $other->must(q{
	SELECT tgrelid::regclass, tgname FROM pg_trigger
	WHERE tgrelid IN ('jwt_issuer'::regclass, 'jwt_key'::regclass, 'jwt_denylist'::regclass) AND NOT tgisinternal AND tgenabled = 'A'});
is(@triggers, 6, 'the triggers that fire always');
sub each_trigger
{
	my ($statement) = @_;
	return join('; ', map { my ($table, $trigger) = split /\|/; $statement =~ s/%t/$table/gr =~ s/%n/$trigger/gr } @triggers);
}
# Triggers of the same names and functions that fire less often.
sub replaced
{
	my ($events, $when) = @_;
	return join('; ', map {
		my ($table, $trigger) = split /\|/;
		my ($time, $each, $function) = $trigger =~ /_check$/ ? ('BEFORE', 'ROW', $trigger) :
		  ('AFTER', 'STATEMENT', $trigger =~ s/jwt_(issuer|key)_changed/jwt_trust_changed/r);
		"CREATE OR REPLACE TRIGGER $trigger $time $events ON $table FOR EACH $each $when EXECUTE FUNCTION $function()"
	} @triggers) . '; ' . each_trigger('ALTER TABLE %t ENABLE ALWAYS TRIGGER %n');
}
my $disable = each_trigger('ALTER TABLE %t DISABLE TRIGGER %n');
my $enable = each_trigger('ALTER TABLE %t ENABLE ALWAYS TRIGGER %n');
my $status = q{SELECT unnest(problems) FROM jwt_status WHERE issuer IS NULL};

for my $name (qw(primary subscriber))
{
	$controller{$name}->must('CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$');
}

# Each mode: a name, the change of the triggers, a statement of the writer before its
# writes, and the number of problems in jwt_status.
my @modes = (
	[ 'session_replication_role = replica', '', 'SET session_replication_role = replica', 0 ],
	[ 'triggers disabled', $disable, '', 6 ],
	[ 'all triggers disabled', 'ALTER TABLE jwt_issuer DISABLE TRIGGER ALL; ALTER TABLE jwt_key DISABLE TRIGGER ALL; ALTER TABLE jwt_denylist DISABLE TRIGGER ALL', '', 8 ],
	[ 'triggers of ordinary sessions, a writer in another', each_trigger('ALTER TABLE %t ENABLE TRIGGER %n'), 'SET session_replication_role = replica', 6 ],
	[ 'triggers of replicas, a writer that is none', each_trigger('ALTER TABLE %t ENABLE REPLICA TRIGGER %n'), '', 6 ],
	[ 'triggers dropped', each_trigger('DROP TRIGGER %n ON %t'), '', 6 ],
	[ 'triggers replaced by others', each_trigger('DROP TRIGGER %n ON %t; CREATE TRIGGER %n BEFORE INSERT OR UPDATE OR DELETE ON %t FOR EACH ROW EXECUTE FUNCTION nothing()') . "; $enable", '', 6 ],
	[ 'triggers replaced by constraints', each_trigger('DROP TRIGGER %n ON %t; CREATE CONSTRAINT TRIGGER %n AFTER INSERT ON %t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nothing()') . "; $enable", '', 6 ],
	[ 'triggers replaced, for one event', replaced('INSERT', ''), '', 6 ],
	[ 'triggers replaced, for a column', replaced('UPDATE OF issuer', ''), '', 6 ],
	[ 'triggers replaced, on a condition', replaced('INSERT OR UPDATE OR DELETE', 'WHEN (false)'), '', 6 ],
);

for my $mode (@modes)
{
	my ($mode_name, $ddl, $role, $n) = @$mode;

	if ($ddl)
	{
		$controller{$_}->must("BEGIN; $ddl; COMMIT") for qw(primary subscriber);
	}
	$writer->must($role || 'RESET session_replication_role');
	for my $name (qw(primary subscriber standby))
	{
		catch_up();
		my @problems = grep { /^A trigger / } split /\n/, $controller{$name}->must($status);
		is(@problems, $n, "$mode_name: jwt_status of the $name has the problems");
	}
	for my $w (@some)
	{
		my ($name, $state, $write, $old, $new) = @$w;
		next if $mode_name =~ /constraint|event|column/ && $name !~ /DELETE|TRUNCATE|jwt_key: UPDATE|jti/;
		begin_with($state, $old);
		$writer->must("BEGIN; $write");
		phase(open => undef, $new);
		$writer->must('ROLLBACK');
		phase(rollback => undef, $old);
		$writer->must($write);
		catch_up();
		phase(committed => $new, $new);
		compare_history("$mode_name: $name");
	}
	next unless $ddl;
	for my $name (qw(primary subscriber))
	{
		my @remedies = map { /As a superuser: (.*)/ ? $1 : () } split /\n/, $controller{$name}->must($status);
		is(@remedies, $n, "$mode_name: the $name has the statements to mend them");
		$controller{$name}->ask($_) for @remedies;
		catch_up();
		is($controller{$name}->must("$status; SELECT ok FROM jwt_status WHERE issuer IS NULL"), 't', "$mode_name: after them the $name has no problem");
	}
	is($controller{standby}->must("$status; SELECT ok FROM jwt_status WHERE issuer IS NULL"), 't', "$mode_name: and so is the standby");
}
$writer->must('RESET session_replication_role');

# Disabled only during a write.
for my $w (@some)
{
	my ($name, $state, $write, $old, $new) = @$w;
	next if $write =~ /^SELECT/;
	begin_with($state, $old);
	$writer->must("BEGIN; $disable; $write; $enable");
	phase(open => $write =~ /TRUNCATE/ ? undef : $old, $new);
	$writer->must('ROLLBACK');
	phase(rollback => $old, $old);
	$writer->must("BEGIN; $disable; $write; $enable; COMMIT");
	catch_up();
	phase(committed => $new, $new);
	compare_history("triggers disabled within the transaction: $name");
}

# If all triggers are as they should be, results are cached.
set_up($trusted);
$writer->must($verdict);
my $hits = $writer->must('SELECT hits FROM jwt_cache()');
$writer->must($verdict) for 1 .. 3;
is($writer->must('SELECT hits FROM jwt_cache()'), $hits + 3, 'verified tokens are cached');

done_testing();
