# A real identity provider behind TLS: row-level security with its tokens of each
# algorithm, and a key rotation while sessions verify.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t", $FindBin::RealBin;
use JwtTest ();
use PeersTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $modules = $ENV{NODE_MODULES} // '';
my $nginx = find_program('nginx');
plan skip_all => 'there is no node' unless find_program('node');
plan skip_all => 'there is no oidc-provider' unless -r "$modules/oidc-provider/package.json";
plan skip_all => 'there is no nginx' unless $nginx;

my $cooldown = 2;
my $dir = JwtTest::make_fixtures();

# The provider, and nginx as its TLS proxy.
my $inner = PostgreSQL::Test::Cluster::get_free_port();
my $outer = PostgreSQL::Test::Cluster::get_free_port();
my $issuer = "https://localhost:$outer";
append_to_file("$dir/nginx.conf", <<"END");
daemon off;
pid $dir/nginx.pid;
error_log $dir/nginx.log;
events {}
http {
	access_log $dir/access.log;
	client_body_temp_path $dir/body;
	proxy_temp_path $dir/proxy;
	fastcgi_temp_path $dir/fastcgi;
	uwsgi_temp_path $dir/uwsgi;
	scgi_temp_path $dir/scgi;
	server {
		listen 127.0.0.1:$outer ssl;
		ssl_certificate $dir/good.pem;
		ssl_certificate_key $dir/good.key;
		location / {
			proxy_pass http://127.0.0.1:$inner;
			proxy_set_header Host \$http_host;
			proxy_set_header X-Forwarded-Proto https;
			proxy_set_header X-Forwarded-For \$remote_addr;
		}
	}
}
END
start_program([ $nginx, '-c', "$dir/nginx.conf", '-e', "$dir/nginx.log" ], \my $log);
my $ask = start_script('node', "$FindBin::RealBin/provider.mjs", $modules, $inner, $issuer, "$dir/ca.pem");

my @algorithms = qw(RS256 PS256 ES256 EdDSA);
$ask->('keys ' . join(' ', map { "$_-1" } @algorithms));

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
JwtTest::preload_fetcher($node, $dir, "jwt_jwks.allowed_hosts = 'localhost:$outer'", "jwt_jwks.cooldown = '${cooldown}s'", 'log_statement = none');
$node->start;

# As the README says: an issuer, a source, a policy.  The URL is discovered.
$node->safe_psql('postgres', qq{
	CREATE EXTENSION jwt;
	INSERT INTO jwt_issuer (issuer, audience, algorithms, token_type)
	VALUES ('$issuer', '{api}', '{RS256,PS256,ES256,EdDSA}', 'at+jwt');
	INSERT INTO jwt_jwks_source (issuer) VALUES ('$issuer');
	CREATE ROLE app LOGIN;
	CREATE TABLE document (id serial, owner text, body text);
	INSERT INTO document (owner, body) VALUES ('alice', 'a1'), ('alice', 'a2'), ('bob', 'b1');
	ALTER TABLE document ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON document USING (owner = jwt_subject());
	GRANT SELECT ON document TO app;
});
ok($node->poll_query_until('postgres', 'SELECT last_success IS NOT NULL FROM jwt_jwks_state'), 'the key set is discovered and fetched')
  or die $node->safe_psql('postgres', 'SELECT last_error FROM jwt_jwks_state');
is($node->safe_psql('postgres', q{SELECT string_agg(kid || ':' || alg || ':' || state, ' ' ORDER BY kid) FROM jwt_key_status}),
	'ES256-1:ES256:current EdDSA-1:EdDSA:current PS256-1:PS256:current RS256-1:RS256:current', 'its keys are here');

sub bodies
{
	my ($token) = @_;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', "BEGIN; SET LOCAL jwt.token = '$token'; SELECT string_agg(body, ' ' ORDER BY id) FROM document; COMMIT",
		extra_params => [ '-U', 'app' ]);
	return $rc == 0 ? $stdout : $stderr;
}
for my $alg (@algorithms)
{
	my ($alice, $bob) = ($ask->("token alice $alg"), $ask->("token bob $alg"));
	is(bodies($alice), 'a1 a2', "alice sees her documents by a token of $alg");
	is(bodies($bob), 'b1', "bob sees his by a token of $alg");
	my @parts = split(/\./, $alice);
	my @theirs = split(/\./, $bob);
	like(bodies("$parts[0].$parts[1].$theirs[2]"), qr/ERROR:  signature/, "a token of $alg with another's signature is refused");
}

# Rotation under load. Four sessions verify all tokens as fast as they can, and record
# each verdict with the start time of its statement.
$node->safe_psql('postgres', q{
	CREATE TABLE token (kid text, token text);
	CREATE TABLE verdict (at timestamptz, kid text, sqlstate text);
	CREATE TABLE event (what text, at timestamptz);
	GRANT SELECT ON token TO app;
	GRANT INSERT ON verdict TO app;
});
sub mint
{
	my ($n) = @_;
	for my $alg (@algorithms)
	{
		my $token = $ask->("token alice $alg");
		$node->safe_psql('postgres', "INSERT INTO token VALUES ('$alg-$n', '$token')");
	}
	return;
}
sub event
{
	my ($what) = @_;
	$node->safe_psql('postgres', "INSERT INTO event VALUES ('$what', clock_timestamp())");
	return;
}
mint(1);
append_to_file("$dir/script", <<'END');
SELECT kid, token FROM token ORDER BY random() LIMIT 1 \gset
INSERT INTO verdict SELECT statement_timestamp(), :kid, coalesce(sqlstate, 'valid') FROM jwt_inspect(:token);
END
my ($bench_out, $bench_err) = ('', '');
my $load = "pgbench -n -M extended -c 4 -j 2 -T 2 -f $dir/script '" . $node->connstr('postgres') . " user=app'";
my $bench = IPC::Run::start([ 'bash', '-c', "until [ -e $dir/enough ]; do $load || exit; done" ], '>', \$bench_out, '2>', \$bench_err);
my $start = time();
# Wait until each kid has the given number of verdicts of a kind.
sub wait_for_verdicts
{
	my ($n, $number, $sqlstate, $what) = @_;
	my $now = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	ok($node->poll_query_until('postgres', "SELECT count(*) = 4 FROM (SELECT FROM verdict WHERE kid LIKE '%-$number' AND sqlstate = '$sqlstate' AND at > '$now'
		GROUP BY kid HAVING count(*) >= $n) v"), $what);
	return;
}

wait_for_verdicts(100, 1, 'valid', 'the first keys verify');
$ask->('keys ' . join(' ', map { ("$_-2", "$_-1") } @algorithms));
event('new keys sign');
mint(2);
event('tokens of new keys are used');
wait_for_verdicts(100, 2, 'valid', 'the new keys verify');
wait_for_verdicts(100, 1, 'valid', 'and so do the old');
$ask->('keys ' . join(' ', map { "$_-2" } @algorithms));
event('old keys go');
$node->safe_psql('postgres', "SELECT jwt_refresh_jwks('$issuer')");
event('refreshed');
wait_for_verdicts(30, 1, '28J03', 'the old keys verify no longer');
append_to_file("$dir/enough", 'x');
$bench->finish;
my $seconds = time() - $start;
ok(!$bench->result, 'the load ran') or diag $bench_err;

my $counts = $node->safe_psql('postgres', q{
	SELECT format('%s %s: %s', kid, sqlstate, count(*)) FROM verdict GROUP BY kid, sqlstate ORDER BY kid, sqlstate});
note $counts;
note $node->safe_psql('postgres', q{SELECT 'new keys were refused for ' || coalesce(max(v.at) - min(v.at), '0') FROM verdict v
	WHERE v.kid LIKE '%-2' AND v.sqlstate <> 'valid'});
is($node->safe_psql('postgres', q{SELECT count(*) FROM verdict v WHERE kid LIKE '%-1' AND sqlstate <> 'valid'
	AND at < (SELECT at FROM event WHERE what = 'old keys go')}), '0', 'no good token of the old keys was refused');
is($node->safe_psql('postgres', q{SELECT count(*) FROM verdict v WHERE kid LIKE '%-2' AND sqlstate <> 'valid'
	AND at > (SELECT min(at) FROM verdict w WHERE w.kid = v.kid AND sqlstate = 'valid') + interval '1 s'}), '0',
	'no good token of the new keys was refused once they were known');
cmp_ok($node->safe_psql('postgres', q{SELECT extract(epoch FROM min(at) - (SELECT at FROM event WHERE what = 'tokens of new keys are used'))
	FROM verdict v WHERE kid LIKE '%-2' AND sqlstate = 'valid'}), '<', 30, 'which they were soon');
is($node->safe_psql('postgres', q{SELECT count(*) FROM verdict v WHERE kid LIKE '%-1' AND sqlstate = 'valid'
	AND at > (SELECT at FROM event WHERE what = 'refreshed')}), '0', 'no token of a removed key was accepted after the refresh that removed it');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM verdict v WHERE kid LIKE '%-1' AND sqlstate = '28J03'
	AND at > (SELECT at FROM event WHERE what = 'refreshed')}), '>', 100, 'they were refused');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT sqlstate, ' ') FROM verdict WHERE sqlstate <> 'valid'}), '28J03', 'for no other reason');
my $fetches = () = slurp_file("$dir/access.log") =~ /GET \/jwks/g;
note "$fetches fetches of the key set";
cmp_ok($fetches, '<=', 2 + $seconds / $cooldown, 'the provider was not asked more often than the cooldown allows');

$node->stop;

done_testing();
