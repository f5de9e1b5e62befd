# The steps of doc/operations.md for an upgrade of the extension: new files under a
# running server, a restart if the library is preloaded, ALTER EXTENSION UPDATE. Before,
# between and after the steps each token has its verdict, in sessions of both libraries,
# and a revocation reaches all of them.
#
# test/lib/next.sh makes the later version. test/lib/upgrade_packages.pl does the same
# with Debian's packages.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t", $FindBin::RealBin;
use Digest::SHA qw(hmac_sha256);
use File::Copy qw(copy);
use JwtTest;
use LifeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %token = (
	'valid' => token('alice', jti => 'a1'), 'valid later' => token('bob', jti => 'b1'), '28J01' => 'a.b',
	'28J03' => token('alice', kid => 'unknown'), '28J04' => token('alice', secret => 'another secret'),
	'28J07' => token('alice', iss => 'https://other.example'), '28J11' => token('carol', jti => 'c1'));
my ($header) = $token{valid} =~ /^([^.]*)/;
my $expired = "$header." . JwtTest::base64url('{"iss":"https://idp.example","aud":"api","sub":"alice","exp":1000000000}');
$expired .= '.' . JwtTest::base64url(hmac_sha256($expired, JwtTest::secret()));
$token{'28J05'} = $expired;

# The verdicts that a session gives, and those that are right.
sub verdicts
{
	my ($session) = @_;
	return join("\n", map { "$_: " . $session->ask(verdict($token{$_})) } sort keys %token);
}

my %is = map { $_ => s/ .*//r } keys %token;
sub right { return join("\n", map { "$_: $is{$_}" } sort keys %token) }

# Which library has a session?
sub library
{
	my ($session) = @_;
	return $session->ask("SELECT CASE WHEN error LIKE '%is past its time' THEN 'new' ELSE 'old' END FROM jwt_inspect('$expired')");
}

# Install files as a package does: a file is renamed over another one, which a process
# still has.
sub install_files
{
	my ($node, $from) = @_;
	my %folder = (so => $node->config_data('--pkglibdir'), control => $node->config_data('--sharedir') . '/extension');
	$folder{sql} = $folder{control};
	for my $file (glob("$from/*"))
	{
		my ($name, $kind) = $file =~ m{([^/]*\.(\w+))\z};
		copy($file, "$folder{$kind}/$name.new") && rename("$folder{$kind}/$name.new", "$folder{$kind}/$name") or die "$name: $!";
	}
	return;
}

# Upgrade a server whose library is preloaded or not.
sub upgrade
{
	my ($preloaded) = @_;
	my $what = $preloaded ? 'preloaded' : 'not preloaded';
	my $node = PostgreSQL::Test::Cluster->new($preloaded ? 'preloaded' : 'plain', install_path => $ENV{JWT_INSTALL_OWN});
	my %session;
	my $everywhere = sub {
		my ($when) = @_;
		is(verdicts($session{$_}), right(), "$what: $when, session $_: each verdict is right") for sort keys %session;
	};
	my $open = sub { $session{ $_[0] } = LifeTest->new($node->connstr('postgres')) };

	install_files($node, $ENV{JWT_OLD});
	$is{'valid later'} = 'valid';
	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jwt, jwt_jwks'") if $preloaded;
	$node->start;
	setup_trust($node);
	$node->safe_psql('postgres', "SELECT jwt_revoke('$token{'28J11'}')");
	$open->('before');
	$everywhere->('before');

	# 1. install the new files
	install_files($node, $ENV{JWT_NEXT});
	$open->('with new files');
	$everywhere->('with new files');
	is(library($session{before}), 'old', "$what: a session keeps its library");
	is(library($session{'with new files'}), $preloaded ? 'old' : 'new', "$what: the library of a new session");
	is($session{before}->ask("SELECT jwt_revoke('$token{'valid later'}') IS NOT NULL"), 't', "$what: a session revokes a token");
	$is{'valid later'} = '28J11';
	$everywhere->('after a revocation');

	# 2. restart the server if the library is preloaded
	if ($preloaded)
	{
		$_->finish for values %session;
		%session = ();
		$node->restart;
		$open->('after the restart');
		is(library($session{'after the restart'}), 'new', "$what: the library after the restart");
		$everywhere->('after the restart');
	}

	# 3. update the extension
	is($node->safe_psql('postgres', "ALTER EXTENSION jwt UPDATE; SELECT extversion FROM pg_extension WHERE extname = 'jwt'"),
		'1.1', "$what: the extension is updated");
	$open->('after the update');
	$everywhere->('after the update');
	is($session{'after the update'}->ask("SELECT jwt_next('$token{valid}') ->> 'alg'"), 'HS256', "$what: what the update adds works");
	is($node->safe_psql('postgres', 'SELECT ok FROM jwt_status WHERE issuer IS NULL'), 't', "$what: jwt_status is green");

	$_->finish for values %session;
	$node->stop;
	return;
}

upgrade(0);
upgrade(1);
done_testing();
