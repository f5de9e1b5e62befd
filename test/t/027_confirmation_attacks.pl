# A thief of a bound token uses it without its key: by forging the settings that hold a
# confirmation, in every way in which a session gets settings; and by keeping a
# confirmation with transactions, functions and parallel workers. Also replays and floods
# of proofs, and a standby.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(sha256);
use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $order = order_maker();
my %claims = (sub => 'alice', sid => 's1', cnf => { jkt => $order->(key => 'alice', alg => 'ES256') });
my $token = $order->(token => \%claims, secret => JwtTest::secret());
sub proof { my (%changes) = @_; return $order->(proof => 'alice', token => $token, %changes) }
my $digest = 'dpop ' . JwtTest::base64url(sha256($token));
my $print = 'A' x 43;
my $certified = $order->(token => { sub => 'alice', cnf => { 'x5t#S256' => $print } }, secret => JwtTest::secret());

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "max_prepared_transactions = 2\nlog_min_error_statement = panic\njwt.dpop_max_proofs = 1024");
$node->start;
setup_trust($node);
setup_notes($node);
sub ask { my ($sql, @more) = @_; return $node->safe_psql('postgres', $sql, @more) }
ask(q{
	CREATE ROLE mallory LOGIN;
	GRANT reader TO mallory;
	CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
	BEGIN
		RETURN coalesce(jwt_subject(), 'nobody');
	EXCEPTION WHEN SQLSTATE '28J13' THEN
		RETURN 'not confirmed';
	END $$;
	-- for workers, which have no subtransactions
	CREATE FUNCTION whoever() RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$ BEGIN RETURN coalesce(jwt_subject(), 'nobody'); END $$;
	CREATE FUNCTION prove(token text, proof text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		reason text;
	BEGIN
		RETURN jwt_authenticate(token, true, NULL, proof, 'GET', 'https://api.example/things') ->> 'sub';
	EXCEPTION WHEN SQLSTATE '28J13' THEN
		GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
		RETURN reason;
	END $$;
});
my $forge = "jwt.confirmed = '$digest'";
my $forged_certificate = "jwt.certificate = '$print'";
my $as_mallory = $node->connstr('postgres') . ' user=mallory';
# A superuser, or the restore of a dump, can store these settings while the library is not
# loaded.
ask(qq{
	ALTER ROLE mallory SET $forge;
	ALTER ROLE mallory SET $forged_certificate;
	ALTER ROLE mallory IN DATABASE postgres SET $forge;
	CREATE FUNCTION forge(kind text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE SET $forge SET $forged_certificate AS \$\$ BEGIN RETURN whoever(); END \$\$;
	CREATE FUNCTION clear(token text) RETURNS text LANGUAGE plpgsql SET jwt.confirmed = '' AS \$\$ BEGIN RETURN jwt_authenticate(token) ->> 'sub'; END \$\$;
	CREATE FUNCTION load() RETURNS text LANGUAGE plpgsql SET $forge SET $forged_certificate AS \$\$ BEGIN LOAD 'jwt'; RETURN who(); END \$\$ SECURITY DEFINER;
	ALTER DATABASE postgres SET $forge;
	ALTER DATABASE postgres SET $forged_certificate;
});
$node->append_conf('postgresql.conf', "$forge\n$forged_certificate");

# The output of SQL that mallory runs, with its errors.
sub try_as
{
	my ($sql, $options) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', $sql, connstr => $as_mallory . ($options ? " options='$options'" : ''), stdout => \$out, stderr => \$err, on_error_stop => 0);
	return $out . join('', map { "\n$_" } $err =~ /((?:ERROR|FATAL): .*)/g);
}
my $parallel = 'SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET parallel_leader_participation = off;';
(my $option = "-c $forge -c $forged_certificate") =~ s/ = '([^']*)'/'=' . $1 =~ s{ }{\\\\ }gr/ge;
for my $how ('not preloaded', "session_preload_libraries = 'jwt'", "shared_preload_libraries = 'jwt'")
{
	my $shared = $how =~ /shared/;
	$node->append_conf('postgresql.conf', $how) if $how =~ /=/;
	$node->restart;
	for my $one ($token, $certified)
	{
		my $what = $one eq $token ? 'a key' : 'a certificate';
		my $try = "SET jwt.token = '$one'; SELECT who()";
		is(try_as($try), 'not confirmed', "$how: $what, by the settings of the role, the database and the file");
		is(try_as("SELECT who(); SET $forge; SET $forged_certificate; $try") =~ s/^nobody\n//r =~ s/\nERROR:.*cannot be set//gr, 'not confirmed', "$how: $what, by SET");
		is(try_as("SET $forge; SET $forged_certificate; $try") =~ s/\nERROR:.*cannot be set//gr, 'not confirmed', "$how: $what, by SET before all");
		is(try_as("BEGIN; SET LOCAL $forge; SET LOCAL $forged_certificate; SET jwt.token = '$one'; SAVEPOINT s; SELECT who(); RELEASE s; SELECT who()") =~ s/\nERROR:.*//gr =~ s/\n//gr,
			$how =~ /not/ ? 'not confirmednot confirmed' : '', "$how: $what, by SET LOCAL");
		like(try_as("SET jwt.token = '$one'; SELECT forge('x')"), qr/not confirmed|cannot be set/, "$how: $what, by the clause of a function");
		like(try_as("SET jwt.token = '$one'; SELECT load()"), qr/not confirmed|cannot be set|permission denied/, "$how: $what, by one that loads the library");
		my $out = try_as($try, $option);
		$how =~ /not/ ? is($out, 'not confirmed', "$how: $what, by an option of the connection") : unlike($out, qr/alice/, "$how: $what, by an option of the connection");
		my $seen = try_as("$parallel SET ROLE reader; SET jwt.token = '$one'; SELECT DISTINCT forge('x') FROM note; SELECT count(*) FROM note");
		unlike($seen, qr/alice|^\d+$/m, "$how: $what, in parallel workers");
		like($seen, qr/not confirmed|cannot be set/, "$how: which say so");
	}
}
ok(logged($node, qr/invalid value for parameter|cannot be (set|changed)/, 0), 'the log has the values of the file');
my $from = -s $node->logfile;
ask('SELECT pg_reload_conf()');
ok(logged($node, qr/parameter "jwt.confirmed" cannot be/, $from), 'a reload refuses them');
is(try_as("SELECT who(); SHOW jwt.confirmed") =~ s/\n//gr, 'nobody', 'and brings none in');

ask('ALTER DATABASE postgres RESET ALL');

# Proofs are refused in the first seconds after the start.
ok(wait_until(sub { ask("SELECT prove('$token', '" . proof() . "')") eq 'alice' }), 'a good proof');
# A confirmation ends with its transaction, or when it is cleared. Each case then uses the
# token again.
my $bearer = token('bob');
my $again = "SET jwt.token = '$token'; SELECT who()";
for (
	[ "BEGIN; P; COMMIT; $again", 'commit' ], [ "BEGIN; P; COMMIT AND CHAIN; $again; COMMIT", 'commit and chain' ], [ "BEGIN; P; ROLLBACK AND CHAIN; $again; COMMIT", 'rollback and chain' ],
	[ "BEGIN; P; PREPARE TRANSACTION 'x'; COMMIT PREPARED 'x'; $again", 'a prepared transaction' ],
	[ "BEGIN; SAVEPOINT a; SAVEPOINT b; P; RELEASE b; ROLLBACK TO a; $again; COMMIT", 'a savepoint that goes with the one around it' ],
	[ "BEGIN; P; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT; $again", 'a cursor that stays' ],
	[ "BEGIN; P; SELECT jwt_authenticate('$bearer') IS NULL; $again; COMMIT", 'another token' ], [ "BEGIN; P; SELECT jwt_authenticate(NULL); $again; COMMIT", 'none' ],
	[ "BEGIN; P; SELECT jwt_authenticate('$bearer', false) IS NULL; COMMIT; $again", 'another token for the session' ],
	[ "BEGIN; P; RESET jwt.confirmed; $again; COMMIT", 'RESET' ], [ "BEGIN; P; RESET ALL; $again; COMMIT", 'RESET ALL' ])
{
	my ($sql, $name) = @$_;
	my $prove = "SELECT prove('$token', '" . proof() . "')";
	my ($out, $err) = ('', '');
	$node->psql('postgres', $sql =~ s/\bP;/$prove;/r, stdout => \$out, stderr => \$err, on_error_stop => 0);
	like($out, qr/^alice\n/, "$name: confirmed");
	like($out, qr/\nnot confirmed\z/, "$name: not again");
}
# At its end, a function with a SET clause would restore the confirmation from before its
# call. So such a clause is refused.
my ($out, $err) = ('', '');
$node->psql('postgres', "BEGIN; SELECT prove('$token', '" . proof() . "'); SELECT clear('$bearer'); SET LOCAL jwt.token = '$token'; SELECT who()", stdout => \$out, stderr => \$err, on_error_stop => 0);
is($out, 'alice', 'a confirmation that is cleared in a function does not come back');
like($err, qr/"jwt.confirmed" cannot be set/, 'its clause is refused');
like(ask("SELECT array_to_string(proconfig, ';') FROM pg_proc WHERE proname = 'clear'"), qr/^jwt.confirmed=$/, 'the function has its clause from before');
my $debug = ask("SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')");
for my $mode ('on', 'regress')
{
	is(ask("SET $debug = $mode; BEGIN; SELECT prove('$token', '" . proof() . "'); SELECT whoever(); ROLLBACK; RESET $debug; $again"), "alice\nalice\nnot confirmed", "$debug = $mode");
	unlike(try_as("SET $debug = $mode; SET jwt.token = '$token'; SELECT forge('x')"), qr/alice/, "$debug = $mode, and forged");
}

# The bounds of a proof's time, to the microsecond.
ask('CREATE EXTENSION jwt_test');
my $proof = proof(claims => { iat => 1767225600 });
is(ask("SELECT string_agg(coalesce(substring(jwt_test_dpop('$token', '$proof', '$claims{cnf}{jkt}', to_timestamp(1767225600) + at) FROM 'future|too old|digest.*'), 'good'), ', ' ORDER BY at)
	FROM unnest('{-00:00:05.000001,-00:00:05,00:01:00,00:01:00.000001}'::interval[]) at"), 'future, good, good, too old', '5 seconds ahead and 60 seconds old are accepted, a microsecond more is not');

# Refused proofs are not stored. There is room for 64 proofs of a key here.
my $once = proof();
is(ask("SELECT prove('$token', '$once')"), 'alice', 'a proof');
my $spoilt = proof(sign => 'alice', claims => { htm => 'PUT' });
$order->(key => 'mallory', alg => 'ES256');
my $anothers = proof(proof => 'mallory');
my $forgery = proof(sign => 'mallory');
my $unsigned = $token =~ s/.{5}\z/AAAAA/r;
is(ask("SELECT count(*) FROM generate_series(1, 500), LATERAL (VALUES (prove('$token', '$once')), (prove('$token', '$spoilt')), (prove('$token', '$anothers')), (prove('$token', '$forgery'))) p (answer) WHERE answer <> 'alice'"),
	2000, 'two thousand that are refused');
my $flood = q{DO $$ BEGIN FOR i IN 1 .. 500 LOOP BEGIN PERFORM prove('} . $unsigned . "', '" . proof() . q{'); RAISE 'accepted'; EXCEPTION WHEN SQLSTATE '28J04' THEN NULL; END; END LOOP; END $$};
ask($flood);
is(ask("SELECT prove('$token', '" . proof() . "')"), 'alice', 'leave room for a good one');

# A standby stores its own proofs, and refuses events with a hint.
ask("UPDATE jwt_issuer SET event_audience = '{app}'");
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sub on_standby { return $standby->safe_psql('postgres', shift) }
ok(wait_until(sub { on_standby("SELECT prove('$token', '" . proof() . "')") eq 'alice' }), 'a standby: a good proof');
$once = proof();
is(on_standby("BEGIN; SELECT prove('$token', '$once'); SELECT who(); $parallel SET ROLE reader; SELECT count(*), min(owner) FROM note; COMMIT"), "alice\nalice\n2500|alice", 'a proof, and a policy in workers');
like(on_standby("SELECT prove('$token', '$once')"), qr/has been used before/, 'it is used once');
is(ask("SELECT prove('$token', '$once')"), 'alice', 'the primary has not seen it');
like(ask("SELECT prove('$token', '$once')"), qr/has been used before/, 'and accepts it once');
$standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT jwt_receive_event('x')", stderr => \$err);
like($err, qr/ERROR:  25006: cannot execute jwt_receive_event\(\) in a read-only transaction\nHINT:  Send the token to the primary server/, 'an event');
# the primary receives the end of a session, in the middle of its transaction on the standby
my $session = open_session($standby->connstr('postgres'));
is($session->("BEGIN; SELECT prove('$token', '" . proof() . "'); SELECT coalesce(jwt_subject(), 'nobody')"), "alice\nalice", 'a transaction on the standby');
my $logout = $order->(token => { aud => 'app', iat => time(), jti => 'l1', sid => 's1', events => { 'http://schemas.openid.net/event/backchannel-logout' => {} } }, secret => JwtTest::secret());
is(ask("SELECT jwt_receive_event('$logout') #>> '{revoked,0,value}'"), 's1', 'the primary receives an event');
$node->wait_for_catchup($standby, 'replay');
like($session->("SELECT jwt_subject();\n\\echo :SQLSTATE\nROLLBACK"), qr/^28J11$/, 'the transaction sees it');
like($session->("SELECT count(*) FROM (SELECT prove('$token', '" . proof() . "')) p"), qr/^$/, 'a proof does not help');
$session->();
# after its promotion the standby still has its proofs
ask("SELECT jwt_unrevoke_session('https://idp.example', 's1')");
$node->wait_for_catchup($standby, 'replay');
$once = proof();
is(on_standby("SELECT prove('$token', '$once')"), 'alice', 'a proof before the promotion');
$standby->promote;
like($standby->safe_psql('postgres', "SELECT prove('$token', '$once')"), qr/has been used before/, 'is not accepted after it');

$standby->stop;
$node->stop;
done_testing();
