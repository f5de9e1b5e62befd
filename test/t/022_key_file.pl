# The key file of jwt_auth: which files are refused, which keys seal and open, and what a
# key command gives. No secret stays in a log or in the memory of a session.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256 sha256 sha256_hex);
use FindBin;
use lib $FindBin::RealBin;
use IO::Socket::UNIX;
use JwtTest;
use MIME::Base64 qw(encode_base64 decode_base64);
use POSIX qw(mkfifo);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $dir = PostgreSQL::Test::Utils::tempdir();
my $file = "$dir/keys";
my $seed = 0;
my @secrets;

# The line of a key that no other test has.
sub line
{
	my ($name, $databases) = @_;
	push @secrets, sha256('key file ' . rand() . $seed++);
	return join(':', $name, encode_base64($secrets[-1], ''), $databases // '*') . "\n";
}

# Write a file, by default the key file.
sub put
{
	my ($text, $path, $mode) = @_;
	$path //= $file;
	unlink "$path.new";
	append_to_file("$path.new", $text);
	chmod($mode // 0600, "$path.new") or die;
	rename("$path.new", $path) or die;
	return;
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_min_messages = debug5\nlog_statement = all\nlog_error_verbosity = verbose\nallow_in_place_tablespaces = on\nrestart_after_crash = on\nshared_buffers = 1MB");
$node->start;

# The session for statements that need none of their own.
my $session = open_session($node->connstr('postgres'));
sub sql { my ($sql, $db) = @_; return $db ? $node->safe_psql($db, $sql) : $session->($sql) }

# Set settings that ALTER SYSTEM refuses.
sub configure
{
	my $before = sql('SELECT pg_conf_load_time()');
	$node->append_conf('postgresql.conf', join("\n", @_));
	sql('SELECT pg_reload_conf()');
	wait_until(sub { sql('SELECT pg_conf_load_time()') ne $before }) or die 'the configuration is not read';
	return;
}

# attempt() gives the name of the key that derives, or the error, with more => true also
# its hint.
sub attempt_function
{
	return q{
		CREATE EXTENSION jwt_test;
		CREATE FUNCTION attempt(name text DEFAULT NULL, more bool DEFAULT false) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			detail text;
			hint text;
		BEGIN
			RETURN (jwt_test_derive(name, '\x00', 'x')).used;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			RETURN concat_ws(' | ', sqlstate, sqlerrm, nullif(detail, ''), CASE WHEN more THEN hint END);
		END $$;
	};
}
sql(attempt_function());
sub attempt { my ($name, $db) = @_; return sql('SELECT attempt(' . (defined $name ? "'$name'" : '') . ')', $db) }

# Without a key file.
is(sql('SELECT attempt(NULL, true)') =~ s/ \| As the .*openssl rand -base64 32.*jwt_auth.key_file.*//r, '55000 | no key file is configured', 'no key file: the hint says how to make one');
is(sql("SELECT jwt_test_has_key('k1')"), 'f', 'no key file: no key');

# A good one.
my $line = line('k1');
put($line);
configure("jwt_auth.key_file = '$file'");
is(attempt(), 'k1', 'a good file');
is(attempt('k1'), 'k1', 'its key by name');
is(attempt('k2'), '55000 | key "k2" is not in the key file, or not for this database', 'a name that it does not have');
is(sql("SELECT jwt_test_has_key('k1'), jwt_test_has_key('k2'), jwt_test_has_key('')"), 't|f|f', 'which keys there are');
my $prk = hmac_sha256($secrets[-1], 'some salt');
is(sql("SELECT derived FROM jwt_test_derive('k1', 'some salt', 'some info')"), '\x' . unpack('H*', hmac_sha256("some info\x01", $prk)), 'what is derived is that of RFC 5869');

# Its owner and mode.
for my $mode (0600, 0400)
{
	put($line, $file, $mode);
	is(attempt(), 'k1', sprintf('mode %04o', $mode));
}
my $others = 'F0000 | the key file is refused | Other users could read or change it.';
for my $mode (0640, 0604, 0602, 0620, 0610, 0601, 0700, 04600, 02600, 01600)
{
	put($line, $file, $mode);
	is(attempt(), $others, sprintf('mode %04o', $mode));
}
put($line, $file, 0);
is(attempt(), 'F0000 | could not open the key file: Permission denied', 'mode 0000');
SKIP:
{
	my $owned = $ENV{JWT_OWNED_FILES};
	skip 'only root can make files of other owners', 3 if !$owned;
	chomp(my $roots = slurp_file("$owned/root"));
	push @secrets, map { decode_base64((split /:/)[1]) } $roots, slurp_file("$owned/daemon");
	configure("jwt_auth.key_file = '$owned/root'");
	is(attempt(), 'k1', "root's, with mode 0640");
	configure("jwt_auth.key_file = '$owned/daemon'");
	is(attempt(), $others, 'that of somebody else');
	configure("jwt_auth.key_file = '/etc/passwd'");
	is(attempt(), $others, "root's, readable by everybody");
	configure("jwt_auth.key_file = '$file'");
}

# Its type and size.
unlink $file;
is(attempt(), 'F0000 | could not open the key file: No such file or directory', 'none');
mkdir $file or die;
is(attempt(), 'F0000 | the key file is refused | It is not a regular file.', 'a directory');
rmdir $file;
mkfifo($file, 0600) or die;
is(attempt(), 'F0000 | the key file is refused | It is not a regular file.', 'a pipe, which blocks nothing');
unlink $file;
symlink('/dev/zero', $file) or die;
is(attempt(), 'F0000 | the key file is refused | It is not a regular file.', 'a device');
unlink $file;
my $short = PostgreSQL::Test::Utils::tempdir_short();
my $socket = IO::Socket::UNIX->new(Local => "$short/s", Listen => 1) or die;
symlink("$short/s", $file) or die;
like(attempt(), qr/^F0000 \| could not open the key file: /, 'a socket');
put('#' x (65536 - length($line) - 1) . "\n$line");
is(attempt(), 'k1', '64 kB');
put('#' x (65536 - length($line)) . "\n$line");
is(attempt(), 'F0000 | the key file is refused | It is larger than 64 kB.', 'a byte more');
put('');
is(attempt(), '55000 | the key file has no key for this database', 'an empty file');

# Its place.
put($line);
my $inside = 'F0000 | the key file is refused | It is in the data directory, the WAL directory or a tablespace.';
my $data = $node->data_dir;
sub refused_at
{
	my ($path, $what) = @_;
	put($line, $path);
	configure("jwt_auth.key_file = '$path'");
	is(attempt(), $inside, $what);
	unlink $file;
	symlink($path, $file) or die;
	configure("jwt_auth.key_file = '$file'");
	is(attempt(), $inside, "$what, by a symbolic link");
	unlink $file, $path;
	return;
}
refused_at("$data/keys", 'in the data directory');
refused_at("$data/base/keys", 'deeper in it');
refused_at("$dir/../" . ($data =~ s{^.*/(?=[^/]+/[^/]+$)}{}r) . '/keys', 'in it, by way of ..') if -d "$dir/../" . ($data =~ s{^.*/(?=[^/]+/[^/]+$)}{}r);
mkdir "$dir/space" or die;
mkdir "$dir/space/deeper" or die;
sql("CREATE TABLESPACE space LOCATION '$dir/space'");
sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE in_place LOCATION ''");
refused_at("$dir/space/keys", 'in a tablespace');
refused_at("$dir/space/deeper/keys", 'deeper in one');
symlink("$dir/space/deeper", "$dir/detour") or die;
refused_at("$dir/detour/keys", 'in one, by a detour');
put($line, "$dir/spacekeys");
configure("jwt_auth.key_file = '$dir/spacekeys'");
is(attempt(), 'k1', 'beside one, whose path begins alike');
sql('DROP TABLESPACE space');
put($line, "$dir/space/keys");
configure("jwt_auth.key_file = '$dir/space/keys'");
is(attempt(), 'k1', 'where a tablespace was');
configure("jwt_auth.key_file = '$file'");
unlink $file;
# as Kubernetes mounts secrets
mkdir "$dir/..2026" or die;
put($line, "$dir/..2026/keys");
symlink('..2026', "$dir/..data") or die;
symlink('..data/keys', $file) or die;
is(attempt(), 'k1', 'by symbolic links');
unlink $file;
put($line);
link($file, "$data/hidden") or die;
is(attempt(), 'F0000 | the key file is refused | It has another name (hard link), which may be in a base backup.', 'with a hard link');
unlink "$data/hidden";
is(attempt(), 'k1', 'without it');
configure("jwt_auth.key_file = '../keys'");
is(attempt(), 'F0000 | the key file is refused | Its path is not absolute.', 'a relative path');
configure("jwt_auth.key_file = '$file'");

# Its content.
my ($name, $key) = $line =~ /^(.*?):(.*?):/;
for my $case (
	[ 'comments, blank lines, ends of Windows', "# k0:x\n\n \t\r\n#\n" . $line =~ s/\n/ \r\n/r, 'k1' ],
	[ 'no end of the last line', $line =~ s/\n//r, 'k1' ],
	[ 'a key that another line has, too', $line . "k2:$key:*\n", 'k1' ],
	[ 'a name of 32 characters', ('A-9_' x 8) . ":$key:*\n", 'A-9_' x 8 ],
	[ 'this database among others', "k1:$key:other, postgres\n", 'k1' ],
	[ 'a database in quotes', qq(k1:$key:"a,b:c","postgres"\n), 'k1' ],
	[ 'a database in other case', "k1:$key:Postgres\n", '55000 | the key file has no key for this database' ],
	[ 'another database', "k1:$key:postgres2,post\n", '55000 | the key file has no key for this database' ],
	[ 'the first that fits', "k1:$key:other\nk2:$key:*\nk3:$key:postgres\n", 'k2' ])
{
	my ($what, $text, $expected) = @$case;
	put($text);
	is(attempt(), $expected, $what);
}
for my $case (
	[ 'no name', ":$key:*" ], [ 'a name of 33 characters', ('a' x 33) . ":$key:*" ], [ 'a space in a name', "k 1:$key:*" ],
	[ 'a space before a name', " k1:$key:*" ], [ 'a letter that is not ASCII', "k\xc3\xa9:$key:*" ], [ 'a dot in a name', "k.1:$key:*" ])
{
	put("\n$case->[1]\n$line");
	is(attempt(), 'F0000 | the key file is refused | Line 2 cannot be used: the name is not 1 to 32 letters, digits, underscores and hyphens.', $case->[0]);
}
for my $case (
	[ 'an empty key', '' ], [ 'a short one', encode_base64('x' x 31, '') ], [ 'a long one', encode_base64('x' x 33, '') ],
	[ 'one without padding', $key =~ s/=//r ], [ 'base64url', 'A' x 42 . '-=' ], [ 'base64url with _', '_' . 'A' x 42 . '=' ],
	[ 'hexadecimal', 'ab' x 32 ], [ 'bits that are not used', 'A' x 42 . 'B=' ], [ 'a space in it', 'A' x 20 . ' ' . 'A' x 22 . '=' ],
	[ 'a padding in it', 'A' x 20 . '=' . 'A' x 22 . '=' ])
{
	put("${line}k2:$case->[1]:*\n");
	is(attempt(), 'F0000 | the key file is refused | Line 2 cannot be used: the key is not the base64 of 32 bytes.', $case->[0]);
}
for my $case ([ 'no databases', '' ], [ 'a blank', ' ' ], [ 'a comma', 'a,' ], [ 'all, and one', '*,a' ], [ 'an open quote', '"a' ], [ 'an empty name', '""' ])
{
	put("${line}k2:$key:$case->[1]\n");
	is(attempt(), 'F0000 | the key file is refused | Line 2 cannot be used: the list of databases is not valid.', $case->[0]);
}
for my $case ([ 'two parts', "k2:$key" ], [ 'no colon', $key ], [ 'PEM', '-----BEGIN PRIVATE KEY-----' ])
{
	put("${line}$case->[1]\n");
	is(attempt(), 'F0000 | the key file is refused | Line 2 cannot be used: it has fewer than three parts.', $case->[0]);
}
put("${line}#\0\n");
is(attempt(), 'F0000 | the key file is refused | Line 2 cannot be used: it has a null byte.', 'a null byte');
put($line . line('k2') . line('k1'));
is(attempt(), 'F0000 | the key file is refused | Line 3 cannot be used: the name is that of a line before it.', 'a name twice');
put($line . line('k10') . line('k'));
is(attempt('k'), 'k', 'names that begin alike');

# Each reader of a file that is being replaced gets the old or the new one.
{
	my @lines = ($line, line('k2'));
	put($lines[0]);
	my $pid = fork() // die;
	if ($pid == 0)
	{
		for (my $n = 0;; $n++)
		{
			put('#' x (1000 * ($n % 30)) . "\n" . $lines[ $n % 2 ]);
		}
	}
	is(sql("SET log_min_messages = warning; SELECT string_agg(DISTINCT used, ' ' ORDER BY used) FROM (SELECT attempt() AS used FROM generate_series(1, 2000)) a; RESET log_min_messages"),
		'k1 k2', 'replaced while it is read');
	kill 9, $pid;
	waitpid($pid, 0);
}

# A sealed key opens only in the row that it was sealed for.
my @binding = ("'5b6d8c3a-2f0e-4c1d-9a7b-0123456789ab'::uuid", "'https://idp.example'", "'kid'", "'ES256'", "'thumbprint'");
my $binding = join(', ', @binding);
put($line);
sql("CREATE TABLE sealed AS SELECT 1 AS n, * FROM jwt_test_seal('one', $binding) UNION ALL SELECT 2, * FROM jwt_test_seal('two', $binding)");
my @ders = map { my $s = $_; join('', map { sha256("$s$_") } 0 .. 4) } 'one', 'two';
sub opened { my ($more, $db) = @_; return sql("SELECT jwt_test_open(sealed, salt, $binding) FROM sealed $more", $db) }
is(opened('WHERE n = 1'), sha256_hex($ders[0]), 'sealed and opened');
is(sql("SELECT length(sealed) - length(salt) FROM sealed WHERE n = 1"), 2 + 2 + 12 + 160 + 16 - 32, 'the whole is sealed');
is(sql("SELECT count(*) FROM jwt_test_seal('one', $binding) s JOIN sealed t ON s.salt = t.salt OR s.sealed = t.sealed"), '0', 'another time it looks different');
my $closed = 'the sealed private key does not open';
my @other = (["'5b6d8c3a-2f0e-4c1d-9a7b-0123456789ac'::uuid"], [ "'https://idp.exampl'", "''", "'https://idp.examplek'" ], [ "'kie'", "''" ], [ "'ES384'", "'ES25'", "'EdDSA'" ], [ "'thumbprinu'", "''" ]);
for my $i (0 .. 4)
{
	for my $value (@{ $other[$i] })
	{
		my @changed = @binding;
		$changed[$i] = $value;
		is(sql("SELECT jwt_test_open(sealed, salt, " . join(', ', @changed) . ') FROM sealed WHERE n = 1'), $closed, "in a row with $value");
	}
}
is(sql("SELECT jwt_test_open(sealed, salt, $binding[0], 'https://idp.examplek', 'id', 'ES256', 'thumbprint') FROM sealed WHERE n = 1"), $closed, 'with a byte that has moved');
is(sql("SELECT jwt_test_open(a.sealed, b.salt, $binding) FROM sealed a, sealed b WHERE a.n <> b.n LIMIT 1"), $closed, 'with the salt of another');
is(sql("SELECT jwt_test_open(sealed, substr(salt, 2), $binding) FROM sealed WHERE n = 1"), $closed, 'with a short salt');
is(sql("SELECT jwt_test_open(sealed, ''::bytea, $binding) FROM sealed WHERE n = 1"), $closed, 'without one');

# 10,000 changes: bits, bytes, lengths, in the sealed key and in its salt.
is(sql("SELECT setseed(0.22); " . q{
	WITH random AS MATERIALIZED (SELECT i, sealed, salt, a, b, (a * (length(sealed) - 1))::int AS at
		FROM sealed, (SELECT i, random() AS a, random() AS b FROM generate_series(1, 10000) i) r WHERE n = 1),
	changed AS (
		SELECT CASE
			WHEN i % 5 = 0 THEN substr(sealed, 1, at)
			WHEN i % 5 = 1 THEN sealed || set_byte('\x00', 0, (a * 255)::int)
			WHEN i % 5 = 2 THEN set_byte(sealed, at, get_byte(sealed, at) # (1 + (b * 254)::int))
			WHEN i % 5 = 3 THEN set_bit(sealed, at * 8 + i % 8, 1 - get_bit(sealed, at * 8 + i % 8))
			ELSE sealed END AS changed,
			CASE WHEN i % 5 = 4 THEN set_bit(salt, (a * 255)::int, 1 - get_bit(salt, (a * 255)::int)) ELSE salt END AS changed_salt, sealed, salt
		FROM random)
	SELECT count(*), count(*) FILTER (WHERE length(} . "jwt_test_open(changed, changed_salt, $binding)" . q{) = 64)
	FROM changed WHERE changed <> sealed OR changed_salt <> salt}) =~ s/^\n//r, '10000|0', 'no change of 10,000 opens');
is(opened('WHERE n = 1'), sha256_hex($ders[0]), 'and unchanged it still does');

# A new line before the old one, and the old one removed.
my $new = line('k2');
put($new . $line);
is(opened('WHERE n = 2'), sha256_hex($ders[1]), 'a key that is not the first opens');
sql("INSERT INTO sealed SELECT 3, * FROM jwt_test_seal('three', $binding)");
put($new);
is(opened('WHERE n = 1'), 'key "k1" is not in the key file, or not for this database', 'a line that is gone: what needs it says so');
is(opened('WHERE n = 3'), sha256_hex(join('', map { sha256("three$_") } 0 .. 4)), 'the rest works');
put(line('k1') . $new);
is(opened('WHERE n = 1'), $closed, 'another key of the same name');
put("k1:$key:postgres\n" . $new);
sql('CREATE DATABASE other TEMPLATE postgres');
is(opened('WHERE n = 1'), sha256_hex($ders[0]), 'a key for this database');
is(opened('WHERE n = 1', 'other'), 'key "k1" is not in the key file, or not for this database', 'does not open in another one');
is(opened('WHERE n = 3', 'other'), sha256_hex(join('', map { sha256("three$_") } 0 .. 4)), 'where one for all does');
is(attempt(undef, 'other'), 'k2', 'and seals there');
put($line);

# The MAC of refresh tokens.
my $mac_key = hmac_sha256("jwt_auth refresh 1https://idp.example\x01", hmac_sha256(decode_base64($key), 'a seed'));
is(sql("SELECT jwt_test_refresh_mac('k1', 'a seed', 'https://idp.example', 'data')"), '\x' . unpack('H*', hmac_sha256('data', $mac_key)), 'the MAC of a refresh token');
is(sql("SELECT jwt_test_refresh_mac('k3', 'a seed', 'https://idp.example', 'data') IS NULL"), 't', 'none with a key that is not there');

# Who can set the settings.
sql('CREATE ROLE mallory LOGIN');
put(line('mallorys'), "$dir/mallorys");
$node->psql('postgres', "SET ROLE mallory; ALTER ROLE mallory SET jwt_auth.key_file = '$dir/mallorys'");
for my $case (
	[ 'SET', '', "SET jwt_auth.key_file = '$dir/mallorys'", 'k1' ], [ 'ALTER ROLE', '', 'SELECT 1', 'k1' ],
	[ 'connection options', "options='-c jwt_auth.key_file=$dir/mallorys'", 'SELECT 1', '55000 | no key file is configured' ])
{
	my ($what, $options, $before, $expected) = @$case;
	my $out = '';
	$node->psql('postgres', "$before; SELECT attempt()", connstr => $node->connstr('postgres') . " user=mallory $options", stdout => \$out, on_error_stop => 0);
	is($out =~ s/^1\n//r, $expected, "not by $what of a session that has not loaded the library");
}
{
	my ($out, $err) = ('', '');
	$node->psql('postgres', "SELECT attempt(); SHOW jwt_auth.key_file; SHOW jwt_auth.key_command; SET jwt_auth.key_file = '/x'", extra_params => [ '-U', 'mallory' ], stdout => \$out, stderr => \$err, on_error_stop => 0);
	is($out, 'k1', 'nobody else sees the settings');
	is(() = $err =~ /must be superuser|permission denied to examine|cannot be changed now/g, 3, 'nor sets one');
	$node->psql('postgres', "SELECT attempt(); ALTER SYSTEM SET jwt_auth.key_file = '/x'", stderr => \$err, on_error_stop => 0);
	like($err, qr/cannot be changed/, 'not by ALTER SYSTEM, which a role can be granted');
}
configure("jwt_auth.key_command = 'cat $file'");
is(attempt(), '55000 | both a key file and a key command are configured', 'a file and a command');
configure("jwt_auth.key_file = ''");
like(sql('SELECT attempt(NULL, true)'), qr/^55000 \| the key command has not run \| .*shared_preload_libraries/, 'a command where the library is not preloaded');
configure("jwt_auth.key_file = '$file'", "jwt_auth.key_command = ''");

# The memory of an idle session that has derived, sealed, opened, and failed to open.
sub found_in
{
	my ($pid, @needles) = @_;
	no warnings 'portable';
	my %found;
	open(my $maps, '<', "/proc/$pid/maps") or return;
	open(my $memory, '<:raw', "/proc/$pid/mem") or return;
	while (<$maps>)
	{
		my ($from, $to) = /^([0-9a-f]+)-([0-9a-f]+) r/ or next;
		next if /vvar|vsyscall/;
		($from, $to) = (hex $from, hex $to);
		my $chunk;
		sysseek($memory, $from, 0) or return;
		(sysread($memory, $chunk, $to - $from) // -1) == $to - $from or return;
		for my $i (0 .. $#needles)
		{
			$found{$i} = s/\s+/ /gr if index($chunk, $needles[$i]) >= 0;
		}
	}
	return \%found;
}
{
	my $session = open_session($node->connstr('postgres'));
	my $pid = $session->('SELECT pg_backend_pid()');
	sql('TRUNCATE sealed');
	my $work = "INSERT INTO sealed SELECT 1, * FROM jwt_test_seal('one', $binding);
		SELECT jwt_test_open(sealed, salt, $binding) FROM sealed;
		SELECT jwt_test_open(set_byte(sealed, 60, get_byte(sealed, 60) # 1), salt, $binding) FROM sealed;
		SELECT jwt_test_refresh_mac('k1', 'a seed', 'https://idp.example', 'data') IS NOT NULL;
		SELECT attempt()";
	$session->($work);
	put("${line}bad\n");
	like($session->('SELECT attempt()'), qr/Line 2/, 'a file that is refused after it is read');
	put($line);
	my $salt = pack('H*', sql("SELECT encode(salt, 'hex') FROM sealed"));
	my $seal_prk = hmac_sha256(decode_base64($key), $salt);
	my %needles = (
		'the key of the file' => decode_base64($key), 'its first half' => substr(decode_base64($key), 0, 16), 'its base64' => substr($key, 0, 40),
		'the derived key' => hmac_sha256("jwt_auth seal 1\x01", $seal_prk), 'what HKDF extracts' => $seal_prk, 'the key of the MAC' => $mac_key,
		(map { ("part $_ of the private key" => sha256("one$_")) } 0 .. 4));
	my @names = sort keys %needles;
	my $found = found_in($pid, map { $needles{$_} } @names);
	SKIP:
	{
		skip 'the memory of a process cannot be read here', @names + 1 if !$found;
		is($found->{$_}, undef, "not in memory: $names[$_]") for 0 .. $#names;
		$session->("SELECT set_config('some.thing', '$key', false)");
		ok(found_in($pid, $key)->{0}, 'what is in memory is found');
	}
	$session->();
}

# The command. The postmaster runs it at its start and at each reload.
$session->();
my $print = "$dir/print";
sub printing { put("#!/bin/sh\n" . join("\n", @_) . "\n", $print, 0700); return }
sub read_log { my ($from) = @_; return substr(slurp_file($node->logfile), $from) }
printing('cat', "cat $file");
put(line('c1'));
$node->append_conf('postgresql.conf', qq(shared_preload_libraries = 'jwt_test'\njwt_auth.key_file = ''\njwt_auth.key_command = '$print; echo \$PPID >>$dir/runs; ls /proc/self/fd >$dir/files; grep "^Sig" /proc/self/status >$dir/signals'));
$node->restart;
$session = open_session($node->connstr('postgres'));
my ($postmaster) = slurp_file("$data/postmaster.pid") =~ /^(\d+)/;
is(attempt(), 'c1', 'a command, which has no input');
is(slurp_file("$dir/files"), "0\n1\n2\n3\n", 'it inherits no files (the last is the folder)');
my $signals = slurp_file("$dir/signals");
like($signals, qr/^SigBlk:\t0+$/m, 'nor blocked signals');
is(hex(($signals =~ /^SigIgn:\t[0-9a-f]*([0-9a-f]{8})$/m)[0]) >> 12 & 1, 0, 'nor ignores it a broken pipe');
put(line('c2'));
is(attempt(), 'c1', 'what it printed stays until a reload');
configure();
is(attempt(), 'c2', 'which runs it again, also where the setting is the same and the session is not new');
is($node->safe_psql('postgres', 'SELECT attempt()'), 'c2', 'and in a new session');
is(slurp_file("$dir/runs"), "$postmaster\n" x 2, 'the postmaster has run it, and once each time');
for my $case (
	[ 'one that fails', [ "cat $file", 'exit 3' ], qr/child process exited with exit code 3/ ],
	[ 'one that is killed', [ "cat $file", 'kill -9 $$' ], qr/child process (exited with exit code 137|was terminated by signal 9)/ ],
	[ 'one that prints too much', [ 'yes "#"' ], qr/It printed more than 64 kB/ ],
	[ 'one that prints a bad line', [ "cat $file", 'echo secret:bad' ], qr/Line 2 cannot be used: it has fewer than three parts/ ],
	[ 'one that is not there', ['no_such_program'], qr/(command not found|command not executable)/ ],
	[ 'one that does not end', [ "echo \$\$ >>$dir/pids", "sleep 1000 & echo \$! >>$dir/pids", 'sleep 1000' ], qr/It ran for longer than 10 seconds/ ],
	[ 'one that prints and does not end', [ "echo \$\$ >>$dir/pids", "cat $file", 'exec >&-', 'sleep 1000' ], qr/It ran for longer than 10 seconds/ ])
{
	my ($what, $lines, $reason) = @$case;
	my $from = -s $node->logfile;
	put(line('c3'));
	# the only line, so that its result is that of the command
	$node->append_conf('postgresql.conf', "jwt_auth.key_command = '$print'");
	printing(@$lines);
	my $start = time();
	configure();
	cmp_ok(time() - $start, '<', 60, "$what: the server goes on");
	like(read_log($from), qr/LOG: .*the key command of jwt_auth has failed\n.*$reason/, "$what: the log says so");
	unlike(read_log($from), qr/secret:bad/, "$what: and not what it printed");
	is(attempt(), 'c2', "$what: the keys before stay");
}
for my $left (split /\n/, slurp_file("$dir/pids"))
{
	ok(wait_until(sub { kill(0, $left) == 0 }), "none of its processes is left");
}
put(line('c4'));
printing("head -c \$((65536 - \$(wc -c <$file) - 1)) /dev/zero | tr '\\0' '#'", 'echo', "cat $file");
configure();
is(attempt(), 'c4', 'one that prints 64 kB');
SKIP:
{
	my @mappings = split /(?=^[0-9a-f]+-[0-9a-f]+ )/m, slurp_file("/proc/$postmaster/smaps");
	my ($flags) = map { /^VmFlags: (.*)/m } grep { /^\S+ rw-s .*\nSize: +68 kB/ } @mappings;
	skip 'no flags of mappings here', 1 if !@mappings;
	like($flags, qr/\bdd\b/, 'a core file does not have the keys');
}
kill 9, sql('SELECT pg_backend_pid()');
$session = undef;
$node->poll_query_until('postgres', 'SELECT true');
$session = open_session($node->connstr('postgres'));
is(attempt(), 'c4', 'after a crash of another process they are there');
configure("jwt_auth.key_command = ''");
is(attempt(), '55000 | no key file is configured', 'without the command they are gone');
configure("jwt_auth.key_command = '$print'");
is(attempt(), 'c4', 'and with it there again');
printing('exit 1');
$session->();
$node->restart;
$session = open_session($node->connstr('postgres'));
like(sql('SELECT attempt(NULL, true)'), qr/^55000 \| the key command has given no keys \| .*server's log/, 'a server starts without them');

# No part of a key is in the log at the level debug5.
my $log = slurp_file($node->logfile);
$log =~ s/^.*set_config\('some.thing.*$//mg;
my @leaks = grep { index($log, $_) >= 0 } map { ($_, encode_base64($_, ''), unpack('H*', $_), substr(encode_base64($_, ''), 0, 20)) } @secrets, @ders, $mac_key;
is(@leaks, 0, 'no key is in the log');
like($log, qr/DEBUG.*StartTransaction/, 'which has everything');
$session->();
$node->stop;

done_testing();
