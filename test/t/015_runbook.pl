# Runs the blocks of doc/keys.md for rotation, revocation and migration, and checks
# their effects.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(sha256_hex);
use FindBin;
use lib $FindBin::RealBin;
use DocTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION jwt');
sub sql { return $node->safe_psql('postgres', shift) }
sub page { return doc_run($node, "$FindBin::RealBin/../doc/keys.md", section => $_[0]) }

# The keys of the page were derived from these names.
my %seed = ('2026-11' => '2026-11', '2026-12' => '2026-12', '2027-01' => 'new', gone => 'leaked');
sub token
{
	my ($kid, %claims) = @_;
	my %all = (iss => 'https://idp.example', aud => 'api', sub => 'alice', %claims);
	return ed25519_token(sha256_hex($seed{$kid}), $kid,
		'{' . join(',', map { qq("$_":"$all{$_}") } sort keys %all) . ',"exp":4102444800}');
}
# The verdicts on tokens, each in a new session.
sub verdicts { return join(' ', map { sql("SELECT coalesce(sqlstate, 'valid') FROM jwt_inspect('$_')") } @_) }
sub states { return sql(q{SELECT string_agg(kid || ' ' || state, ', ' ORDER BY kid) FROM jwt_key_status}) }

my %renamed = (iss => 'https://login.example');
my ($old, $fetched, $new) = map { token($_, jti => 'j') } '2026-11', '2026-12', '2027-01';

page('Issuers and keys');
is(verdicts($old, $fetched, $new), 'valid 28J03 28J03', 'a key');
page('Key sets');
is(verdicts($old, $fetched, $new), 'valid valid 28J03', 'and one of a set');
page('States of a key');

my ($add, $end) = doc_blocks("$FindBin::RealBin/../doc/keys.md", 'Planned rotation');
sql($add->{text});
is(verdicts($old, $fetched, $new), 'valid valid valid', 'the new key beside the old one');
sql($end->{text});
is(verdicts($old, $fetched, $new), 'valid valid valid', 'the old one for as long as its tokens live');
is(states(), '2026-11 previous, 2026-12 current, 2027-01 current', 'as jwt_key_status says');
sql(q{UPDATE jwt_key SET not_after = now() WHERE kid = '2026-11'});
is(verdicts($old, $new), '28J03 valid', 'and no longer');
sql(q{UPDATE jwt_key SET not_after = NULL WHERE kid = '2026-11'});

# Another issuer has the same key with another kid.
sql(q{SELECT jwt_add_issuer('https://tenant.example', '{api}', '{EdDSA}'), jwt_add_key('https://tenant.example', jwk::text, 'EdDSA', 'theirs') FROM jwt_key WHERE kid = '2026-11'});
$seed{theirs} = '2026-11';
my $theirs = token('theirs', iss => 'https://tenant.example');
is(verdicts($old, $theirs), 'valid valid', 'two issuers share a key');
my ($revoke, $unknown, $unrevoke) = doc_blocks("$FindBin::RealBin/../doc/keys.md", 'A key has leaked');
sql($revoke->{text});
is(verdicts($old, $theirs, $new), '28J11 28J11 valid', 'and lose it together');
is(states(), '2026-11 revoked, 2026-12 current, 2027-01 current, theirs revoked', 'as jwt_key_status says');
sql(q{DELETE FROM jwt_key WHERE kid = 'theirs'; SELECT jwt_add_key('https://tenant.example', jwk::text, 'EdDSA', 'theirs') FROM jwt_key WHERE kid = '2026-11'});
is(verdicts($theirs), '28J11', 'a revoked key that comes back is revoked');
sql($unrevoke->{text});
is(verdicts($old, $theirs), 'valid valid', 'which can be taken back');
sql($unknown->{text});
sql(q{SELECT jwt_add_key('https://idp.example', '{"kty":"OKP","crv":"Ed25519","kid":"gone","x":"CFQffQiWLhT0LCpXprUFDvEdKciHOu5XI74nGWvaoC8"}')});
is(verdicts(token('gone'), $new), '28J11 valid', 'a key can be revoked before it is here');

page('Another provider');
is(verdicts($old), 'valid', 'beside another provider');

# An issuer changes its name.
my @eve = map { token('2027-01', sub => 'eve', iss => $_) } 'https://idp.example', 'https://login.example';
sql(q{SELECT jwt_revoke_subject('https://idp.example', 'eve'), jwt_revoke_id('https://idp.example', 'j9', 'infinity');
	UPDATE jwt_issuer SET max_lifetime = '100 years', role_claim = 'role', roles = '{ops}', required_claims = '{exp,sub}', session_claim = 'session' WHERE issuer = 'https://idp.example'});
sql(q{UPDATE jwt_issuer SET max_lifetime = NULL});
my $renamed = token('2027-01', %renamed);
is(verdicts($new, $renamed, @eve), 'valid 28J07 28J11 28J07', 'before an issuer has another name');
my ($rename, $last) = doc_blocks("$FindBin::RealBin/../doc/keys.md", 'Another name');
sql($rename->{text});
is(verdicts($new, $renamed, @eve, token('2027-01', %renamed, jti => 'j9')), 'valid valid 28J11 28J11 28J11', 'both names');
is(sql(q{SELECT count(DISTINCT to_jsonb(i) - 'issuer') FROM jwt_issuer i WHERE issuer IN ('https://idp.example', 'https://login.example')}), '1', 'on the same terms');
is(sql(q{SELECT count(DISTINCT keys) FROM (SELECT string_agg(concat_ws(' ', kid, alg, state, not_before, not_after), ', ' ORDER BY kid) FROM jwt_key_status GROUP BY issuer HAVING issuer IN ('https://idp.example', 'https://login.example')) t (keys)}),
	'1', 'with the same keys in the same states');
sql($last->{text});
is(verdicts($new, $renamed), '28J07 valid', 'at last there is the new name alone');

$node->stop;
done_testing();
