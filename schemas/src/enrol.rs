//! How a device gets its certificate: what it sends and what it is given.
//!
//! The same words for agent and cloud; who may have what is the cloud's to judge.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::pre_authentication_encoding;
use crate::ids::DeviceId;

/// The path of a first enrolment, by a one-time token.
pub const ENROL_PATH: &str = "/v1/enroll";
/// The path of a renewal, by the certificate in force.
pub const RENEW_PATH: &str = "/v1/enroll/renew";

/// A device without a certificate asks for one.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// Who it is.
    pub device: DeviceId,
    /// The one-time token.
    pub token: String,
    /// A PKCS#10 request in PEM form, signed by the device's new key. Only its public
    /// key is used: names are the cloud's to set.
    pub request: String,
}

/// The token is a secret: it must not reach a log.
impl std::fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolRequest").field("device", &self.device).finish_non_exhaustive()
    }
}

/// A device with a certificate asks for the next one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The certificate in force, in PEM form.
    pub certificate: String,
    /// A PKCS#10 request in PEM form, signed by the new key.
    pub request: String,
    /// Base64 of the old key's signature (ECDSA P-256, SHA-256, DER) over
    /// [`renewal_message`].
    pub signature: String,
}

/// A certificate for the device.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EnrolAnswer {
    /// The certificate, in PEM form.
    pub certificate: String,
}

/// What the old key signs in a renewal: the new request's DER bytes, so that nobody
/// else's key comes in, under a type of its own, so that no other signature fits.
pub fn renewal_message(request_der: &[u8]) -> Vec<u8> {
    pre_authentication_encoding("application/vnd.gnomon.renewal.v1", request_der)
}

/// When a certificate is to be renewed: at two thirds of its life (Unix time, ms).
pub fn renew_at_ms(not_before_ms: u64, not_after_ms: u64) -> u64 {
    let life = not_after_ms.saturating_sub(not_before_ms);
    not_before_ms.saturating_add(life / 3 * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
        assert_eq!(renew_at_ms(0, 90 * DAY), 60 * DAY);
        assert_eq!(renew_at_ms(10 * DAY, 100 * DAY), 70 * DAY);
        // One that never lived is due at once.
        assert_eq!(renew_at_ms(5, 5), 5);
        assert_eq!(renew_at_ms(9, 5), 9);
    }

    #[test]
    fn a_token_is_not_told_by_debug() {
        let text = "device-1".parse().map(|device| {
            let token = "gnomon-enroll-canary".to_owned();
            format!("{:?}", EnrolRequest { device, token, request: String::new() })
        });
        assert!(text.is_ok_and(|text| !text.contains("canary") && text.contains("device-1")));
    }
}
