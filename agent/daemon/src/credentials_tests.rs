//! Pairs of files that power cuts leave behind.

use super::*;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// A certificate for this key.
fn certificate(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(params, self::key());
    CertificateParams::default().signed_by(key, &issuer).unwrap().pem()
}

struct Folder {
    folder: tempfile::TempDir,
    credentials: Credentials,
}

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::new(folder.path(), "device.crt", "device.key");
        Folder { folder, credentials }
    }

    fn with(self, files: &[(&str, &str)]) -> Folder {
        for (name, text) in files {
            write(&self.folder.path().join(name), text.as_bytes()).unwrap();
        }
        self
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn loaded(&self) -> Option<Vec<u8>> {
        self.credentials.load().unwrap().map(|pair| pair.key.subject_public_key_info())
    }
}

#[test]
fn at_every_instant_of_an_exchange_one_pair_fits() {
    let (old, new) = (key(), key());
    let (old_pem, new_pem) = (old.serialize_pem(), new.serialize_pem());
    let (old_certificate, new_certificate) = (certificate(&old), certificate(&new));
    let (is_old, is_new) =
        (Some(old.subject_public_key_info()), Some(new.subject_public_key_info()));
    let current = [("device.crt", &*old_certificate), ("device.key", &*old_pem)];
    let asked = Folder::new().with(&current).with(&[("device.key.new", &new_pem)]);
    assert_eq!(asked.loaded(), is_old);
    let half = Folder::new()
        .with(&current)
        .with(&[("device.key.new", &new_pem), ("device.crt.new", &new_certificate[..100])]);
    assert_eq!(half.loaded(), is_old);
    let granted = Folder::new()
        .with(&current)
        .with(&[("device.key.new", &new_pem), ("device.crt.new", &new_certificate)]);
    assert_eq!(granted.loaded(), is_new);
    assert_eq!(granted.names(), ["device.crt", "device.key"]);
    let between = Folder::new().with(&[
        ("device.crt", &old_certificate),
        ("device.key", &new_pem),
        ("device.crt.new", &new_certificate),
    ]);
    assert_eq!(between.loaded(), is_new);
    assert_eq!(between.names(), ["device.crt", "device.key"]);
    assert_eq!(between.loaded(), is_new, "and again");
}

#[test]
fn without_a_certificate_there_is_no_pair_and_a_wrong_one_is_told() {
    assert_eq!(Folder::new().loaded(), None);
    let asked = Folder::new().with(&[("device.key.new", &key().serialize_pem())]);
    assert_eq!(asked.loaded(), None);
    let wrong = Folder::new()
        .with(&[("device.crt", &certificate(&key())), ("device.key", &key().serialize_pem())]);
    assert!(matches!(wrong.credentials.load(), Err(EnrolError::Unusable(_))));
}

#[test]
fn the_next_key_is_kept_until_it_is_used_and_nobody_else_reads_it() {
    let folder = Folder::new();
    let first = folder.credentials.next_key().unwrap().serialize_pem();
    assert_eq!(folder.credentials.next_key().unwrap().serialize_pem(), first);
    let path = folder.folder.path().join("device.key.new");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(folder.credentials.next_key(), Err(EnrolError::Exposed(_))));
}
