/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Strict JSON by PostgreSQL's lexer, into a tree that becomes jsonb.
 *
 * jsonb_in() does not suffice: it raises an error on bad input, silently takes
 * the last of duplicate members, reads the server encoding instead of UTF-8,
 * and builds the tree by one call for each value.  Here a pushdown automaton
 * of bounded depth reads the names and values from the lexer, and the single
 * bytes between them itself.  It sorts objects in the order of jsonb, which
 * reveals duplicates.  JsonbValueToJsonb() serialises the finished tree.  No
 * input makes the reader raise an error; only a lack of memory does.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/namespace.h"
#include "datatype/timestamp.h"
#include "token/json.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* Objects up to this size are sorted by insertion. */
#define FEW_MEMBERS	20

/* The stack of open containers up to this size needs no allocation. */
#define STACK_INITIAL	24

/*
 * The limits of numeric: digits before and after the decimal point.  A number
 * beyond them is refused, before numeric_in() can raise an error.
 */
#define NUMERIC_DIGITS_BEFORE	131072
#define NUMERIC_DIGITS_AFTER	16383

/*
 * The state of reading one text.  The stack has the members and elements of
 * all open containers, the innermost container last.  An element is a pair
 * without a key.  The order of a pair is the offset of its value in the text.
 */
typedef struct Reader
{
	bool		plain;			/* no string needs unescaping or conversion */
	JsonbPair  *stack;
	int			used;
	int			size;
	int			entries;		/* number of members and elements so far */
	int			depth;
	struct
	{
		char		end;		/* } or ] */
		int			first;		/* index of its first entry on the stack */
	}			container[JSON_MAX_DEPTH];
	JsonbPair	initial[STACK_INITIAL];
} Reader;

static const char not_json[] = "is not JSON";

static JsonbPair *push_entry(Reader *reader);
static const char *open_container(Reader *reader, bool is_object);
static const char *close_container(Reader *reader, JsonbValue *document);
static const char *read_other_scalar(const JsonLexContext *lex, JsonbValue *value);
static const char *read_string(const char *lexeme, int len, JsonbValue *value);
static const char *read_number(const char *lexeme, int len, JsonbValue *value);

/* isdigit() would be a function call. */
static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/*
 * The order in which jsonb keeps the members of an object: by length of the
 * name in bytes, then bytewise.  Names mostly differ in their first byte.
 */
static inline int
compare_names(const char *a, int len_a, const char *b, int len_b)
{
	if (len_a != len_b)
		return len_a < len_b ? -1 : 1;
	if (len_a == 0)
		return 0;
	if (a[0] != b[0])
		return (unsigned char) a[0] < (unsigned char) b[0] ? -1 : 1;
	return memcmp(a, b, len_a);
}

/*
 * Are text values UTF-8?  SQL_ASCII can hold any bytes.
 */
static bool
server_holds_utf8(void)
{
	return GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII;
}

/*
 * Convert a text value to the encoding of JSON.  In SQL_ASCII it is any bytes,
 * which the reader refuses if they are not UTF-8.  Returns the text itself, or a
 * terminated copy.  Raises an error if there is no conversion.
 */
char *
json_from_server(const char *text, int len)
{
	return server_holds_utf8() ? unconstify(char *, text) : pg_server_to_any(text, len, PG_UTF8);
}

/*
 * The same for a slice.
 */
Slice
json_slice_from_server(Slice text)
{
	const char *converted = json_from_server(text.data, text.len);

	return converted == text.data ? text : slice_of(converted);
}

/*
 * Skip this byte, if it is the next one after white space.  The lexer then
 * continues after it.
 */
static inline bool
take(JsonLexContext *lex, const char *end, char byte)
{
	const char *p = lex->token_terminator;

	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	if (p == end || *p != byte)
		return false;
	lex->token_terminator = unconstify(char *, p + 1);
	return true;
}

/*
 * Read the current token, which must be a scalar.  Most are strings, which are
 * not copied.
 */
static inline const char *
read_scalar(const Reader *reader, const JsonLexContext *lex, JsonbValue *value)
{
	if (lex->token_type != JSON_TOKEN_STRING || !reader->plain)
		return read_other_scalar(lex, value);
	value->type = jbvString;
	value->val.string.val = (char *) lex->token_start + 1;
	value->val.string.len = (int) (lex->token_terminator - lex->token_start) - 2;
	return NULL;
}

/*
 * Begin another member or element of the innermost container, up to the first
 * token of its value.
 */
static inline const char *
begin_entry(Reader *reader, JsonLexContext *lex, const char *text, const char *end)
{
	JsonbPair  *entry = push_entry(reader);
	const char *reason;

	if (reader->entries > JSON_MAX_ENTRIES)
		return "has too many members and elements";
	if (reader->container[reader->depth - 1].end == '}')
	{
		if (json_lex(lex) != JSON_SUCCESS || lex->token_type != JSON_TOKEN_STRING)
			return not_json;
		if ((reason = read_scalar(reader, lex, &entry->key)) != NULL)
			return reason;
		if (!take(lex, end, ':'))
			return not_json;
	}
	if (json_lex(lex) != JSON_SUCCESS)
		return not_json;
	entry->order = (uint32) (lex->token_start - text);
	return NULL;
}

/*
 * Read a JSON text that must be one object.  Returns NULL on success.  On
 * failure returns the reason, as the end of a sentence about the text ("is not
 * JSON").
 *
 * The text is UTF-8; strings of the tree are in the server encoding.  The tree
 * is allocated in the current memory context and points into the text, so the
 * text must live as long.
 */
const char *
json_read_object(const char *text, int len, JsonbValue *object)
{
	Reader		reader;
	const char *end = text + len;
	const char *reason;

	JSON_LEXER(lex);

	if (pg_encoding_verifymbstr(PG_UTF8, text, len) != len)
		return "is not UTF-8";

	reader.plain = memchr(text, '\\', len) == NULL && server_holds_utf8();
	reader.stack = reader.initial;
	reader.used = 0;
	reader.size = STACK_INITIAL;
	reader.entries = 0;
	reader.depth = 0;

	json_lexer_init(lex, text, len);
	if (json_lex(lex) != JSON_SUCCESS)
		return not_json;
	if (lex->token_type != JSON_TOKEN_OBJECT_START)
		return lex->token_type == JSON_TOKEN_END ? not_json : "is not a JSON object";

	/* once for each value, with the lexer at its first token */
	for (;;)
	{
		bool		opens = lex->token_type == JSON_TOKEN_OBJECT_START ||
		lex->token_type == JSON_TOKEN_ARRAY_START;

		if (opens)
			reason = open_container(&reader, lex->token_type == JSON_TOKEN_OBJECT_START);
		else
			reason = read_scalar(&reader, lex, &reader.stack[reader.used - 1].value);
		while (reason == NULL && take(lex, end, reader.container[reader.depth - 1].end))
		{
			reason = close_container(&reader, object);
			if (reader.depth == 0)
				break;
			opens = false;
		}
		if (reason != NULL)
			return reason;
		if (reader.depth == 0)
			break;
		/* the first entry of a container comes without a comma */
		if (!opens && !take(lex, end, ','))
			return not_json;
		if ((reason = begin_entry(&reader, lex, text, end)) != NULL)
			return reason;
	}

	if (json_lex(lex) != JSON_SUCCESS || lex->token_type != JSON_TOKEN_END)
		return not_json;
	return NULL;
}

/*
 * Convert an object to palloc'd jsonb, in a form that makes look-ups of
 * members fast.
 *
 * jsonb stores the length of most members, and the end offset of every 32nd
 * member, which compresses better.  Readers accept both forms for every
 * member: they add up lengths until they find an offset.  Here every member
 * has its offset, because policies read claims for every row of a table.
 */
Jsonb *
json_to_jsonb(JsonbValue *object)
{
	Jsonb	   *jsonb = JsonbValueToJsonb(object);
	JEntry	   *entries = jsonb->root.children;
	int			n = 2 * (int) JsonContainerSize(&jsonb->root);
	uint32		end = 0;

	for (int i = 0; i < n; i++)
	{
		JBE_ADVANCE_OFFSET(end, entries[i]);
		entries[i] = (entries[i] & JENTRY_TYPEMASK) | JENTRY_HAS_OFF | end;
	}
	return jsonb;
}

/*
 * The bytes of a string value (not terminated), or NULL if it is not a string.
 */
const char *
json_string(const JsonbValue *value, int *len)
{
	if (value->type != jbvString)
		return NULL;
	*len = value->val.string.len;
	return value->val.string.val;
}

/*
 * Convert a number of seconds to microseconds.  The result is exact.  Values
 * beyond int64 become its minimum or maximum, and digits below a microsecond
 * are cut off. member is a number, at any depth of the object that was read
 * from text.
 */
int64
json_number_usec(const char *document, const JsonbPair *member)
{
	const char *p = document + member->order;
	bool		negative = *p == '-';
	const char *digits = negative ? p + 1 : p;
	int			exponent = 0;
	int			wanted;			/* digits up to the microsecond */
	uint64		usec = 0;

	Assert(member->value.type == jbvNumeric);

	/* nearly always an integer of ten digits */
	for (p = digits; is_digit(*p); p++)
		usec = usec * 10 + (*p - '0');	/* beyond 12 digits not used */
	if (p - digits <= 12 && *p != '.' && *p != 'e' && *p != 'E')
		return (negative ? -1 : 1) * (int64) usec * USECS_PER_SEC;

	usec = 0;
	for (p = digits; is_digit(*p); p++)
		;
	wanted = (int) (p - digits);
	if (*p == '.')
		for (p++; is_digit(*p); p++)
			;
	/* read_number() has bounded the exponent */
	if (*p == 'e' || *p == 'E')
		exponent = atoi(p + 1);
	wanted += exponent + 6;

	for (p = digits; wanted > 0; wanted--)
	{
		int			digit = 0;

		if (*p == '.')
			p++;
		if (is_digit(*p))
			digit = *p++ - '0';
		if (usec > ((uint64) PG_INT64_MAX - digit) / 10)
			return negative ? PG_INT64_MIN : PG_INT64_MAX;
		usec = usec * 10 + digit;
		if (usec == 0 && !is_digit(*p) && *p != '.')
			break;				/* zero times any power of ten */
	}
	return negative ? -(int64) usec : (int64) usec;
}

/*
 * Make room for one more member or element of the innermost container.
 */
static JsonbPair *
push_entry(Reader *reader)
{
	if (reader->used == reader->size)
	{
		Size		bytes = sizeof(JsonbPair) * reader->size;

		if (reader->stack == reader->initial)
		{
			reader->stack = palloc(bytes * 2);
			memcpy(reader->stack, reader->initial, bytes);
		}
		else
			reader->stack = repalloc(reader->stack, bytes * 2);
		reader->size *= 2;
	}
	reader->entries++;
	return &reader->stack[reader->used++];
}

static const char *
open_container(Reader *reader, bool is_object)
{
	if (reader->depth == JSON_MAX_DEPTH)
		return "is nested too deep";
	reader->container[reader->depth].end = is_object ? '}' : ']';
	reader->container[reader->depth].first = reader->used;
	reader->depth++;
	return NULL;
}

static inline int
compare_members(const JsonbPair *a, const JsonbPair *b)
{
	return compare_names(a->key.val.string.val, a->key.val.string.len,
						 b->key.val.string.val, b->key.val.string.len);
}

static int
compare_member_pointers(const void *a, const void *b)
{
	return compare_members(*(JsonbPair *const *) a, *(JsonbPair *const *) b);
}

/*
 * Sort pointers to the members of an object, because moving the members
 * themselves is expensive.  Most objects have few members.
 */
static void
sort_members(const JsonbPair **sorted, const JsonbPair *entries, int count)
{
	if (count > FEW_MEMBERS)
	{
		for (int i = 0; i < count; i++)
			sorted[i] = &entries[i];
		qsort(sorted, count, sizeof(sorted[0]), compare_member_pointers);
		return;
	}
	for (int i = 0; i < count; i++)
	{
		int			j = i;

		for (; j > 0 && compare_members(&entries[i], sorted[j - 1]) < 0; j--)
			sorted[j] = sorted[j - 1];
		sorted[j] = &entries[i];
	}
}

/*
 * Pop the entries of the innermost container off the stack, and make the
 * container from them: the value of its own entry, or the document.
 */
static const char *
close_container(Reader *reader, JsonbValue *document)
{
	bool		is_object = reader->container[--reader->depth].end == '}';
	int			first = reader->container[reader->depth].first;
	int			count = reader->used - first;
	const JsonbPair *entries = &reader->stack[first];
	JsonbValue *container = reader->depth == 0 ? document : &reader->stack[first - 1].value;

	reader->used = first;
	if (is_object)
	{
		JsonbPair  *pairs = palloc(sizeof(JsonbPair) * Max(count, 1));
		const JsonbPair *few[FEW_MEMBERS];
		const JsonbPair **sorted = count <= FEW_MEMBERS ? few : palloc(sizeof(few[0]) * count);

		sort_members(sorted, entries, count);
		for (int i = 0; i < count; i++)
		{
			if (i > 0 && compare_members(sorted[i - 1], sorted[i]) == 0)
				return "has two members of the same name";
			pairs[i] = *sorted[i];
		}
		container->type = jbvObject;
		container->val.object.nPairs = count;
		container->val.object.pairs = pairs;
	}
	else
	{
		JsonbValue *elements = palloc(sizeof(JsonbValue) * Max(count, 1));

		for (int i = 0; i < count; i++)
			elements[i] = entries[i].value;
		container->type = jbvArray;
		container->val.array.nElems = count;
		container->val.array.elems = elements;
		container->val.array.rawScalar = false;
	}
	return NULL;
}

static const char *
read_other_scalar(const JsonLexContext *lex, JsonbValue *value)
{
	int			len = (int) (lex->token_terminator - lex->token_start);

	switch (lex->token_type)
	{
		case JSON_TOKEN_STRING:
			return read_string(lex->token_start, len, value);
		case JSON_TOKEN_NUMBER:
			return read_number(lex->token_start, len, value);
		case JSON_TOKEN_TRUE:
		case JSON_TOKEN_FALSE:
			value->type = jbvBool;
			value->val.boolean = lex->token_type == JSON_TOKEN_TRUE;
			return NULL;
		case JSON_TOKEN_NULL:
			value->type = jbvNull;
			return NULL;
		default:
			return not_json;
	}
}

/*
 * The value of four hexadecimal digits, which the lexer has checked.
 */
static pg_wchar
read_hex4(const char *digits)
{
	pg_wchar	c = 0;

	for (int i = 0; i < 4; i++)
	{
		char		d = digits[i];

		c = c << 4 | (pg_wchar) (is_digit(d) ? d - '0' : (d | 0x20) - 'a' + 10);
	}
	return c;
}

/*
 * Replace the escapes of RFC 8259 section 7. dst has room for len bytes, which
 * suffices: no escape is shorter than its character.  Returns NULL for
 * characters that a text value cannot hold: U+0000 and lone surrogates.
 */
static char *
unescape(const char *src, int len, char *dst)
{
	const char *end = src + len;

	while (src < end)
	{
		const char *backslash = memchr(src, '\\', end - src);
		int			plain = (int) ((backslash ? backslash : end) - src);
		pg_wchar	c;

		memcpy(dst, src, plain);
		dst += plain;
		src += plain;
		if (backslash == NULL)
			break;

		src += 2;
		switch (src[-1])
		{
			case 'b':
				*dst++ = '\b';
				break;
			case 'f':
				*dst++ = '\f';
				break;
			case 'n':
				*dst++ = '\n';
				break;
			case 'r':
				*dst++ = '\r';
				break;
			case 't':
				*dst++ = '\t';
				break;
			case 'u':
				c = read_hex4(src);
				src += 4;
				if (is_utf16_surrogate_first(c))
				{
					pg_wchar	second;

					if (end - src < 6 || src[0] != '\\' || src[1] != 'u')
						return NULL;
					second = read_hex4(src + 2);
					if (!is_utf16_surrogate_second(second))
						return NULL;
					c = surrogate_pair_to_codepoint(c, second);
					src += 6;
				}
				else if (c == 0 || is_utf16_surrogate_second(c))
					return NULL;
				unicode_to_utf8(c, (unsigned char *) dst);
				dst += pg_utf_mblen((unsigned char *) dst);
				break;
			default:			/* the character itself: " \ or / */
				*dst++ = src[-1];
				break;
		}
	}
	return dst;
}

/*
 * Convert UTF-8 to the server encoding without raising an error.
 */
static const char *
to_server_encoding(char *utf8, int len, JsonbValue *value)
{
	int			encoding = GetDatabaseEncoding();
	Oid			proc;
	int			size;
	char	   *converted;

	value->val.string.val = utf8;
	value->val.string.len = len;
	if (server_holds_utf8())
		return NULL;
	for (int i = 0;; i++)
	{
		if (i == len)
			return NULL;		/* ASCII is the same in every server encoding */
		if (IS_HIGHBIT_SET(utf8[i]))
			break;
	}

	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(proc))
		return "has characters that the server encoding cannot hold";
	size = len * MAX_CONVERSION_GROWTH + 1;
	converted = palloc(size);
	if (pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
									  (unsigned char *) utf8, len,
									  (unsigned char *) converted, size, true) != len)
		return "has characters that the server encoding cannot hold";
	value->val.string.val = converted;
	value->val.string.len = (int) strlen(converted);
	return NULL;
}

/*
 * Read the lexeme of a string, with its quotes.  A string without escapes is
 * not copied.
 */
static const char *
read_string(const char *lexeme, int len, JsonbValue *value)
{
	char	   *str = unconstify(char *, lexeme + 1);
	int			str_len = len - 2;

	value->type = jbvString;
	if (memchr(str, '\\', str_len) != NULL)
	{
		char	   *unescaped = palloc(str_len);
		char	   *end = unescape(str, str_len, unescaped);

		if (end == NULL)
			return "has a string with \\u0000 or half a surrogate pair";
		str = unescaped;
		str_len = (int) (end - unescaped);
	}
	return to_server_encoding(str, str_len, value);
}

/*
 * Would numeric_in() accept this number? lexeme is a JSON number.
 */
static bool
number_fits_numeric(const char *lexeme, int len)
{
	const char *p = lexeme;
	const char *end = lexeme + len;
	int			before;
	int			after = 0;
	int			exponent = 0;

	if (*p == '-')
		p++;
	for (before = 0; p < end && is_digit(*p); p++)
		before++;
	if (p < end && *p == '.')
		for (p++; p < end && is_digit(*p); p++)
			after++;
	if (p < end)
	{
		bool		negative;

		p++;					/* e or E */
		negative = *p == '-';
		if (*p == '-' || *p == '+')
			p++;
		for (; p < end; p++)
		{
			exponent = exponent * 10 + (*p - '0');
			if (exponent > 2 * NUMERIC_DIGITS_BEFORE)
				return false;
		}
		if (negative)
			exponent = -exponent;
	}
	return before + exponent <= NUMERIC_DIGITS_BEFORE &&
		after - exponent <= NUMERIC_DIGITS_AFTER;
}

static const char *
read_number(const char *lexeme, int len, JsonbValue *value)
{
	bool		negative = lexeme[0] == '-';
	int			i = negative ? 1 : 0;
	int64		integer = 0;

	value->type = jbvNumeric;

	/* nearly always an integer that fits */
	if (len - i <= 18)
	{
		while (i < len && is_digit(lexeme[i]))
			integer = integer * 10 + (lexeme[i++] - '0');
		if (i == len)
		{
			value->val.numeric = int64_to_numeric(negative ? -integer : integer);
			return NULL;
		}
	}

	if (!number_fits_numeric(lexeme, len))
		return "has a number beyond the range of type numeric";
	value->val.numeric =
		DatumGetNumeric(DirectFunctionCall3(numeric_in,
											CStringGetDatum(pnstrdup(lexeme, len)),
											ObjectIdGetDatum(InvalidOid),
											Int32GetDatum(-1)));
	return NULL;
}
