# Fifty clients of different users behind PgBouncer in transaction mode, with five
# server connections: each client sees its own rows in every transaction. Then the ways
# by which a token can and cannot leak through a pooler.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t", $FindBin::RealBin;
use File::Temp qw(tempdir);
use JwtTest;
use PeersTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => 'there is no pgbouncer' unless find_program('pgbouncer');

my $clients = 50;
my $servers = 5;
my $transactions = $ENV{JWT_TXNS} // 20000;
$transactions -= $transactions % $clients;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
setup_trust($node);
$node->safe_psql('postgres', qq{
	CREATE ROLE app LOGIN;
	CREATE TABLE account (id serial PRIMARY KEY, owner text NOT NULL);
	INSERT INTO account (owner) SELECT 'user' || i FROM generate_series(0, $clients - 1) i, generate_series(1, 3);
	CREATE INDEX ON account (owner);
	ALTER TABLE account ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON account USING (owner = jwt_subject());
	-- the expected subject of each client, and wrong results
	CREATE TABLE client (id int PRIMARY KEY, who text NOT NULL, token text NOT NULL);
	CREATE TABLE violation (who text, subject text, n bigint, strangers bigint);
	GRANT SELECT ON account, client TO app;
	GRANT INSERT ON violation TO app;
});
$node->safe_psql('postgres', join("\n",
	map { "INSERT INTO client VALUES ($_, 'user$_', '" . token("user$_") . "');" } 0 .. $clients - 1));

# "one" and "session" have a single server connection, so that the next client must get
# it.
my $pooler = start_pgbouncer($node, many => "pool_size=$servers", one => 'pool_size=1', session => 'pool_size=1 pool_mode=session');
my $dir = tempdir(CLEANUP => 1);

# The output of a psql session as a client of a pool.
sub client
{
	my ($pool, $sql) = @_;
	my ($out, $err);
	IPC::Run::run([ 'psql', '-XAtq', '-d', "$pooler dbname=$pool user=app" ],
		'<', \$sql, '>', \$out, '2>', \$err);
	chomp $out;
	return wantarray ? ($out, $err) : $out;
}
my $whoami = q{SELECT coalesce(jwt_subject(), 'nobody')};

is(client('many', 'SELECT 1'), '1', 'pgbouncer lets us in');

# The work: no subject at the start, and the client's own subject after authentication,
# also if the transaction is rolled back. A division by zero makes pgbench report a
# wrong result. The token is a bind parameter.
append_to_file("$dir/script", <<'END');
\if :known
\else
SELECT who, token FROM client WHERE id = :client_id \gset
\set known 1
\endif
\set give_up random(1, 10)
BEGIN;
INSERT INTO violation SELECT :who, jwt_subject() WHERE jwt_subject() IS NOT NULL;
INSERT INTO violation SELECT :who, 'no token', count(*) FROM account HAVING count(*) > 0;
SELECT 1 / (jwt_subject() IS NULL AND NOT EXISTS (SELECT FROM account))::int;
SELECT jwt_authenticate(:token);
INSERT INTO violation SELECT :who, jwt_subject(), count(*), count(*) FILTER (WHERE owner <> :who)
	FROM account HAVING count(*) <> 3 OR NOT bool_and(owner = :who) OR jwt_subject() <> :who;
SELECT 1 / (count(*) = 3 AND bool_and(owner = :who))::int FROM account;
\if :give_up = 1
ROLLBACK;
\else
COMMIT;
\endif
END

my ($out, $err);
my $start = time();
my $ok = IPC::Run::run(
	[ 'pgbench', '-n', '-M', 'extended', '-c', $clients, '-j', 2, '-t', $transactions / $clients,
		'-D', 'known=0', '-f', "$dir/script",
		"$pooler dbname=many user=app" ],
	'>', \$out, '2>', \$err);
note sprintf('%d transactions in %.1f s', $transactions, time() - $start);
note $out;
ok($ok, 'pgbench ends well');
unlike($err, qr/ERROR|FATAL|aborted/, 'without an error');
like($out, qr/actually processed: $transactions\/$transactions$/m, "all of $transactions transactions ran");
is($node->safe_psql('postgres', 'SELECT count(*), min(violation::text) FROM violation'), '0|',
	'everybody saw their own rows and nobody else\'s, and nobody before they authenticated');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'}),
	$servers, "over $servers server connections");

# The check can fail: a client with another user's token is detected.
$node->safe_psql('postgres', q{UPDATE client SET token = (SELECT token FROM client WHERE id = 1) WHERE id = 0});
IPC::Run::run(
	[ 'pgbench', '-n', '-M', 'extended', '-c', 1, '-t', 1, '-D', 'known=0', '-f', "$dir/script",
		"$pooler dbname=many user=app" ],
	'>', \$out, '2>', \$err);
like($err, qr/division by zero/, 'the same script notices the rows of another');

# A session setting stays on the server connection, and the pooler gives that connection
# to another client.
my $alice = token('alice');
client('one', "SET jwt.token = '$alice'");
is(client('one', $whoami), 'alice', 'SET for the session leaks to the next client');
client('one', 'RESET jwt.token');
is(client('one', $whoami), 'nobody', 'RESET ends it');
client('one', "SELECT jwt_authenticate('$alice', is_local => false)");
is(client('one', $whoami), 'alice', 'jwt_authenticate for the session leaks, too');
client('one', 'DISCARD ALL');
is(client('one', $whoami), 'nobody', 'DISCARD ALL ends it');

# A transaction setting ends with the transaction.
for my $set ("SET LOCAL jwt.token = '$alice'", "SELECT set_config('jwt.token', '$alice', true)",
	"SELECT jwt_authenticate('$alice')")
{
	my ($how) = $set =~ /^(\w+ \w+)/;
	for my $end ('COMMIT', 'ROLLBACK', '')
	{
		# the client disconnects within the transaction
		like(client('one', "BEGIN; $set; $whoami; $end"), qr/^alice$/m, "$how: alice in the transaction");
		is(client('one', $whoami), 'nobody', "$how, " . ($end || 'disconnect') . ': nobody after it');
	}
}
# After a refused token there is no current subject.
my (undef, $refusal) = client('one', "BEGIN; SELECT jwt_authenticate('${alice}x'); COMMIT");
like($refusal, qr/ERROR/, 'a tampered token is refused through the pooler');
is(client('one', $whoami), 'nobody', 'and nobody is there after it');

# In session mode PgBouncer sends DISCARD ALL between two clients.
client('session', "SET jwt.token = '$alice'");
is(client('session', $whoami), 'nobody', 'in session mode the pooler cleans up');

$node->stop;

done_testing();
