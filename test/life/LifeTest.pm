# LifeTest: sessions that run in parallel.
package LifeTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Open3;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(ask_all until_true start_main session as try_as strangers forget_sessions);

# The timeout for an answer in seconds.
my $timeout = 60;

# A session of psql; errors come as "ERROR:  28J11" among its output.
sub new
{
	my ($class, $connstr, @set_up) = @_;
	my ($in, $out);
	my $pid = open3($in, $out, undef, 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $connstr);
	my $self = bless { pid => $pid, in => $in, out => $out, buffer => '' }, $class;
	$in->autoflush(1);
	$self->ask($_) for @set_up;
	return $self;
}

# Send statements, and do not wait for the result.
sub send_sql
{
	my ($self, $sql) = @_;
	local $SIG{PIPE} = 'IGNORE';
	$self->{sent} = $sql;
	print { $self->{in} } "$sql;\n\\echo =done=\n";
	return;
}

# Wait for the result: the output of psql.
sub answer
{
	my ($self) = @_;
	my $deadline = time() + $timeout;
	my $answer;
	until (($answer) = $self->{buffer} =~ /\A(.*?)^=done=\n/ms)
	{
		my $bits = '';
		vec($bits, fileno($self->{out}), 1) = 1;
		my $left = $deadline - time();
		die "$self->{sent}\nno answer, but: $self->{buffer}" if $left <= 0 || !select($bits, undef, undef, $left);
		sysread($self->{out}, $self->{buffer}, 65536, length $self->{buffer})
		  or die "the session has ended: $self->{buffer}";
	}
	substr($self->{buffer}, 0, length($answer) + length("=done=\n")) = '';
	chomp $answer;
	return $answer;
}

sub ask
{
	my ($self, $sql) = @_;
	$self->send_sql($sql);
	return $self->answer;
}

# Run SQL, and fail on an error.
sub must
{
	my ($self, $sql) = @_;
	my $answer = $self->ask($sql);
	die "$sql\n$answer" if $answer =~ /^(ERROR|FATAL|psql:)/m;
	return $answer;
}

sub finish
{
	my ($self) = @_;
	close $self->{in};
	waitpid $self->{pid}, 0;
	return;
}

# Start the server "main" with roles. Returns it and the name of its bootstrap superuser.
my ($main, %sessions);
sub start_main
{
	my ($configuration, $roles) = @_;
	require PostgreSQL::Test::Cluster;
	$main = PostgreSQL::Test::Cluster->new('main');
	$main->init;
	$main->append_conf('postgresql.conf', "max_connections = 60\nlog_statement = none\n$configuration");
	$main->start;
	$main->safe_psql('postgres', $roles);
	return ($main, $main->safe_psql('postgres', 'SELECT rolname FROM pg_roles WHERE oid = 10'));
}

# The session of a role in a database of "main". It is opened at the first call.
sub session
{
	my ($db, $user) = @_;
	return $sessions{"$db $user"} //= LifeTest->new($main->connstr($db) . " user=$user", 'SET client_min_messages = error');
}

# The result of a statement in such a session, or the SQLSTATE of its error.
sub as
{
	my ($db, $user, $sql) = @_;
	return session($db, $user)->ask($sql) =~ s/\AERROR:  //r;
}

# The first line of the result of statements, or the SQLSTATE of the first error. They are
# rolled back.
sub try_as
{
	my ($db, $user, $sql) = @_;
	my $answer = session($db, $user)->ask("BEGIN; $sql");
	session($db, $user)->ask('ROLLBACK');
	return $answer =~ /^ERROR:  (\w{5})$/m ? $1 : $answer =~ s/\n.*//sr;
}

# The SQL for the objects outside of an extension and of the system on which its members
# depend, directly or not.
sub strangers
{
	my ($extension) = @_;
	return qq{
	WITH RECURSIVE part AS (
		SELECT classid, objid FROM pg_depend
		WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = '$extension') AND deptype = 'e'
		UNION
		SELECT d.classid, d.objid FROM part p JOIN pg_depend d ON d.refclassid = p.classid AND d.refobjid = p.objid WHERE d.deptype IN ('i', 'a', 'I')
	)
	SELECT pg_describe_object(d.refclassid, d.refobjid, 0)
	FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
	WHERE d.refobjid >= 16384 AND d.refclassid NOT IN ('pg_extension'::regclass, 'pg_namespace'::regclass) AND (d.refclassid, d.refobjid) NOT IN (TABLE part)};
}

# End all such sessions.
sub forget_sessions
{
	$_->finish for values %sessions;
	%sessions = ();
	return;
}

# Send each session its statement, then receive the answers.
sub ask_all
{
	my @questions = @_;    # session, statement, session, statement …
	my @sessions;
	while (my ($session, $sql) = splice(@questions, 0, 2))
	{
		$session->send_sql($sql);
		push @sessions, $session;
	}
	return map { $_->answer } @sessions;
}

# Wait until a function returns true. Returns false after the timeout.
sub until_true
{
	my ($condition) = @_;
	my $deadline = time() + $timeout;
	until ($condition->())
	{
		return 0 if time() > $deadline;
		sleep 0.003;
	}
	return 1;
}

1;
