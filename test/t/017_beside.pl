# The workers of jwt_jwks while others write the same tables: a subscription, a restore,
# a session that truncates or drops them. And servers without a free worker.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => 'there is no node' unless grep { -x "$_/node" } split(/:/, $ENV{PATH});

my $dir = make_fixtures();
my %port = start_peer('endpoint', $dir);
my $uri = "https://localhost:$port{good}";

sub set_keys
{
	my ($name, @kids) = @_;
	append_to_file("$dir/$name.new", '{"keys":[' . join(',', map { slurp_file("$dir/$_.jwk") } @kids) . ']}');
	rename("$dir/$name.new", "$dir/$name") or die;
	return;
}
my $seen = 0;
sub requests
{
	my @lines = -e "$dir/log" ? split(/\n/, slurp_file("$dir/log")) : ();
	my @new = @lines[ $seen .. $#lines ];
	$seen = @lines;
	return join(' ', @new);
}
my @config = ('jwt_jwks.timeout = 2min', 'log_min_messages = log');
my $issuer = q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}')};
my $source = qq{INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', '$uri/set/one')};
my $keys = q{SELECT string_agg(kid, ' ' ORDER BY kid) FROM jwt_key WHERE retired_at IS NULL};
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'};
my $refresh = q{SELECT added, changed, retired, unchanged FROM jwt_refresh_jwks('https://set.example')};
sub error { my ($node, $sql) = @_; my ($rc, $stdout, $stderr) = $node->psql('postgres', $sql); return $rc == 0 ? "accepted: $stdout" : $stderr }

# A subscriber gets its keys from its publisher and fetches none, although its workers
# are woken. All rows of the publisher arrive.
set_keys('one', 'k1');
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
preload_fetcher($publisher, $dir, @config);
$publisher->start;
$publisher->safe_psql('postgres', "CREATE EXTENSION jwt; $issuer; $source; CREATE PUBLICATION everything FOR ALL TABLES;
	CREATE PUBLICATION trust FOR TABLE jwt_issuer, jwt_jwks_source, jwt_key");
ok($publisher->poll_query_until('postgres', 'SELECT last_success = last_attempt FROM jwt_jwks_state'), 'a publisher fetches');
is(requests(), 'GET /set/one', 'once');
for my $publication ('everything', 'trust')
{
	requests();
	my $subscriber = PostgreSQL::Test::Cluster->new("subscriber_of_$publication");
	$subscriber->init;
	preload_fetcher($subscriber, $dir, @config);
	$subscriber->start;
	my $connection = $publisher->connstr . ' dbname=postgres';
	$subscriber->safe_psql('postgres', "CREATE EXTENSION jwt; CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION $publication");
	$subscriber->wait_for_subscription_sync($publisher, 's');
	is($subscriber->safe_psql('postgres', $keys), $publisher->safe_psql('postgres', $keys), "$publication: a subscriber has the keys");
	ok(logged($subscriber, qr/LOG:  no key sets are fetched for database "postgres"\n.*DETAIL:  The keys come by logical replication/, 0), 'and says where from');
	# a write to a source on either server wakes the worker
	$publisher->safe_psql('postgres', q{UPDATE jwt_jwks_source SET grace = '1 hour'});
	$publisher->wait_for_catchup('s');
	is($subscriber->safe_psql('postgres', 'SELECT grace FROM jwt_jwks_source'), '01:00:00', 'what changes there, changes here');
	$subscriber->safe_psql('postgres', 'UPDATE jwt_jwks_source SET refresh_interval = refresh_interval');
	like(error($subscriber, $refresh), qr/keys come by logical replication/, 'a refresh is refused');
	ok($subscriber->poll_query_until('postgres', $workers, '0'), 'no worker stays');
	is(requests(), '', 'and none has asked the endpoint');
	is($subscriber->safe_psql('postgres', q{SELECT string_agg(DISTINCT last_error, ' ') FROM jwt_jwks_state}),
		$publication eq 'trust' ? 'The keys come by logical replication, so they are not fetched here.' : '', 'its own state says why, and that of the publisher stays');
	# a rotation
	set_keys('one', $publication eq 'everything' ? 'k2' : 'k3');
	requests();
	$publisher->safe_psql('postgres', $refresh);
	$publisher->wait_for_catchup('s');
	is($subscriber->safe_psql('postgres', $keys), $publisher->safe_psql('postgres', $keys), 'a rotation arrives');
	is(requests(), 'GET /set/one', 'by one request');
	is(scalar(() = slurp_file($subscriber->logfile) =~ /no key sets are fetched/g), 1, 'the log has said it once');
	unlike(slurp_file($subscriber->logfile), qr/ERROR:  (duplicate|could not)/, 'and nothing stopped replication');
	# the subscription is dropped
	$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION s');
	set_keys('one', 'k1');
	is($subscriber->safe_psql('postgres', $refresh), '0|1|1|0', 'without the subscription it fetches');
	is($subscriber->safe_psql('postgres', 'SELECT last_error IS NULL FROM jwt_jwks_state'), 't', 'and says so');
	# a subscription is created again before the endpoint answers
	set_keys('one', 'k2');
	requests();
	my $release = hold($dir, 'one');
	$subscriber->safe_psql('postgres', "UPDATE jwt_jwks_source SET uri = '$uri/held/one'");
	ok(wait_until(sub { requests() =~ /GET/ }), 'the endpoint is asked');
	$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION $publication WITH (copy_data = false)");
	$release->();
	ok($subscriber->poll_query_until('postgres', $workers, '0'), 'the worker ends');
	is($subscriber->safe_psql('postgres', $keys), 'k1', 'and has not written what it answered');
	$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION s');
	$subscriber->stop;
}
$publisher->stop;

# A restore while workers fetch: at worst a key is stored twice until the next fetch,
# which imports the set even if it was not modified.
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
preload_fetcher($node, $dir, @config, 'max_worker_processes = 3', 'max_logical_replication_workers = 0');
$node->start;
sub sql { return $node->safe_psql('postgres', shift) }
set_keys('one', 'k1', 'k2');
sql("CREATE EXTENSION jwt; $issuer; $source");
my $state = state();
ok($node->poll_query_until('postgres', 'SELECT last_success = last_attempt FROM jwt_jwks_state'), 'a source is fetched');
requests();
sql(due());
ok($node->poll_query_until('postgres', "SELECT last_success = last_attempt AND next_attempt > now() FROM $state"), 'and again');
is(requests(), 'GET /set/one 304', 'when it was not modified');
# as after a restore during the import
sql(park() . q{; INSERT INTO jwt_key (issuer, kid, alg, jwk, source, created_at) SELECT issuer, kid, alg, jwk, source, created_at + interval '1 s' FROM jwt_key});
is(sql($keys), 'k1 k1 k2 k2', 'keys that are there twice');
sql(due());
ok($node->poll_query_until('postgres', $keys, 'k1 k2'), 'are there once when the source has been fetched');
is(requests(), 'GET /set/one', 'whether it was modified or not');
$node->command_ok([ 'pg_dump', '-Fd', '-f', "$dir/dump", '-d', $node->connstr('postgres') ], 'a dump');
for my $run (1 .. 4)
{
	sql("CREATE DATABASE restored");
	$node->command_ok([ 'pg_restore', '-j', 4, '-d', $node->connstr('restored'), "$dir/dump" ], "restore $run, with workers");
	ok($node->poll_query_until('restored', 'SELECT count(last_success) = 1 FROM jwt_jwks_state'), 'its source is fetched');
	$node->safe_psql('restored', $refresh);
	is($node->safe_psql('restored', $keys), 'k1 k2', 'and its keys are those of the set');
	sql('DROP DATABASE restored');
}

# A source without an issuer is fetched when the issuer is added.
sql(q{INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://later.example', '} . "$uri/set/one')");
ok($node->poll_query_until('postgres', q{SELECT last_error = 'The issuer has no row in jwt_issuer.' FROM jwt_jwks_state WHERE issuer = 'https://later.example'}), 'a source without an issuer says so');
my $later = open_session($node->connstr('postgres'));
$later->(q{BEGIN; INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://later.example', '{api}', '{ES256}')});
sql(due(q{issuer = 'https://later.example'}));
ok($node->poll_query_until('postgres', q{SELECT failures = 2 AND last_error = 'The issuer has no row in jwt_issuer.' FROM jwt_jwks_state WHERE issuer = 'https://later.example'}), 'also while there is one that is not committed');
$later->('COMMIT');
$later->();
sql(due(q{issuer = 'https://later.example'}));
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM jwt_key WHERE issuer = 'https://later.example'}), 'and has its keys when there is one');
sql(q{DELETE FROM jwt_issuer WHERE issuer = 'https://later.example'});

# Tables are truncated, and dropped and created again, while a worker runs.
for my $case ([ 'TRUNCATE jwt_jwks_state, jwt_jwks_source, jwt_key', "$source" ], [ 'TRUNCATE jwt_issuer', "$issuer; $source" ], [ 'DROP EXTENSION jwt', "CREATE EXTENSION jwt; $issuer; $source" ])
{
	my ($gone, $again) = @$case;
	requests();
	my $release = hold($dir, 'one');
	sql("UPDATE jwt_jwks_source SET uri = '$uri/held/one'");
	ok(wait_until(sub { requests() =~ /GET/ }), 'a worker is at work');
	sql($gone);
	sql($again);
	$release->();
	ok($node->poll_query_until('postgres', $keys, 'k1 k2'), "after $gone");
	ok($node->poll_query_until('postgres', "SELECT last_success = last_attempt AND next_attempt > now() FROM $state"), '  all is as it was');
}
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nobody crashed');

# No free worker, because sessions use all of them: this is logged once until there is
# one again.
ok($node->poll_query_until('postgres', $workers, '0'), 'no worker is at work');
sql(q{INSERT INTO jwt_issuer (issuer, audience, algorithms) SELECT 'https://silent' || i, '{api}', '{ES256}' FROM generate_series(1, 2) i});
sql(qq{BEGIN; INSERT INTO jwt_jwks_source (issuer, uri) SELECT 'https://silent' || i, '$uri/silent' FROM generate_series(1, 2) i; } . park(q{issuer LIKE 'https://silent%'}) . '; COMMIT');
for my $round (1, 2)
{
	ok($node->poll_query_until('postgres', $workers, '0'), 'no worker is at work');
	my $log = -s $node->logfile;
	my @busy = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT jwt_refresh_jwks('https://silent$_')" ], '>', \my $o, '2>', \my $e, IPC::Run::timeout(600)) } 1, 2;
	ok($node->poll_query_until('postgres', $workers, '2'), 'sessions have all workers');
	my $now = sql('SELECT clock_timestamp(); ' . due(q{issuer = 'https://set.example'}));
	ok(logged($node, qr/LOG:  no background worker is free to fetch key sets\n.*HINT:  You may need to increase max_worker_processes/, $log), 'the log tells of the shortage');
	# the launcher tries again each second, less often on a busy machine
	sleep 2.5;
	is(scalar(() = substr(slurp_file($node->logfile), $log) =~ /no background worker is free/g), 1, 'once');
	sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT jwt_refresh_jwks(%'});
	$_->finish for @busy;
	ok($node->poll_query_until('postgres', "SELECT last_success > '$now' FROM jwt_jwks_state WHERE issuer = 'https://set.example'"), 'when it has ended, the source is fetched');
}
$node->stop;
done_testing();
