//! One-time tokens: a name to look up by and a secret that is kept as a digest only.
//! Whether one opens anything is judged here, with the time as an argument.

use gnomon_schemas::ids::{DeviceId, to_hex};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::IdentityError;

/// How long a token lives at most.
pub const TOKEN_LIFE_MS_MAX: u64 = 24 * 3600 * 1000;
/// How long a token lives at least: less is a slip.
const TOKEN_LIFE_MS_MIN: u64 = 60 * 1000;
/// What tokens start with, so that scanners of logs and repositories find them.
const PREFIX: &str = "gnomon-enroll-";
const NAME_BYTES: usize = 8;
const SECRET_BYTES: usize = 20;

/// A token, as it was read. It has no `Debug`: half of it is a secret.
pub(super) struct Token {
    /// What it is looked up by.
    pub(super) name: String,
    secret: String,
}

/// What the store keeps of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptToken {
    /// What it is looked up by.
    pub name: String,
    /// SHA-256 of its secret.
    pub digest: Vec<u8>,
    /// Whom it is for.
    pub device: DeviceId,
    /// Until when (Unix time, ms).
    pub expires_at_ms: u64,
    /// The serial of the certificate that it was used for.
    pub used_for: Option<String>,
}

/// Why a token opens nothing. For our own log; a guesser is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenRefusal {
    /// Not of the form, no such name, or another secret.
    #[error("no such token")]
    Unknown,
    /// It is for another device.
    #[error("it is for another device")]
    OtherDevice,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// It was used.
    #[error("it was used before")]
    Used,
}

/// A new token: the text that is shown once, and what is kept of it.
pub(super) fn make(
    device: &DeviceId,
    now_ms: u64,
    life_ms: u64,
) -> Result<(String, KeptToken), IdentityError> {
    if !(TOKEN_LIFE_MS_MIN..=TOKEN_LIFE_MS_MAX).contains(&life_ms) {
        return Err(IdentityError::Life(life_ms / 1000));
    }
    let mut bytes = [0; NAME_BYTES + SECRET_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| IdentityError::Crypto("no randomness".into()))?;
    let (name, secret) = bytes.split_at(NAME_BYTES);
    let (name, secret) = (to_hex(name), to_hex(secret));
    let kept = KeptToken {
        digest: digest_of(&secret),
        device: device.clone(),
        expires_at_ms: now_ms.saturating_add(life_ms),
        used_for: None,
        name: name.clone(),
    };
    Ok((format!("{PREFIX}{name}-{secret}"), kept))
}

impl Token {
    /// Reads a token's text; none when it is not of the form.
    pub(super) fn read(text: &str) -> Option<Token> {
        let (name, secret) = text.trim().strip_prefix(PREFIX)?.split_once('-')?;
        let fits = name.len() == 2 * NAME_BYTES && secret.len() == 2 * SECRET_BYTES;
        fits.then(|| Token { name: name.to_owned(), secret: secret.to_owned() })
    }

    /// Whether it opens an enrolment of `device` at this time. One that was used tells
    /// for what: the same key may ask again when the answer was lost on the way.
    pub(super) fn judge(
        &self,
        kept: Option<&KeptToken>,
        device: &DeviceId,
        now_ms: u64,
    ) -> Result<(), TokenRefusal> {
        let kept = kept.ok_or(TokenRefusal::Unknown)?;
        if !is_equal(&digest_of(&self.secret), &kept.digest) {
            return Err(TokenRefusal::Unknown);
        }
        if kept.device != *device {
            return Err(TokenRefusal::OtherDevice);
        }
        if now_ms >= kept.expires_at_ms {
            return Err(TokenRefusal::Expired);
        }
        if kept.used_for.is_some() { Err(TokenRefusal::Used) } else { Ok(()) }
    }
}

fn digest_of(secret: &str) -> Vec<u8> {
    digest(&SHA256, secret.as_bytes()).as_ref().to_vec()
}

/// In a time that does not depend on where they differ.
pub(crate) fn is_equal(left: &[u8], right: &[u8]) -> bool {
    let differing = left.iter().zip(right).fold(0, |all, (left, right)| all | (left ^ right));
    left.len() == right.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600 * 1000;

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    #[test]
    fn a_token_opens_one_device_once_and_for_its_time() {
        let (text, mut kept) = make(&device("a"), 1000, HOUR).unwrap();
        let token = Token::read(&text).unwrap();
        assert_eq!(token.judge(Some(&kept), &device("a"), 1000 + HOUR - 1), Ok(()));
        let judged = token.judge(Some(&kept), &device("a"), 1000 + HOUR);
        assert_eq!(judged, Err(TokenRefusal::Expired));
        let judged = token.judge(Some(&kept), &device("b"), 1000);
        assert_eq!(judged, Err(TokenRefusal::OtherDevice));
        assert_eq!(token.judge(None, &device("a"), 1000), Err(TokenRefusal::Unknown));
        kept.used_for = Some("01".into());
        assert_eq!(token.judge(Some(&kept), &device("a"), 1000), Err(TokenRefusal::Used));
    }

    #[test]
    fn another_secret_under_the_same_name_opens_nothing_and_says_nothing_more() {
        let (text, kept) = make(&device("a"), 0, HOUR).unwrap();
        let last = if text.ends_with('0') { "1" } else { "0" };
        let near = format!("{}{last}", &text[..text.len() - 1]);
        let judged = Token::read(&near).unwrap().judge(Some(&kept), &device("b"), 2 * HOUR);
        assert_eq!(judged, Err(TokenRefusal::Unknown));
    }

    #[test]
    fn the_secret_is_not_kept_and_what_is_no_token_is_not_read() {
        let (text, kept) = make(&device("a"), 0, HOUR).unwrap();
        let secret = text.rsplit('-').next().unwrap();
        assert!(!format!("{kept:?}").contains(secret));
        assert_eq!(secret.len(), 40, "160 bits");
        for text in ["", "gnomon-enroll-", &text[1..], &text[..text.len() - 1], "x-y"] {
            assert!(Token::read(text).is_none(), "{text}");
        }
        assert!(Token::read(&format!(" {text}\n")).is_some(), "as a file holds it");
    }

    #[test]
    fn a_life_that_is_too_long_or_too_short_is_refused() {
        assert!(make(&device("a"), 0, TOKEN_LIFE_MS_MAX).is_ok());
        assert!(make(&device("a"), 0, TOKEN_LIFE_MS_MAX + 1).is_err());
        assert!(make(&device("a"), 0, 59_999).is_err());
    }

    #[test]
    fn equal_is_equal() {
        assert!(is_equal(b"abc", b"abc"));
        assert!(!is_equal(b"abc", b"abd") && !is_equal(b"abc", b"ab") && !is_equal(b"", b"a"));
    }
}
