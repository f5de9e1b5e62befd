# The memory of a backend that has signed, whatever ended that: its keys are closed after a
# change of the policy, and then it has neither a private key, nor the number of which a
# signature would give the key. Read through /proc, and once from a core file.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(sha256 sha512);
use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use JwtTest;
use LifeTest;
use Math::BigInt;
use MIME::Base64 qw(decode_base64url encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'a sanitizer has too much memory to search' if $ENV{JWT_SANITIZE};

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
my $alloc = $node->config_data('--pkglibdir') . '/jwt_alloc.so';
$node->init;
my $k1 = key_line('k1');
$node->append_conf('postgresql.conf', "jwt_auth.key_file = '" . put_keys($node, $k1) . "'\nlog_statement = none\nshared_buffers = 8MB");
{
	local $ENV{LD_PRELOAD} = $alloc;
	$node->start;
}

#
# Keys whose private numbers this test knows
#

my %key;    # the PKCS #8 by algorithm
my %secret;    # bytes by name, in the order in which they are written
for my $case ([ 'ES256', 'EC', 'ec_paramgen_curve:P-256' ], [ 'ES384', 'EC', 'ec_paramgen_curve:P-384' ], [ 'ES512', 'EC', 'ec_paramgen_curve:P-521' ], [ 'ES256K', 'EC', 'ec_paramgen_curve:secp256k1' ], [ 'EdDSA', 'ed25519' ], [ 'Ed448', 'ed448' ], [ 'RS256', 'RSA', 'rsa_keygen_bits:2048' ])
{
	my ($alg, $type, $option) = @$case;
	my $file = "$dir/$alg.pem";
	system_or_bail('openssl', 'genpkey', '-algorithm', $type, ($option ? ('-pkeyopt', $option) : ()), '-out', $file);
	$key{$alg} = slurp_file($file);
	my $text = `openssl pkey -in $file -noout -text`;
	my %numbers = map { s/\s+//gr } $text =~ /^(priv|privateExponent|prime1|prime2|exponent1|exponent2|coefficient):\n((?:    .*\n)+)/mg;
	for my $name (sort keys %numbers)
	{
		my $bytes = pack('H*', $numbers{$name} =~ s/://gr) =~ s/\A\0(?=.{32})//sr;
		$secret{"$alg $name"} = $alg eq 'ES512' ? "\0" x (66 - length $bytes) . $bytes : $bytes;
	}
}
is(join(' ', sort keys %secret), 'ES256 priv ES256K priv ES384 priv ES512 priv Ed448 priv EdDSA priv RS256 coefficient RS256 exponent1 RS256 exponent2 RS256 prime1 RS256 prime2 RS256 privateExponent', 'private numbers');
my $expanded = sha512($secret{'EdDSA priv'});
$secret{'EdDSA scalar'} = substr($expanded, 0, 32);
substr($secret{'EdDSA scalar'}, 0, 1) &= "\xf8";
substr($secret{'EdDSA scalar'}, 31, 1) = chr((ord(substr($expanded, 31, 1)) & 127) | 64);
$secret{'EdDSA prefix'} = substr($expanded, 32);
$secret{'the line of the key file'} = MIME::Base64::decode_base64((split /:/, $k1)[1]);

# The number k of an ECDSA signature, from the private key: with it anybody has the key.
my %order = (ES256 => Math::BigInt->from_hex('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551'),
	ES256K => Math::BigInt->from_hex('fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141'),
	ES512 => Math::BigInt->from_hex('01ff' . 'f' x 62 . 'fa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409'),
	ES384 => Math::BigInt->from_hex('ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973'));
sub number { return Math::BigInt->from_hex(unpack('H*', shift)) }
sub bytes { my ($number, $length) = @_; return pack('H*', substr('0' x (2 * $length) . $number->to_hex, -2 * $length)) }
sub nonce_of
{
	my ($alg, $token) = @_;
	my ($input, $signature) = $token =~ /^(.*)\.(.*)$/;
	$signature = decode_base64url($signature);
	if ($alg eq 'EdDSA')
	{
		my $hash = sha512($secret{'EdDSA prefix'} . $input);
		my $l = Math::BigInt->new(2)->bpow(252)->badd('27742317777372353535851937790883648493');
		return ("$alg nonce" => scalar reverse(bytes(number(scalar reverse $hash)->bmod($l), 32)), "$alg nonce, not reduced" => $hash);
	}
	return () unless $order{$alg};
	my $n = $order{$alg};
	my $size = length($signature) / 2;
	my ($r, $s) = map { number($_) } substr($signature, 0, $size), substr($signature, $size);
	my $z = number($alg eq 'ES384' ? Digest::SHA::sha384($input) : $alg eq 'ES512' ? sha512($input) : sha256($input));
	my $d = number($secret{"$alg priv"});
	my $k = $s->copy->bmodinv($n)->bmul($z->badd($r->copy->bmul($d)))->bmod($n);
	# OpenSSL adds the order once or twice
	return ("$alg nonce" => bytes($k, $size), "$alg nonce + n" => bytes($k->copy->badd($n), $size), "$alg nonce + 2n" => bytes($k->copy->badd($n)->badd($n), $size), "$alg inverse nonce" => bytes($k->copy->bmodinv($n), $size));
}

# The parts to look for: any of three sixteen bytes of a secret, in both orders.
sub needles
{
	my (%of) = @_;
	my %needle;
	for my $name (keys %of)
	{
		for my $bytes ($of{$name}, scalar reverse $of{$name})
		{
			$needle{ substr($bytes, $_, 16) } = $name for 0, int(length($bytes) / 2) - 8, length($bytes) - 16;
		}
	}
	return %needle;
}

# The names of the secrets in some memory.
sub found_in
{
	my ($read, %needle) = @_;
	my %found;
	while (defined(my $chunk = $read->()))
	{
		for my $part (keys %needle)
		{
			$found{ $needle{$part} }++ if index($chunk, $part) >= 0;
		}
	}
	return join(', ', sort keys %found);
}

# A reader of what a process can write, but shared memory.
sub memory_of
{
	my ($pid) = @_;
	no warnings 'portable';
	open(my $maps, '<', "/proc/$pid/maps") or return;
	open(my $memory, '<:raw', "/proc/$pid/mem") or return;
	my @areas = map { /^([0-9a-f]+)-([0-9a-f]+) rw.p/ ? [ hex $1, hex $2 ] : () } <$maps>;
	return sub {
		my $area = shift @areas or return;
		my ($from, $to) = @$area;
		my $chunk = '';
		sysseek($memory, $from, 0) or die;
		(sysread($memory, $chunk, $to - $from) // -1) == $to - $from or die "$!";
		return $chunk;
	};
}

my $issuers = join('; ', map { "SELECT jwt_add_issuer('https://$_.example', '{api}', '{$_}'); INSERT INTO jwt_token_policy (issuer, audience) VALUES ('https://$_.example', '{api}')" } sort keys %key);
$node->safe_psql('postgres', "CREATE EXTENSION jwt_auth CASCADE; CREATE EXTENSION jwt_test; $issuers");
$node->safe_psql('postgres', "SELECT jwt_import_signing_key('https://$_.example', '$key{$_}', '$_', 'k')") for sort keys %key;
my $other = LifeTest->new($node->connstr('postgres'));
sub fresh { my $session = LifeTest->new($node->connstr('postgres')); return ($session, $session->must('SELECT pg_backend_pid()')) }
sub signing { my ($alg) = @_; return "SELECT jwt_sign('{\"sub\": \"alice\"}', 'https://$alg.example')" }
# Another session changes the policy. At the end of its next transaction this one has closed its keys.
sub close_keys { my ($session) = @_; $other->must('UPDATE jwt_token_policy SET grace = grace'); $session->must('BEGIN; COMMIT; SELECT 1'); return }

memory_of($$) or plan skip_all => 'the memory of a process cannot be read here';

#
# Signed, and closed
#

for my $alg (sort keys %key)
{
	my ($session, $pid) = fresh();
	my $token;
	$token = $session->must(signing($alg)) for 1 .. 20;
	my %all = (%secret, nonce_of($alg, $token));
	my $open = found_in(memory_of($pid), needles(%all));
	note "open: $open";
	like($open, qr/$alg (priv|prefix|scalar|prime)/, "$alg: a key that is open is found");
	unlike($open, qr/nonce/, "$alg: but not the number that the last signature hides");
	close_keys($session);
	is(found_in(memory_of($pid), needles(%all)), '', "$alg: nothing, when it is closed");
	$session->finish;
}
#
# Errors while a key is being opened
#

# what a function found out about one algorithm
sub of_alg { my ($alg) = @_; return map { $_ => $secret{$_} } grep { /^$alg |line/ } keys %secret }

for my $alg ('ES256', 'RS256')
{
	my $row = "WHERE issuer = 'https://$alg.example'";
	my ($session, $pid) = fresh();
	$session->must(signing($alg));
	$other->must("CREATE TABLE saved AS SELECT id, sealed, salt FROM jwt_signing_key $row; UPDATE jwt_signing_key SET sealed = set_byte(sealed, length(sealed) - 1, get_byte(sealed, length(sealed) - 1) # 1) $row");
	is($session->ask(signing($alg)), 'ERROR:  XX001', "$alg: a wrong tag");
	is(found_in(memory_of($pid), needles(of_alg($alg))), '', 'leaves nothing');

	# a session without the library jwt_auth seals what is no key
	my $sealer = LifeTest->new($node->connstr('postgres'));
	$sealer->must("CREATE TABLE bad AS SELECT k.id, s.sealed, s.salt FROM jwt_signing_key k, jwt_test_seal('no key', id, issuer, kid, alg, jwt_thumbprint(jwk)) s $row");
	$sealer->finish;
	$other->must('UPDATE jwt_signing_key k SET sealed = b.sealed, salt = b.salt FROM bad b WHERE k.id = b.id; DROP TABLE bad');
	is($session->ask(signing($alg)), 'ERROR:  55000', "$alg: no PKCS #8");
	is(found_in(memory_of($pid), needles((map { ("part $_" => sha256("no key$_")) } 0 .. 4), of_alg($alg))), '', 'leaves nothing');
	$other->must("UPDATE jwt_signing_key k SET sealed = s.sealed, salt = s.salt FROM saved s WHERE s.id = k.id; DROP TABLE saved");

	# the public half does not fit, in jwt_key
	$other->must("CREATE TABLE saved AS SELECT id, not_before FROM jwt_key $row; UPDATE jwt_key SET not_before = 'infinity' $row");
	is($session->ask(signing($alg)), 'ERROR:  55000', "$alg: a key that does not verify yet");
	close_keys($session);
	is(found_in(memory_of($pid), needles(of_alg($alg))), '', 'leaves nothing');
	$other->must("UPDATE jwt_key k SET not_before = s.not_before FROM saved s WHERE s.id = k.id; DROP TABLE saved");
	$session->finish;
}

# Cancelled at any time: another issuer and another key each time
{
	my ($session, $pid) = fresh();
	my ($cancelled, @wrong) = (0);
	for my $i (1 .. 100)
	{
		$other->must('UPDATE jwt_token_policy SET grace = grace');
		my $answer = $session->ask("SET statement_timeout = @{[ 1 + $i % 4 ]}; SELECT count(jwt_sign('{\"sub\": \"alice\"}', issuer)) FROM jwt_token_policy, generate_series(1, 3)");
		$session->must('SET statement_timeout = 0');
		$cancelled++ if $answer =~ /57014/;
		next if $i % 10;
		close_keys($session);
		my $found = found_in(memory_of($pid), needles(%secret));
		push @wrong, $found if $found;
	}
	is("@wrong", '', "nothing after $cancelled cancellations");
	cmp_ok($cancelled, '>', 10, 'which did happen');
	$session->finish;
}

# Each allocation of OpenSSL or of PostgreSQL fails in turn
SKIP:
{
	skip "there is no $alloc", 1 unless -f $alloc;
	$node->safe_psql('postgres', q{CREATE FUNCTION sign_without(who text, n bigint, issuer text) RETURNS boolean LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM jwt_test_fail_allocation(who, n);
			PERFORM jwt_sign('{"sub": "alice"}', issuer);
			RETURN (jwt_test_allocations()).fired;
		EXCEPTION WHEN OTHERS THEN
			RETURN (jwt_test_allocations()).fired;
		END $$});
	for my $alg ('ES256', 'EdDSA', 'RS256')
	{
		my ($session, $pid) = fresh();
		$session->must("SELECT jwt_test_allocations(); " . signing($alg));
		my %needle = needles(of_alg($alg));
		for my $who ('openssl', 'postgres')
		{
			my ($failures, @wrong) = (0);
			for (my $n = 1; $n < 2000; $n += $n < 20 ? 1 : 7)
			{
				$other->must('UPDATE jwt_token_policy SET grace = grace');
				my $fired = $session->must("SELECT sign_without('$who', $n, 'https://$alg.example')");
				close_keys($session);
				my $found = found_in(memory_of($pid), %needle);
				push @wrong, "$n: $found" if $found;
				last if $fired ne 't';
				$failures++;
			}
			is(join('; ', @wrong), '', "$alg: nothing after $failures failed allocations of $who");
			cmp_ok($failures, '>', 3, 'which did happen');
		}
		like($session->ask(signing($alg)), qr/^ey/, "$alg: and it signs");
		$session->finish;
	}
}

#
# A core file
#

SKIP:
{
	skip 'there is no gcore', 1 unless grep { -x "$_/gcore" } split(/:/, $ENV{PATH});
	my ($session, $pid) = fresh();
	my %all = (%secret, map { my $alg = $_; my $token; $token = $session->must(signing($alg)) for 1 .. 20; nonce_of($alg, $token) } sort keys %key);
	my $core = sub {
		my ($name) = @_;
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'gcore', '-o', "$dir/$name", $pid ], '>', \$out, '2>', \$err) or return diag("$out$err");
		open(my $file, '<:raw', "$dir/$name.$pid") or die;
		my ($size, $before) = (-s $file, '');
		my $found = found_in(sub { read($file, my $chunk, 1 << 20) or return; my $both = $before . $chunk; $before = substr($chunk, -32); return $both }, needles(%all));
		unlink "$dir/$name.$pid";
		note "$name: $size bytes: $found";
		return $found;
	};
	like($core->('open'), qr/ES256 priv.*RS256 prime1/, 'a core file of a backend with open keys has them');
	close_keys($session);
	is($core->('closed'), '', 'that of one that has closed them has none');
	$session->finish;
}

$node->stop;
done_testing();
