//! HTTP as the command line needs it: one request, one answer or one refusal.

use gnomon_schemas::limits::MODULE_BYTES_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::request::Builder;
use ureq::http::{HeaderMap, HeaderValue, Request, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::keys;
use crate::tokens::TokenText;

/// The largest answer that is read; lists of devices are longer than any module.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
const _: () = assert!(ANSWER_BYTES_MAX > MODULE_BYTES_MAX as u64);

/// What a client proves itself with, and whom it trusts.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Access {
    /// The token to call with. Others on this machine see arguments: better its
    /// environment variable, or --token-file
    #[arg(long, global = true, env = "GNOMON_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<TokenText>,
    /// A file that holds the token, readable by its owner only; goes before --token
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority that vouches for an https:// service, in PEM; no other is trusted
    #[arg(long, global = true, env = "GNOMON_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A client of one service.
pub(super) struct Client {
    setup: Result<Setup, Refusal>,
    url: String,
}

#[derive(Clone)]
struct Setup {
    agent: Agent,
    token: Option<TokenText>,
}

/// An answer.
pub(super) struct Answer {
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
struct ProblemBody {
    reason: Reason,
    detail: String,
}

impl Client {
    /// A client. What is wrong with `access` is told by the first call: commands that
    /// call nothing need none.
    pub(super) fn new(url: &str, access: &Access) -> Client {
        let url = url.trim_end_matches('/').to_owned();
        Client { setup: setup(&url, access), url }
    }

    /// Where the service is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Refusal> {
        self.empty("GET", path)
    }

    pub(super) fn get_json(&self, path: &str) -> Result<Value, Refusal> {
        self.get(path)?.json()
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer, Refusal> {
        self.empty("DELETE", path)
    }

    fn empty(&self, method: &str, path: &str) -> Result<Answer, Refusal> {
        let uri = format!("{}{path}", self.url);
        let Setup { agent, token } = self.setup.clone()?;
        let builder = Request::builder().method(method).uri(uri);
        let request = with_token(builder, token).body(()).map_err(not_a_request)?;
        self.read(agent.run(request))
    }

    /// Sends JSON.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        if_match: Option<&str>,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(if_match.map(|etag| ("if-match", etag)));
        self.send_bytes(method, path, &headers, body)
    }

    /// Sends bytes with headers.
    pub(super) fn send_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let uri = format!("{}{path}", self.url);
        let builder = Request::builder().method(method).uri(uri);
        let builder = headers.iter().fold(builder, |to, (name, value)| to.header(*name, *value));
        let Setup { agent, token } = self.setup.clone()?;
        let request = with_token(builder, token).body(body).map_err(not_a_request)?;
        self.read(agent.run(request))
    }

    fn read(&self, answer: Result<Response<ureq::Body>, ureq::Error>) -> Result<Answer, Refusal> {
        let lost = |error: ureq::Error| {
            let detail =
                format!("no answer from {}: {error}; is `gnomon serve` running?", self.url);
            Refusal::new(Reason::Unavailable, detail)
        };
        let (parts, mut body) = answer.map_err(lost)?.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(lost)?;
        if parts.status.is_success() {
            return Ok(Answer { headers: parts.headers, body });
        }
        Err(match serde_json::from_slice::<ProblemBody>(&body) {
            Ok(problem) => Refusal::new(problem.reason, problem.detail),
            Err(_) => {
                let detail =
                    format!("{} answered {}: not a gnomon service", self.url, parts.status);
                Refusal::new(Reason::Unavailable, detail)
            }
        })
    }
}

fn setup(url: &str, access: &Access) -> Result<Setup, Refusal> {
    let wrong = |detail: String| Refusal::new(Reason::Unavailable, detail);
    let token = match &access.token_file {
        Some(path) => {
            keys::check_mode(path).map_err(|error| wrong(error.to_string()))?;
            let text = std::fs::read_to_string(path)
                .map_err(|error| wrong(format!("{}: {error}", path.display())))?;
            Some(TokenText::new(&text))
        }
        None => access.token.clone(),
    };
    if token.is_some() && !url.starts_with("https://") && !is_loopback(url) {
        let detail = format!("a token is not sent to {url}: without TLS others could read it");
        return Err(wrong(detail));
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_global(Some(Duration::from_secs(120)));
    let config = if url.starts_with("https://") { config.tls_config(tls(access)?) } else { config };
    Ok(Setup { agent: config.build().into(), token })
}

/// TLS on *ring*, with the one authority that was given.
fn tls(access: &Access) -> Result<TlsConfig, Refusal> {
    let wrong = |detail: String| Refusal::new(Reason::Unavailable, detail);
    let path = access.ca.as_ref().ok_or_else(|| {
        wrong("give --ca FILE or GNOMON_CA: the authority that vouches for the service".into())
    })?;
    let unreadable = |message: String| wrong(format!("{}: {message}", path.display()));
    let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let mut roots = vec![];
    for item in parse_pem(&text) {
        match item.map_err(|error| unreadable(error.to_string()))? {
            PemItem::Certificate(certificate) => roots.push(certificate),
            _ => return Err(unreadable("holds something else than certificates".into())),
        }
    }
    if roots.is_empty() {
        return Err(unreadable("holds no certificate in PEM form".into()));
    }
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

fn is_loopback(url: &str) -> bool {
    let uri: Option<ureq::http::Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(ureq::http::Uri::host).unwrap_or("");
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn with_token(builder: Builder, token: Option<TokenText>) -> Builder {
    let Some(token) = token else { return builder };
    // A value that is marked is not printed by whoever prints the request.
    match HeaderValue::from_str(&format!("Bearer {}", token.reveal())) {
        Ok(mut value) => {
            value.set_sensitive(true);
            builder.header("authorization", value)
        }
        // No token of ours: the service says so.
        Err(_) => builder.header("authorization", "Bearer"),
    }
}

fn not_a_request(error: ureq::http::Error) -> Refusal {
    Refusal::new(Reason::InvalidId, format!("not a request: {error}"))
}

impl Answer {
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Refusal::new(Reason::Unavailable, format!("the answer is not JSON: {error}"))
        })
    }

    pub(super) fn etag(&self) -> Option<&str> {
        self.headers.get("etag")?.to_str().ok()
    }
}

/// Text as one part of a path or query, percent-encoded (RFC 3986).
pub(super) fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' | b':' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
