# The steps of doc/operations.md for an upgrade of the extension, with Debian's packages
# in a root of Debian: dpkg replaces the files under a running server that has the
# libraries preloaded, then a restart, and ALTER EXTENSION UPDATE. Meanwhile sessions
# verify all the time, an open one and always new ones. Each verdict is right, or it is
# the error of a server that stops or starts.
#
#     upgrade_packages.pl VERSION PACKAGE...
#
# Runs as root, where the packages of this version are installed, and where test/life is
# in PERL5LIB. test/lib/next.sh makes the later version.
use strict;
use warnings FATAL => 'all';

use File::Temp qw(tempdir);
use LifeTest;
use Test::More;

my ($version, @packages) = @ARGV;
my $dir = tempdir(CLEANUP => 1);
my $main = $$;
my $connstr = "dbname=postgres user=postgres host=/var/run/postgresql";

sub run
{
	my (@command) = @_;
	diag(join(' ', @command));
	system(@command) == 0 or die "@command: $?";
	return;
}

sub write_file
{
	my ($name, $text) = @_;
	open(my $file, '>', $name) or die "$name: $!";
	print $file $text;
	close $file or die "$name: $!";
	return;
}

sub read_file
{
	my ($name) = @_;
	open(my $file, '<', $name) or return '';
	local $/ = undef;
	my $text = <$file> // '';
	close $file;
	return $text;
}

# The tokens of the table "token", and the SQLSTATE with which each is refused.
my %refused = ('valid' => '', 'signed' => '', 'revoked soon' => '', 'malformed' => '28J01', 'no such key' => '28J03',
	'another secret' => '28J04', 'expired' => '28J05', 'another issuer' => '28J07', 'revoked' => '28J11');
my $verdicts = q{SELECT string_agg(name || '=' || coalesce(i.sqlstate, '') || CASE WHEN valid <> (i.sqlstate IS NULL) THEN ' and valid' ELSE '' END, ', ' ORDER BY name COLLATE "C") FROM token, jwt_inspect(token) i};

sub right
{
	my (%more) = @_;
	my %is = (%refused, %more);
	return join(', ', map { "$_=$is{$_}" } sort keys %is);
}

# What is wrong with an answer to $verdicts: nothing, or a description. The revocation
# of "revoked soon" may have been committed after the question. The server may say that
# it stops right after the answer.
sub wrong
{
	my ($answer, $revoked) = @_;
	$answer =~ s/\AFATAL:  57P01\n//;
	return '' if $answer eq right('revoked soon' => '28J11') || (!$revoked && $answer eq right());
	return $answer;
}

# Verify until there is a file "stop". Writes a line for each answer: "right", "wrong:
# ...", or "gone: ..." where the server was not there.
sub verify_always
{
	my ($name, $always_new) = @_;
	open(my $log, '>', "$dir/$name") or die "$name: $!";
	$log->autoflush(1);
	my $session;
	until (-e "$dir/stop")
	{
		my $revoked = -e "$dir/revoked";
		my $answer = eval { ($session //= LifeTest->new($connstr))->ask($verdicts) };
		my $gone = $@;
		if ($gone || $always_new)
		{
			$session->finish if $session;
			$session = undef;
		}
		(my $line = $gone ? "gone: $gone" : (wrong($answer, $revoked) || 'right') =~ s/^(?!right)/wrong: /r) =~ s/\n/ /g;
		print $log "$line\n";
		# the errors of a server that stops, is not there, or starts
		select(undef, undef, undef, $gone ? 0.05 : 0.002);
	}
	exit 0;
}

my %verifier;
sub start_verifiers
{
	for my $name ('open session', 'new sessions')
	{
		my $pid = fork() // die "fork: $!";
		verify_always($name, $name eq 'new sessions') if $pid == 0;
		$verifier{$name} = $pid;
	}
	return;
}

# Wait until both verifiers have given more verdicts.
sub verify_more
{
	my ($when) = @_;
	my %from = map { $_ => -s "$dir/$_" // 0 } keys %verifier;
	for my $name (sort keys %verifier)
	{
		ok(until_true(sub { (() = substr(read_file("$dir/$name"), $from{$name}) =~ /^right$/mg) >= 10 }), "$when: $name verifies");
	}
	return;
}

# Which library has a session?
sub library
{
	my ($session) = @_;
	return $session->ask(q{SELECT CASE error WHEN 'JSON Web Token is past its time' THEN 'new' WHEN 'JSON Web Token has expired' THEN 'old' END
		FROM token, jwt_inspect(token) WHERE name = 'expired'});
}

# A session at each step, and that it and all earlier ones give the right verdicts.
my %session;
sub check
{
	my ($when, %more) = @_;
	$session{$when} = LifeTest->new($connstr);
	is($session{$_}->ask($verdicts), right(%more), "$when, session $_: each verdict is right") for sort keys %session;
	return $session{$when};
}

# A token that is signed now is good.
sub signs
{
	my ($session, $when) = @_;
	is($session->ask(q{SELECT valid FROM jwt_inspect(jwt_sign('{"sub": "dora"}', 'https://own.example'))}), 't', "$when: a token is signed");
	return;
}

# A server that has the libraries preloaded.
my $conf = "/etc/postgresql/$version/main";
run('pg_dropcluster', '--stop', $version, 'main') if -d $conf;
run('pg_createcluster', '-p', '5432', $version, 'main');
write_file("$conf/pg_hba.conf", "local all all trust\n");
write_file("$dir/keys", 'k1:' . `openssl rand -base64 32` =~ s/\n//r . ":postgres\n");
run('chown', 'postgres', $dir, "$dir/keys");
chmod 0600, "$dir/keys";
# another root may use the same port
write_file("$conf/conf.d/jwt.conf", "listen_addresses = ''\nshared_preload_libraries = 'jwt, jwt_jwks'\njwt_auth.key_file = '$dir/keys'\n");
run('pg_ctlcluster', $version, 'main', 'start');

my $setup = LifeTest->new($connstr);
$setup->must($_) for (
	'CREATE EXTENSION jwt_auth CASCADE',
	q{SELECT jwt_add_issuer(i, audience => '{api}', algorithms => '{HS256,ES256}') FROM unnest('{https://idp.example,https://own.example}'::text[]) i},
	q{SELECT jwt_add_secret('https://idp.example', decode(repeat('6b', 32), 'hex'), 'HS256', 'k1')},
	q{INSERT INTO jwt_token_policy (issuer, audience, access_lifetime) VALUES ('https://own.example', '{api}', '1 day')},
	q{SELECT jwt_create_signing_key('https://own.example')},
	q{CREATE FUNCTION make(claims jsonb, kid text = 'k1', key text = repeat('a2tr', 10) || 'a2s') RETURNS text STABLE LANGUAGE sql AS $$
		SELECT jws_sign(convert_to((jsonb_build_object('iss', 'https://idp.example', 'aud', 'api', 'exp', 4102444800, 'sub', 'alice') || claims)::text, 'UTF8'),
			jsonb_build_object('kty', 'oct', 'k', key), 'HS256', jsonb_build_object('kid', kid)) $$},
	q{CREATE TABLE token AS SELECT * FROM (VALUES
		('valid', make('{"jti": "a1"}')), ('revoked soon', make('{"jti": "b1"}')), ('revoked', make('{"jti": "c1"}')),
		('malformed', 'a.b'), ('no such key', make('{}', 'k2')), ('another secret', make('{}', 'k1', repeat('bGxs', 10) || 'bGw')),
		('expired', make('{"exp": 1000000000}')), ('another issuer', make('{"iss": "https://other.example"}')),
		('signed', jwt_sign('{"sub": "carol"}', 'https://own.example'))) t (name, token)},
	q{SELECT jwt_revoke(token) FROM token WHERE name = 'revoked'});
my $started = $setup->must('SELECT pg_postmaster_start_time()');

start_verifiers();
my $before = check('before');
is(library($before), 'old', 'before: the library');
signs($before, 'before');
verify_more('before');

# 1. install the new files
run('dpkg', '-i', @packages);
is($setup->must('SELECT pg_postmaster_start_time()'), $started, 'the package restarts nothing');
my $with_files = check('with new files');
is(library($before), 'old', 'with new files: the library of an open session');
is(library($with_files), 'old', 'with new files: the library of a new session');
signs($_, 'with new files') for $before, $with_files;
is($before->ask(q{SELECT jwt_revoke(token) IS NOT NULL FROM token WHERE name = 'revoked soon'}), 't', 'a session revokes a token');
write_file("$dir/revoked", '');
check('after a revocation', 'revoked soon' => '28J11');
verify_more('with new files');

# 2. restart the server
run('pg_ctlcluster', $version, 'main', 'restart');
%session = ();
my $restarted = check('after the restart', 'revoked soon' => '28J11');
is(library($restarted), 'new', 'after the restart: the library');
signs($restarted, 'after the restart');
verify_more('after the restart');

# 3. update the extensions
like($restarted->must("ALTER EXTENSION $_ UPDATE"), qr/^(NOTICE.*)?\z/, "$_ is updated") for 'jwt', 'jwt_auth';
is($restarted->must(q{SELECT extversion FROM pg_extension WHERE extname = 'jwt'}), '1.1', 'the version');
my $updated = check('after the update', 'revoked soon' => '28J11');
is($updated->ask(q{SELECT jwt_next(token) ->> 'alg' FROM token WHERE name = 'valid'}), 'HS256', 'what the update adds works');
is($updated->ask('SELECT ok FROM jwt_status WHERE issuer IS NULL'), 't', 'jwt_status is green');
signs($_, 'after the update') for $restarted, $updated;
verify_more('after the update');

write_file("$dir/stop", '');
waitpid($_, 0) for values %verifier;
for my $name (sort keys %verifier)
{
	my $log = read_file("$dir/$name");
	my $right = () = $log =~ /^right$/mg;
	my @gone = $log =~ /^gone: (.*)$/mg;
	diag("$name: $right times all verdicts were right, ", scalar(@gone), ' times the server was not there');
	is(join('; ', $log =~ /^wrong: (.*)$/mg), '', "$name: no verdict was wrong");
	is(join('; ', grep { !/57P0[13]|connection to server|server closed the connection/ } @gone), '', "$name: and no other error");
}
isnt((() = read_file("$dir/open session") =~ /^gone/mg), 0, 'they have noticed the restart');
done_testing();

END
{
	my $status = $?;
	if ($$ == $main)
	{
		write_file("$dir/stop", '');
		system('pg_dropcluster', '--stop', $version, 'main');
		$? = $status;
	}
}
