# Access tokens that are signed here verify in code of others, by the JWK Set over HTTP:
# npm's jose and oauth4webapi, PyJWT, Go's golang-jwt, Java's Nimbus. Nobody meets an
# unknown kid while the keys rotate. Keys that those libraries make are imported, and sign.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t", $FindBin::RealBin;
use JSON::PP;
use JwtTest;
use PeersTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $max_age       = 2;
my $publish_ahead = 8;
my $verifications = 10_000;

my $here     = "$FindBin::RealBin/issued";
my $node_js  = $ENV{NODE_MODULES} // '';
my $python   = $ENV{PYTHON_MODULES} // '';
my $compiled = $ENV{VERIFIERS} // '';
plan skip_all => 'there is no node' unless find_program('node');
plan skip_all => 'there is no jose' unless -r "$node_js/jose/package.json" && -r "$node_js/pg/package.json";

# The libraries, and the algorithms that each has. EdDSA is on Ed25519, if no curve is given.
my @common    = qw(RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA);
my %libraries = (
	jose => { command => [ 'node', "$here/jose.mjs", $node_js ], algorithms => [ @common, qw(ES256K EdDSA/Ed448) ] });
$libraries{PyJWT} = { command => [ 'env', "PYTHONPATH=$python", '/usr/bin/python3', "$here/pyjwt.py" ], algorithms => [ @common, qw(ES256K EdDSA/Ed448) ] }
  if -d "$python/jwt";
$libraries{'golang-jwt'} = { command => ["$compiled/peer"], algorithms => \@common }
  if -x "$compiled/peer";
$libraries{Nimbus} = { command => [ 'java', '-cp', "$compiled/lib/*:$compiled", 'Peer' ], algorithms => [ @common, qw(ES256K Ed25519) ] }
  if -r "$compiled/Peer.class" && find_program('java');

for my $library (grep { !$libraries{$_} } qw(PyJWT golang-jwt Nimbus))
{
  SKIP: { skip "$library is not to be had here", 1; }
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
my $key_file = $node->basedir . '/jwt_auth.keys';
umask 077;
append_to_file($key_file, 'k1:' . JwtTest::encode_base64(pack('H*', '5a' x 32), '') . ":*\n");
$node->append_conf('postgresql.conf', "jwt_auth.key_file = '$key_file'\nmax_connections = 50");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION jwt_auth CASCADE;
	CREATE ROLE web LOGIN;
	GRANT EXECUTE ON FUNCTION jwt_jwks(text) TO web;
});

# Serve the JWK Sets of all issuers, as a role that can do nothing else. Returns the URL
# and a function that returns the number of requests.
sub start_server
{
	my ($cached) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGUSER => 'web', PGDATABASE => 'postgres');
	return ("http://127.0.0.1:$port", start_script('node', "$here/server.mjs", $node_js, $port, $cached));
}
my ($url, $requests) = start_server($max_age);

sub add_issuer
{
	my ($issuer, %option) = @_;
	my $algorithms = join(',', qw(RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 ES256K EdDSA Ed25519 Ed448));
	$node->safe_psql('postgres', qq{
		SELECT jwt_add_issuer('$issuer', audience => '{api,billing}', algorithms => '{$algorithms}');
		INSERT INTO jwt_token_policy (issuer, audience, publish_ahead)
		VALUES ('$issuer', '@{[ $option{audience} // '{api}' ]}', '@{[ $option{publish_ahead} // '1 day' ]}');
	});
	return;
}

# The access token of a new session.
sub session_token
{
	my ($issuer) = @_;
	return $node->safe_psql('postgres', qq{
		SELECT jwt_start_session('$issuer', 'alice', '{"role": "writer"}', 'app', 'read write') ->> 'access_token'});
}

# Start a library that verifies the tokens of an issuer for the audience api.
sub start_verifier
{
	my ($library, $issuer, $from) = @_;
	my $path = $issuer =~ s/([^A-Za-z0-9.])/sprintf('%%%02X', ord $1)/ger;
	return start_script(@{ $libraries{$library}{command} }, ($from // $url) . "/$path", $issuer, 'api');
}

# The payload of one token under the header and the signature of another.
sub mix
{
	my ($token, $payload_of) = map { [ split(/\./) ] } @_;
	return "$token->[0].$payload_of->[1].$token->[2]";
}

# A change of one bit in the signature that leaves its encoding canonical.
sub flip
{
	my ($token) = @_;
	$token =~ s/\.(.)([^.]*)$/'.' . ($1 eq 'A' ? 'B' : 'A') . $2/e;
	return $token;
}

#
# All algorithms: keys that are made here, and keys of the libraries' own making. One
# JWK Set has all of them, so each library finds the right one by its kid, and ignores
# those that it does not know.
#
my $login = 'https://login.example';
my %tokens;
add_issuer($login);
$node->safe_psql('postgres', "SELECT jwt_create_signing_key('$login', 'ES256')");

for my $algorithm (@common, qw(ES256K Ed25519 Ed448))
{
	my ($rc, undef, $err) = $node->psql('postgres', "SELECT jwt_create_signing_key('$login', '$algorithm', activate_at => now())");
	if ($rc != 0 && $err =~ /OpenSSL/)
	{
		note "$algorithm: $err";
		next;
	}
	is($rc, 0, "$algorithm: a key is made") or diag $err;
	push @{ $tokens{$algorithm} }, session_token($login);
}

sub import_key
{
	my ($maker, $algorithm, $form, $key) = @_;
	my $alg = $algorithm =~ s{/.*}{}r;
	my ($rc, $out, $err) = $node->psql('postgres', qq{
		SELECT jwt_import_signing_key('$login', \$key\$$key\$key\$, '$alg', '$maker $algorithm $form', now())});
	is($out, "$maker $algorithm $form", "$algorithm: $maker makes a private key as $form, which is imported") or diag $err;
	return if $rc != 0;
	push @{ $tokens{$algorithm} }, session_token($login);
	return;
}

for my $library (sort keys %libraries)
{
	my $maker = start_verifier($library, $login);
	my %rsa;
	for my $algorithm (@{ $libraries{$library}{algorithms} })
	{
		for my $form (qw(jwk pem))
		{
			next if $algorithm eq 'Ed25519';	# EdDSA's key
			my $key = $algorithm =~ /^[RP]S/ ? $rsa{$form} //= $maker->("make RS256 $form") : $maker->("make $algorithm $form");
			import_key($library, $algorithm, $form, $key =~ /^"/ ? JSON::PP->new->allow_nonref->decode($key) : $key);
		}
	}
	$maker->();
}
my %genpkey = (
	RS256         => '-algorithm RSA -pkeyopt rsa_keygen_bits:2048',
	PS512         => '-algorithm RSA -pkeyopt rsa_keygen_bits:4096',
	ES256         => '-algorithm EC -pkeyopt ec_paramgen_curve:P-256',
	ES384         => '-algorithm EC -pkeyopt ec_paramgen_curve:P-384',
	ES512         => '-algorithm EC -pkeyopt ec_paramgen_curve:P-521',
	ES256K        => '-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1',
	EdDSA         => '-algorithm ED25519',
	Ed25519       => '-algorithm ED25519',
	'EdDSA/Ed448' => '-algorithm ED448');
for my $algorithm (sort keys %genpkey)
{
	import_key('openssl', $algorithm, 'pem', scalar `openssl genpkey $genpkey{$algorithm} 2>/dev/null`);
}

my ($names) = $node->safe_psql('postgres', "SELECT string_agg(k ->> 'kid', ' ') FROM jsonb_array_elements(jwt_jwks('$login') -> 'keys') k WHERE k ?| '{d,p,q,dp,dq,qi,k,priv}'");
is($names, '', 'no private member is published');

for my $library (sort keys %libraries)
{
	my $verify = start_verifier($library, $login);
	for my $algorithm (grep { $tokens{$_} } @{ $libraries{$library}{algorithms} })
	{
		my @good = @{ $tokens{$algorithm} };
		is($verify->("verify @good"), scalar @good, "$library verifies $algorithm, by " . @good . ' keys');
		my @bad = (mix($good[0], $good[1]), mix($good[1], $good[0]), map { flip($_) } @good);
		like($verify->("verify @bad"), qr/^0 .*(signature|verif|decrypt)/i, "$library refuses tampered tokens of $algorithm");
	}
	$verify->();
}

#
# The claims of an access token (RFC 9068), judged by each library's own rules.
#
my ($claims, $other) = ('https://claims.example', 'https://other.example');
my $shared = `openssl genpkey $genpkey{ES256} 2>/dev/null`;
for my $issuer ($claims, $other)
{
	add_issuer($issuer, audience => '{api,billing}');
	$node->safe_psql('postgres', "SELECT jwt_import_signing_key('$issuer', '$shared', kid => 'shared')");
}

# An access token without a session.
sub signed
{
	my ($issuer, $more, $arguments) = @_;
	return $node->safe_psql('postgres', qq{
		SELECT jwt_sign('{"sub": "alice", "sid": "1", "client_id": "app", "scope": "read" $more}', '$issuer' $arguments)});
}
my $token = session_token($claims);
is( $node->safe_psql('postgres', "SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(jwt_verify('$token')) k"),
	'aud client_id exp iat iss jti nbf role scope sid sub', 'what an access token holds');
$node->safe_psql('postgres', "UPDATE jwt_issuer SET token_type = 'JWT' WHERE issuer = '$claims'");
my $untyped = session_token($claims);
$node->safe_psql('postgres', "UPDATE jwt_issuer SET token_type = DEFAULT WHERE issuer = '$claims'");
my %wrong = (
	'another audience'  => [ qr/aud/i, signed($claims, ', "aud": "billing"', '') ],
	'another issuer'    => [ qr/iss/i, signed($other, '', '') ],
	'a missing session' => [ qr/sid|claim|missing/i, $node->safe_psql('postgres', qq{SELECT jwt_sign('{"sub": "alice", "client_id": "app", "scope": "read"}', '$claims')}) ],
	'another payload'   => [ qr/signature|verif/i, mix($token, signed($claims, '', '')) ],
	'the type JWT'      => [ qr/typ/i, $untyped ]);

$libraries{oauth4webapi} = { command => [ 'node', "$here/oauth4webapi.mjs", $node_js ] };
for my $library (sort keys %libraries)
{
	my $verify = start_verifier($library, $claims);
	is($verify->("verify $token"), 1, "$library accepts the claims of an access token");
	for my $case (sort keys %wrong)
	{
		# these do not look at the type
		next if $case eq 'the type JWT' && $library =~ /^(PyJWT|golang-jwt)$/;
		# it leaves sid to the application
		next if $case eq 'a missing session' && $library eq 'oauth4webapi';
		my ($reason, $bad) = @{ $wrong{$case} };
		like($verify->("verify $bad"), qr/^0 .*$reason/, "$library refuses $case");
	}
	my $short = signed($claims, '', ", '1 second'");
	ok(wait_until(sub { $verify->("verify $short") =~ /^0 .*exp/i }), "$library refuses a token that has expired");
	$verify->();
}
delete $libraries{oauth4webapi};

#
# Three rotations, while libraries that cache the JWK Set for its max-age verify.
#
my $rotating = 'https://rotating.example';
add_issuer($rotating, publish_ahead => "$publish_ahead seconds");
my $newest   = $node->safe_psql('postgres', "SELECT jwt_create_signing_key('$rotating')");
my $signer   = open_session($node->connstr('postgres'));
my %verify   = map { $_ => start_verifier($_, $rotating) } sort keys %libraries;
my %accepted = map { $_ => 0 } keys %verify;
my %failed   = %accepted;
my $sign     = sub {
	return split(/ /, $signer->(qq{SELECT string_agg(jwt_sign('{"sub": "alice", "sid": "1", "client_id": "app", "scope": "read"}', '$rotating'), ' ')
		FROM generate_series(1, $_[0])}));
};
my $kid = sub { return decode_json($node->safe_psql('postgres', "SELECT jwt_header('$_[0]')"))->{kid} };
my ($rotations, $before, @first, $why) = (0, $requests->('count'));
my $done = wait_until(sub {
	my @batch = ($sign->(100), @first);
	for my $library (sort keys %verify)
	{
		my ($n, $reason) = $verify{$library}->("verify @batch") =~ /^(\d+)(.*)/;
		$accepted{$library} += $n;
		$failed{$library}   += @batch - $n;
		$why ||= "$library:$reason" if $reason;
	}
	if ($kid->($batch[99]) eq $newest)
	{
		push @first, $batch[99];
		return !grep { $accepted{$_} + $failed{$_} < $verifications } keys %failed if $rotations == 3;
		$newest = $node->safe_psql('postgres', "SELECT jwt_rotate_signing_key('$rotating')");
		$rotations++;
	}
	return 0;
});
ok($done, "$rotations rotations while each library verifies $verifications tokens");
is($failed{$_}, 0, "$_ verifies all $accepted{$_} tokens by 4 keys") for sort keys %verify;
note "first failure: $why" if $why;
cmp_ok($requests->('count') - $before, '<', $accepted{jose} / 50, 'which cache the JWK Set');
$_->() for values %verify;
$signer->();

# If a key signs before the caches have ended, they do meet an unknown kid.
my ($long) = start_server(3600);
my $hasty = 'https://hasty.example';
add_issuer($hasty, publish_ahead => '0');
$node->safe_psql('postgres', "SELECT jwt_create_signing_key('$hasty')");
for my $library (sort keys %libraries)
{
	my $verify = start_verifier($library, $hasty, $long);
	is($verify->('verify ' . session_token($hasty)), 1, "$library has cached the JWK Set");
	$node->safe_psql('postgres', "SELECT jwt_rotate_signing_key('$hasty')");
	like($verify->('verify ' . session_token($hasty)), qr/^0 .*(key|kid)/i, "$library meets an unknown kid if nothing is published ahead");
	$verify->();
}

$node->stop;
done_testing();
