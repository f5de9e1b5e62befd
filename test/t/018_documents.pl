# Runs the blocks of the pages in new databases, and checks their results.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use DocTest;
use JwtTest qw(order_maker wait_until);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
my $pages = "$FindBin::RealBin/..";

# The key file, as the page makes it, for the database of this test.
my $dir = PostgreSQL::Test::Utils::tempdir();
my ($make_key_file, $setting) = slurp_file("$pages/doc/issuing.md") =~ /^```sh\n(.*?)^```.*?^```\n(jwt_auth\.key_file = .*?)^```/ms;
s{/var/lib/postgresql}{$dir}, s/:app"/:fresh"/ for $make_key_file, $setting;
is(system('bash', '-ec', $make_key_file), 0, 'a key file');
$node->append_conf('postgresql.conf', "$setting\nshared_preload_libraries = jwt");
$node->start;

# Run a page, or one of its sections, in a new database, with or without the extension,
# and check the database.
sub page
{
	my ($page, $extension, $look, $section) = @_;
	$node->safe_psql('postgres', 'CREATE DATABASE fresh');
	$node->safe_psql('fresh', 'CREATE EXTENSION jwt') if $extension;
	doc_run($node, "$pages/$page", database => 'fresh', section => $section);
	$look->() if $look;
	$node->safe_psql('postgres', 'DROP DATABASE fresh WITH (FORCE)');
	$node->safe_psql('postgres', 'DROP ROLE IF EXISTS anon, authenticated, app, reader, editor, receiver');
	return;
}
sub sql { return $node->safe_psql('fresh', shift) }

page('README.md', 0);
page('doc/providers.md', 1, sub {
	is(sql(q{SELECT string_agg(DISTINCT p, ' ') FROM jwt_status, unnest(problems) p}), 'It has no key that verifies now. No worker fetches its keys, because "jwt_jwks" is not in shared_preload_libraries.',
		'providers lack nothing but their keys, and workers');
});
page('doc/cookbook.md', 1);
page('doc/sign-out.md', 1);
page('doc/issuing.md', 0, sub {
	is(sql(q{SELECT string_agg(DISTINCT ended_why, ',') FROM jwt_session}), 'a refresh token was used again, or the database was restored', 'the stolen refresh token has ended the session');
	is(sql(qq{SET ROLE api; SELECT login.log_in('$_', 'wrong') ->> 'error'}), 'invalid_grant', "no login of $_") for 'alice\@example.com', 'nobody\@example.com';
});
$node->safe_psql('postgres', 'DROP ROLE api, login_owner');
page('doc/migrate/pgjwt.md', 0);

page('doc/keys.md', 1, undef, "Refresh from the issuer's endpoint");

# A proof, passed by a backend and by PostgREST. A server that has just started refuses
# proofs.
{
	my ($gateway, $backend, $postgrest) = map { $_->{text} } doc_blocks("$pages/doc/confirmation.md");
	my $order = order_maker();
	my $token = $order->(token => { sub => 'alice', cnf => { jkt => $order->(key => 'alice', alg => 'ES256') } }, secret => JwtTest::secret());
	my $in_transaction = sub {
		my ($sql) = @_;
		my ($status, $out) = $node->psql('fresh', "BEGIN; $sql; SELECT coalesce(jwt_subject(), 'nobody'); COMMIT");
		return ($out =~ /(.*)\z/)[0];
	};
	my $proof = sub { return $order->(proof => 'alice', token => $token) };
	my $request = sub {
		return "SET LOCAL \"request.method\" = 'GET'; SET LOCAL \"request.path\" = '/things'; SET LOCAL \"request.headers\" = '"
		  . qq({"authorization": "DPoP $token"$_[0]}'; SELECT private.authenticate\(\));
	};
	$node->safe_psql('postgres', 'CREATE DATABASE fresh');
	JwtTest::setup_trust($node, 'fresh');
	$backend =~ s/BEGIN;//;
	ok(wait_until(sub { $in_transaction->($backend =~ s/\$1/'$token'/r =~ s/\$2/"'" . $proof->() . "'"/er =~ s/;\s*\z//r) eq 'alice' }), 'a backend passes a proof');
	sql("CREATE SCHEMA private; $postgrest");
	is($in_transaction->($request->(qq(, "dpop": ") . $proof->() . '"')), 'alice', 'so does PostgREST');
	is($in_transaction->($request->('')), '', 'none without a proof');
	sql($gateway);
	is($in_transaction->($request->('')), 'alice', 'or behind a gateway');
	$node->safe_psql('postgres', 'DROP DATABASE fresh WITH (FORCE)');
}

# How long the revocation of a session is kept. The key is that of RFC 8037.
page('doc/revocation.md', 1, sub {
	my $seed = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60';
	sql(q{TRUNCATE jwt_denylist; UPDATE jwt_issuer SET required_claims = '{}', session_claim = 'sid'});
	for my $case ([ ',"exp":4102444800', '2100-01-01 00:00:01' ], [ ',"exp":' . (time() + 60), 'a session' ], [ '', 'infinity' ])
	{
		my ($exp, $until) = @$case;
		my $token = ed25519_token($seed, 'demo', qq({"iss":"https://idp.example","aud":"api","sid":"s$until"$exp}));
		is(sql(qq{SET timezone = 'UTC'; SELECT CASE WHEN at BETWEEN now() + interval '399 days' AND now() + interval '401 days' THEN 'a session' ELSE at::timestamp::text END FROM jwt_revoke('$token') at}),
			$until, 'as long as sessions last, and the token at hand lives');
	}
});

$node->stop;
done_testing();
