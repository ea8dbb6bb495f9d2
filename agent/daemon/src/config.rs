//! What an agent is provisioned with: a folder of a few files, written by
//! `gnomon device bundle` or by the firmware's own factory step.

use gnomon_agent_core::Identity;
use gnomon_schemas::limits::TRUST_ROOT_BYTES_MAX;
use gnomon_schemas::profile::{Profile, ProfileError};
use gnomon_schemas::strict::{self, ParseError};
use gnomon_schemas::succession::{RootError, verify_first_root};
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::{DeviceId, FleetId};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self};
use std::path::{Path, PathBuf};

use crate::files::read_capped;
use crate::post::Origin;

/// The file of the agent's own settings.
pub const AGENT_FILE: &str = "agent.json";
/// The firmware's profile.
pub const PROFILE_FILE: &str = "profile.json";
/// The first trust root.
pub const TRUST_FILE: &str = "trust-root.json";
/// Later roots that are read from the folder, at most.
const LATER_ROOTS_MAX: u64 = 1024;

/// The contents of [`AGENT_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentFile {
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The broker, as `mqtts://HOST:PORT` or, without TLS, `mqtt://HOST:PORT`.
    pub broker: String,
    /// Whom to trust at the broker, and where the device's own certificate is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Where certificates are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enroll: Option<EnrolPlace>,
}

/// The files for TLS to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The authority of the broker's certificate, in this folder.
    pub ca: String,
    /// The device's certificate, in the data folder; the agent writes it.
    pub certificate: String,
    /// The key to it, in the data folder; the agent makes it.
    pub key: String,
}

/// Where certificates are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolPlace {
    /// The cloud's HTTP, as `https://HOST:PORT`, or `http://` on this machine.
    pub url: String,
    /// The authority of its certificate, in this folder; that of the broker if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// How broker and device know each other, checked.
#[derive(Debug, Clone)]
pub struct Mutual {
    /// Who vouches for the broker, and for this device.
    pub roots: Vec<CertificateDer<'static>>,
    /// The file of the device's certificate, in the data folder.
    pub certificate: String,
    /// The file of its key, in the data folder.
    pub key: String,
    /// Where certificates are asked for.
    pub enrol: Option<Origin>,
    /// Who vouches for that place.
    pub enrol_roots: Vec<CertificateDer<'static>>,
}

/// What an agent is provisioned with, checked.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Who the device is.
    pub identity: Identity,
    /// The first trust root.
    pub root: TrustRoot,
    /// Envelopes of later ones that lie beside it, in their order.
    pub later_roots: Vec<Vec<u8>>,
    /// The broker's host and port.
    pub broker: (String, u16),
    /// Certificates; without them the connection has no TLS.
    pub mutual: Option<Mutual>,
}

/// Why a provisioning folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {0}: {1} (write the folder with `gnomon device bundle`)")]
    Read(PathBuf, std::io::Error),
    /// The agent's settings.
    #[error("{AGENT_FILE}: {0}")]
    Agent(ParseError),
    /// The profile.
    #[error("{PROFILE_FILE}: {0}")]
    Profile(ProfileError),
    /// The trust root.
    #[error("{TRUST_FILE}: {0}")]
    Trust(RootError),
    /// The trust root is another fleet's.
    #[error("{TRUST_FILE} is for fleet `{0}`, {AGENT_FILE} for `{1}`")]
    Fleet(FleetId, FleetId),
    /// The broker's address.
    #[error("{AGENT_FILE}: `{0}` is not mqtts://HOST:PORT or mqtt://HOST:PORT")]
    Broker(String),
    /// TLS without certificates, or certificates without TLS.
    #[error("{AGENT_FILE}: `mqtts://` and `tls` belong together; give both or neither")]
    Tls,
    /// A file of certificates.
    #[error("{0} holds no certificate in PEM form")]
    Certificate(PathBuf),
    /// A name that would lead out of its folder.
    #[error("{AGENT_FILE}: `{0}` is not the plain name of a file")]
    FileName(String),
    /// The place of enrolment.
    #[error("{AGENT_FILE}: enroll: {0}")]
    Enrol(String),
}

macro_rules! told_once {
    ($($error:ident $variant:ident),*) => {$(
        /// Not as a source: its words are in the message already.
        impl From<$error> for ConfigError {
            fn from(error: $error) -> ConfigError {
                ConfigError::$variant(error)
            }
        }
    )*};
}

told_once!(ParseError Agent, ProfileError Profile, RootError Trust);

impl AgentConfig {
    /// Reads and checks a provisioning folder.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file.
    pub fn read(folder: &Path) -> Result<AgentConfig, ConfigError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|error| ConfigError::Read(path, error))
        };
        let agent: AgentFile = strict::parse(&read(AGENT_FILE)?, 16 * 1024)?;
        let (profile, profile_digest) = Profile::parse(&read(PROFILE_FILE)?)?;
        let root = verify_first_root(&read(TRUST_FILE)?)?.into_payload();
        let later_roots = later_roots(folder, root.version)?;
        if root.fleet != agent.fleet {
            return Err(ConfigError::Fleet(root.fleet, agent.fleet));
        }
        let (broker, is_tls) = parse_broker(&agent.broker)?;
        if is_tls != agent.tls.is_some() {
            return Err(ConfigError::Tls);
        }
        let mutual = agent.tls.map(|files| mutual(folder, files, agent.enroll)).transpose()?;
        let identity =
            Identity { fleet: agent.fleet, device: agent.device, profile, profile_digest };
        Ok(AgentConfig { identity, root, later_roots, broker, mutual })
    }
}

/// `trust-root.2.json` and those after it, as far as they go without a gap: the way
/// for a device without a network. Whether one may follow is judged by the agent.
fn later_roots(folder: &Path, first: u64) -> Result<Vec<Vec<u8>>, ConfigError> {
    let mut roots = vec![];
    for version in first.saturating_add(1)..=first.saturating_add(LATER_ROOTS_MAX) {
        let path = folder.join(format!("trust-root.{version}.json"));
        match read_capped(&path, TRUST_ROOT_BYTES_MAX) {
            Ok(bytes) => roots.push(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(ConfigError::Read(path, error)),
        }
    }
    Ok(roots)
}

fn mutual(
    folder: &Path,
    files: TlsFiles,
    place: Option<EnrolPlace>,
) -> Result<Mutual, ConfigError> {
    for name in [&files.certificate, &files.key] {
        let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        if !is_plain {
            return Err(ConfigError::FileName(name.clone()));
        }
    }
    let roots = certificates(&folder.join(&files.ca))?;
    let enrol_roots = match place.as_ref().and_then(|place| place.ca.as_ref()) {
        Some(name) => certificates(&folder.join(name))?,
        None => roots.clone(),
    };
    let enrol = place.map(|place| Origin::parse(&place.url)).transpose();
    let enrol = enrol.map_err(ConfigError::Enrol)?;
    Ok(Mutual { roots, certificate: files.certificate, key: files.key, enrol, enrol_roots })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let bytes = fs::read(path).map_err(|error| ConfigError::Read(path.to_owned(), error))?;
    let read = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let read = read.ok().filter(|read| !read.is_empty());
    read.ok_or_else(|| ConfigError::Certificate(path.to_owned()))
}

/// Host, port, and whether it speaks TLS.
fn parse_broker(url: &str) -> Result<((String, u16), bool), ConfigError> {
    // Of an address with a name and a password only the address is quoted.
    let address = url.rsplit('@').next().unwrap_or(url);
    let wrong = || ConfigError::Broker(address.to_owned());
    if address != url {
        return Err(wrong());
    }
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || !matches!(scheme, "mqtt" | "mqtts") {
        return Err(wrong());
    }
    Ok(((host.to_owned(), port.parse().map_err(|_| wrong())?), scheme == "mqtts"))
}
