# Refresh tokens while the server crashes, and after a failover that loses a refresh. No
# honest client is logged out, and no ended session is refreshed. JWT_REFRESHES is the
# number of refreshes.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use JSON::PP qw(decode_json);
use JwtTest;
use LifeTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $wanted  = $ENV{JWT_REFRESHES} // 2000;
my $clients = 4;
my $each    = 10;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
my $file = put_keys($node, key_line('k1'));
$node->append_conf('postgresql.conf', "jwt_auth.key_file = '$file'\nlog_statement = none\nmax_connections = 40\nrestart_after_crash = on");
$node->start;
setup_issuing($node, 'postgres', q{grace = '1 minute'});

# One client has several sessions. It refreshes one after the other, and tries again with the
# same token when it got no answer. A row is aged before each refresh, but not before
# a new attempt. Now and then it ends a session. Returns what went wrong.
sub client
{
	my ($id, $report) = @_;
	my ($session, %token, %ended);
	my $ask = sub {
		my ($sql) = @_;
		for (1 .. 2000)
		{
			my $answer = eval {
				$session //= LifeTest->new($node->connstr('postgres'));
				$session->ask($sql);
			};
			return $answer if defined $answer && $answer !~ /^(ERROR|FATAL|psql)|^(WARNING|server closed|connection to)/m;
			return $answer if defined $answer && $answer =~ /^ERROR: +(?!57P|08)/m;
			# psql may have ended before it read all of its input
			local $SIG{PIPE} = 'IGNORE';
			eval { $session->finish } if $session;
			undef $session;
			sleep 0.03;
		}
		return 'the server does not come back';
	};
	my $redeem = sub {
		my ($token) = @_;
		my $answer = $ask->("SELECT jwt_refresh('$token')");
		return $answer =~ /^\{/ ? decode_json($answer) : { error => $answer };
	};
	for my $i (1 .. $each)
	{
		my $answer = $ask->("SELECT jwt_start_session('https://login.example', 'c$id-$i')");
		return "no login: $answer" unless $answer =~ /^\{/;
		$token{$i} = decode_json($answer)->{refresh_token};
	}
	for my $n (1 .. int($wanted / $clients))
	{
		my $i = 1 + int(rand($each));
		$ask->("UPDATE jwt_session SET rotated_at = rotated_at - interval '2 hours' WHERE sub = 'c$id-$i'");
		my $answer = $redeem->($token{$i});
		if ($ended{$i})
		{
			return "an ended session was refreshed" unless ($answer->{error} // '') eq 'invalid_grant';
		}
		else
		{
			return "refresh $n of session $i: $answer->{error}" if $answer->{error};
			$token{$i} = $answer->{refresh_token};
			$ended{$i} = 1
			  if $n % 100 == 0 && keys %ended < 4 && $ask->("SELECT count(jwt_end_session(sid)) FROM jwt_session WHERE sub = 'c$id-$i'") eq '1';
		}
		print {$report} "$n\n";
	}
	# the last token of each session is good, and those of ended sessions are not
	for my $i (1 .. $each)
	{
		my $error = $redeem->($token{$i})->{error} // '';
		return "at the end session $i: $error" if $error ne ($ended{$i} ? 'invalid_grant' : '');
	}
	return '';
}

my (%running, @wrong, %done);
pipe(my $from, my $to) or die;
for my $id (1 .. $clients)
{
	my $pid = fork() // die;
	if ($pid == 0)
	{
		close $from;
		srand($id);
		$to->autoflush(1);
		my $wrong = eval { client($id, $to) } // "died: $@";
		print {$to} "wrong $id $wrong\n";
		# without the END blocks that stop the server
		POSIX::_exit(0);
	}
	$running{$id} = $pid;
}
close $to;
$from->blocking(0);
my ($buffer, $refreshes, $crashes, $ends) = ('', 0, 0, 0);
sub collect
{
	while (sysread($from, $buffer, 65536, length $buffer)) { }
	while ($buffer =~ s/\A(.*)\n//)
	{
		my $line = $1;
		if ($line =~ /^wrong (\d+) (.*)/) { $ends++; push @wrong, "client $1: $2" if $2 ne ''; }
		else                              { $refreshes++; }
	}
	return;
}
age_server($node);
while ($ends < $clients)
{
	# let at least some refreshes happen
	my $before = $refreshes;
	until_true(sub { collect(); return $refreshes > $before + 50 + rand(150) || $ends == $clients }) or last;
	last if $ends == $clients;
	if ($crashes % 2)
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		# all backends end, and the postmaster starts anew
		my $backend = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1});
		kill('KILL', $backend) if $backend;
		$node->poll_query_until('postgres', 'SELECT true');
	}
	age_server($node);
	$crashes++;
}
waitpid($_, 0) for values %running;
is_deeply(\@wrong, [], "$clients clients, $refreshes refreshes, $crashes crashes: nobody is logged out, and no ended session is refreshed");
is($refreshes, int($wanted / $clients) * $clients, 'all have finished');
cmp_ok($crashes, '>', 4, 'the server has crashed often enough');

sub on { my ($server, $sql) = @_; return $server->safe_psql('postgres', $sql) }
sub redeem { my ($server, $token) = @_; return decode_json(on($server, "SELECT jwt_refresh('$token')")) }
sub login { return decode_json(on($node, "SELECT jwt_start_session('https://login.example', '$_[0]')"))->{refresh_token} }
sub old { on($_[0], q{UPDATE jwt_session SET rotated_at = now() - interval '2 hours'}); age_server($_[0]); return }

# An answer was lost, and the server was down for longer than the grace. A start begins one.
on($node, 'DELETE FROM jwt_session');
my $lost = login('lost');
old($node);
my $successor = redeem($node, $lost)->{refresh_token};
old($node);
$node->stop('immediate');
$node->start;
is(redeem($node, $lost)->{refresh_token}, $successor, 'a token can be redeemed again after a start');
old($node);
is(redeem($node, $lost)->{error}, 'invalid_grant', 'but not for ever');

# A standby lags: it lacks the last refresh of these sessions, and is promoted.
on($node, 'DELETE FROM jwt_session');
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
my %token = map { $_ => login($_) } map { ("moved$_", "still$_", "tabs$_", "stolen$_", "ended$_") } 1 .. 5;
old($node);
$token{$_} = redeem($node, $token{$_})->{refresh_token} for sort keys %token;
on($node, q{SELECT jwt_end_session(sid) FROM jwt_session WHERE sub LIKE 'ended%'});
old($node);
$node->wait_for_catchup($standby);
$standby->stop;
my %next = map { $_ => redeem($node, $token{$_})->{refresh_token} } grep { !/^(still|ended)/ } sort keys %token;
$node->stop('immediate');
$standby->start;
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
my $good = sub { my ($name, $tokens) = @_; return join(' ', map { my $answer = redeem($standby, $tokens->{$_}); $answer->{error} // do { $tokens->{$_} = $answer->{refresh_token}; 'good' } } grep { /^$name/ } sort keys %$tokens) };
my $all = join(' ', ('good') x 5);
my $none = join(' ', ('invalid_grant') x 5);
# a promotion begins a grace, so nobody's token changes yet
my %copy = %next;
is($good->('tabs', { %token }), $all, 'a tab with the token before');
is($good->('moved', \%copy), $all, 'a client whose refresh was lost');
is_deeply([ @copy{ grep { /^moved/ } sort keys %copy } ], [ @next{ grep { /^moved/ } sort keys %next } ], 'keeps its token, which the row has again');
is($good->('tabs', \%copy), $all, 'the tab with the newer one');
is($good->('tabs', { %token }), $all, 'and the other one again');
is($good->('still', \%token), $all, 'a client that did not refresh');
is($good->('ended', \%token), $none, 'no session that had ended');
is($good->('stolen', { %token }), $all, 'a thief with the token before, in the grace');
old($standby);
is($good->('moved', \%copy), $all, 'after the grace: a client whose refresh was lost');
is($good->('tabs', \%copy), $all, 'two tabs');
is($good->('still', \%token), $all, 'a client that did not refresh');
is($good->('stolen', \%copy), $all, 'the victim');
old($standby);
is($good->('stolen', { %token }), $none, 'the thief is noticed at his next refresh');
is($good->('stolen', \%copy), $none, 'and the session has ended for both');
is($good->('moved', \%copy) . $good->('tabs', \%copy) . $good->('still', \%token), $all x 3, 'nobody else is logged out');
$standby->stop;
done_testing();
