# Issuers and keys survive dump and restore, also by a database owner who is no
# superuser, and the restored tables are as strict as the first.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t";
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', q{
	CREATE ROLE boss LOGIN;
	CREATE DATABASE first OWNER boss;
	CREATE DATABASE second OWNER boss;
	CREATE DATABASE third OWNER boss;
});
my $boss = $node->connstr('first') . ' user=boss';
my $token = token('alice');

sub as_boss
{
	my ($db, $sql) = @_;
	return $node->safe_psql($db, $sql, extra_params => [ '-U', 'boss' ]);
}

as_boss('first', 'CREATE SCHEMA auth; CREATE EXTENSION jwt SCHEMA auth');
as_boss('first', q{
	SET search_path = auth;
	INSERT INTO jwt_issuer (issuer, audience, algorithms, max_lifetime) VALUES ('https://idp.example', '{api}', '{HS256}', NULL);
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('', '{*}', '{EdDSA}');
});
my $hex = unpack('H*', 'a secret of the tests of whole servers');
as_boss('first', "SELECT auth.jwt_add_secret('https://idp.example', '\\x$hex', 'HS256', 'k1')");
as_boss('first', q{SELECT auth.jwt_add_key('', '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}', kid => 'k2')});
is(as_boss('first', "SELECT auth.jwt_verify('$token') ->> 'sub'"), 'alice', 'verifies before');
my $keys = as_boss('first', 'SELECT * FROM auth.jwt_key ORDER BY kid');
my $issuers = as_boss('first', 'SELECT * FROM auth.jwt_issuer ORDER BY issuer');

my $dir = PostgreSQL::Test::Utils::tempdir();
for my $format ([ 'plain', 'second' ], [ 'custom', 'third' ])
{
	my ($name, $db) = @$format;
	my $file = "$dir/$name";
	$node->command_ok([ 'pg_dump', '-U', 'boss', '-F', $name, '-f', $file, '-d', $node->connstr('first') ],
		"a dump by the owner, $name");
	if ($name eq 'plain')
	{
		$node->command_ok([ 'psql', '-X', '-U', 'boss', '-v', 'ON_ERROR_STOP=1', '-q', '-f', $file, '-d', $node->connstr($db) ],
			'restores by psql');
	}
	else
	{
		$node->command_ok([ 'pg_restore', '-U', 'boss', '-e', '-d', $node->connstr($db), $file ], 'restores by pg_restore');
	}
	is(as_boss($db, 'SELECT * FROM auth.jwt_key ORDER BY kid'), $keys, 'the keys are the same');
	is(as_boss($db, 'SELECT * FROM auth.jwt_issuer ORDER BY issuer'), $issuers, 'the issuers are the same');
	is(as_boss($db, "SELECT auth.jwt_verify('$token') ->> 'sub'"), 'alice', 'verifies after');
	my ($ret, $stdout, $stderr) = $node->psql($db, q{UPDATE auth.jwt_issuer SET algorithms = '{none}'});
	like($stderr, qr/column "algorithms" of "jwt_issuer" is not acceptable/, 'the checks are there');
}

done_testing();
