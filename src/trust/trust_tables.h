/*-------------------------------------------------------------------------
 *
 * trust_tables.h
 *	  Columns of the extension's tables, as the scripts declare them.
 *
 * For those who read the tables and check what is written into them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_TRUST_TABLES_H
#define JWT_TRUST_TABLES_H

#define Anum_jwt_issuer_issuer			1
#define Anum_jwt_issuer_audience		2
#define Anum_jwt_issuer_algorithms		3
#define Anum_jwt_issuer_required_claims	4
#define Anum_jwt_issuer_token_type		5
#define Anum_jwt_issuer_leeway			6
#define Anum_jwt_issuer_max_lifetime	7
#define Anum_jwt_issuer_max_age			8
#define Anum_jwt_issuer_role_claim		9
#define Anum_jwt_issuer_roles			10
#define Natts_jwt_issuer				10

/*
 * Columns that the table has since version 1.2, wherever they stand: a table to
 * which somebody had added some has them after those.
 */
#define JWT_ISSUER_HAS_REVOKED_IDS		"has_revoked_ids"
#define JWT_ISSUER_HAS_REVOKED_SUBJECTS	"has_revoked_subjects"

#define Anum_jwt_key_id					1
#define Anum_jwt_key_issuer				2
#define Anum_jwt_key_kid				3
#define Anum_jwt_key_alg				4
#define Anum_jwt_key_jwk				5
#define Anum_jwt_key_not_before			6
#define Anum_jwt_key_not_after			7
#define Anum_jwt_key_revoked_at			8
#define Anum_jwt_key_source				9
#define Anum_jwt_key_created_at			10
#define Natts_jwt_key					10

#define Anum_jwt_revocation_id			1
#define Anum_jwt_revocation_issuer		2
#define Anum_jwt_revocation_jti			3
#define Anum_jwt_revocation_sub			4
#define Anum_jwt_revocation_issued_before	5
#define Anum_jwt_revocation_expires_at	6
#define Anum_jwt_revocation_reason		7
#define Anum_jwt_revocation_revoked_by	8
#define Anum_jwt_revocation_revoked_at	9
#define Natts_jwt_revocation			9

#endif							/* JWT_TRUST_TABLES_H */
