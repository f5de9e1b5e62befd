/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Every difference between the PostgreSQL versions we build on.
 *
 * Newest version first, with the reason for each block.  No other file uses
 * PG_VERSION_NUM.  OpenSSL needs no block: algorithms are fetched by name, which
 * fails if the OpenSSL that is loaded lacks one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JWT_COMPAT_H
#define JWT_COMPAT_H

#include "postgres.h"

#include "common/jsonapi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"

#if PG_VERSION_NUM < 150000
#error "jwt needs PostgreSQL 15 or later"
#endif

/* 19: a hook of the analysis may not change the jumble of a query */
#if PG_VERSION_NUM >= 190000
typedef const struct JumbleState hook_jumble;
#else
typedef struct JumbleState hook_jumble;
#endif

/* 18: the module block also carries a name and a version */
#ifdef PG_MODULE_MAGIC_EXT
#define JWT_MODULE_MAGIC(library) PG_MODULE_MAGIC_EXT(.name = library, .version = JWT_VERSION)
#else
#define JWT_MODULE_MAGIC(library) PG_MODULE_MAGIC
#endif

/* 18: it is before the declaration, as in C11, and no longer after it */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 17: an extension's wait events have names of its own */
#if PG_VERSION_NUM >= 170000
#define JWT_WAIT_EVENT(name) \
	({ static uint32 event = 0; \
	   if (event == 0) event = WaitEventExtensionNew(name); \
	   event; })
#else
#define JWT_WAIT_EVENT(name) PG_WAIT_EXTENSION
#endif

/* 17: the lexer's state is the caller's, so that lexing allocates nothing */
#if PG_VERSION_NUM >= 170000
#define JSON_LEXER(name) JsonLexContext name##_state; JsonLexContext *name = &name##_state
#define json_lexer_init(lex, text, len) \
	((void) makeJsonLexContextCstringLen(lex, text, len, PG_UTF8, false))
#else
#define JSON_LEXER(name) JsonLexContext *name
#define json_lexer_init(lex, text, len) \
	((lex) = makeJsonLexContextCstringLen(unconstify(char *, text), len, PG_UTF8, false))
#endif

/* 18: an index scan can be instrumented */
#if PG_VERSION_NUM >= 180000
#define index_begin_scan(rel, index, snapshot, n) index_beginscan(rel, index, snapshot, NULL, n, 0)
#else
#define index_begin_scan(rel, index, snapshot, n) index_beginscan(rel, index, snapshot, n, 0)
#endif

/* 16: permissions are separate from range table entries; 18: pruned relations, too */
#if PG_VERSION_NUM >= 180000
#define exec_init_range_table(estate, entries, permissions) \
	ExecInitRangeTable(estate, entries, permissions, bms_make_singleton(1))
#elif PG_VERSION_NUM >= 160000
#define exec_init_range_table(estate, entries, permissions) \
	ExecInitRangeTable(estate, entries, permissions)
#else
#define exec_init_range_table(estate, entries, permissions) \
	((void) (permissions), ExecInitRangeTable(estate, entries))
#endif
#if PG_VERSION_NUM >= 160000
#define add_permission_info(permissions, entry)	((void) addRTEPermissionInfo(permissions, entry))
#else
#define add_permission_info(permissions, entry)	((void) (permissions), (void) (entry))
#endif

/* 18: a deferrable primary key is asked for, or not */
#if PG_VERSION_NUM >= 180000
#define primary_key_index(rel) RelationGetPrimaryKeyIndex(rel, false)
#else
#define primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* 16: EvalPlanQualInit() takes the relations to check */
#if PG_VERSION_NUM >= 160000
#define eval_plan_qual_init(epq, estate) EvalPlanQualInit(epq, estate, NULL, NIL, -1, NIL)
#else
#define eval_plan_qual_init(epq, estate) EvalPlanQualInit(epq, estate, NULL, NIL, -1)
#endif

/* 16: input functions can report an error without raising it; a file that uses this includes the header */
#if PG_VERSION_NUM >= 160000
#define READ_FLOAT8_HEADER "nodes/miscnodes.h"
#define read_float8(string, failed) \
	({ ErrorSaveContext read_context = {.type = T_ErrorSaveContext}; \
	   float8 read_value = float8in_internal(string, NULL, "double precision", string, (Node *) &read_context); \
	   *(failed) = read_context.error_occurred; \
	   read_value; })
#else
#define READ_FLOAT8_HEADER "utils/float.h"
#define read_float8(string, failed) \
	float8in_internal_opt_error(string, NULL, "double precision", string, failed)
#endif

/* 16: the macros of varlena values have a header of their own */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * We build with hidden visibility: PostgreSQL loads libraries with global
 * symbols, and other libraries own jwt_* names.  Before 16, PGDLLEXPORT does
 * not make a symbol visible again; an earlier declaration that does is merged
 * with the one the macro writes.
 */
#define JWT_EXPORT __attribute__((visibility("default")))

/*
 * For variables that are read for every row.  Without this mark in the
 * declaration, the compiler would read them through the global offset table.
 */
#define JWT_LOCAL __attribute__((visibility("hidden")))

#define JWT_SQL_FUNCTION(name) \
	extern JWT_EXPORT Datum name(PG_FUNCTION_ARGS); \
	extern JWT_EXPORT const Pg_finfo_record *pg_finfo_##name(void); \
	PG_FUNCTION_INFO_V1(name)

#endif							/* JWT_COMPAT_H */
