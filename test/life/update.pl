# An updated extension equals a newly created one, for each update script. The comparison
# detects each statement that an update script could lack.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# A description of the whole extension as text.
my $all = q{
	WITH RECURSIVE member (classid, objid) AS (
		SELECT classid, objid FROM pg_depend JOIN pg_extension e ON e.oid = refobjid
		WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND extname = 'jwt'
		UNION
		SELECT d.classid, d.objid FROM member m JOIN pg_depend d ON d.refclassid = m.classid AND d.refobjid = m.objid
		WHERE d.deptype IN ('a', 'i', 'I'))
	SELECT string_agg(concat_ws(' ', pg_describe_object(classid, objid, 0),
		'comment', obj_description(objid, classid::regclass::name),
		CASE classid
			WHEN 'pg_class'::regclass THEN (
				SELECT concat_ws(' ', relkind, relowner::regrole, relacl, CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) WHEN 'i' THEN pg_get_indexdef(oid) END, (
					SELECT string_agg(concat_ws(' ', attnum, attname, format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation, attacl, col_description(attrelid, attnum)), ', ' ORDER BY attnum)
					FROM pg_attribute WHERE attrelid = objid AND attnum > 0 AND NOT attisdropped))
				FROM pg_class WHERE oid = objid)
			WHEN 'pg_proc'::regclass THEN (SELECT concat_ws(' ', pg_get_functiondef(oid), proowner::regrole, proacl) FROM pg_proc WHERE oid = objid)
			WHEN 'pg_trigger'::regclass THEN (SELECT concat_ws(' ', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE oid = objid)
			WHEN 'pg_constraint'::regclass THEN (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE oid = objid)
			WHEN 'pg_attrdef'::regclass THEN (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE oid = objid)
		END), E'\n' ORDER BY pg_describe_object(classid, objid, 0))
		|| (SELECT string_agg(t::regclass || ' ' || c, E'\n' ORDER BY t::regclass::text) FROM pg_extension, unnest(extconfig, extcondition) u (t, c) WHERE extname = 'jwt')
	FROM member WHERE pg_describe_object(classid, objid, 0) !~ 'toast'};

sub create
{
	my ($db, @sql) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, $_) for @sql;
	return $node->safe_psql($db, $all);
}

my $fresh = create('fresh', 'CREATE EXTENSION jwt');
cmp_ok(length($fresh), '>', 20000, 'the extension has much to compare');
is(create('again', 'CREATE EXTENSION jwt'), $fresh, 'created twice it is the same');

# Each update script; there may be none yet.
my @from = split(/\n/, $node->safe_psql('postgres', q{
	SELECT DISTINCT p.source FROM pg_extension_update_paths('jwt') p JOIN pg_available_extensions a ON a.name = 'jwt'
	WHERE p.path IS NOT NULL AND p.target = a.default_version}));
for my $version (@from)
{
	(my $db = "from_$version") =~ tr/./_/;
	is(create($db, "CREATE EXTENSION jwt VERSION '$version'", 'ALTER EXTENSION jwt UPDATE'), $fresh, "updated from $version it is what a new one is");
}

# Statements that an update script could lack.
my $n = 0;
for my $change (
	q{ALTER TABLE jwt_key ALTER source SET DEFAULT 'x'}, q{DROP INDEX jwt_key_kid_idx}, q{ALTER TABLE jwt_key ENABLE TRIGGER jwt_key_check},
	q{ALTER TABLE jwt_issuer ALTER audience SET NOT NULL}, q{GRANT TRIGGER ON jwt_key TO pg_database_owner}, q{GRANT SELECT (jwk) ON jwt_key TO PUBLIC},
	q{REVOKE EXECUTE ON FUNCTION jwt_subject() FROM PUBLIC}, q{ALTER FUNCTION jwt_subject() VOLATILE}, q{ALTER FUNCTION jwt_subject() PARALLEL UNSAFE},
	q{COMMENT ON FUNCTION jwt_subject() IS 'x'}, q{COMMENT ON COLUMN jwt_key.kid IS 'x'}, q{CREATE OR REPLACE VIEW jwt_key_status AS SELECT * FROM jwt_key_status_rows() WHERE true},
	q{ALTER TABLE jwt_denylist ADD note text}, q{UPDATE pg_extension SET extconfig = extconfig[2:], extcondition = extcondition[2:] WHERE extname = 'jwt'})
{
	isnt(create('other' . ++$n, 'CREATE EXTENSION jwt', $change), $fresh, "seen: $change");
}

$node->stop;
done_testing();
