# The workers of jwt_jwks and their environment: proxies, certificate authorities, host
# names with changing or no addresses, changed clocks, and late answers.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'there is no node' unless grep { -x "$_/node" } split(/:/, $ENV{PATH});
my $node = PostgreSQL::Test::Cluster->new('main');
my $shim = $node->config_data('--pkglibdir') . '/jwt_net.so';
plan skip_all => "there is no $shim" unless -f $shim;

my $dir = make_fixtures();
my %port = map { start_peer($_, $dir) } qw(endpoint proxy);

sub put
{
	my ($name, $text) = @_;
	open(my $fh, '>', "$dir/$name.new") or die;
	print $fh $text;
	close $fh;
	rename("$dir/$name.new", "$dir/$name") or die;
	return;
}
sub set_keys { my ($name, @kids) = @_; put($name, '{"keys":[' . join(',', map { slurp_file("$dir/$_.jwk") } @kids) . ']}'); return }

# The lines of a log since the last call.
my %seen;
sub news
{
	my $name = shift;
	my @lines = -e "$dir/$name" ? grep { !/canary/ } split(/\n/, slurp_file("$dir/$name")) : ();
	my @new = @lines[ ($seen{$name} // 0) .. $#lines ];
	$seen{$name} = @lines;
	return join(' ', @new);
}

$node->init;
preload_fetcher($node, $dir, 'jwt_jwks.timeout = 1500', 'jwt_jwks.cooldown = 1500', 'log_min_messages = log');
{
	# proxies and authorities of the environment are ignored
	local @ENV{qw(LD_PRELOAD JWT_NET)} = ($shim, $dir);
	local @ENV{qw(http_proxy https_proxy HTTPS_PROXY ALL_PROXY all_proxy)} = ("http://127.0.0.1:$port{proxy}") x 5;
	$node->start;
}
sub sql { return $node->safe_psql('postgres', shift) }
sub set { reload($node, map { "SET $_" } @_); return }

# The result of a refresh: its counts or its error.
sub refresh
{
	my $uri = shift;
	sql(park());
	sql("UPDATE jwt_jwks_source SET uri = '$uri'") if defined $uri;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', q{SET statement_timeout = '2min'; SELECT added, changed, retired, unchanged FROM jwt_refresh_jwks('https://set.example')});
	return $rc == 0 ? $stdout : $stderr =~ /DETAIL:  (.*)/ ? $1 : $stderr;
}
my $unreachable = qr/could not be reached, or did not prove/;
sub detail { my ($last) = (slurp_file($node->logfile) =~ /.*could not refresh[^\n]*\n[^\n]*DETAIL:  ([^\n]*)/s); return $last // '' }

set_keys('one', 'k1');
my $good = "https://localhost:$port{good}/set/one";
sql(qq{CREATE EXTENSION jwt;
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	BEGIN; INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', '$good'); } . park() . '; COMMIT');
my $state = state();

# Only the proxy of the setting is used.
is(refresh(), '1|0|0|0', 'a fetch without a proxy');
is(news('proxy.log'), '', 'does not go through that of the environment');
set("jwt_jwks.proxy = 'http://127.0.0.1:$port{proxy}'");
is(refresh($good), '0|0|0|1', 'a fetch with the proxy of the setting');
like(news('proxy.log'), qr/^(CONNECT localhost:$port{good} ?)+$/, 'goes through it');
like(refresh("https://localhost:$port{'unknown-authority'}/set/one"), $unreachable, 'where certificates are checked');
like(refresh("https://localhost:$port{'wrong-host'}/set/one"), $unreachable, 'and hosts');
news('proxy.log');
set("jwt_jwks.allow_http_to_loopback = on");
like(refresh("http://localhost:$port{plain}/set/one"), qr/Through a proxy, hosts must be listed by name and asked by https/, 'nothing is asked in clear through it');
set("jwt_jwks.allow_http_to_loopback = off", "jwt_jwks.allowed_hosts = '*:*'");
like(refresh($good), qr/Through a proxy, hosts must be listed by name/, 'nor a host that is not listed by name');
is(news('proxy.log'), '', 'and it was not asked');
my $closed = PostgreSQL::Test::Cluster::get_free_port();
set("jwt_jwks.allowed_hosts = 'localhost:*'", "jwt_jwks.proxy = 'http://127.0.0.1:$closed'");
like(refresh($good), $unreachable, 'a proxy that is down is not gone around');
set("jwt_jwks.proxy = ''");
is(refresh($good), '0|0|0|1', 'without it all is well');
is(sql(q{SELECT count(*) FROM pg_settings WHERE name = 'jwt_jwks.proxy'}), '1', 'a superuser sees the setting');

# Either the authorities of the file or those of the system are used, not both.
for my $case ([ '', 'those of the system' ], [ "$dir/expired.pem", 'another' ])
{
	my ($file, $what) = @$case;
	set("jwt_jwks.ca_file = '$file'");
	like(refresh($good), qr/$unreachable|cannot be set up/, "authorities: $what");
}
# An unusable file is refused and the previous value stays, also if postgresql.conf was
# edited.
put('ca_copy.pem', slurp_file("$dir/ca.pem"));
set("jwt_jwks.ca_file = '$dir/ca_copy.pem'");
my $log = -s $node->logfile;
for my $case ([ "$dir/nothing.pem", qr/The file cannot be read/, 'a file that is not there' ], [ "$dir", qr/The file cannot be read/, 'a folder' ],
	[ "$dir/one", qr/The file has no certificate in PEM form/, 'a file that has none' ])
{
	my ($file, $why, $what) = @$case;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\nALTER SYSTEM SET jwt_jwks.ca_file = '$file'");
	like($stderr, qr/ERROR:  22023: invalid value for parameter "jwt_jwks.ca_file".*DETAIL:  $why/s, "authorities: $what");
}
rename("$dir/ca_copy.pem", "$dir/ca_moved.pem") or die;
sql('SELECT pg_reload_conf()');
ok(logged($node, qr/LOG:  invalid value for parameter "jwt_jwks.ca_file"/, $log), 'a file that is gone is an error at reload');
is(sql('SHOW jwt_jwks.ca_file'), "$dir/ca_copy.pem", 'and the setting stays');
like(refresh($good), qr/$unreachable|cannot be set up/, 'with which nothing is trusted');
is(sql('SELECT count(*) FROM jwt_key_status WHERE verifies'), '1', 'the key stays');
set("jwt_jwks.ca_file = '$dir/ca.pem'");
is(refresh($good), '0|0|0|1', 'authorities: the right one');

# Host names. A host that is listed by name may have any address. A host that only a
# pattern allows must have a public address.
put('hosts', join("\n", 'listed.test 0 127.0.0.1', 'inner.test 0 127.0.0.1', 'mapped.test 0 ::ffff:127.0.0.1', 'meta.test 0 169.254.169.254',
	'private.test 0 10.1.2.3', 'cgnat.test 0 100.64.0.1', 'zero.test 0 0.0.0.0', 'aws.test 0 fd00:ec2::254', 'six.test 0 ::1',
	'nat64.test 0 64:ff9b::7f00:1', 'both.test 0 203.0.113.1 127.0.0.1', 'slow.test 3600000 127.0.0.1', 'none.test 0',
	'public.test 0 192.88.98.1', 'rebound.test 0 192.88.98.1', 'rebound.test 0 127.0.0.1'));
put('routes', '192.88.98.1 127.0.0.1');
set("jwt_jwks.allowed_hosts = 'listed.test:*, slow.test:*, none.test:*, localhost:*, *.test:*'");
is(refresh("https://listed.test:$port{good}/set/one"), '0|0|0|1', 'a listed name that leads to loopback is asked');
news('log');
for my $name (qw(inner mapped meta private cgnat zero aws six nat64 both))
{
	like(refresh("https://$name.test:$port{good}/set/one"), $unreachable, "$name.test is not");
	like(detail(), qr/no address that may be connected to/, '  as the log tells');
}
is(news('log'), '', 'and nobody was asked');
is(refresh("https://public.test:$port{good}/set/one"), '0|0|0|1', 'public.test, which a pattern allows and leads to a public address, is');
like(refresh("https://none.test:$port{good}/set/one"), $unreachable, 'a name that leads nowhere');

# A name that resolves to another address at the next lookup: the address that was
# checked is the address of the connection.
news($_) for qw(log lookups);
sql("UPDATE jwt_jwks_source SET uri = 'https://rebound.test:$port{good}/set/one'");
# fetched by the worker, so that no other lookup interferes
sql(due());
ok($node->poll_query_until('postgres', "SELECT last_success = last_attempt OR failures > 0 FROM $state WHERE next_attempt > last_attempt"), 'a name that leads elsewhere is asked');
my @answers = map { refresh() } 1 .. 8;
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'});
my ($lookups, $requests) = (scalar(split(/ /, news('lookups'))), scalar(split(/GET/, news('log'))) - 1);
cmp_ok($requests, '<=', ($lookups + 1) / 2, "$lookups look-ups of which every other led to loopback: $requests requests");
cmp_ok(scalar(grep { $_ eq '0|0|0|1' } @answers), '>', 1, 'it was asked at its public address');
cmp_ok(scalar(grep { $_ =~ $unreachable } @answers), '>', 1, 'and refused at the other');
like(detail(), qr/no address that may be connected to/, '  as the log tells');

# A resolver that does not answer for an hour delays no other fetch.
like(refresh("https://slow.test:$port{good}/set/one"), $unreachable, 'a name that takes an hour');
# a worker does not wait for the thread of the resolver
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'}), 'keeps no worker');
news('lookups');
set(q{jwt_jwks.timeout = '5s'});
sql(qq{INSERT INTO jwt_issuer (issuer, audience, algorithms) SELECT 'https://slow' || i, '{api}', '{ES256}' FROM generate_series(1, 20) i;
	INSERT INTO jwt_jwks_source (issuer, uri) SELECT 'https://slow' || i, 'https://slow.test:$port{good}/set/one' FROM generate_series(1, 20) i;
	UPDATE jwt_jwks_source SET uri = '$good' WHERE issuer = 'https://set.example'; } . due(q{issuer = 'https://set.example'}));
ok($node->poll_query_until('postgres', "SELECT last_success = last_attempt AND last_error IS NULL FROM $state WHERE issuer = 'https://set.example' AND next_attempt < 'infinity'"), 'others are fetched meanwhile');
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM jwt_jwks_state WHERE issuer LIKE 'https://slow%' AND failures = 1}), 'and one of them fails');
is(scalar(() = news('lookups') =~ /slow/g), 20, 'when all have begun');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 20 AND bool_and(failures = 1) FROM jwt_jwks_state WHERE issuer LIKE 'https://slow%'}), 'and all of them fail');
sql(q{DELETE FROM jwt_issuer WHERE issuer LIKE 'https://slow%'});
set('jwt_jwks.timeout = 1500');

# After a change of the clock, sources are fetched at the same intervals.
my $unknown = JwtTest::base64url('{"alg":"ES256","kid":"of nobody"}') . '.e30.AAAA';
for my $step ([ -86400 * 400, 'back by a year' ], [ 0, 'forth again' ], [ 600, 'forth by ten minutes' ], [ 0, 'back again' ])
{
	my ($offset, $what) = @$step;
	set_keys('one', 'k1');
	refresh();
	sql(q{UPDATE jwt_jwks_state SET next_attempt = now() + interval '1 hour'});
	put('clock', $offset);
	news('log');
	set_keys('one', 'k1', 'k2');
	is(sql("SELECT sqlstate FROM jwt_inspect('$unknown')"), '28J03', 'a token of nobody');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM jwt_key_status WHERE issuer = 'https://set.example' AND retired_at IS NULL}), "the clock goes $what: a rotation is noticed");
	ok(turn($node, 'postgres', $good), 'a worker has had its turn');
	my @asked = split(/ GET/, news('log'));
	cmp_ok(scalar(@asked), '<=', 4, '  by ' . scalar(@asked) . ' requests');
	is(sql(q{SELECT last_attempt BETWEEN now() - interval '1 minute' AND now() AND next_attempt BETWEEN now() AND now() + interval '1 hour' FROM jwt_jwks_state}), 't', '  and its times are of now');
}
# The same without a token.
refresh();
sql(due());
ok($node->poll_query_until('postgres', q{SELECT next_attempt > now() + interval '50 minutes' FROM jwt_jwks_state}), 'a source that is due within the hour');
put('clock', -86400 * 100);
reload($node);
ok($node->poll_query_until('postgres', q{SELECT last_attempt BETWEEN now() - interval '1 minute' AND now() AND next_attempt < now() + interval '1 hour' FROM jwt_jwks_state}), 'is fetched when the clock goes back by months');
put('clock', 0);

# An answer that comes after a later one is not imported.
set(q{jwt_jwks.timeout = '2min'});
my $asked = sub { ok(wait_until(sub { news('log') =~ /GET/ }), 'the endpoint is asked'); return };
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'};
set_keys('late', 'k1');
my $release = hold($dir, 'late');
news('log');
sql("UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/held/late'");
$asked->();
set_keys('late', 'k2');
# later requests are answered at once
hold($dir, 'late')->();
my ($rc, $stdout, $stderr) = $node->psql('postgres', q{SELECT * FROM jwt_refresh_jwks('https://set.example')});
is($rc, 0, 'a refresh while an earlier answer is under way') or diag $stderr;
my $keys = q{SELECT string_agg(kid, ' ' ORDER BY kid) FROM jwt_key_status WHERE issuer = 'https://set.example' AND verifies};
is(sql($keys), 'k2', 'has the keys of now');
$release->();
ok($node->poll_query_until('postgres', $workers, '0'), 'the earlier answer comes');
is(sql($keys), 'k2', 'and changes nothing');

# A session that parks a source or makes it due during its fetch has priority.
for my $case ([ park(), 0, 'infinity' ], [ due(), 1, 'later' ], [ q{DELETE FROM jwt_jwks_state; UPDATE jwt_jwks_source SET grace = grace}, 1, 'later' ])
{
	my ($set, $n, $next) = @$case;
	news('log');
	$release = hold($dir, 'late');
	sql(due());
	$asked->();
	sql($set);
	$release->();
	ok($node->poll_query_until('postgres', q{SELECT last_success = last_attempt AND next_attempt > now() + interval '2 minutes' FROM jwt_jwks_state}), "while it is being fetched: $set");
	is(sql(q{SELECT CASE next_attempt WHEN 'infinity' THEN 'infinity' ELSE 'later' END FROM jwt_jwks_state}), $next, "  is due next: $next");
	is(scalar(() = news('log') =~ /GET/g), $n, "  after $n more requests");
}

# A running worker notices new settings: a host is removed from the list while the
# worker waits for another host.
sql(park());
set('jwt_jwks.max_connections = 1');
$release = hold($dir, 'late');
ok($node->poll_query_until('postgres', $workers, '0'), 'no worker is at work');
sql(qq{INSERT INTO jwt_issuer (issuer, audience, algorithms) SELECT 'https://next' || i, '{api}', '{ES256}' FROM generate_series(1, 2) i;
	INSERT INTO jwt_jwks_source (issuer, uri) SELECT 'https://next' || i, 'https://localhost:$port{good}/held/late?' || i FROM generate_series(1, 2) i});
$asked->();
set(q{jwt_jwks.allowed_hosts = 'listed.test:*'});
$release->();
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 AND bool_and(last_success = last_attempt OR failures = 1) FROM jwt_jwks_state WHERE issuer LIKE 'https://next%'}), 'two sources, one after the other');
is(sql(q{SELECT count(*), min(last_error) FROM jwt_jwks_state WHERE issuer LIKE 'https://next%' AND failures = 1}),
	'1|The host of the URL, at its port, is not one of those in jwt_jwks.allowed_hosts.', 'of which the second is not asked any more');

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|was terminated by signal/, 'nobody crashed');
done_testing();
