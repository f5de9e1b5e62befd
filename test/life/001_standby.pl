# A hot standby verifies, and learns of every change of trust by replaying WAL,
# in sessions that have the key cached and in transactions that are open.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t";
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
setup_trust($primary);
$primary->safe_psql('postgres', 'CREATE ROLE app LOGIN');

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $query = verdict(token('alice'));

# One session on the standby, kept open in a REPEATABLE READ transaction.
my ($in, $out, $err) = ('', '', '');
my $timer = IPC::Run::timeout(600);
my $h = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $standby->connstr('postgres') . ' user=app' ],
	'<', \$in, '>', \$out, '2>', \$err, $timer);

sub ask
{
	my ($sql) = @_;
	$out = '';
	$in .= "$sql;\n\\echo done\n";
	$h->pump until $out =~ /^done$/m;
	$out =~ s/^done\n//m;
	chomp $out;
	return $out;
}

sub on_primary
{
	$primary->safe_psql('postgres', shift);
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

is(ask('SHOW transaction_read_only'), 'on', 'the session is on a standby');
ask('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
is(ask($query), 'valid', 'a token verifies on the standby, for a role without privileges');

on_primary(q{UPDATE jwt_key SET revoked_at = now()});
is(ask($query), '28J03', 'a revoked key verifies nothing there, in the same transaction');
on_primary(q{UPDATE jwt_key SET revoked_at = NULL});
is(ask($query), 'valid', 'a key that is back verifies');
on_primary(q{UPDATE jwt_issuer SET audience = '{other}'});
is(ask($query), '28J08', 'a change of policy is seen');
on_primary(q{UPDATE jwt_issuer SET audience = '{api}'});
is(ask($query), 'valid', 'and its reversal');
on_primary(q{TRUNCATE jwt_key});
is(ask($query), '28J03', 'TRUNCATE is seen');
is(ask('COMMIT'), '', 'the transaction was the same all the time');
$in .= "\\q\n";
$h->finish;

done_testing();
