//! Uploading a module: whose it is, what it says of itself, which profiles it
//! fits. Nothing is stored of a module that fits none.

use gnomon_cloud_core::compose::StoredModule;
use gnomon_schemas::document::ModuleRef;
use gnomon_schemas::ids::Digest;
use gnomon_schemas::limits::MODULE_BYTES_MAX;
use gnomon_schemas::module::{JudgeEvidence as _, Manifest, ModuleEvidence};
use gnomon_schemas::reason::{Reason, Refusal};
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

use crate::admission::{JUDGE, Place};
use crate::app::App;
use crate::clock;
use crate::publish::{self, Affected};
use crate::store::audit::Entry;
use crate::store::modules::{self, ModuleInfo};
use crate::store::profiles::{self, StoredProfile};

/// How a component begins: magic, version, layer.
const COMPONENT_PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
/// The fewest digits by which a module may be named.
const PREFIX_MIN: usize = 4;

/// Whether a module fits a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fit {
    /// The profile's name.
    pub profile: String,
    /// Its digest.
    pub digest: Digest,
    /// Why it does not fit; none if it does.
    pub refusal: Option<Refusal>,
}

/// Checks and stores a module; says whether it is new. For one that is there, other
/// evidence takes the place of what it came with.
///
/// # Errors
/// The first check that fails; for a module that fits no profile, the first
/// profile's refusal.
pub async fn upload(
    app: &Arc<App>,
    bytes: Vec<u8>,
    evidence: ModuleEvidence,
    entry: Entry,
) -> Result<(ModuleInfo, bool), Refusal> {
    if bytes.len() > MODULE_BYTES_MAX {
        let detail = format!("{} bytes, at most {MODULE_BYTES_MAX}", bytes.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    let profiles = app.store.read(|db| Ok::<_, Refusal>(profiles::list(db)?)).await?;
    let shared = Arc::clone(app);
    let bytes = Arc::new(bytes);
    let checked = Arc::clone(&bytes);
    // Compiling takes a while: on a blocking thread, and not within a transaction.
    let info = tokio::task::spawn_blocking(move || check(&shared, &profiles, &checked, evidence))
        .await
        .map_err(|error| Refusal::new(Reason::Unavailable, error.to_string()))??;
    let entry = entry.with("release", format!("{}@{}", info.listed.name, info.listed.version));
    publish::edit(app, entry, move |db| {
        if let Some(known) = modules::find(db, &info.digest)? {
            if known.listed.evidence == info.listed.evidence {
                return Ok(((known, false), Affected::None));
            }
            modules::set_evidence(db, &info.digest, &info.listed.evidence)?;
            // Documents say who published what they bring.
            return Ok(((info, false), Affected::all()));
        }
        let (name, version) = (&info.listed.name, &info.listed.version);
        if let Some(other) = modules::find_release(db, name.as_str(), version)? {
            let detail = format!(
                "{name}@{version} is module {} already; give the new one another version",
                other.digest.short()
            );
            return Err(Refusal::new(Reason::AlreadyExists, detail));
        }
        modules::insert(db, &info, &bytes)?;
        Ok(((info, true), Affected::None))
    })
    .await
}

fn check(
    app: &App,
    profiles: &[StoredProfile],
    bytes: &[u8],
    evidence: ModuleEvidence,
) -> Result<ModuleInfo, Refusal> {
    let digest = Digest::of(bytes);
    if !bytes.starts_with(COMPONENT_PREAMBLE) {
        let detail = "not a WebAssembly component; build it with `gnomon module build`";
        return Err(Refusal::new(Reason::NotAComponent, detail));
    }
    // First whose it is: nothing is read out of bytes that nobody vouches for.
    let trust = app.trust();
    JUDGE.judge(bytes, &evidence, &trust.root, clock::now_ms())?;
    let Manifest { name, version, release_counter, function } = gnomon_host::manifest(bytes)
        .ok_or_else(|| {
            let detail = "no readable `gnomon.manifest` section; build it with \
                          `gnomon module build`";
            Refusal::new(Reason::ModuleManifestMismatch, detail)
        })?;
    let size_bytes = bytes.len() as u64;
    let listed = ModuleRef { name, version, release_counter, size_bytes, evidence, inline: None };
    let module = StoredModule { listed, bytes: bytes.to_vec() };
    let (mut fits, mut interface) = (vec![], None);
    for stored in profiles {
        let Some(role) = stored.profile.functions.get(&function) else { continue };
        let place = Place {
            profile_digest: &stored.digest,
            profile: &stored.profile,
            function: &function,
            budget: role.budget,
        };
        let root = &trust.root;
        let refusal = match app.admissions.admit(&app.host, root, (&digest, &module), place) {
            Ok(admitted) => {
                interface.get_or_insert_with(|| admitted.interface().clone());
                None
            }
            Err(refusal) => Some(refusal),
        };
        fits.push(fit(stored, refusal));
    }
    let Some(interface) = interface else {
        let refusal = fits
            .into_iter()
            .find_map(|fit| Some(fit.refusal?.at(format!("profile {}", fit.profile))));
        return Err(refusal.unwrap_or_else(|| {
            let detail = format!("no registered profile has a function `{function}`");
            Refusal::new(Reason::UnknownFunction, detail)
        }));
    };
    let json = |value: Result<Value, serde_json::Error>| {
        value.map_err(|error| Refusal::new(Reason::SchemaViolation, error.to_string()))
    };
    Ok(ModuleInfo {
        digest,
        listed: module.listed,
        function,
        interface: json(serde_json::to_value(interface))?,
        fits: json(serde_json::to_value(fits))?,
        created_ms: clock::now_ms(),
    })
}

fn fit(stored: &StoredProfile, refusal: Option<Refusal>) -> Fit {
    Fit { profile: stored.profile.name.to_string(), digest: stored.digest.clone(), refusal }
}

/// The module of a digest, of the beginning of one, or of `name@version`.
///
/// # Errors
/// [`Reason::UnknownModule`], also when several fit.
pub fn find(db: &Connection, key: &str) -> Result<ModuleInfo, Refusal> {
    let unknown = |detail: String| Refusal::new(Reason::UnknownModule, detail);
    if let Some((name, version)) = key.split_once('@') {
        return modules::find_release(db, name, version)?.ok_or_else(|| {
            unknown(format!("no module {name}@{version}; see `gnomon module list`"))
        });
    }
    let hex = key.strip_prefix("sha256:").unwrap_or(key);
    let mut found: Vec<ModuleInfo> = if hex.len() < PREFIX_MIN {
        vec![]
    } else {
        modules::list(db)?.into_iter().filter(|m| m.digest.hex().starts_with(hex)).collect()
    };
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (Some(_), more) => {
            Err(unknown(format!("`{key}` begins the digests of {} modules; give more", more + 1)))
        }
        (None, _) => Err(unknown(format!("no module `{key}`; see `gnomon module list`"))),
    }
}
