//! What an agent is provisioned with: a folder of three files, written by
//! `gnomon device bundle` or by the firmware's own factory step.

use gnomon_agent_core::Identity;
use gnomon_schemas::profile::{Profile, ProfileError};
use gnomon_schemas::strict::{self, ParseError};
use gnomon_schemas::trust::TrustRoot;
use gnomon_schemas::verify::{VerifyError, verify_first_root};
use gnomon_schemas::{DeviceId, FleetId};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The file of the agent's own settings.
pub const AGENT_FILE: &str = "agent.json";
/// The firmware's profile.
pub const PROFILE_FILE: &str = "profile.json";
/// The first trust root.
pub const TRUST_FILE: &str = "trust-root.json";

/// The contents of [`AGENT_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentFile {
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The broker, as `mqtt://HOST:PORT`.
    pub broker: String,
}

/// What an agent is provisioned with, checked.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Who the device is.
    pub identity: Identity,
    /// The first trust root.
    pub root: TrustRoot,
    /// The broker's host and port.
    pub broker: (String, u16),
}

/// Why a provisioning folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {0}: {1} (write the folder with `gnomon device bundle`)")]
    Read(PathBuf, std::io::Error),
    /// The agent's settings.
    #[error("{AGENT_FILE}: {0}")]
    Agent(#[from] ParseError),
    /// The profile.
    #[error("{PROFILE_FILE}: {0}")]
    Profile(#[from] ProfileError),
    /// The trust root.
    #[error("{TRUST_FILE}: {0}")]
    Trust(#[from] VerifyError),
    /// The trust root is another fleet's.
    #[error("{TRUST_FILE} is for fleet `{0}`, {AGENT_FILE} for `{1}`")]
    Fleet(FleetId, FleetId),
    /// The trust root asks for what this agent does not do.
    #[error(
        "{TRUST_FILE} has an approver role, which this agent does not enforce: run a newer one"
    )]
    Approver,
    /// The broker's address.
    #[error("{AGENT_FILE}: `{0}` is not mqtt://HOST:PORT")]
    Broker(String),
}

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
        if root.fleet != agent.fleet {
            return Err(ConfigError::Fleet(root.fleet, agent.fleet));
        }
        // A second signature that nobody checks would be worse than none.
        if root.roles.approver.is_some() {
            return Err(ConfigError::Approver);
        }
        let broker = parse_broker(&agent.broker)?;
        let identity =
            Identity { fleet: agent.fleet, device: agent.device, profile, profile_digest };
        Ok(AgentConfig { identity, root, broker })
    }
}

fn parse_broker(url: &str) -> Result<(String, u16), ConfigError> {
    let wrong = || ConfigError::Broker(url.to_owned());
    let (host, port) =
        url.strip_prefix("mqtt://").and_then(|rest| rest.rsplit_once(':')).ok_or_else(wrong)?;
    if host.is_empty() {
        return Err(wrong());
    }
    Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
}
