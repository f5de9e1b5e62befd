# After a rotation the new key is trusted soon, also while many unsigned tokens arrive.
# With JWT_LONG the test runs twenty times, and must take at most ten seconds in
# nineteen runs.
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

my ($runs, $bound) = $ENV{JWT_LONG} ? (20, 10) : (2, 30);
my $dir = make_fixtures();
my %port = start_peer('endpoint', $dir);

sub publish
{
	my ($name, $kid) = @_;
	append_to_file("$dir/$name.new", '{"keys":[' . slurp_file("$dir/$kid.jwk") . ']}');
	rename("$dir/$name.new", "$dir/$name") or die;
	return;
}
my %token = map { my $t = slurp_file("$dir/$_.token"); ($_ => $t) } qw(k1 k2 k3);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# the settings are the defaults
preload_fetcher($node, $dir, 'log_statement = none');
$node->start;
sub sql { return $node->safe_psql('postgres', shift) }
is(sql('SHOW jwt_jwks.cooldown'), '5s', 'the default cooldown, so twelve fetches a minute at most');

publish('set', 'k1');
publish("other$_", 'k1') for 1 .. 3;
sql(qq{CREATE EXTENSION jwt;
	INSERT INTO jwt_issuer (issuer, audience, algorithms) SELECT 'https://' || name || '.example', '{api}', '{ES256}' FROM unnest('{set,other1,other2,other3}'::text[]) name;
	INSERT INTO jwt_jwks_source (issuer, uri) SELECT 'https://' || name || '.example', 'https://localhost:$port{good}/set/' || name FROM unnest('{set,other1,other2,other3}'::text[]) name});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 4 AND bool_and(last_success = last_attempt) FROM jwt_jwks_state'), 'four issuers');

# A hundred tokens a second from permanent sessions: with unknown keys, and with a known
# key and a bad signature.
append_to_file("$dir/garbage", <<'END');
\set n random(1, 1000000000)
SELECT sqlstate FROM jwt_inspect(translate(encode(convert_to('{"alg":"ES256","kid":"x' || :n || '"}', 'UTF8'), 'base64'), E'+/=\n', '-_') || '.e30.AAAA');
SELECT sqlstate FROM jwt_inspect(translate(encode(convert_to('{"alg":"ES256","kid":"k' || 1 + :n % 3 || '"}', 'UTF8'), 'base64'), E'+/=\n', '-_') || '.e30.' || repeat('A', 86));
END
my $flood = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-R', 50, '-T', 1200, '-f', "$dir/garbage", $node->connstr('postgres') ], '>', \my $printed, '2>', \my $errors);
END { local $?; $flood->kill_kill if $flood }
my $start = time();
my $log = -s "$dir/log";

my $session = open_session($node->connstr('postgres'));
my @took;
my $kid = 1;
for my $run (1 .. $runs)
{
	# at a random time within the cooldown
	sleep rand(6);
	$kid = 1 + $kid % 3;
	my $token = $token{"k$kid"};
	my $ask = "SELECT coalesce(sqlstate, 'valid') FROM jwt_inspect('$token', issuer => 'https://set.example')";
	my $before = $session->($ask);
	publish('set', "k$kid");
	my $published = time();
	sleep 0.1 until $session->($ask) eq 'valid' || time() - $published > 180;
	push @took, time() - $published;
	isnt($before, 'valid', "rotation $run: a key that is not trusted yet");
	# on an idle machine it takes 2 to 6 s
	cmp_ok($took[-1], '<', 30, sprintf('  is trusted %.1f s after it was published', $took[-1]));
}
my @soon = grep { $_ < $bound } @took;
cmp_ok(scalar(@soon), '>=', $runs > 2 ? $runs - 1 : $runs, scalar(@soon) . " of $runs rotations within $bound s");

# There are no more requests to the endpoint than the default cooldown allows.
my $seconds = time() - $start;
my %asked;
$asked{$_}++ for substr(slurp_file("$dir/log"), $log) =~ m{/set/(\w+)}g;
cmp_ok($asked{$_}, '<=', 2 + $seconds / 5, sprintf('%s was asked %d times in %.0f s', $_, $asked{$_}, $seconds)) for sort keys %asked;
is(scalar(keys %asked), 4, 'and so were all four');

$session->();
$flood->kill_kill;
undef $flood;
$node->stop;
done_testing();
