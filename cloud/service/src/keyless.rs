//! Keyless signing: a key that lives for one signature, a certificate for it from an
//! authority that believes an identity token, and an entry in a transparency log,
//! packed as a sigstore bundle v0.3.
//!
//! It speaks Fulcio v2, Rekor v1 and RFC 3161 over the client that the command line
//! has anyway. Whether the bundle holds is not known here: `gnomon-sigstore` says so.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gnomon_schemas::ids::Digest;
use gnomon_schemas::keys::PublicKey;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where systems keep the authorities that they trust, unless `SSL_CERT_FILE` says.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// A TimeStampReq (RFC 3161) up to the digest: version 1, SHA-256; digest and nonce
/// follow. No certificate is asked for: whoever verifies knows the authority's.
const STAMP_QUERY: &[u8] = &[
    0x30, 0x3e, 0x02, 0x01, 0x01, 0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
    0x03, 0x04, 0x02, 0x01, 0x04, 0x20,
];

/// Signs `bytes` as the identity that `identity_token` (an OIDC token with audience
/// `sigstore`) proves: the bytes of a bundle. `tsa_url` is the whole address of a
/// timestamp authority's endpoint, the others are base addresses.
///
/// # Errors
/// What the service that would not do its part said. Never the token.
pub fn sign(
    bytes: &[u8],
    fulcio_url: &str,
    rekor_url: &str,
    tsa_url: Option<&str>,
    identity_token: &str,
) -> Result<Vec<u8>> {
    let token = identity_token.trim();
    let subject = subject(token)?;
    let key = EphemeralKey::new()?;
    let services = Services::new([Some(fulcio_url), Some(rekor_url), tsa_url])?;

    let certificate = services
        .certificate(fulcio_url, token, &key, &subject)
        .context("the certificate authority")?;
    let signature = key.sign(bytes)?;
    let entry =
        services.log(rekor_url, bytes, &signature, &certificate).context("the transparency log")?;
    let stamps = match tsa_url {
        Some(url) => {
            let stamp = services.stamp(url, &signature).context("the timestamp authority")?;
            vec![json!({ "signedTimestamp": STANDARD.encode(stamp) })]
        }
        None => vec![],
    };
    let certificate = pem::parse(certificate)?;
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "certificate": { "rawBytes": STANDARD.encode(certificate.contents()) },
            "tlogEntries": [entry],
            "timestampVerificationData": { "rfc3161Timestamps": stamps },
        },
        "messageSignature": {
            "messageDigest": {
                "algorithm": "SHA2_256",
                "digest": STANDARD.encode(digest(&SHA256, bytes)),
            },
            "signature": STANDARD.encode(signature),
        },
    });
    Ok(serde_json::to_vec(&bundle)?)
}

/// Whom the authority will name: the key proves its possession by signing that.
fn subject(token: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Claims {
        email: Option<String>,
        sub: Option<String>,
    }
    let claims = token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok())
        .and_then(|part| serde_json::from_slice::<Claims>(&part).ok());
    claims
        .and_then(|claims| claims.email.or(claims.sub))
        .ok_or_else(|| anyhow!("the identity token is not a JWT with `email` or `sub`"))
}

/// A key that goes with this value.
struct EphemeralKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl EphemeralKey {
    fn new() -> Result<EphemeralKey> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .ok()
            .and_then(|key| EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).ok())
            .ok_or_else(|| anyhow!("the system gives no random numbers"))?;
        Ok(EphemeralKey { pair, random })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self.pair.sign(&self.random, message);
        let signature = signature.map_err(|_| anyhow!("the system gives no random numbers"))?;
        Ok(signature.as_ref().to_vec())
    }
}

struct Services {
    agent: Agent,
}

impl Services {
    fn new(urls: [Option<&str>; 3]) -> Result<Services> {
        let mut with_tls = false;
        for url in urls.into_iter().flatten() {
            let uri: Uri = url.parse().with_context(|| format!("`{url}` is no address"))?;
            match uri.scheme_str() {
                Some("https") => with_tls = true,
                Some("http") if is_loopback(&uri) => {}
                _ => bail!("`{url}`: only https:// is taken, http:// on this machine alone"),
            }
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(PATIENCE));
        let config = if with_tls { config.tls_config(tls()?) } else { config };
        Ok(Services { agent: config.build().into() })
    }

    /// The certificate in PEM form, its timestamp by the certificate log inside.
    fn certificate(
        &self,
        url: &str,
        token: &str,
        key: &EphemeralKey,
        subject: &str,
    ) -> Result<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            signed_certificate_embedded_sct: Signed,
        }
        #[derive(Deserialize)]
        struct Signed {
            chain: Chain,
        }
        #[derive(Deserialize)]
        struct Chain {
            certificates: Vec<String>,
        }
        let public = PublicKey::from_p256(key.pair.public_key().as_ref())?;
        let request = json!({
            "credentials": { "oidcIdentityToken": token },
            "publicKeyRequest": {
                "publicKey": { "algorithm": "ECDSA", "content": public.to_pem() },
                "proofOfPossession": STANDARD.encode(key.sign(subject.as_bytes())?),
            },
        });
        let url = format!("{}/api/v2/signingCert", url.trim_end_matches('/'));
        let answer: Answer = self.post_json(&url, &request, token)?;
        let certificates = answer.signed_certificate_embedded_sct.chain.certificates;
        certificates.into_iter().next().ok_or_else(|| anyhow!("{url} gave no certificate"))
    }

    /// The log's entry, as a bundle has it.
    fn log(&self, url: &str, bytes: &[u8], signature: &[u8], certificate: &str) -> Result<Value> {
        let request = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": Digest::of(bytes).hex() } },
                "signature": {
                    "content": STANDARD.encode(signature),
                    "publicKey": { "content": STANDARD.encode(certificate) },
                },
            },
        });
        let url = format!("{}/api/v1/log/entries", url.trim_end_matches('/'));
        let answer: BTreeMap<String, LogEntry> = self.post_json(&url, &request, "")?;
        let (_, entry) = answer.into_iter().next().ok_or_else(|| anyhow!("{url} gave no entry"))?;
        entry.in_bundle()
    }

    /// A timestamp over the signature: the authority's answer as it is (DER).
    fn stamp(&self, url: &str, signature: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; 8];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| anyhow!("the system gives no random numbers"))?;
        // A positive integer in its shortest form.
        nonce[0] = (nonce[0] & 0x7f) | 0x40;
        let query =
            [STAMP_QUERY, digest(&SHA256, signature).as_ref(), &[0x02, 0x08], &nonce].concat();
        self.post(url, "application/timestamp-query", &query, "")
    }

    fn post_json<T: DeserializeOwned>(&self, url: &str, body: &Value, secret: &str) -> Result<T> {
        let answer = self.post(url, "application/json", body.to_string().as_bytes(), secret)?;
        serde_json::from_slice(&answer).with_context(|| format!("{url} answered something else"))
    }

    fn post(&self, url: &str, kind: &str, body: &[u8], secret: &str) -> Result<Vec<u8>> {
        let request = self.agent.post(url).header("content-type", kind);
        let answer = request.send(body).with_context(|| format!("no answer from {url}"))?;
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.with_context(|| format!("the answer of {url}"))?;
        if !parts.status.is_success() {
            let said = String::from_utf8_lossy(&body);
            let said = if secret.is_empty() { said.into() } else { said.replace(secret, "…") };
            let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
            bail!("{url} answered {}: {said}", parts.status);
        }
        Ok(body)
    }
}

/// An entry as Rekor v1 tells it: base64 and hexadecimal.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogEntry {
    body: String,
    integrated_time: u64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: Verification,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    inclusion_proof: InclusionProof,
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionProof {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

impl LogEntry {
    /// The same as a bundle tells it: base64 throughout, and integers as text.
    fn in_bundle(self) -> Result<Value> {
        let proof = self.verification.inclusion_proof;
        let hashes = proof.hashes.iter().map(|hash| hex_to_base64(hash));
        Ok(json!({
            "logIndex": self.log_index.to_string(),
            "logId": { "keyId": hex_to_base64(&self.log_id)? },
            "kindVersion": { "kind": "hashedrekord", "version": "0.0.1" },
            "integratedTime": self.integrated_time.to_string(),
            "inclusionPromise": {
                "signedEntryTimestamp": self.verification.signed_entry_timestamp,
            },
            "inclusionProof": {
                "logIndex": proof.log_index.to_string(),
                "rootHash": hex_to_base64(&proof.root_hash)?,
                "treeSize": proof.tree_size.to_string(),
                "hashes": hashes.collect::<Result<Vec<String>>>()?,
                "checkpoint": { "envelope": proof.checkpoint },
            },
            "canonicalizedBody": self.body,
        }))
    }
}

/// Every hexadecimal figure of an entry is a SHA-256 digest.
fn hex_to_base64(hex: &str) -> Result<String> {
    ensure!(hex.len() == 64 && hex.is_ascii(), "`{hex:.80}` is no SHA-256 digest");
    let bytes: Result<Vec<u8>, _> =
        (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16)).collect();
    Ok(STANDARD.encode(bytes.with_context(|| format!("`{hex}` is no SHA-256 digest"))?))
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or("");
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// TLS on *ring*, with the authorities that the system trusts: these services are public.
fn tls() -> Result<TlsConfig> {
    let path = std::env::var_os("SSL_CERT_FILE").unwrap_or_else(|| SYSTEM_AUTHORITIES.into());
    let named = std::path::Path::new(&path).display();
    let text = std::fs::read(&path)
        .with_context(|| format!("{named}; install ca-certificates or set SSL_CERT_FILE"))?;
    let mut roots = vec![];
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.with_context(|| named.to_string())? {
            roots.push(certificate);
        }
    }
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}
