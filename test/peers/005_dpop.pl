# Real identity providers bind tokens to a key, and npm's jose makes the proofs. A server
# accepts each proof once, also if the transaction is rolled back.
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

my $node_js  = $ENV{NODE_MODULES} // '';
my $programs = $ENV{JWT_PEERS} // '/var/cache/jwt-peers';
plan skip_all => 'there is no node' unless find_program('node');
plan skip_all => 'there is no oidc-provider' unless -r "$node_js/oidc-provider/package.json";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jwt'");
$node->start;
setup_documents($node);
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;

my $uri = 'https://api.example/documents';

# The rows that a request sees with a token, with a proof or without; or the SQLSTATE of
# the refusal.
sub shown
{
	my ($server, $token, $proof, %option) = @_;
	my $end = $option{end} // 'COMMIT';
	my $sql = $proof ? "SELECT jwt_authenticate('$token', proof => '$proof', method => 'GET', uri => '@{[ $option{uri} // $uri ]}') IS NULL"
	  : "SELECT set_config('jwt.token', '$token', true) IS NULL";
	my ($rc, $out, $err) = $server->psql('postgres', "\\set VERBOSITY sqlstate\nBEGIN;\n\\o /dev/null\n$sql;\n\\o\nSELECT string_agg(body, ' ') FROM document;\n$end",
		extra_params => [ '-U', 'app' ]);
	return $rc == 0 ? $out : $err =~ /ERROR:  (\w{5})/ ? $1 : $err;
}

sub bound_by
{
	my ($provider, $algorithm) = @_;
	my $folder = tempdir(CLEANUP => 1);
	my $ask    = start_script('node', "$FindBin::RealBin/sign-out/people.mjs", $provider, $node_js, $programs, $folder, 'http://127.0.0.1:9/');
	my ($issuer, undef, $keys) = split(/ /, $ask->('issuer'), 3);
	my $token = $ask->('sign-in laptop alice bound');
	$ask->('sign-in phone alice bound');
	$node->safe_psql('postgres', qq{
		SELECT jwt_add_issuer('$issuer', audience => '{api}', algorithms => '{$algorithm}');
		SELECT jwt_import_jwks('$issuer', \$\$$keys\$\$);
		INSERT INTO document SELECT jwt_unverified_claims('$token') ->> 'sub', 'hers' ON CONFLICT DO NOTHING;
	});
	$node->wait_for_catchup($standby);
	my $prove = sub { return $ask->("proof laptop GET $uri") };

	# a server that has just started refuses proofs that it may have accepted before
	for my $server ($node, $standby)
	{
		ok(wait_until(sub { shown($server, $token, $prove->()) eq 'hers' }), "$provider: a proof is accepted by the " . $server->name);
	}
	is(shown($node, $token), '28J13', "$provider: without a proof the token is refused");

	my $proof = $prove->();
	is(shown($node, $token, $proof, uri => 'https://api.example/others'), '28J13', "$provider: a proof for another place is refused");
	is(shown($node, $token, $proof), 'hers', "$provider: which is not used up by that");
	is(shown($node, $token, $proof), '28J13', "$provider: and is accepted once");
	is(shown($standby, $token, $proof), 'hers', "$provider: a standby remembers for itself");
	is(shown($standby, $token, $proof), '28J13', "$provider: and accepts it once, too");

	$proof = $prove->();
	is(shown($node, $token, $proof, end => 'ROLLBACK'), 'hers', "$provider: a transaction with a proof is rolled back");
	is(shown($node, $token, $proof), '28J13', "$provider: which does not make the proof good again");

	is(shown($node, $token, $ask->("proof phone GET $uri")), '28J13', "$provider: another browser's proof is refused");

	my $refreshed = $ask->('refresh laptop');
	is(shown($node, $token, $prove->()), '28J13', "$provider: a proof for the refreshed token is none for the first");
	is(shown($node, $refreshed, $prove->()), 'hers', "$provider: but for that");
	$ask->();
	return;
}

bound_by('oidc-provider', 'ES256');
SKIP:
{
	skip 'CI has no time for Keycloak', 1 if $ENV{CI} && !$ENV{JWT_PEERS};
	skip 'there is no Keycloak, which test/peers/fetch fetches', 1 unless -d "$programs/keycloak" && find_program('java');
	bound_by('keycloak', 'RS256');
}

$standby->stop;
$node->stop;
done_testing();
