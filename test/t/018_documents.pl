# Runs the SQL blocks of the pages, and checks their results.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use DocTest;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# for the extension jwt_auth, as its pages ask for
my $key_file = PostgreSQL::Test::Utils::tempdir() . '/jwt_auth.keys';
append_to_file($key_file, 'k1:' . encode_base64('k' x 32, '') . ":*\n");
chmod(0600, $key_file);
$node->append_conf('postgresql.conf', "jwt_auth.key_file = '$key_file'");
$node->start;

# Run a page in a new database, with or without the extension, and check the database.
sub page
{
	my ($page, $extension, $look) = @_;
	$node->safe_psql('postgres', 'CREATE DATABASE fresh');
	$node->safe_psql('fresh', 'CREATE EXTENSION jwt') if $extension;
	doc_run($node, "$FindBin::RealBin/../$page", database => 'fresh');
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
