//! A first start without any set-up, for development: all four private keys, plain,
//! beside each other, and a trust root that names them.
//!
//! In production `gnomon trust init` makes them, encrypted and for different hands; the
//! data folder then holds the director's key and the trust root only.

use gnomon_cloud_core::roots;
use gnomon_schemas::ids::{FleetId, PublisherName};
use gnomon_schemas::trust::{Proof, Publisher, Role, Roles, TrustRoot};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::file::{check_mode, write_file, write_key};
use super::{KeysError, Kind, PrivateKey, io_error, seal};

/// How long the trust root of a first start lives: ten years.
const LIFETIME_MS: u64 = 10 * 365 * 24 * 3600 * 1000;
/// The publisher that a first start makes.
pub const LOCAL_PUBLISHER: &str = "local";

/// Makes keys and trust root unless there is a trust root; says whether it made them.
///
/// # Errors
/// [`KeysError`]: what could not be made, or a key that others can read.
pub fn first_start(data_dir: &Path, fleet: &FleetId, now_ms: u64) -> Result<bool, KeysError> {
    let is_first = !data_dir.join("trust-root.json").exists();
    if is_first {
        make(data_dir, fleet, now_ms)?;
    }
    for exposed in ["root.pem", "director.pem", "approver.pem", "publisher.pem"] {
        check_mode(&data_dir.join("keys").join(exposed))?;
    }
    Ok(is_first)
}

fn make(data_dir: &Path, fleet: &FleetId, now_ms: u64) -> Result<(), KeysError> {
    let keys = data_dir.join("keys");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&keys)
        .map_err(|error| io_error(&keys, error))?;
    let make = |name: &str, kind| {
        let path = keys.join(name);
        if !path.exists() {
            write_key(&path, &PrivateKey::generate(kind)?, None)?;
        }
        PrivateKey::read(&path)
    };
    let root = make("root.pem", Kind::Ed25519)?;
    let (director, approver) =
        (make("director.pem", Kind::Ed25519)?, make("approver.pem", Kind::Ed25519)?);
    let publisher = make("publisher.pem", Kind::P256)?;
    let public = publisher.public()?.to_pem();
    write_file(&keys.join("publisher.pub"), public.as_bytes(), 0o644)?;
    let role =
        |key: &PrivateKey| Ok::<_, KeysError>(Role { keys: vec![key.public()?], threshold: 1 });
    let roles =
        Roles { root: role(&root)?, director: role(&director)?, approver: role(&approver)? };
    let name: PublisherName = LOCAL_PUBLISHER
        .parse()
        .map_err(|error| KeysError::Crypto(format!("publisher: {error}")))?;
    let publisher = Publisher {
        proof: Proof::Key { key: publisher.public()?, sigstore_root: None },
        profiles: BTreeSet::new(),
        functions: BTreeSet::new(),
    };
    let publishers = BTreeMap::from([(name, publisher)]);
    let expires_at_ms = now_ms.saturating_add(LIFETIME_MS);
    let first = roots::first(fleet.clone(), roles, publishers, expires_at_ms);
    let payload =
        serde_json::to_vec(&first).map_err(|error| KeysError::Crypto(error.to_string()))?;
    let envelope = seal::<TrustRoot>(&payload, &[&root])?;
    // The trust root comes last and whole: while it is missing, the next start
    // goes on where this one stopped.
    write_file(&data_dir.join("trust-root.json"), &envelope, 0o644)
}
