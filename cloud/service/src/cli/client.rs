//! HTTP as the command line needs it: one request, one answer or one refusal.

use gnomon_schemas::limits::MODULE_BYTES_MAX;
use gnomon_schemas::reason::{Reason, Refusal};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, Request, Response};

/// The largest answer that is read; lists of devices are longer than any module.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
const _: () = assert!(ANSWER_BYTES_MAX > MODULE_BYTES_MAX as u64);

/// A client of one service.
pub(super) struct Client {
    agent: Agent,
    url: String,
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
    pub(super) fn new(url: &str) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(Some(Duration::from_secs(120)))
            .build();
        Client { agent: config.into(), url: url.trim_end_matches('/').to_owned() }
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
        let request = Request::builder().method(method).uri(uri).body(()).map_err(not_a_request)?;
        self.read(self.agent.run(request))
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
        let request = builder.body(body).map_err(not_a_request)?;
        self.read(self.agent.run(request))
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
