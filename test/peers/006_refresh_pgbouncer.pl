# Refresh tokens behind PgBouncer in transaction mode: clients that share few server
# connections, a thief among them, and a client that is gone before its COMMIT.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t", $FindBin::RealBin;
use IPC::Run;
use JwtTest;
use PeersTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'there is no pgbouncer' unless find_program('pgbouncer');

my $clients = 20;
my $each    = 50;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
my $file = put_keys($node, key_line('k1'));
$node->append_conf('postgresql.conf', "jwt_auth.key_file = '$file'");
$node->start;
setup_issuing($node, 'postgres', q{grace = '0'});
$node->safe_psql('postgres', qq{
	CREATE ROLE app LOGIN;
	GRANT EXECUTE ON FUNCTION jwt_refresh(text, text, text) TO app;
	CREATE TABLE client (id int PRIMARY KEY, first text, token text, error text);
	INSERT INTO client SELECT i, t, t FROM generate_series(0, $clients - 1) i, LATERAL (SELECT jwt_start_session('https://login.example', 'user' || i) ->> 'refresh_token' AS t) s;
	CREATE TABLE answer (answer jsonb);
	GRANT SELECT, UPDATE ON client TO app;
	GRANT INSERT ON answer TO app;
});
my $pooler = start_pgbouncer($node, few => 'pool_size=2', one => 'pool_size=1');
sub sql { return $node->safe_psql('postgres', shift) }

# Run a script of pgbench as clients of the pool.
sub bench
{
	my ($script, @options) = @_;
	my $path = PostgreSQL::Test::Utils::tempdir() . '/script';
	append_to_file($path, $script);
	my ($out, $dir, $port) = ('', $pooler =~ /host=(\S+) port=(\d+)/);
	IPC::Run::run([ 'pgbench', '-n', '-f', $path, @options, '-h', $dir, '-p', $port, '-U', 'app', 'few' ], '<', \undef, '>', \$out, '2>&1', IPC::Run::timeout(300));
	return $out;
}

# Each client refreshes its own session.
my $out = bench(q{BEGIN;
UPDATE client c SET token = a ->> 'refresh_token', error = a ->> 'error' FROM client o, jwt_refresh(o.token) a WHERE c.id = :client_id AND o.id = :client_id;
COMMIT;
}, '-c', $clients, '-t', $each);
is(sql("SELECT count(*), min(counter), max(counter), count(ended_why), (SELECT count(error) FROM client) FROM jwt_session"), "$clients|$each|$each|0|0", 'each client has refreshed its session') or diag($out);

# All redeem the same token, within the grace.
sql(q{UPDATE jwt_token_policy SET grace = '1 minute'; UPDATE jwt_session SET rotated_at = now() - interval '1 hour'});
$out = bench("INSERT INTO answer SELECT jwt_refresh((SELECT token FROM client WHERE id = 0));\n", '-c', $clients, '-t', 5);
is(sql(q{SELECT count(*), count(DISTINCT answer ->> 'refresh_token'), count(answer ->> 'error') FROM answer}), 5 * $clients . '|1|0', 'all get the same successor') or diag($out);

# A thief redeems the first token of a client, whose own transaction is open.
sub session { return open_session("$pooler dbname=$_[0] user=app") }
sql(q{UPDATE jwt_token_policy SET grace = '0'});
my ($victim, $thief) = (session('few'), session('few'));
$victim->('BEGIN');
is($victim->(q{SELECT jwt_refresh(token) ? 'refresh_token' FROM client WHERE id = 1}), 't', 'the victim refreshes');
my $stolen = IPC::Run::start([ 'psql', '-XAtq', '-d', "$pooler dbname=few user=app", '-c', q{SELECT jwt_refresh(first) ->> 'error' FROM client WHERE id = 1} ], '<', \undef, '>', \my $answer);
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 'the thief waits');
$victim->('COMMIT');
$stolen->finish;
is($answer, "invalid_grant\n", 'and gets nothing');
is($victim->(q{SELECT jwt_refresh(token) ->> 'error' FROM client WHERE id = 1}), 'invalid_grant', 'the session has ended for both');

# A client is gone before its COMMIT. The next one has the same server connection.
my $gone = session('one');
my $offset = -s $node->logfile;
$gone->('BEGIN');
is($gone->(q{SELECT jwt_refresh(token) ? 'refresh_token' FROM client WHERE id = 2}), 't', 'a client refreshes');
$gone->(undef);
ok(logged($node, qr/a transaction that issued tokens of session [0-9a-f-]{36} was rolled back/, $offset), 'it is gone without COMMIT, which is logged');
is(session('one')->(q{SELECT jwt_refresh(token) ? 'refresh_token' FROM client WHERE id = 2}), 't', 'its token is good once more');
$node->stop;
done_testing();
