//! One HTTP request: POST of a small JSON body, the answer read whole and capped. Over
//! TLS with the configuration that it is given, or in clear to this machine itself.
//!
//! HTTP/1.0 on purpose: the answer then ends with the connection, in one piece. The
//! usual clients bring roots and clocks of their own, which a device must not trust.

use gnomon_schemas::limits::ENROL_BYTES_MAX;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// From the first to the last byte.
const DEADLINE: Duration = Duration::from_secs(30);
/// Status line and headers beside the largest body.
const ANSWER_BYTES_MAX: usize = ENROL_BYTES_MAX + 16 * 1024;

/// Where to: `https://HOST[:PORT]`, or `http://` on the loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    is_tls: bool,
    host: String,
    port: u16,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The network.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It took too long.
    #[error("no whole answer within {DEADLINE:?}")]
    Slow,
    /// The answer is too large.
    #[error("the answer is over {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    /// Not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The host is no name that a certificate could have.
    #[error("`{0}` is not a host name or address")]
    Host(String),
}

impl Origin {
    /// Reads an URL. In clear it may only go to this machine: a token is a secret.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(url: &str) -> Result<Origin, String> {
        let wrong = || format!("`{url}` is not of the form https://HOST:PORT");
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (is_tls, usual) = match scheme {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return Err(wrong()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !rest.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (rest, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-.:".contains(&b);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(wrong());
        }
        let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !is_tls && !is_here {
            return Err(format!("`{url}` would send secrets in clear: give https://HOST:PORT"));
        }
        Ok(Origin { is_tls, host: host.to_owned(), port })
    }
}

/// Posts a JSON body; the status and the body of the answer.
///
/// # Errors
/// [`PostError`] when there is no whole answer.
pub async fn post(
    to: &Origin,
    tls: Arc<ClientConfig>,
    path: &str,
    body: &[u8],
) -> Result<(u16, Vec<u8>), PostError> {
    let exchange = async {
        let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
        let host = if to.host.contains(':') { format!("[{}]", to.host) } else { to.host.clone() };
        let mut request = format!(
            "POST {path} HTTP/1.0\r\nHost: {host}:{}\r\nContent-Type: application/json\r\n\
             Accept: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            to.port,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        if !to.is_tls {
            return talk(stream, &request).await;
        }
        let name = ServerName::try_from(to.host.clone());
        let name = name.map_err(|_| PostError::Host(to.host.clone()))?;
        talk(TlsConnector::from(tls).connect(name, stream).await?, &request).await
    };
    let answer = tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| PostError::Slow)??;
    read_answer(&answer).ok_or(PostError::NotHttp)
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> Result<Vec<u8>, PostError> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut answer = vec![];
    let cap = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = stream.take(cap).read_to_end(&mut answer).await;
    // Some servers end TLS without saying so; a body that is cut is no JSON.
    if answer.is_empty() {
        read?;
    }
    if answer.len() > ANSWER_BYTES_MAX { Err(PostError::TooLarge) } else { Ok(answer) }
}

fn read_answer(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut words = head.lines().next()?.split(' ');
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    Some((words.next()?.parse().ok()?, answer[end + 4..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_clear_it_goes_to_this_machine_only() {
        for good in ["https://cloud.example", "https://10.0.0.1:8480/", "http://127.0.0.1:8480"] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        assert_eq!(Origin::parse("http://[::1]:8480").unwrap().host, "::1");
        assert_eq!(Origin::parse("https://cloud.example").unwrap().port, 443);
        for bad in [
            "http://10.0.0.1:8480",
            "http://localhost.example:80",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "https://",
            "https://user@host",
            "https://host/path",
            "https://host:port",
            "https://ho\r\nst",
            "",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        let answer = read_answer(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}");
        assert_eq!(answer, Some((200, b"{}".to_vec())));
        for bad in [&b""[..], b"HTTP/1.0 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.0 x\r\n\r\n"] {
            assert_eq!(read_answer(bad), None);
        }
    }
}
