//! TLS of the HTTP API, and peers that take their time before they have proved anything.

use crate::access::close;
use crate::fixture::{Cloud, options};
use gnomon::https::{Limits, Tls, serve};
use gnomon::serve::{HttpTls, start};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// How long a peer of these tests may take.
const DEADLINE: Duration = Duration::from_millis(300);
/// Within which time it must have been cut off, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn write_key(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn certificate(folder: &Path, name: &str) -> (PathBuf, PathBuf, PathBuf) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let path = |end: &str| folder.join(format!("{name}-{end}.pem"));
    std::fs::write(path("ca"), authority.pem()).unwrap();
    std::fs::write(path("chain"), leaf.pem()).unwrap();
    write_key(&path("key"), &key.serialize_pem());
    (path("chain"), path("key"), path("ca"))
}

/// A certificate and its key for this machine.
pub(crate) fn self_signed(folder: &Path) -> (PathBuf, PathBuf) {
    let (chain, key, _) = certificate(folder, "self");
    (chain, key)
}

fn run(url: &str, args: &[&str]) -> (u8, String) {
    let args: Vec<&str> = ["gnomon", "--url", url].iter().chain(args).copied().collect();
    let (code, out, err) = tokio::task::block_in_place(|| gnomon::cli::execute(args));
    (code, out + &err)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_trusts_the_authority_that_it_is_given_and_no_other() {
    let folder = TempDir::new().unwrap();
    let (chain, key, ca) = certificate(folder.path(), "own");
    let (.., foreign) = certificate(folder.path(), "foreign");
    let (ca, foreign) = (ca.to_str().unwrap(), foreign.to_str().unwrap());
    let mut options = options(&folder);
    options.http_tls = HttpTls::Files { certificate: chain, key: key.clone() };
    let running = start(options).await.unwrap();
    let url = running.http_url();
    assert!(url.starts_with("https://127.0.0.1:"));
    let (code, text) =
        run(&url, &["--ca", ca, "token", "create", "--name", "a", "--role", "admin"]);
    assert_eq!(code, 0, "{text}");
    let token = text.lines().next().unwrap().to_owned();
    assert_eq!(run(&url, &["--ca", ca, "--token", &token, "status"]).0, 0);
    let localhost = url.replace("127.0.0.1", "localhost");
    assert_eq!(run(&localhost, &["--ca", ca, "--token", &token, "status"]).0, 0);
    for (args, says) in [
        (vec!["--token", &token, "status"], "--ca"),
        (vec!["--ca", foreign, "--token", &token, "status"], "certificate"),
        (vec!["--ca", key.to_str().unwrap(), "status"], "something else"),
        (vec!["--ca", "/nowhere", "status"], "/nowhere"),
    ] {
        let (code, text) = run(&url, &args);
        assert!(code == 1 && text.contains(says), "{text}");
        assert!(!text.contains(&token), "{text}");
    }
    // Plain HTTP is not answered there.
    let plain = url.replace("https://", "http://");
    assert_eq!(run(&plain, &["status"]).0, 1);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleets_own_authority_vouches_for_the_service() {
    let folder = TempDir::new().unwrap();
    let mut options = options(&folder);
    options.http_tls = HttpTls::FleetCa;
    let running = start(options).await.unwrap();
    let ca = running.data_dir().join("ca.crt");
    let (code, text) = run(&running.http_url(), &["--ca", ca.to_str().unwrap(), "status"]);
    assert_eq!(code, 0, "{text}");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_1_3_is_spoken() {
    let folder = TempDir::new().unwrap();
    let (chain, key, ca) = certificate(folder.path(), "own");
    let mut options = options(&folder);
    options.http_tls = HttpTls::Files { certificate: chain, key };
    let running = start(options).await.unwrap();
    let address = running.http_addr().to_string();
    let client = |version: &str| {
        let args = ["s_client", "-connect", &address, "-CAfile", ca.to_str().unwrap(), version];
        let mut command = std::process::Command::new("openssl");
        let command = command.args(args).stdin(std::process::Stdio::null());
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        output.status.success()
    };
    assert!(client("-tls1_3"));
    assert!(!client("-tls1_2"));
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_cannot_be_used_are_refused_at_start() {
    let folder = TempDir::new().unwrap();
    let (chain, key, _) = certificate(folder.path(), "own");
    let (_, other, _) = certificate(folder.path(), "other");
    let read = |chain: &Path, key: &Path| {
        Tls::read(chain, key).err().map(|error| format!("{error:#}")).unwrap_or_default()
    };
    assert_eq!(read(&chain, &key), "");
    assert!(read(&chain, &other).contains("do not fit"), "{}", read(&chain, &other));
    assert!(read(&key, &key).contains("certificate"), "{}", read(&key, &key));
    assert!(read(&chain, &chain).contains("private key") || read(&chain, &chain).contains("chmod"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(read(&chain, &key).contains("chmod 600"));
}

/// A server with short deadlines and few places, and what stops it.
async fn server(tls: Option<Tls>, connections_max: usize) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(|| async { "here" });
    let limits = Limits { connections_max, handshakes_max: 1, handshake: DEADLINE, head: DEADLINE };
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(serve(listener, tls, router, limits, stopped));
    (address, stop)
}

/// Waits until the server closes this connection; what it said until then.
fn cut(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut text, start) = (vec![], Instant::now());
    // A reset is a cut, too.
    stream.read_to_end(&mut text).unwrap_or_default();
    assert!(start.elapsed() < PATIENCE, "it was not cut off");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_trickles_its_request_is_cut_off_and_keeps_nobody_out() {
    let (address, stop) = server(None, 2).await;
    let trickle = |text: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(text).unwrap();
        stream
    };
    // Both places are taken: by one that says nothing, and one that says half.
    let held = [trickle(b""), trickle(b"GET / HTTP/1.1\r\nhost: a\r\nx-")];
    let good = trickle(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    tokio::task::block_in_place(|| {
        assert!(cut(good).ends_with("here"));
        for stream in held {
            assert!(!cut(stream).contains("here"));
        }
    });
    stop.send(()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_is_cut_off_and_keeps_nobody_out() {
    let folder = TempDir::new().unwrap();
    let (chain, key, ca) = certificate(folder.path(), "own");
    let (address, stop) = server(Some(Tls::read(&chain, &key).unwrap()), 8).await;
    let silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    tokio::task::block_in_place(|| silent.into_iter().for_each(|stream| drop(cut(stream))));
    let (_, text) = run(&format!("https://{address}"), &["--ca", ca.to_str().unwrap(), "status"]);
    assert!(text.contains("answer is not JSON"), "{text}");
    stop.send(()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let cloud = Cloud::start().await;
    close(&cloud);
    let mut stream = TcpStream::connect(cloud.running.http_addr()).unwrap();
    let head = format!("GET /v1/health HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(64 << 10));
    // It may be cut off while it still writes.
    stream.write_all(head.as_bytes()).unwrap_or_default();
    let text = tokio::task::block_in_place(|| cut(stream));
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    assert_eq!(cloud.get("/v1/health").status, 401);
}
