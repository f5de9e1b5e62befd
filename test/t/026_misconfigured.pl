# Misconfigurations are reported: a source without workers, a database that the workers
# leave out, and a server that would not start again.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use DocTest;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
setup_trust($node);

my $insert = q{INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://idp.example', 'https://idp.example/jwks.json')};
my $problems = q{SELECT array_to_string(problems, ' ') FROM jwt_status WHERE issuer};

# The SQLSTATEs of the warnings of statements.
sub warnings_of
{
	my ($sql, @options) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=sqlstate', @options ]);
	is($status, 0, 'the statement is executed');
	return join(' ', $err =~ /^psql\S* (WARNING: .*|ERROR: .*)$/mg);
}

# Without workers.
is(warnings_of($insert), 'WARNING:  01000', 'a source that nobody fetches: a warning');
is($node->safe_psql('postgres', "$problems = 'https://idp.example'"),
	'No worker fetches its keys, because "jwt_jwks" is not in shared_preload_libraries.', 'and a line in jwt_status');
is(warnings_of("SET session_replication_role = replica; UPDATE jwt_jwks_source SET grace = grace"), '', 'no warning to a subscriber');
is(warnings_of("SELECT jwt_add_issuer('https://roles.example', '{api}', '{HS256}', roles => '{no_such_role}')"),
	'WARNING:  01000', 'roles that do not exist: a warning');

# All libraries in one pair of quotes: a name of one.
is($node->safe_psql('postgres', "$problems IS NULL"), '', 'all is well');
$node->safe_psql('postgres', q{ALTER SYSTEM SET shared_preload_libraries = 'jwt, jwt_jwks'});
like($node->safe_psql('postgres', "$problems IS NULL"), qr/^The server will not start again, because ALTER SYSTEM made one name of all libraries/,
	'libraries in one pair of quotes: a line in jwt_status, before the server is stopped');
$node->stop;
is($node->start(fail_ok => 1), 0, 'the server does not start');
like(slurp_file($node->logfile), qr/FATAL:  could not access file "jwt, jwt_jwks": No such file or directory/, 'and says which file it has not found');

# What the page says: remove the line, and name them without quotes.
my $auto = $node->data_dir . '/postgresql.auto.conf';
my $text = slurp_file($auto);
like($text, qr/^shared_preload_libraries = '"jwt, jwt_jwks"'$/m, 'the line is in postgresql.auto.conf');
$text =~ s/^shared_preload_libraries.*\n//m;
open(my $file, '>', $auto) or die;
print $file $text;
close $file;
$node->start;
doc_run($node, "$FindBin::RealBin/../doc/install.md");
is($node->safe_psql('postgres', "$problems IS NULL"), '', 'named without quotes: all is well');
$node->restart;

# With workers.
is(warnings_of('UPDATE jwt_jwks_source SET grace = grace'), '', 'a source with workers: no warning');
unlike($node->safe_psql('postgres', "$problems = 'https://idp.example'"), qr/No worker/, 'and no line in jwt_status');

# Workers for other databases only.
my $from = -s $node->logfile;
reload($node, 'SET jwt_jwks.databases = postgre');
ok(logged($node, qr/LOG:  jwt_jwks fetches no key sets for 1 database\n.*DETAIL:  jwt_jwks\.databases does not name "postgres"\.\n/, $from),
	'a database that is not named: a line in the log');
is(warnings_of('UPDATE jwt_jwks_source SET grace = grace'), 'WARNING:  01000', 'a source there: a warning');
like($node->safe_psql('postgres', "$problems = 'https://idp.example'"),
	qr/^No worker fetches its keys, because jwt_jwks\.databases does not name this database\./, 'and a line in jwt_status');
reload($node);
$node->safe_psql('postgres', 'CREATE DATABASE "an""other"');
reload($node);
ok(logged($node, qr/for 2 databases\n.*DETAIL:  jwt_jwks\.databases does not name "postgres", "an"other"\.\n/, $from), 'another such database: another line');
is(scalar(() = substr(slurp_file($node->logfile), $from) =~ /jwt_jwks fetches no key sets/g), 2, 'and none when nothing has changed');
reload($node, 'SET jwt_jwks.databases = postgre, postgres');
is(warnings_of('UPDATE jwt_jwks_source SET grace = grace'), '', 'a source in a database that is named: no warning');
unlike($node->safe_psql('postgres', "$problems = 'https://idp.example'"), qr/No worker/, 'and no line in jwt_status');

$node->stop;
done_testing();
