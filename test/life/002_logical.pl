# A logical subscriber's sessions learn of changes that the apply worker writes,
# and the tables' checks apply to it.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t";
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
setup_trust($publisher);
$publisher->safe_psql('postgres', 'CREATE PUBLICATION trust FOR TABLE jwt_issuer, jwt_key');

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->start;
$subscriber->safe_psql('postgres', 'CREATE EXTENSION jwt');
my $connstr = $publisher->connstr . ' dbname=postgres';

my $query = verdict(token('alice'));
my ($in, $out, $err) = ('', '', '');
my $h = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $subscriber->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(600));

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

sub on_publisher
{
	$publisher->safe_psql('postgres', shift);
	$publisher->wait_for_catchup('trust');
	return;
}

is(ask($query), '28J03', 'no key yet; the answer is cached');
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION trust CONNECTION '$connstr' PUBLICATION trust");
$subscriber->wait_for_subscription_sync($publisher, 'trust');
is(ask($query), 'valid', 'the initial copy brings issuer and key, in whatever order');

on_publisher(q{UPDATE jwt_key SET revoked_at = now()});
is(ask($query), '28J03', 'an update by the apply worker is seen');
on_publisher(q{UPDATE jwt_key SET revoked_at = NULL});
is(ask($query), 'valid', 'and its reversal');
on_publisher(q{UPDATE jwt_issuer SET audience = '{other}'});
is(ask($query), '28J08', 'a change of policy is seen');
on_publisher(q{UPDATE jwt_issuer SET audience = '{api}'});
is(ask($query), 'valid', 'and its reversal');
on_publisher(q{TRUNCATE jwt_key});
is(ask($query), '28J03', 'TRUNCATE is seen');
$in .= "\\q\n";
$h->finish;

done_testing();
