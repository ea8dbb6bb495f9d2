//! Makes tokens of the HTTP API and knows them again.
//!
//! A token is `gnm_<id>_<secret>`: a prefix by which scanners find one that was
//! published by mistake, an id by which it is looked up, and 256 random bits. Stored is
//! the SHA-256 of the text. A slow hash such as Argon2 defends passwords, which can be
//! guessed; nobody guesses 256 random bits, and every request would pay for it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gnomon_cloud_core::access::{
    Grant, Role, SCOPE_NAMES_MAX, Scope, TOKEN_LIFETIME_DEFAULT_S, TOKEN_LIFETIME_S_MAX, TokenName,
};
use gnomon_schemas::ids::Digest;
use gnomon_schemas::reason::{Reason, Refusal};
use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use subtle::ConstantTimeEq as _;

use crate::store::StoreError;
use crate::store::audit::{self, Entry};
use crate::store::tokens::{self, StoredToken};

/// What every token begins with.
pub const PREFIX: &str = "gnm_";
/// The shortest life of a token: one minute.
const LIFETIME_S_MIN: u64 = 60;
/// The longest text that is looked at.
const TEXT_BYTES_MAX: usize = 128;

/// A token's text. It is shown once, where it is made, and in no log and no error.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    /// What somebody gave as a token.
    pub fn new(text: &str) -> TokenText {
        TokenText(text.trim().to_owned())
    }

    /// The text, for the one who made it or for the header that carries it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn id(&self) -> Option<&str> {
        let text = Some(self.0.as_str()).filter(|text| text.len() <= TEXT_BYTES_MAX)?;
        text.strip_prefix(PREFIX)?.split_once('_').map(|(id, _)| id)
    }

    fn hash(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl From<String> for TokenText {
    fn from(text: String) -> TokenText {
        TokenText::new(&text)
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(hidden)")
    }
}

/// A token to make.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whom it is for. Several tokens may be for one person.
    pub name: TokenName,
    /// What it may do.
    pub role: Role,
    /// What it reaches; nothing named is the whole fleet.
    #[serde(default)]
    pub scope: Scope,
    /// How long it lives, in seconds; 90 days unless given, a year at most.
    #[serde(default)]
    pub expires_in_s: Option<u64>,
}

/// Makes a token and records it, in one transaction.
///
/// # Errors
/// When it would live too long or too short, names too much, or would lock everybody out.
pub fn create(
    db: &Connection,
    entry: Entry,
    new: NewToken,
    now_ms: u64,
) -> Result<(StoredToken, TokenText), Refusal> {
    let lifetime_s = new.expires_in_s.unwrap_or(TOKEN_LIFETIME_DEFAULT_S);
    if !(LIFETIME_S_MIN..=TOKEN_LIFETIME_S_MAX).contains(&lifetime_s) {
        let detail = format!(
            "a token lives {LIFETIME_S_MIN} to {TOKEN_LIFETIME_S_MAX} seconds, not {lifetime_s}"
        );
        return Err(Refusal::new(Reason::SchemaViolation, detail));
    }
    if new.scope.groups.len().max(new.scope.devices.len()) > SCOPE_NAMES_MAX {
        let detail = format!("a token's scope names {SCOPE_NAMES_MAX} groups and devices at most");
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    let governs = new.role == Role::Admin && new.scope.is_whole_fleet();
    if !governs && !tokens::any(db)? {
        // With it the service closes: nobody could make another.
        let detail = "the first token must be an admin's for the whole fleet: from then on \
                      every request needs one; make it with --role admin and no scope";
        return Err(Refusal::new(Reason::Forbidden, detail));
    }
    let (id, text) = random()?;
    let token = StoredToken {
        id,
        name: new.name,
        grant: Grant {
            role: new.role,
            scope: new.scope,
            expires_at_ms: now_ms.saturating_add(lifetime_s.saturating_mul(1000)),
            revoked: false,
        },
        hash: text.hash(),
        created_ms: now_ms,
        revoked_at_ms: None,
    };
    tokens::insert(db, &token)?;
    let entry = entry
        .of(&token.id)
        .with("name", token.name.as_str())
        .with("role", token.grant.role.as_str())
        .with("groups", names(token.grant.scope.groups.iter().map(|group| group.as_str())))
        .with("devices", names(token.grant.scope.devices.iter().map(|device| device.as_str())))
        .with("expires_at_ms", token.grant.expires_at_ms);
    audit::append(db, now_ms, &entry)?;
    Ok((token, text))
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(str::to_owned).collect()
}

fn random() -> Result<(String, TokenText), Refusal> {
    let mut bytes = [0_u8; 6 + 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Refusal::new(Reason::Unavailable, "the system gave no randomness"))?;
    let (id, secret) = bytes.split_at(6);
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    Ok((id, TokenText(text)))
}

/// Takes a token back and records it. It holds from the next request on.
///
/// # Errors
/// [`Reason::UnknownToken`].
pub fn revoke(db: &Connection, entry: Entry, id: &str, now_ms: u64) -> Result<(), Refusal> {
    let token = tokens::find(db, id)?.ok_or_else(|| {
        let id: String = id.chars().take(80).collect();
        Refusal::new(Reason::UnknownToken, format!("no token `{id}`; see `gnomon token list`"))
    })?;
    tokens::revoke(db, id, now_ms)?;
    audit::append(db, now_ms, &entry.of(id).with("name", token.name.as_str()))?;
    Ok(())
}

/// The token with exactly this text, whether or not it is over.
///
/// # Errors
/// [`StoreError`].
pub fn known(db: &Connection, text: &TokenText) -> Result<Option<StoredToken>, StoreError> {
    let Some(id) = text.id() else { return Ok(None) };
    let is = |token: &StoredToken| {
        let (one, other) = (token.hash.as_str().as_bytes(), text.hash());
        bool::from(one.ct_eq(other.as_str().as_bytes()))
    };
    Ok(tokens::find(db, id)?.filter(is))
}
