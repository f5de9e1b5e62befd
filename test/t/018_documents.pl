# The pages that a new user pastes from do what they say.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use DocTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# Each page begins in a database that has nothing.
for my $page ('README.md')
{
	$node->safe_psql('postgres', 'CREATE DATABASE fresh');
	doc_run($node, "$FindBin::RealBin/../$page", database => 'fresh');
	$node->safe_psql('postgres', 'DROP DATABASE fresh WITH (FORCE)');
	$node->safe_psql('postgres', 'DROP ROLE IF EXISTS app');
}

$node->stop;
done_testing();
