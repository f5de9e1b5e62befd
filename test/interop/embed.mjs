// Tokens that bring their key along, under the kid of a key that is trusted.
import { SignJWT, exportJWK, generateKeyPair } from 'jose';

const { publicKey, privateKey } = await generateKeyPair('RS256');
for (const member of [
  { jwk: { ...await exportJWK(publicKey), alg: 'RS256' } },
  { x5c: ['MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA'] },
  { jku: 'https://evil.example/jwks.json', x5u: 'https://evil.example/cert.pem' },
]) {
  console.log(await new SignJWT({ sub: 'mallory' })
    .setProtectedHeader({ alg: 'RS256', kid: 'jose RS256 jwk', ...member })
    .setIssuer('https://jose.example').setAudience('api').setIssuedAt().setExpirationTime('10m')
    .sign(privateKey));
}
