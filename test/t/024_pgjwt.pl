# jwt_pgjwt on whole servers: what the log shows of a secret, databases in other
# encodings, dump and restore.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
log_min_error_statement = debug5
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
});
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();

# The output of a statement, or the SQLSTATE of its error.
sub outcome
{
	my ($db, $sql) = @_;
	my ($status, $out, $err) = $node->psql($db, $sql, extra_params => [qw(-v VERBOSITY=sqlstate)]);
	return $status == 0 ? $out : ($err =~ /ERROR:  (\w{5})/)[0];
}

# Each error of a function with the secret as an argument: as a literal, in PL/pgSQL, and
# as a parameter.
$node->safe_psql('postgres', 'CREATE EXTENSION jwt_pgjwt');
my %failing = (
	'an unknown algorithm' => [ '22023', q{SELECT sign('{}', SECRET, 'none')} ],
	'a signature by none' => [ '22023', q{SELECT algorithm_sign('x', SECRET, 'none')} ],
	'a token by none' => [ '22023', q{SELECT * FROM verify('e30.e30.x', SECRET, 'none')} ],
	'bad base64' => [ '22023', q{SELECT * FROM verify('!.y.z', SECRET)} ],
	'bad UTF-8' => [ '22021', q{SELECT * FROM verify('_w._w.z', SECRET)} ],
	'bad JSON' => [ '22P02', q{SELECT * FROM verify('eA.eA.z', SECRET)} ],
	'a bad escape' => [ '22P05', q{SELECT * FROM verify(sign('{"a":"\u0000"}', SECRET), SECRET)} ],
	'NaN' => [ '22008', q{SELECT * FROM verify(sign('{"exp":"NaN"}', SECRET), SECRET)} ],
	'nbf after exp' => [ '22000', q{SELECT * FROM verify(sign('{"nbf":2,"exp":1}', SECRET), SECRET)} ]);
my $log = -s $node->logfile;
for my $name (sort keys %failing)
{
	my ($sqlstate, $sql) = @{ $failing{$name} };
	(my $literal = $sql) =~ s/SECRET/'top secret'/g;
	is(outcome('postgres', $literal), $sqlstate, $name);
	is(outcome('postgres', "DO \$\$ BEGIN EXECUTE \$q\$$literal\$q\$; END \$\$"), $sqlstate, "$name, in PL/pgSQL");
	(my $parameter = $sql) =~ s/SECRET/:secret/g;
	append_to_file("$dir/script", "$parameter;\n");
	IPC::Run::run([ 'pgbench', '-n', '-t', 1, '-M', 'extended', '-D', 'secret=top secret', '-f', "$dir/script", $node->connstr('postgres') ], '>', \my $out, '2>', \my $err);
	unlink "$dir/script";
	ok(logged($node, qr/ERROR:  $sqlstate: /, $log), "$name is logged");
}
unlike(slurp_file($node->logfile, $log), qr/top.?secret/, 'the log has no secret');
$log = -s $node->logfile;
is(outcome('postgres', q{SELECT 1 / 0 AS "top secret"}), '22012', 'another error');
ok(logged($node, qr/STATEMENT:.*top secret/, $log), 'is logged with its statement');

# In each encoding a text gives the same as in UTF-8, or an error if the encoding lacks a
# character.
my $utf8_token = $node->safe_psql('postgres', q{SELECT sign('{"sub":"é"}', 'é')});
my $euro = $node->safe_psql('postgres', q{SELECT sign('{"sub":"€"}', 'secret')});
my $escaped = $node->safe_psql('postgres', q{SELECT sign('{"sub":"\u20ac"}', 'secret')});
for my $case ([ 'UTF8', 't', 't', 't' ], [ 'LATIN1', 'f', '22P05', '22P05' ], [ 'EUC_JP', 'f', '22P05', '22P05' ], [ 'SQL_ASCII', 't', 't', '0A000|22P05' ])
{
	my ($encoding, $same, $raw, $by_escape) = @$case;
	$node->safe_psql('postgres', "CREATE DATABASE other ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$node->safe_psql('other', 'CREATE EXTENSION jwt_pgjwt');
	my $client = $encoding eq 'SQL_ASCII' ? '' : "SET client_encoding = 'UTF8';";
	is(outcome('other', qq{$client SELECT sign('{"sub":"x"}', 'secret')}), $node->safe_psql('postgres', q{SELECT sign('{"sub":"x"}', 'secret')}), "$encoding: ASCII");
	is(outcome('other', qq{$client SELECT sign('{"sub":"é"}', 'secret')}), $node->safe_psql('postgres', q{SELECT sign('{"sub":"é"}', 'secret')}), "$encoding: a payload is UTF-8")
	  unless $encoding eq 'EUC_JP';
	# a secret is in the server encoding
	is(outcome('other', qq{$client SELECT valid FROM verify('$utf8_token', 'é')}), $same, "$encoding: a secret") unless $encoding eq 'EUC_JP';
	is(outcome('other', qq{SELECT valid FROM verify('$euro', 'secret')}), $raw, "$encoding: a character");
	# 15 has another SQLSTATE for SQL_ASCII
	like(outcome('other', qq{SELECT valid FROM verify('$escaped', 'secret')}), qr/^($by_escape)$/, "$encoding: an escaped character");
	# bytes of any kind give an error or a verdict
	$node->safe_psql('other', q{DO $$
		DECLARE
			bytes bytea := '';
		BEGIN
			FOR i IN 1 .. 500 LOOP
				bytes := set_byte(bytes || '\\x22', length(bytes) / 2, (i * 97) % 256);
				BEGIN
					PERFORM verify(url_encode('{}') || '.' || url_encode(bytes) || '.' || algorithm_sign(url_encode('{}') || '.' || url_encode(bytes), 'secret', 'HS256'), 'secret');
				EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character OR invalid_text_representation THEN
				END;
			END LOOP;
		END $$});
	$node->safe_psql('postgres', 'DROP DATABASE other');
}

# Dump and restore by an owner of the database who is no superuser, in another schema.
$node->safe_psql('postgres', q{
	DROP EXTENSION jwt_pgjwt;
	CREATE ROLE owner LOGIN;
	CREATE DATABASE app OWNER owner;
	CREATE DATABASE again OWNER owner});
my @as_owner = (extra_params => [ '-U', 'owner' ]);
$node->safe_psql('app', q{CREATE SCHEMA extensions; CREATE EXTENSION jwt_pgjwt SCHEMA extensions;
	CREATE VIEW verdict AS SELECT valid FROM extensions.verify(extensions.sign('{}', 'secret'), 'secret')}, @as_owner);
$node->command_ok([ 'pg_dump', '-U', 'owner', '-f', "$dir/dump", $node->connstr('app') ], 'dump');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-U', 'owner', '-f', "$dir/dump", $node->connstr('again') ], 'restore');
is($node->safe_psql('again', 'SELECT valid FROM verdict', @as_owner), 't', 'it verifies there');
$node->command_fails_like([ 'psql', '-Xq', '-U', 'owner', '-c', 'DROP EXTENSION jwt_pgjwt', $node->connstr('again') ], qr/view verdict depends on/, 'a view depends on it');

$node->stop;
done_testing();
