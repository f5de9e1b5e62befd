/*-------------------------------------------------------------------------
 *
 * pkcs8.c
 *	  Private keys in PKCS#8 (RFC 5958), from PEM and DER and to DER.
 *
 * OpenSSL's decoders and encoders leave copies of a key in memory that they
 * have freed.  Here nothing is copied, except to memory that is cleansed.  Only
 * DER is read, so each key has nearly one encoding.
 *
 * As in jwk.c, a reason is a palloc'd sentence without a byte of the key.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include "token/base64url.h"
#include "token/failure.h"
#include "token/pkcs8.h"
#include "token/secret.h"

/* Set the reason why a key is refused; gives false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)

/* The names of the numbers of an RSA key in OpenSSL. */
const char *const rsa_number_params[RSA_NUMBERS] = {
	OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_E, OSSL_PKEY_PARAM_RSA_D,
	OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2,
	OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
	OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

/*
 * The AlgorithmIdentifier of each kind of key: RFC 3279 section 2.3.1, RFC 5480
 * section 2.1.1, RFC 8410 section 3, RFC 9881 section 2.
 */
typedef struct Identifier
{
	const char *name;			/* of the algorithm; RSA is for several */
	const char *der;
	int			len;
} Identifier;

#define IDENTIFIER(name, der)	{name, der, sizeof(der) - 1}

static const Identifier identifiers[] = {
	IDENTIFIER("RSA", "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"),
	IDENTIFIER("ES256", "\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
	IDENTIFIER("ES384", "\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22"),
	IDENTIFIER("ES512", "\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23"),
	IDENTIFIER("ES256K", "\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a"),
	IDENTIFIER("Ed25519", "\x30\x05\x06\x03\x2b\x65\x70"),
	IDENTIFIER("Ed448", "\x30\x05\x06\x03\x2b\x65\x71"),
	IDENTIFIER("ML-DSA-44", "\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11"),
	IDENTIFIER("ML-DSA-65", "\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12"),
	IDENTIFIER("ML-DSA-87", "\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13"),
};

/* Where the curve begins in the identifier of an EC key. */
#define IDENTIFIER_CURVE	11

/* The tags that occur. */
#define DER_INTEGER		0x02
#define DER_BIT_STRING	0x03
#define DER_OCTETS		0x04
#define DER_SEQUENCE	0x30
#define DER_CONTEXT(n)	(0x80 | (n))	/* primitive */
#define DER_EXPLICIT(n)	(0xa0 | (n))	/* constructed */

/*
 * Take an element off the front.  Only the shortest form of a length is
 * accepted.
 */
static bool
der_take(JwkBytes *der, uint8 tag, JwkBytes *content)
{
	const uint8 *p = der->data;
	int			header = 2;
	int			len;

	if (der->len < 2 || p[0] != tag)
		return false;
	len = p[1];
	if (len >= 0x80)
	{
		int			size = len & 0x7f;

		if (size < 1 || size > 2 || der->len < 2 + size)
			return false;
		len = size == 1 ? p[2] : p[2] << 8 | p[3];
		if (len < (size == 1 ? 0x80 : 0x100))
			return false;
		header += size;
	}
	if (len > der->len - header)
		return false;
	content->data = der->data + header;
	content->len = len;
	der->data += header + len;
	der->len -= header + len;
	return true;
}

/*
 * Take an integer that is not negative, without its leading zero.
 */
static bool
der_take_integer(JwkBytes *der, JwkBytes *integer)
{
	if (!der_take(der, DER_INTEGER, integer) || integer->len == 0 || (integer->data[0] & 0x80))
		return false;
	if (integer->len > 1 && integer->data[0] == 0)
	{
		integer->data++;
		integer->len--;
		return (integer->data[0] & 0x80) != 0;
	}
	return true;
}

static bool
der_take_small(JwkBytes *der, int max)
{
	JwkBytes	integer;

	return der_take_integer(der, &integer) && integer.len == 1 && integer.data[0] <= max;
}

/*
 * Read a public key that comes along, as in a BIT STRING of whole bytes.
 */
static bool
read_public_bits(const JwkBytes *bits, Jwk *stated)
{
	int			size = stated->implied_algorithm->part_size;
	bool		is_ec = strcmp(stated->kty, "EC") == 0;

	if (bits->len != 1 + (is_ec ? 1 + 2 * size : size) || bits->data[0] != 0 ||
		(is_ec && bits->data[1] != POINT_CONVERSION_UNCOMPRESSED))
		return false;
	for (int i = 0; i < (is_ec ? 2 : 1); i++)
	{
		stated->part[i].data = bits->data + 1 + (is_ec ? 1 + i * size : 0);
		stated->part[i].len = size;
	}
	return true;
}

/*
 * RSAPrivateKey of RFC 8017, appendix A.1.2.
 */
static bool
read_rsa_der(JwkBytes der, KeyParts *parts)
{
	JwkBytes	numbers;

	if (!der_take(&der, DER_SEQUENCE, &numbers) || der.len != 0 || !der_take_small(&numbers, 0))
		return false;
	for (int i = 0; i < RSA_NUMBERS; i++)
		if (!der_take_integer(&numbers, &parts->rsa[i]) || parts->rsa[i].len > JWK_MAX_PART_SIZE ||
			parts->rsa[i].len > parts->rsa[RSA_N].len)
			return false;
	parts->stated.kty = "RSA";
	parts->stated.part[0] = parts->rsa[RSA_N];
	parts->stated.part[1] = parts->rsa[RSA_E];
	return numbers.len == 0;
}

/*
 * ECPrivateKey of RFC 5915.  It may repeat the curve.
 */
static bool
read_ec_der(JwkBytes der, const Identifier *identifier, KeyParts *parts)
{
	JwkBytes	key;
	JwkBytes	curve;
	JwkBytes	point;
	JwkBytes	bits;

	if (!der_take(&der, DER_SEQUENCE, &key) || der.len != 0 || !der_take_small(&key, 1) ||
		!der_take(&key, DER_OCTETS, &parts->private_part) ||
		parts->private_part.len > parts->stated.implied_algorithm->part_size)
		return false;
	if (der_take(&key, DER_EXPLICIT(0), &curve) &&
		(curve.len != identifier->len - IDENTIFIER_CURVE ||
		 memcmp(curve.data, identifier->der + IDENTIFIER_CURVE, curve.len) != 0))
		return false;
	if (der_take(&key, DER_EXPLICIT(1), &point) &&
		(!der_take(&point, DER_BIT_STRING, &bits) || point.len != 0 ||
		 !read_public_bits(&bits, &parts->stated)))
		return false;
	return key.len == 0;
}

/*
 * ML-DSA-PrivateKey of RFC 9881 section 6: the seed, alone or with what is
 * computed from it.
 */
static bool
read_ml_dsa_der(JwkBytes der, KeyParts *parts)
{
	JwkBytes	both;
	JwkBytes	expanded;

	if (der_take(&der, DER_SEQUENCE, &both))
	{
		if (!der_take(&both, DER_OCTETS, &parts->private_part) ||
			!der_take(&both, DER_OCTETS, &expanded) || both.len != 0)
			return false;
	}
	else if (!der_take(&der, DER_CONTEXT(0), &parts->private_part))
		return false;
	return der.len == 0 && parts->private_part.len == ML_DSA_SEED_SIZE;
}

/*
 * Read PKCS#8 in DER.  The parts point into it.
 */
bool
pkcs8_read(const JwkBytes *bytes, KeyParts *parts, char **reason)
{
	JwkBytes	der = *bytes;
	JwkBytes	info;
	JwkBytes	start;
	JwkBytes	ignored;
	JwkBytes	key;
	JwkBytes	bits;
	const Identifier *identifier = NULL;
	const Algorithm *algorithm;
	bool		good = false;

	if (!der_take(&der, DER_SEQUENCE, &info) || der.len != 0 || !der_take_small(&info, 1))
		return refuse(reason, "The private key is not PKCS #8 in DER.");
	start = info;
	if (!der_take(&info, DER_SEQUENCE, &ignored) || !der_take(&info, DER_OCTETS, &key))
		return refuse(reason, "The private key is not PKCS #8 in DER.");
	for (int i = 0; i < (int) lengthof(identifiers); i++)
		if (ignored.data + ignored.len == start.data + identifiers[i].len &&
			memcmp(start.data, identifiers[i].der, identifiers[i].len) == 0)
			identifier = &identifiers[i];
	if (identifier == NULL)
		return refuse(reason, "The private key is of a type or on a curve that no accepted algorithm uses; accepted are RSA, P-256, P-384, P-521, secp256k1, Ed25519, Ed448 and ML-DSA.");

	algorithm = algorithm_by_name(identifier->name, (int) strlen(identifier->name));
	parts->stated.implied_algorithm = algorithm;
	parts->stated.kty = algorithm ? algorithm->kty : "RSA";
	if (algorithm == NULL)
		good = read_rsa_der(key, parts);
	else if (algorithm->family == FAMILY_ECDSA)
		good = read_ec_der(key, identifier, parts);
	else if (algorithm->family == FAMILY_ML_DSA)
		good = read_ml_dsa_der(key, parts);
	else
		good = der_take(&key, DER_OCTETS, &parts->private_part) && key.len == 0 &&
			parts->private_part.len == algorithm->part_size;
	/* attributes say nothing about the key */
	(void) der_take(&info, DER_EXPLICIT(0), &ignored);
	if (good && der_take(&info, DER_CONTEXT(1), &bits))
		good = algorithm != NULL && read_public_bits(&bits, &parts->stated);
	if (!good || info.len != 0)
		return refuse(reason, "The private key in PKCS #8 is not one of type %s, or not in DER.%s", parts->stated.kty,
					  algorithm != NULL && algorithm->family == FAMILY_ML_DSA ? " A key for ML-DSA must have its seed." : "");
	return true;
}

/*
 * DER is written from its end to its start.
 */
static void
der_put(uint8 **p, const void *data, int len)
{
	*p -= len;
	memcpy(*p, data, len);
}

static void
der_put_byte(uint8 **p, int byte)
{
	*--*p = (uint8) byte;
}

/*
 * Put the header of an element before its content, which ends at "end".
 */
static void
der_wrap(uint8 **p, const uint8 *end, uint8 tag)
{
	int			len = (int) (end - *p);

	der_put_byte(p, len);
	if (len >= 0x100)
	{
		der_put_byte(p, len >> 8);
		der_put_byte(p, 0x82);
	}
	else if (len >= 0x80)
		der_put_byte(p, 0x81);
	der_put_byte(p, tag);
}

static bool
der_put_number(uint8 **p, const EVP_PKEY *pkey, const char *param)
{
	BIGNUM	   *bn = NULL;
	const uint8 *end = *p;
	bool		good = EVP_PKEY_get_bn_param(pkey, param, &bn) == 1;

	if (good)
	{
		*p -= BN_num_bytes(bn);
		good = BN_bn2bin(bn, *p) == (int) (end - *p);
		if (*p == end || (**p & 0x80))
			der_put_byte(p, 0);
		der_wrap(p, end, DER_INTEGER);
	}
	BN_clear_free(bn);
	return good;
}

/*
 * Write the private key itself, as its type does.
 */
static bool
write_private_key(const EVP_PKEY *pkey, const Algorithm *algorithm, uint8 **p)
{
	const uint8 *end = *p;
	size_t		len = algorithm->part_size;
	BIGNUM	   *d = NULL;
	bool		good = true;

	switch (algorithm->family)
	{
		case FAMILY_HMAC:
			return false;
		case FAMILY_RSA_PKCS1:
		case FAMILY_RSA_PSS:
			for (int i = RSA_NUMBERS - 1; i >= 0 && good; i--)
				good = der_put_number(p, pkey, rsa_number_params[i]);
			der_put(p, "\x02\x01\x00", 3);
			der_wrap(p, end, DER_SEQUENCE);
			return good;
		case FAMILY_ECDSA:
			*p -= len;
			good = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1 &&
				BN_bn2binpad(d, *p, (int) len) == (int) len;
			BN_clear_free(d);
			der_wrap(p, end, DER_OCTETS);
			der_put(p, "\x02\x01\x01", 3);
			der_wrap(p, end, DER_SEQUENCE);
			return good;
		case FAMILY_EDDSA:

			/*
			 * EVP_PKEY_get_raw_private_key() would leave a copy in freed
			 * memory
			 */
			*p -= len;
			good = EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, *p, len, &len) == 1 &&
				len == (size_t) algorithm->part_size;
			der_wrap(p, end, DER_OCTETS);
			return good;
		case FAMILY_ML_DSA:
			*p -= ML_DSA_SEED_SIZE;
			good = EVP_PKEY_get_octet_string_param(pkey, PARAM_ML_DSA_SEED, *p, ML_DSA_SEED_SIZE, &len) == 1 &&
				len == ML_DSA_SEED_SIZE;
			der_wrap(p, end, DER_CONTEXT(0));
			return good;
	}
	return false;
}

/*
 * Write PKCS#8 that ends at "end", where there must be room for it.
 */
bool
pkcs8_write(const EVP_PKEY *pkey, const Algorithm *algorithm, uint8 *end, uint8 **start)
{
	const Identifier *identifier = &identifiers[0];

	*start = end;
	for (int i = 0; i < (int) lengthof(identifiers); i++)
		if (strcmp(identifiers[i].name, algorithm->name) == 0)
			identifier = &identifiers[i];
	if (!write_private_key(pkey, algorithm, start))
		return false;
	der_wrap(start, end, DER_OCTETS);
	der_put(start, identifier->der, identifier->len);
	der_put(start, "\x02\x01\x00", 3);
	der_wrap(start, end, DER_SEQUENCE);
	return true;
}

/* The command that brings any private key into the accepted form. */
#define CONVERT	"\"openssl pkcs8 -topk8 -nocrypt -in KEYFILE\" converts it."

static bool
refuse_label(const char *label, int len, char **reason)
{
	static const char private_label[] = "PRIVATE KEY";
	int			tail = (int) strlen(private_label);

	if (len == 21 && memcmp(label, "ENCRYPTED PRIVATE KEY", 21) == 0)
		return refuse(reason, "The private key is encrypted. " CONVERT);
	if (len == 19 && memcmp(label, "OPENSSH PRIVATE KEY", 19) == 0)
		return refuse(reason, "The private key is in the format of OpenSSH; accepted is PKCS #8. \"ssh-keygen -p -m PKCS8 -N '' -f KEYFILE\" converts it.");
	if (len > tail && memcmp(label + len - tail, private_label, tail) == 0)
		return refuse(reason, "The private key is in the traditional format; accepted is PKCS #8. " CONVERT);
	if (len == 13 && memcmp(label, "EC PARAMETERS", 13) == 0)
		return refuse(reason, "The PEM block has the parameters of a curve; accepted is a private key in PKCS #8. " CONVERT);
	return refuse(reason, "The PEM block is \"%s\", which has no private key; accepted is PRIVATE KEY.",
				  quote_untrusted(label, len));
}

/*
 * Does the text at p, before end, start with a string?
 */
static bool
starts_with(const char *p, const char *end, const char *string)
{
	return (size_t) (end - p) >= strlen(string) && memcmp(p, string, strlen(string)) == 0;
}

/*
 * Read a PEM text with one block (RFC 7468) into cleansed memory.
 */
bool
pkcs8_from_pem(const char *text, int len, JwkBytes *der, char **reason)
{
	static const char begin[] = "-----BEGIN ";
	static const char end_of_block[] = "-----END PRIVATE KEY-----";
	static const char dashes[] = "-----";
	const char *end = text + len;
	const char *label = text + strlen(begin);
	const char *p = label;
	char	   *base64;
	int			n = 0;
	int			padding = 0;

	if (!starts_with(text, end, begin))
		return refuse(reason, "The text is not a PEM block.");
	while (p < end && *p != '-' && *p != '\n')
		p++;
	if (!starts_with(p, end, dashes))
		return refuse(reason, "The text is not a PEM block.");
	if (p - label != 11 || memcmp(label, "PRIVATE KEY", 11) != 0)
		return refuse_label(label, (int) (p - label), reason);

	/* base64, brought into the alphabet of base64url */
	base64 = secret_alloc(len);
	for (p += strlen(dashes); p < end && *p != '-'; p++)
	{
		if (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
			continue;
		if (*p == '=')
			padding++;
		else if (padding > 0 || *p == '_')
			return refuse(reason, "The contents of the PEM block are not base64.");
		else
			base64[n++] = *p == '+' ? '-' : *p == '/' ? '_' : *p;
	}
	if (!starts_with(p, end, end_of_block))
		return refuse(reason, "The PEM block has no end.");
	for (p += strlen(end_of_block); p < end; p++)
		if (starts_with(p, end, begin))
			return refuse(reason, "The text has more than one PEM block.");

	der->data = secret_alloc(base64url_decoded_size(n) + 1);
	der->len = base64url_decode(base64, n, der->data);
	secret_cleanse(base64);
	if (der->len < 0 || padding != (3 - der->len % 3) % 3)
		return refuse(reason, "The contents of the PEM block are not base64.");
	return true;
}
