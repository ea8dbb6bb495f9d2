//! Keyless from end to end: the real sigstore client and ours make bundles against a
//! certificate authority, a log and a timestamp authority on loopback, and the
//! production verifier takes the good ones and refuses the spoilt ones, offline.
//!
//! It needs `node` and `npm`. The same cases run on committed bundles, without them,
//! in `modules/sigstore/tests`.

mod cases;
mod device;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gnomon_schemas::reason::Reason;
use gnomon_schemas::trust::CertificateIdentity;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use cases::{Case, Made, Signer};

/// The services, and the folder with their trusted root. Ended when the handle goes.
struct Authorities {
    process: Child,
    folder: tempfile::TempDir,
    address: String,
}

impl Drop for Authorities {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("keyless")
}

/// Runs a program that must be there and must succeed.
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; install the Debian packages nodejs and npm")
    });
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

impl Authorities {
    fn start() -> Authorities {
        let folder = tempfile::tempdir().unwrap();
        for file in ["package.json", "authorities.mjs", "bundles.mjs"] {
            std::fs::copy(source().join(file), folder.path().join(file)).unwrap();
        }
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"])
            .current_dir(folder.path()));
        let mut process = Command::new("node")
            .args(["authorities.mjs", "."])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node (Debian: nodejs)");
        let mut address = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let read = output.read_line(&mut address);
        let started = Authorities { process, folder, address: address.trim().to_owned() };
        assert!(read.is_ok_and(|bytes| bytes > 0), "the authorities do not answer");
        started
    }

    /// What the npm client makes.
    fn made(&self) -> Made {
        run(Command::new("node")
            .args(["bundles.mjs", &self.address, "."])
            .current_dir(self.folder.path()));
        Made::read(self.folder.path())
    }

    /// What our client makes.
    fn sign(&self, bytes: &[u8], stamped: bool, token: &str) -> Result<Vec<u8>, String> {
        let main = format!("{}/main", self.address);
        let stamp = stamped.then(|| format!("{main}/api/v1/timestamp"));
        gnomon::keyless::sign(bytes, &main, &main, stamp.as_deref(), token)
            .map_err(|error| format!("{error:#}"))
    }
}

/// A token that the mock authority believes.
fn token(claims: &serde_json::Value) -> String {
    let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.", part(&json!({ "alg": "none" })), part(claims))
}

#[track_caller]
fn assert_verdicts(cases: &[Case]) {
    let offences: Vec<String> = cases.iter().filter_map(Case::offence).collect();
    assert!(offences.is_empty(), "of {} cases\n{}", cases.len(), offences.join("\n"));
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

#[test]
fn bundles_of_sigstores_own_client_and_of_ours_are_judged_offline() {
    let authorities = Authorities::start();
    let made = authorities.made();
    assert_verdicts(&made.good());
    assert_verdicts(&made.bad());

    // Our client, against the same services.
    let identity = "https://ci.test/acme/release";
    let claims = json!({ "iss": "https://ci.test", "sub": identity, "aud": "sigstore" });
    let bytes = b"a module that our own client signs";
    for stamped in [false, true] {
        let bundle = authorities.sign(bytes, stamped, &token(&claims)).unwrap();
        let identity = CertificateIdentity::Uri { value: identity.to_owned() };
        let signer = Signer::Certificate(identity, "https://ci.test".to_owned());
        let good = Case {
            name: format!("ours, stamped: {stamped}"),
            bundle,
            artifact: bytes.to_vec(),
            signer,
            root: made.text("trusted_root.json"),
            now_ms: now_ms(),
            expected: None,
        };
        let of_another = Case {
            artifact: b"another module".to_vec(),
            expected: Some(Reason::ModuleSignatureInvalid),
            ..good.clone()
        };
        let too_early =
            Case { now_ms: 0, expected: Some(Reason::SignedTimeInvalid), ..good.clone() };
        assert_verdicts(&[good, of_another, too_early]);
    }

    // The authorities take seconds to install: one set of them serves this, too.
    device::an_identity_publishes_a_module_and_a_device_runs_it(&authorities);
}

/// A service that answers its first request with 400 and the body that was sent.
fn echo() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut sent = vec![0; 64 * 1024];
        let mut len = 0;
        // The body is JSON: its outermost objects close last.
        while !sent[..len].ends_with(b"}}") {
            len += peer.read(&mut sent[len..]).unwrap();
        }
        let sent = &sent[..len];
        let body = sent.split(|byte| *byte == b'\n').next_back().unwrap();
        let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n", body.len());
        peer.write_all(&[head.as_bytes(), body].concat()).unwrap();
    });
    (address, thread)
}

#[test]
fn the_identity_token_goes_to_no_open_network_and_into_no_error() {
    let token = token(&json!({ "sub": "somebody", "iss": "https://ci.test" }));
    let sign = |fulcio: &str| gnomon::keyless::sign(b"bytes", fulcio, "http://[::1]", None, &token);

    let (address, thread) = echo();
    let error = format!("{:#}", sign(&address).unwrap_err());
    thread.join().unwrap();
    assert!(error.contains("400 Bad Request"), "{error}");
    let claims = token.split('.').nth(1).unwrap();
    assert!(!error.contains(claims), "{error}");

    for open in ["http://ca.test", "ftp://127.0.0.1", "http://127.0.0.1.test", "ca.test"] {
        let error = format!("{:#}", sign(open).unwrap_err());
        assert!(error.contains("only https:// is taken"), "{open}: {error}");
    }
}
