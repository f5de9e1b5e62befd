# PostGraphile serves two users over HTTP. It passes the token as a setting and verifies
# nothing itself, and each user sees their own rows.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t";
use HTTP::Tiny;
use JSON::PP;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $modules = $ENV{NODE_MODULES} // '';
plan skip_all => 'there is no node' unless grep { -x "$_/node" } split(/:/, $ENV{PATH});
plan skip_all => 'there is no postgraphile' unless -r "$modules/postgraphile/package.json";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
setup_trust($node);
$node->safe_psql('postgres', q{
	CREATE ROLE app LOGIN;
	CREATE TABLE note (id serial PRIMARY KEY, owner text NOT NULL DEFAULT jwt_subject(), body text NOT NULL);
	INSERT INTO note (owner, body) VALUES ('alice', 'a1'), ('alice', 'a2'), ('bob', 'b1');
	ALTER TABLE note ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON note USING (owner = jwt_subject());
	GRANT SELECT, INSERT, UPDATE, DELETE ON note TO app;
	GRANT USAGE ON SEQUENCE note_id_seq TO app;
});

my $helper = "$FindBin::RealBin/postgraphile.mjs";
my ($in, $out, $err) = ('', '', '');
my $server = IPC::Run::start([ 'node', $helper, $modules, $node->host, $node->port ],
	'<', \$in, '>', \$out, '2>', \$err, my $timer = IPC::Run::timeout(120));
END { local $?; $server->kill_kill if $server }
eval { $server->pump until $out =~ /^port (\d+)$/m; };
my ($port) = $out =~ /^port (\d+)$/m or die "postgraphile did not start: $err";
my $url = "http://127.0.0.1:$port/graphql";

# no proxy for loopback
my $http = HTTP::Tiny->new(proxy => undef, http_proxy => undef, timeout => 60);

sub ask
{
	my ($token, $query) = @_;
	my %headers = ('content-type' => 'application/json');
	$headers{authorization} = "Bearer $token" if defined $token;
	my $answer = $http->post($url, { headers => \%headers, content => encode_json({ query => $query }) });
	return eval { decode_json($answer->{content}) } // { errors => [ { message => "$answer->{status} $answer->{content}" } ] };
}

# The notes that are visible with a token, or the error.
sub notes
{
	my $answer = ask(shift, '{ allNotes(orderBy: ID_ASC) { nodes { owner body } } }');
	return "error: $answer->{errors}[0]{message}" if $answer->{errors};
	return join(' ', map { "$_->{owner}:$_->{body}" } @{ $answer->{data}{allNotes}{nodes} });
}

my ($alice, $bob) = (token('alice'), token('bob'));
is(notes($alice), 'alice:a1 alice:a2', 'alice sees her notes');
is(notes($bob), 'bob:b1', 'bob sees his');
is(notes(undef), '', 'without a token nothing is seen');
like(notes(''), qr/^error: malformed/, 'a header without one is refused');
for (1 .. 10)
{
	is(notes($alice) . '|' . notes($bob) . '|' . notes(undef), 'alice:a1 alice:a2|bob:b1|', "by turns, $_");
}

# Bob's signature on alice's payload, and other attacks.
my @alice = split(/\./, $alice);
my @bob = split(/\./, $bob);
like(notes("$alice[0].$alice[1].$bob[2]"), qr/^error: signature of the JSON Web Token/, 'a tampered token is an error');
like(notes('garbage'), qr/^error: malformed/, 'garbage is an error');
like(notes("eyJhbGciOiJub25lIn0.$alice[1]."), qr/^error: /, 'alg none is an error');
is(notes($bob), 'bob:b1', 'and the next request is served');

# The GraphQL schema does not have the extension's functions.
my $schema = ask($bob, '{ __schema { queryType { fields { name } } mutationType { fields { name } } } }');
my @fields = map { $_->{name} } map { @{ $schema->{data}{__schema}{$_}{fields} } } qw(queryType mutationType);
ok(scalar(grep { $_ eq 'allNotes' } @fields), 'the schema has the table');
is(join(' ', grep { /jwt|jws/i } @fields), '', 'and no function or table of the extension');

# A user can write only their own rows.
my $create = 'mutation { createNote(input: { note: { owner: "%s", body: "new" } }) { note { owner } } }';
is(ask($alice, sprintf $create, 'alice')->{data}{createNote}{note}{owner}, 'alice', 'alice writes for herself');
like(ask($alice, sprintf $create, 'bob')->{errors}[0]{message}, qr/row-level security/, 'and not for bob');
like(ask(undef, sprintf $create, 'bob')->{errors}[0]{message}, qr/row-level security/, 'nobody writes for bob');
my $answer = ask($bob, 'mutation { deleteNoteById(input: { id: 1 }) { note { body } } }');
ok($answer->{errors} && !$answer->{data}{deleteNoteById}, 'bob cannot delete a note of alice');
is(notes($alice), 'alice:a1 alice:a2 alice:new', 'which is still there');

# All rows exist; row-level security hid them.
is($node->safe_psql('postgres', 'SELECT count(*) FROM note'), '4', 'the table has all of them');

# Many concurrent requests over three connections.
my ($burst, $trouble);
IPC::Run::run([ 'node', $helper, 'burst', $url, $alice, 'alice', $bob, 'bob' ],
	'>', \$burst, '2>', \$trouble, IPC::Run::timeout(60));
is($burst, "wrong 0 of 200\n", '200 requests at once over three connections') or diag $trouble;

# A revoked issuer: the next request is refused.
$node->safe_psql('postgres', q{INSERT INTO jwt_denylist (issuer, kind) SELECT issuer, 'iss' FROM jwt_issuer});
like(notes($alice), qr/^error: /, 'after the issuer is revoked, the next request is refused');

$server->kill_kill;
undef $server;
$node->stop;

done_testing();
