/*-------------------------------------------------------------------------
 *
 * key_lines.c
 *	  The syntax of a key file.
 *
 *		line      = name ":" key ":" databases
 *		name      = 1*32 (letter of ASCII / digit / "_" / "-")
 *		key       = base64 of 32 bytes: 43 characters and "=" (RFC 4648 section 4)
 *		databases = "*" / database *("," database)
 *
 * A database is written as in a list of names in postgresql.conf, so it needs
 * double quotes if it has a comma or a space.  "*" stands for all databases, and
 * only if it stands alone.  Blank lines are ignored, and so are lines that begin
 * with "#".  A name occurs once.  One bad line makes the whole file unusable: a
 * key must not be ignored because of a typing error.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "auth/key_lines.h"
#include "nodes/pg_list.h"
#include "token/slice.h"
#include "utils/varlena.h"

/* A line, cut into its parts.  The parts of a line without a key are absent. */
typedef struct Line
{
	Slice		name;
	Slice		key;
	Slice		databases;
} Line;

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/*
 * Is this the syntax of a name?
 */
bool
key_name_is_valid(const char *name, int len)
{
	for (int i = 0; i < len; i++)
		if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
			  (name[i] >= '0' && name[i] <= '9') || name[i] == '_' || name[i] == '-'))
			return false;
	return len >= 1 && len <= KEY_NAME_MAX;
}

/*
 * Decode strict base64 into key->decoded.  base64url differs in two characters
 * and has no padding.
 */
static bool
decode(const Slice *text, FileKey *key)
{
	if (text->len != sizeof(key->base64) + 1 || text->data[sizeof(key->base64)] != '=')
		return false;
	for (int i = 0; i < (int) sizeof(key->base64); i++)
	{
		char		c = text->data[i];

		key->base64[i] = c == '+' ? '-' : c == '/' ? '_' : c == '-' || c == '_' ? '=' : c;
	}
	return base64url_decode(key->base64, sizeof(key->base64), key->decoded) == FILE_KEY_SIZE;
}

/*
 * Read a list of databases.  An empty list of names stands for all.
 */
static bool
read_databases(const Slice *text, List **names)
{
	ListCell   *lc;

	*names = NIL;
	if (slice_is(text, "*"))
		return true;
	if (!SplitGUCList(pnstrdup(text->data, text->len), ',', names) || *names == NIL)
		return false;
	foreach(lc, *names)
		if (strcmp(lfirst(lc), "*") == 0 || *(char *) lfirst(lc) == '\0')
		return false;
	return true;
}

/*
 * Cut the line of these len bytes.  Returns false if it has too few parts.
 */
static bool
cut(const char *text, int len, Line *line)
{
	const char *colon[2];

	memset(line, 0, sizeof(*line));
	while (len > 0 && is_blank(text[len - 1]))
		len--;
	if (len == 0 || text[0] == '#')
		return true;
	colon[0] = memchr(text, ':', len);
	colon[1] = colon[0] ? memchr(colon[0] + 1, ':', text + len - colon[0] - 1) : NULL;
	if (colon[1] == NULL)
		return false;
	line->name.data = text;
	line->name.len = (int) (colon[0] - text);
	line->key.data = colon[0] + 1;
	line->key.len = (int) (colon[1] - colon[0] - 1);
	line->databases.data = colon[1] + 1;
	line->databases.len = (int) (text + len - colon[1] - 1);
	while (line->databases.len > 0 && is_blank(line->databases.data[0]))
	{
		line->databases.data++;
		line->databases.len--;
	}
	return true;
}

/*
 * Does a key for these databases fit this one?
 */
static bool
fits(const List *databases, const char *database)
{
	ListCell   *lc;

	foreach(lc, databases)
		if (strcmp(lfirst(lc), database) == 0)
		return true;
	return databases == NIL;
}

/*
 * Has a line before this one the same name?  If not, remember the name.  The
 * colon after each name is compared, too.
 */
static bool
is_duplicate(const Slice *name, List **names)
{
	ListCell   *lc;

	foreach(lc, *names)
		if (memcmp(lfirst(lc), name->data, name->len + 1) == 0)
		return true;
	*names = lappend(*names, unconstify(char *, name->data));
	return false;
}

/*
 * Find the key of this name, or if it is null the first one, that fits a
 * database.  Nothing fits a null database.  Returns false if there is none.
 *
 * All lines are checked.  If one is bad, the reason is a sentence with its
 * number and nothing else of it; otherwise it is null.  The caller overwrites
 * *key, also if this returns false.
 */
bool
key_lines_find(const char *text, int len, const char *name, const char *database,
			   FileKey *key, char **reason)
{
	const char *end = text + len;
	List	   *names = NIL;
	bool		found = false;

	*reason = NULL;
	for (int number = 1; text < end; number++)
	{
		const char *newline = memchr(text, '\n', end - text);
		int			line_len = (int) ((newline ? newline : end) - text);
		Line		line;
		List	   *databases = NIL;
		const char *fault = NULL;

		if (memchr(text, '\0', line_len) != NULL)
			fault = "it has a null byte";
		else if (!cut(text, line_len, &line))
			fault = "it has fewer than three parts";
		else if (line.name.data != NULL)
		{
			if (!key_name_is_valid(line.name.data, line.name.len))
				fault = "the name is not 1 to 32 letters, digits, underscores and hyphens";
			else if (is_duplicate(&line.name, &names))
				fault = "the name is that of a line before it";
			else if (!decode(&line.key, key))
				fault = "the key is not the base64 of 32 bytes";
			else if (!read_databases(&line.databases, &databases))
				fault = "the list of databases is not valid";
			else if (!found && database != NULL && fits(databases, database) &&
					 (name == NULL || slice_is(&line.name, name)))
			{
				memcpy(key->name, line.name.data, line.name.len);
				key->name[line.name.len] = '\0';
				memcpy(key->key, key->decoded, FILE_KEY_SIZE);
				found = true;
			}
		}
		if (fault != NULL)
		{
			*reason = psprintf("Line %d cannot be used: %s.", number, fault);
			return false;
		}
		text += line_len + 1;
	}
	return found;
}
