# What doc/keys.md tells who rotates, revokes, moves and grants, as it stands there.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
setup_trust($node);
sub sql { return $node->safe_psql('postgres', shift) }

# The n-th block of SQL of a part of it, with the names that we have.
my $text = slurp_file("$FindBin::RealBin/../keys.md");
sub block
{
	my ($part, $n, %names) = @_;
	my ($section) = $text =~ /^###? \Q$part\E\n(.*?)(?=^###? |\z)/ms or die "no $part";
	my @blocks = $section =~ /^```sql\n(.*?)^```/msg;
	my $block = $blocks[ $n - 1 ] // die "no block $n in $part";
	for my $name (sort keys %names)
	{
		$block =~ s/\Q$name\E/$names{$name}/g or die "no $name";
	}
	return $block;
}
# The verdicts on tokens, in a session of their own.
sub verdicts { return join(' ', map { sql(verdict($_)) } @_) }

# Who may.
sql(q{CREATE ROLE ops LOGIN; CREATE ROLE other LOGIN});
sql(block('Who may', 1));
for my $call ([ q{SELECT count(jwt_add_secret('https://idp.example', sha256('a'), 'HS256', 'a'))}, '1' ],
	[ q{SELECT count(jwt_add_key('https://idp.example', '{"kty":"oct","k":"YS1zZWNyZXQtb2YtdGhpcnR5LXR3by1ieXRlcy1vci1tb3Jl"}', kid => 'b'))}, '1' ],
	[ q{SELECT jwt_revoke_key('https://idp.example', 'a') IS NOT NULL}, 't' ],
	[ q{INSERT INTO jwt_issuer VALUES ('https://ec.example', '{api}', '{ES256}')}, undef ],
	[ q{SELECT action FROM jwt_import_jwks('https://ec.example', '{"keys":[{"kty":"EC","crv":"P-256","kid":"e","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}')}, 'added' ],
	[ q{SELECT jsonb_array_length(jwt_jwks('https://ec.example') -> 'keys')}, '1' ])
{
	my ($statement, $answer) = @$call;
	my ($rc, $out, $err) = $node->psql('postgres', $statement, extra_params => [ '-U', 'ops' ]);
	like($err, qr/permission denied for table jwt_issuer/, "ops may not: $statement") unless defined $answer;
	is($out, $answer, "ops may: $statement") or diag($err) if defined $answer;
	($rc, $out, $err) = $node->psql('postgres', $statement, extra_params => [ '-U', 'other' ]);
	like($err, qr/permission denied/, 'others may not');
	sql(q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://ec.example', '{api}', '{ES256}')}) unless defined $answer;
}

# A planned rotation by hand.
my $new_secret = 'another secret of 32 bytes or more';
my ($old, $new) = (token('alice', jti => 'j1'), token('alice', kid => '2026-12', secret => $new_secret));
is(verdicts($old, $new), 'valid 28J03', 'before a planned rotation');
my ($add, $close) = split(/^-- 2.*\n/m, block('Planned rotation', 1, '2026-11' => 'k1', '{"kty":...}' => '{"kty":"oct","k":"' . JwtTest::base64url($new_secret) . '"}'));
sql($add);
is(verdicts($old, $new), 'valid valid', 'both keys');
sql($close);
is(verdicts($old, $new), 'valid valid', 'the old one for as long as its tokens live');
is(sql(q{SELECT string_agg(kid || ' ' || state, ', ' ORDER BY kid) FROM jwt_key_status WHERE kid IN ('k1', '2026-12')}), '2026-12 current, k1 previous', 'as jwt_key_status tells');
sql(q{UPDATE jwt_key SET not_after = now() WHERE kid = 'k1'});
is(verdicts($old, $new), '28J03 valid', 'and no longer');
sql(q{UPDATE jwt_key SET not_after = NULL WHERE kid = 'k1'});

# An issuer changes its name.
my $renamed = token('alice', iss => 'https://new.example', kid => '2026-12', secret => $new_secret);
my @eve = map { token('eve', iss => $_) } 'https://idp.example', 'https://new.example';
sql(q{UPDATE jwt_issuer SET max_lifetime = '2 hours', role_claim = 'role', roles = '{ops}', required_claims = '{exp,sub}' WHERE issuer = 'https://idp.example';
	SELECT jwt_revoke_subject('https://idp.example', 'eve'), jwt_revoke_id('https://idp.example', 'j1', 'infinity')});
sql(q{UPDATE jwt_issuer SET max_lifetime = NULL});
my ($rename, $last) = split(/^-- Then.*\n/m, block('Moving an issuer', 2, 'https://old.example' => 'https://idp.example'));
is(verdicts($new, $renamed, @eve, $old), 'valid 28J07 28J11 28J07 28J11', 'before an issuer has another name');
sql($rename);
is(verdicts($new, $renamed, @eve, $old), 'valid valid 28J11 28J11 28J11', 'both names');
is(sql(q{SELECT count(DISTINCT to_jsonb(i) - 'issuer') FROM jwt_issuer i WHERE issuer IN ('https://idp.example', 'https://new.example')}), '1', 'on the same terms');
is(sql(q{SELECT count(DISTINCT keys) FROM (SELECT string_agg(concat_ws(' ', kid, alg, state, not_before, not_after), ', ' ORDER BY kid) FROM jwt_key_status GROUP BY issuer HAVING issuer IN ('https://idp.example', 'https://new.example')) t (keys)}),
	'1', 'with the same keys in the same states');

# A key that both have is out for both; and all keys of an issuer are.
sql(block('Emergency', 1, '2026-11' => '2026-12'));
is(verdicts($new, $renamed, token('alice'), token('alice', iss => 'https://new.example')), '28J11 28J11 valid valid', 'a key that both have is revoked for both');
sql(q{DELETE FROM jwt_key WHERE kid = '2026-12'});
sql($add);
is(verdicts($new), '28J11', 'and when it is added again');
sql(q{SELECT jwt_unrevoke_key(value) FROM jwt_denylist WHERE kind = 'key'});
is(verdicts($new), 'valid', 'until that is taken back');
sql(block('Emergency', 2));
is(verdicts($new, token('alice'), token('alice', iss => 'https://new.example')), '28J11 28J11 28J11', 'all keys of an issuer are revoked');
sql(q{SELECT jwt_unrevoke_key(value) FROM jwt_denylist WHERE kind = 'key'});
sql($last);
is(verdicts($new, token('alice', iss => 'https://new.example')), '28J03 valid', 'at last there is the new name alone');

$node->stop;
done_testing();
