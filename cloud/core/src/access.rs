//! Who may do what over HTTP: roles, what a route needs, what a token reaches.
//!
//! It knows no HTTP, no hash and no clock: a token's secret was compared elsewhere,
//! the time is an argument, and paths come as the names in them.

use gnomon_schemas::ids::{DeviceId, GroupId, IdError};
use gnomon_schemas::reason::{Coded, Reason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// How long a token lives unless it says otherwise: 90 days.
pub const TOKEN_LIFETIME_DEFAULT_S: u64 = 90 * 24 * 3600;
/// The longest life of a token: one year.
pub const TOKEN_LIFETIME_S_MAX: u64 = 365 * 24 * 3600;
/// Groups and devices in one token's scope, each.
pub const SCOPE_NAMES_MAX: usize = 100;

/// What the holder of a token is there to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and changes what devices should have; approves nothing.
    Editor,
    /// Reads and approves what others changed; changes nothing.
    Approver,
    /// Everything, tokens included.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Editor, Role::Approver, Role::Admin];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Approver => "approver",
            Role::Admin => "admin",
        }
    }

    /// Whether it holds what `needed` stands for. Editor and approver stand beside
    /// each other: whoever changes something does not approve it.
    pub fn covers(self, needed: Role) -> bool {
        self == needed || self == Role::Admin || needed == Role::Viewer
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Role, IdError> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| IdError {
            kind: "role",
            expected: "viewer, editor, approver or admin",
            value: text.chars().take(80).collect(),
        })
    }
}

/// What a route needs of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it proves its caller by other means, or tells nothing.
    Public,
    /// At least this role. A token with a scope needs a path that names one of its
    /// groups or devices.
    Role(Role),
    /// At least this role, in a token for the whole fleet: the path may name a group or
    /// device, but what happens reaches beyond it.
    WholeFleet(Role),
}

/// What a token reaches: nothing named is the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Groups that it reaches by their own paths; their devices' paths are not among these.
    #[serde(default)]
    pub groups: BTreeSet<GroupId>,
    /// Devices that it reaches.
    #[serde(default)]
    pub devices: BTreeSet<DeviceId>,
}

impl Scope {
    /// Whether it is the whole fleet.
    pub fn is_whole_fleet(&self) -> bool {
        self.groups.is_empty() && self.devices.is_empty()
    }

    fn reaches(&self, names: PathNames<'_>) -> bool {
        let has_group = |name| self.groups.iter().any(|group| group.as_str() == name);
        let has_device = |name| self.devices.iter().any(|device| device.as_str() == name);
        match (names.group, names.device) {
            (None, None) => false,
            (group, device) => group.is_none_or(has_group) && device.is_none_or(has_device),
        }
    }
}

/// The names in a request's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathNames<'a> {
    /// Its `{group}`.
    pub group: Option<&'a str>,
    /// Its `{device}`.
    pub device: Option<&'a str>,
}

/// What is known of a token whose secret was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its role.
    pub role: Role,
    /// What it reaches.
    pub scope: Scope,
    /// When it ends (Unix time, ms).
    pub expires_at_ms: u64,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No token, or none that is known. It does not say which.
    #[error("this needs a valid token; give one as `Authorization: Bearer gnm_...`")]
    NoToken,
    /// Its time is over.
    #[error("the token has expired; have an admin make a new one")]
    Expired,
    /// It was taken back.
    #[error("the token was revoked; have an admin make a new one")]
    Revoked,
    /// Another role is needed.
    #[error("this needs the role {needed}, the token has {role}")]
    Role {
        /// What is needed.
        needed: Role,
        /// What the token has.
        role: Role,
    },
    /// Outside the token's groups and devices.
    #[error("the token's scope does not reach this: only paths that name its groups or devices")]
    Scope,
}

impl Coded for AccessError {
    fn reason(&self) -> Reason {
        match self {
            AccessError::NoToken | AccessError::Expired | AccessError::Revoked => {
                Reason::Unauthenticated
            }
            AccessError::Role { .. } | AccessError::Scope => Reason::Forbidden,
        }
    }
}

/// Whether a token opens a route, at this time. Everything that is not permitted is refused.
///
/// # Errors
/// Why not.
pub fn decide(
    grant: Option<&Grant>,
    needs: Needs,
    names: PathNames<'_>,
    now_ms: u64,
) -> Result<(), AccessError> {
    let (needed, by_name) = match needs {
        Needs::Public => return Ok(()),
        Needs::Role(role) => (role, true),
        Needs::WholeFleet(role) => (role, false),
    };
    let grant = grant.ok_or(AccessError::NoToken)?;
    if grant.revoked {
        return Err(AccessError::Revoked);
    }
    if now_ms >= grant.expires_at_ms {
        return Err(AccessError::Expired);
    }
    if !grant.role.covers(needed) {
        return Err(AccessError::Role { needed, role: grant.role });
    }
    if grant.scope.is_whole_fleet() || (by_name && grant.scope.reaches(names)) {
        return Ok(());
    }
    Err(AccessError::Scope)
}

/// Who did something, as approvals and the audit log have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Somebody on this machine, while no token exists or in the data folder itself.
    Local,
    /// Nobody who is known.
    Anonymous,
    /// The service itself.
    Service,
    /// A device that proved itself.
    Device(DeviceId),
    /// The holder of a token.
    Token {
        /// The name that the token was made for: one person may have several tokens.
        name: TokenName,
        /// The token's id.
        id: String,
    },
}

impl Actor {
    /// Who, whichever token was used: two calls of one name are one person's.
    pub fn person(&self) -> String {
        match self {
            Actor::Token { name, .. } => format!("token:{name}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Local => f.write_str("local"),
            Actor::Anonymous => f.write_str("anonymous"),
            Actor::Service => f.write_str("service"),
            Actor::Device(device) => write!(f, "device:{device}"),
            Actor::Token { name, id } => write!(f, "token:{name}:{id}"),
        }
    }
}

/// Whom a token was made for: a person, or a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct TokenName(String);

impl TokenName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<TokenName, IdError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| plain(b) || b".@_-".contains(&b))
            && text.bytes().next().is_some_and(plain);
        if fits {
            return Ok(TokenName(text.to_owned()));
        }
        Err(IdError {
            kind: "token name",
            expected: "1 to 64 of a-z, 0-9 and . @ _ -, a letter or digit first",
            value: text.chars().take(80).collect(),
        })
    }
}

impl TryFrom<String> for TokenName {
    type Error = IdError;
    fn try_from(text: String) -> Result<TokenName, IdError> {
        text.parse()
    }
}

impl From<TokenName> for String {
    fn from(name: TokenName) -> String {
        name.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it fails")]
    use super::*;

    const NOW: u64 = 1_000;
    const LATER: u64 = 1_001;

    fn grant(role: Role, groups: &[&str], devices: &[&str]) -> Grant {
        let scope = Scope {
            groups: groups.iter().map(|name| name.parse().unwrap()).collect(),
            devices: devices.iter().map(|name| name.parse().unwrap()).collect(),
        };
        Grant { role, scope, expires_at_ms: LATER, revoked: false }
    }

    #[test]
    fn each_role_opens_exactly_the_routes_that_it_is_there_for() {
        use Role::{Admin, Approver, Editor, Viewer};
        let opens = |role| match role {
            Viewer => vec![Viewer],
            Editor => vec![Viewer, Editor],
            Approver => vec![Viewer, Approver],
            Admin => vec![Viewer, Editor, Approver, Admin],
        };
        let names = PathNames::default();
        for role in Role::ALL {
            let grant = grant(role, &[], &[]);
            assert_eq!(decide(Some(&grant), Needs::Public, names, NOW), Ok(()));
            for needed in Role::ALL {
                let expected = match opens(role).contains(&needed) {
                    true => Ok(()),
                    false => Err(AccessError::Role { needed, role }),
                };
                for needs in [Needs::Role(needed), Needs::WholeFleet(needed)] {
                    assert_eq!(
                        decide(Some(&grant), needs, names, NOW),
                        expected,
                        "{role} {needs:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn nobody_and_tokens_that_are_over_open_only_what_is_public() {
        let names = PathNames::default();
        let mut revoked = grant(Role::Admin, &[], &[]);
        revoked.revoked = true;
        let expired = Grant { expires_at_ms: NOW, ..grant(Role::Admin, &[], &[]) };
        for (grant, error) in [
            (None, AccessError::NoToken),
            (Some(&revoked), AccessError::Revoked),
            (Some(&expired), AccessError::Expired),
        ] {
            assert_eq!(decide(grant, Needs::Public, names, NOW), Ok(()));
            for role in Role::ALL {
                for needs in [Needs::Role(role), Needs::WholeFleet(role)] {
                    assert_eq!(decide(grant, needs, names, NOW), Err(error.clone()));
                }
            }
            assert_eq!(error.reason(), Reason::Unauthenticated);
        }
    }

    #[test]
    fn a_scope_reaches_paths_that_name_what_is_in_it_and_no_other() {
        let path = |group, device| PathNames { group, device };
        let grant = grant(Role::Editor, &["north"], &["heater-1"]);
        let open = |needs, names| decide(Some(&grant), needs, names, NOW).is_ok();
        let editor = Needs::Role(Role::Editor);
        assert!(open(editor, path(Some("north"), None)));
        assert!(open(editor, path(None, Some("heater-1"))));
        assert!(open(editor, path(Some("north"), Some("heater-1"))));
        for (group, device) in [
            (None, None),
            (Some("south"), None),
            (None, Some("heater-2")),
            (Some("south"), Some("heater-1")),
            (Some("north"), Some("heater-2")),
            // A group's name is not a device's.
            (Some("heater-1"), None),
            (None, Some("north")),
            (Some(""), None),
            (None, Some("HEATER-1")),
        ] {
            assert!(!open(editor, path(group, device)), "{group:?} {device:?}");
        }
        let fleet_wide = Needs::WholeFleet(Role::Viewer);
        assert!(!open(fleet_wide, path(Some("north"), None)));
        assert!(!open(Needs::Role(Role::Approver), path(Some("north"), None)));
        assert!(open(Needs::Public, path(None, None)));
    }

    #[test]
    fn two_tokens_of_one_name_are_one_person() {
        let token =
            |name: &str, id: &str| Actor::Token { name: name.parse().unwrap(), id: id.to_owned() };
        assert_eq!(token("alice", "1").person(), token("alice", "2").person());
        assert_ne!(token("alice", "1").person(), token("bob", "1").person());
        assert_ne!(token("local", "1").person(), Actor::Local.person());
        assert_eq!(token("alice", "1").to_string(), "token:alice:1");
        for bad in ["", "Alice", "a b", "a:b", "-a", &"a".repeat(65)] {
            assert!(bad.parse::<TokenName>().is_err(), "{bad}");
        }
    }
}
