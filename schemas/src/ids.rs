//! Names, digests and versions: strings and numbers that were checked once, here.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr};

use crate::reason::{Coded, Reason};

/// A name, digest or version that is not of the permitted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {kind}: expected {expected}")]
pub struct IdError {
    /// What it should have been.
    pub kind: &'static str,
    /// The permitted form.
    pub expected: &'static str,
    /// The value, cut to 80 characters.
    pub value: String,
}

impl Coded for IdError {
    fn reason(&self) -> Reason {
        Reason::InvalidId
    }
}

/// Lower-case letters, digits and inner hyphens: safe in topics of every broker and bridge.
fn is_hyphen_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Words of lower-case letters and digits, each starting with a letter, joined
/// by single underscores: the names that map one to one to WIT's kebab-case.
pub(crate) fn is_snake_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.split('_').all(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

fn is_boot(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(is_lower_hex)
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_lower_hex))
}

macro_rules! names {
    ($(
        $(#[$doc:meta])*
        $name:ident $kind:literal $check:ident $expected:literal $pattern:literal;
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if $check(text) {
                    Ok($name(text.to_owned()))
                } else {
                    Err(IdError {
                        kind: $kind,
                        expected: $expected,
                        value: text.chars().take(80).collect(),
                    })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    )*};
}

names! {
    /// A fleet: all devices of one owner under one trust root.
    FleetId "fleet name" is_hyphen_name
        "1 to 64 of a-z, 0-9 and inner hyphens" "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$";
    /// A device, unique in its fleet.
    DeviceId "device name" is_hyphen_name
        "1 to 64 of a-z, 0-9 and inner hyphens" "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$";
    /// A group of devices.
    GroupId "group name" is_hyphen_name
        "1 to 64 of a-z, 0-9 and inner hyphens" "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$";
    /// A module's name, the same over its versions.
    ModuleName "module name" is_hyphen_name
        "1 to 64 of a-z, 0-9 and inner hyphens" "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$";
    /// A publisher that the trust root names.
    PublisherName "publisher name" is_hyphen_name
        "1 to 64 of a-z, 0-9 and inner hyphens" "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$";
    /// A pinned sigstore trusted root.
    SigstoreRootName "sigstore root name" is_hyphen_name
        "1 to 64 of a-z, 0-9 and inner hyphens" "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$";
    /// A signal or output of a profile, or a field of a record.
    SignalName "signal name" is_snake_name
        "snake_case words that each start with a letter, at most 64 characters"
        "^[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*$";
    /// A role that a profile gives to a module.
    FunctionName "function name" is_snake_name
        "snake_case words that each start with a letter, at most 64 characters"
        "^[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*$";
    /// One start of an agent: 128 random bits in hexadecimal.
    BootId "boot id" is_boot "32 lower-case hexadecimal digits" "^[0-9a-f]{32}$";
    /// The SHA-256 of some bytes.
    Digest "digest" is_digest "sha256: and 64 lower-case hexadecimal digits"
        "^sha256:[0-9a-f]{64}$";
}

impl SignalName {
    /// The name as WIT writes it: `tank_temp_c` is `tank-temp-c`.
    pub fn kebab(&self) -> String {
        self.0.replace('_', "-")
    }
}

impl FunctionName {
    /// The name as WIT writes it.
    pub fn kebab(&self) -> String {
        self.0.replace('_', "-")
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::from_raw(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
    }

    fn from_raw(raw: &[u8]) -> Digest {
        Digest(format!("sha256:{}", to_hex(raw)))
    }

    /// The hexadecimal part, as it stands in topics.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The digest with this hexadecimal part.
    ///
    /// # Errors
    /// [`IdError`] when it is not 64 lower-case hexadecimal digits.
    pub fn from_hex(hex: &str) -> Result<Digest, IdError> {
        format!("sha256:{hex}").parse()
    }

    /// The first twelve hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl BootId {
    /// The boot id of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> BootId {
        BootId(to_hex(&bytes))
    }
}

/// Lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |of: u8| char::from(DIGITS[usize::from(of & 0x0f)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The version of a device's desired document: 1 to 2^53-1, one higher each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Version(u64);

impl Version {
    /// The first version.
    pub const FIRST: Version = Version(1);

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The version after this one, if there is one left.
    pub fn next(self) -> Option<Version> {
        Version::try_from(self.0 + 1).ok()
    }
}

impl TryFrom<u64> for Version {
    type Error = IdError;
    fn try_from(number: u64) -> Result<Self, IdError> {
        if (1..=crate::limits::JSON_INTEGER_MAX.unsigned_abs()).contains(&number) {
            Ok(Version(number))
        } else {
            Err(IdError { kind: "version", expected: "1 to 2^53-1", value: number.to_string() })
        }
    }
}

impl From<Version> for u64 {
    fn from(version: Version) -> u64 {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": 9_007_199_254_740_991_u64})
    }
}
