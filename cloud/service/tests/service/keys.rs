//! Key files, encrypted and plain, here and in openssl; passphrases.

use gnomon_schemas::keys::PublicKey;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const PASSPHRASE: &str = "a canary 5e1f passphrase";

/// A folder with a passphrase file.
pub(crate) fn folder() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = private(&folder, "passphrase", PASSPHRASE);
    (folder, path)
}

fn private(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, format!("{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

pub(crate) fn gnomon(args: &[&str]) -> (u8, String, String) {
    gnomon::cli::execute(["gnomon"].iter().chain(args))
}

#[track_caller]
pub(crate) fn ok(args: &[&str]) -> String {
    let (code, out, err) = gnomon(args);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
    out
}

fn openssl(args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).output().expect("openssl (Debian: openssl)");
    assert!(output.status.success(), "openssl {args:?}: {output:?}");
    output.stdout
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn made(folder: &TempDir, name: &str, more: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    ok(&[&["key", "new", "--out", &text(&path)], more].concat());
    path
}

#[test]
fn openssl_reads_our_keys_encrypted_and_plain() {
    let (folder, passphrase) = folder();
    let pass = format!("pass:{PASSPHRASE}");
    for kind in ["ed25519", "p256"] {
        let encrypted = made(&folder, kind, &["--kind", kind, "--passphrase-file", &passphrase]);
        let pem = std::fs::read_to_string(&encrypted).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{pem}");
        let mode = std::fs::metadata(&encrypted).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = openssl(&["pkey", "-in", &text(&encrypted), "-passin", &pass, "-pubout"]);
        let public = PublicKey::from_pem(&String::from_utf8(public).unwrap()).unwrap();
        let beside = std::fs::read_to_string(folder.path().join(format!("{kind}.pub"))).unwrap();
        assert_eq!(public, PublicKey::from_pem(&beside).unwrap());
        let shown = ok(&["key", "public", &text(&encrypted), "--passphrase-file", &passphrase]);
        assert_eq!(public, PublicKey::from_pem(&shown).unwrap());
        let form = openssl(&["asn1parse", "-in", &text(&encrypted)]);
        let form = String::from_utf8(form).unwrap();
        assert!(form.contains("PBES2") && form.contains("scrypt"), "{form}");
        assert!(form.contains("aes-256-cbc"), "{form}");

        let plain = made(&folder, &format!("{kind}-plain"), &["--kind", kind, "--plain"]);
        let public = openssl(&["pkey", "-in", &text(&plain), "-pubout"]);
        let public = PublicKey::from_pem(&String::from_utf8(public).unwrap()).unwrap();
        let shown = ok(&["key", "public", &text(&plain)]);
        assert_eq!(public, PublicKey::from_pem(&shown).unwrap());
    }
}

#[test]
fn keys_that_openssl_encrypted_are_read() {
    let (folder, passphrase) = folder();
    let pass = format!("pass:{PASSPHRASE}");
    let plain = text(&folder.path().join("plain.pem"));
    for algorithm in [&["ED25519"][..], &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]] {
        openssl(&[&["genpkey", "-out", &plain, "-algorithm"], algorithm].concat());
        let public = openssl(&["pkey", "-in", &plain, "-pubout"]);
        let public = PublicKey::from_pem(&String::from_utf8(public).unwrap()).unwrap();
        for way in [&["-v2", "aes-256-cbc"][..], &["-scrypt"]] {
            let out = text(&folder.path().join("encrypted.pem"));
            let topk8 = ["pkcs8", "-topk8", "-in", &plain, "-out", &out, "-passout", &pass];
            openssl(&[&topk8[..], way].concat());
            std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o600)).unwrap();
            let shown = ok(&["key", "public", &out, "--passphrase-file", &passphrase]);
            assert_eq!(public, PublicKey::from_pem(&shown).unwrap(), "{algorithm:?} {way:?}");
        }
    }
}

#[test]
fn a_wrong_passphrase_is_one_clear_error_that_tells_no_secret() {
    let (folder, passphrase) = folder();
    let key = made(&folder, "root.pem", &["--passphrase-file", &passphrase]);
    let key = text(&key);
    let wrong = private(&folder, "wrong", "a canary 77aa passphrase");
    let (code, out, err) = gnomon(&["key", "public", &key, "--passphrase-file", &wrong]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(err, format!("error: {key}: the passphrase does not open this key\n"));
    let again = gnomon(&["key", "new", "--out", &key, "--passphrase-file", &passphrase]);
    assert!(again.0 == 1 && again.2.contains("is there already"), "{again:?}");
    let short = private(&folder, "short", "seven77");
    let other = text(&folder.path().join("other.pem"));
    let (code, _, err) = gnomon(&["key", "new", "--out", &other, "--passphrase-file", &short]);
    assert!(code == 1 && err.contains("shorter than 8") && !err.contains("seven77"), "{err}");
    let empty = private(&folder, "empty", "");
    let (_, _, err) = gnomon(&["key", "new", "--out", &other, "--passphrase-file", &empty]);
    assert!(err.contains("is empty"), "{err}");
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (_, _, err) = gnomon(&["key", "public", &key, "--passphrase-file", &passphrase]);
    assert!(err.contains("can be read by others (mode 644)"), "{err}");
    assert!(!Path::new(&other).exists());
}

#[test]
fn nothing_of_a_secret_stands_in_what_is_printed_of_one() {
    let passphrase = gnomon::keys::Passphrase::new(PASSPHRASE).unwrap();
    assert_eq!(format!("{passphrase:?}"), "Passphrase(hidden)");
    let (folder, file) = folder();
    let path = made(&folder, "key.pem", &["--passphrase-file", &file]);
    let read = gnomon::keys::KeyFile::read(&path).unwrap();
    let key = read.open(|| Ok(passphrase)).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey(hidden)");
    assert!(!format!("{read:?}").contains("bytes: ["), "{read:?}");
}

#[test]
fn what_is_no_key_of_ours_is_refused_with_its_kind() {
    let (folder, passphrase) = folder();
    let out = text(&folder.path().join("other.pem"));
    let refused = |expected: &str| {
        std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (code, _, err) = gnomon(&["key", "public", &out, "--passphrase-file", &passphrase]);
        assert!(code == 1 && err.contains(expected) && err.lines().count() == 1, "{err}");
    };
    openssl(&["genpkey", "-out", &out, "-algorithm", "X25519"]);
    refused("is not an Ed25519 or ECDSA P-256 private key");
    let p384 = ["genpkey", "-out", &out, "-algorithm", "EC", "-pkeyopt"];
    openssl(&[&p384[..], &["ec_paramgen_curve:P-384"]].concat());
    refused("is not an Ed25519 or ECDSA P-256 private key");
    std::fs::write(&out, "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n").unwrap();
    refused("ENCRYPTED SIGSTORE PRIVATE KEY");
    std::fs::write(&out, "no key\n").unwrap();
    refused("is not an Ed25519 or ECDSA P-256 private key");
    std::fs::write(&out, vec![b'a'; 100_000]).unwrap();
    refused("too large");
}
