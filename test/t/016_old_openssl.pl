# HMAC in OpenSSL 3.0.0 to 3.0.2, where EVP_MAC_init() without a key does not start a new
# message: a reused verifier gives the same verdicts.
use strict;
use warnings FATAL => 'all';

use Digest::SHA;
use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use MIME::Base64 qw(decode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $shim = $node->config_data('--pkglibdir') . '/jwt_mac.so';
plan skip_all => "there is no $shim" unless -f $shim;
$node->init;
{
	local $ENV{LD_PRELOAD} = $shim;
	$node->start;
}
setup_trust($node);
my ($alice, $bob) = (token('alice'), token('bob'));
my $forged = token('root', secret => 'a secret of somebody else, as long as');
my $session = open_session($node->connstr('postgres'));
$session->('SET jwt.cache_size = 0');
for my $round (1 .. 3)
{
	is($session->(verdict($alice)), 'valid', "round $round: a good token");
	is($session->(verdict($forged)), '28J04', "round $round: a forged one");
	is($session->(verdict($bob)), 'valid', "round $round: another good one");
}
is($session->(qq{SELECT count(*) FILTER (WHERE good ->> 'sub' = 'alice'), count(*) FILTER (WHERE bad IS NOT NULL)
	FROM (SELECT jwt_try_verify('$alice') AS good, jwt_try_verify('$forged') AS bad FROM generate_series(1, 1000) OFFSET 0) v}),
	'1000|0', 'a thousand times in one statement');
# each length of MAC; jwt_test_signature() verifies twice
$node->safe_psql('postgres', 'CREATE EXTENSION jwt_test');
my $jwk = '{"kty":"oct","k":"' . ('ab_-' x 22) . '"}';
for my $alg (qw(HS256 HS384 HS512))
{
	my $mac = unpack('H*', Digest::SHA->can('hmac_sha' . substr($alg, 2))->('message', decode_base64('ab/+' x 22)));
	is($session->("SELECT jwt_test_signature('$alg', '$jwk', 'message', '\\x$mac'), jwt_test_signature('$alg', '$jwk', 'massage', '\\x$mac')"),
		't|f', "$alg: of this message, and of no other");
}
$session->();
$node->stop;
done_testing();
