//! Which approvals a document goes out with, whether there are any, and who may give
//! them.
//!
//! It verifies nothing: approvals come after their signatures were verified under the
//! trust root in force. What one approval covers is `gnomon_schemas::approval`'s to say.

use gnomon_schemas::approval::{Approval, Grant};
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::ids::{DeviceId, Digest, FunctionName};
use gnomon_schemas::limits::APPROVALS_MAX;
use gnomon_schemas::reason::{Coded, Reason};
use gnomon_schemas::trust::TrustRoot;
use std::collections::BTreeSet;

use crate::access::Actor;

/// An approval that was given and verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The digest of its signed bytes.
    pub digest: Digest,
    /// What was signed.
    pub approval: Approval,
    /// With the signatures, as documents carry it.
    pub envelope: Envelope,
}

/// The approvals that a device's document must carry: none for a document that needs
/// none, `None` when those that were given do not cover it. One that covers all of it
/// goes before several, and an earlier one of `given` before a later one.
pub fn choose<'a>(
    wanted: &Grant,
    device: &DeviceId,
    root: &TrustRoot,
    given: &[&'a Given],
) -> Option<Vec<&'a Given>> {
    let mut missing: BTreeSet<&FunctionName> = wanted.functions.keys().collect();
    let mut chosen = vec![];
    while !missing.is_empty() {
        let left = |given: &Given| {
            given.approval.grants(wanted, device, root).intersection(&missing).count()
        };
        // The first of those that cover most.
        let (best, covered) = given
            .iter()
            .map(|given| (*given, left(given)))
            .reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        if covered == 0 || chosen.len() == APPROVALS_MAX {
            return None;
        }
        let granted = best.approval.grants(wanted, device, root);
        missing.retain(|function| !granted.contains(*function));
        chosen.push(best);
    }
    Some(chosen)
}

/// Whoever edits does not approve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} made the edit that this approves: somebody else must approve it")]
pub struct OwnEdit(pub String);

impl Coded for OwnEdit {
    fn reason(&self) -> Reason {
        Reason::Forbidden
    }
}

/// Whether somebody may bring an approval of what `authors` edited. Only a token tells
/// one person from another; what counts on the device is the approver's key.
///
/// # Errors
/// [`OwnEdit`].
pub fn check_author(by: &Actor, authors: &BTreeSet<String>) -> Result<(), OwnEdit> {
    let person = by.person();
    match by {
        Actor::Token { .. } if authors.contains(&person) => Err(OwnEdit(person)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it fails")]
    use super::*;
    use serde_json::json;

    fn root(approved_after_ms: u64) -> TrustRoot {
        let mut root: TrustRoot = serde_json::from_value(json!({
            "schema": "gnomon.trust-root.v1", "fleet": "acme", "version": 1, "epoch": 1,
            "expires_at_ms": 1, "publishers": {},
            "roles": {
                "root": {"keys": [], "threshold": 1}, "director": {"keys": [], "threshold": 1},
                "approver": {"keys": [], "threshold": 1},
            },
        }))
        .unwrap();
        root.approved_after_ms = approved_after_ms;
        root
    }

    fn grant(functions: &[(&str, &[u8])]) -> Grant {
        let functions: serde_json::Map<_, _> = functions
            .iter()
            .map(|(name, module)| ((*name).to_owned(), json!({"active": Digest::of(module)})))
            .collect();
        let grant = json!({
            "profile": Digest::of(b"profile"), "on_expiry": "hold", "functions": functions,
        });
        serde_json::from_value(grant).unwrap()
    }

    fn given(devices: Option<&[&str]>, at_ms: u64, functions: &[(&str, &[u8])]) -> Given {
        let approval: Approval = serde_json::from_value(json!({
            "schema": "gnomon.approval.v1", "fleet": "acme", "approved_at_ms": at_ms,
            "grant": grant(functions),
        }))
        .unwrap();
        let devices = devices.map(|names| names.iter().map(|n| n.parse().unwrap()).collect());
        let approval = Approval { devices, ..approval };
        let digest = Digest::of(format!("{approval:?}").as_bytes());
        let envelope =
            Envelope { payload_type: String::new(), payload: String::new(), signatures: vec![] };
        Given { digest, approval, envelope }
    }

    fn chosen<'a>(wanted: &[(&str, &[u8])], given: &[&'a Given]) -> Option<Vec<&'a Given>> {
        choose(&grant(wanted), &"heater-1".parse().unwrap(), &root(5), given)
    }

    #[test]
    fn what_needs_nothing_goes_without_and_what_nobody_signed_waits() {
        assert_eq!(chosen(&[], &[]), Some(vec![]));
        assert_eq!(chosen(&[("a", b"1")], &[]), None);
        let other = given(None, 9, &[("a", b"2")]);
        assert_eq!(chosen(&[("a", b"1")], &[&other]), None);
    }

    #[test]
    fn one_that_covers_all_goes_before_several_and_the_first_before_the_next() {
        let (a, b) = (given(None, 9, &[("a", b"1")]), given(None, 9, &[("b", b"2")]));
        let both = given(None, 8, &[("a", b"1"), ("b", b"2")]);
        let wanted: &[(&str, &[u8])] = &[("a", b"1"), ("b", b"2")];
        assert_eq!(chosen(wanted, &[&a, &b, &both]), Some(vec![&both]));
        assert_eq!(chosen(wanted, &[&b, &a]), Some(vec![&b, &a]));
        assert_eq!(chosen(wanted, &[&a]), None);
        let again = given(None, 7, &[("a", b"1")]);
        assert_eq!(chosen(&[("a", b"1")], &[&a, &again]), Some(vec![&a]));
    }

    #[test]
    fn an_approval_for_other_devices_or_from_before_the_line_is_none() {
        let elsewhere = given(Some(&["heater-2"]), 9, &[("a", b"1")]);
        let before = given(None, 4, &[("a", b"1")]);
        let here = given(Some(&["heater-1", "heater-2"]), 9, &[("a", b"1")]);
        assert_eq!(chosen(&[("a", b"1")], &[&elsewhere, &before]), None);
        assert_eq!(chosen(&[("a", b"1")], &[&elsewhere, &before, &here]), Some(vec![&here]));
    }

    #[test]
    fn whoever_made_an_edit_does_not_approve_it_with_any_of_their_tokens() {
        let token =
            |name: &str, id: &str| Actor::Token { name: name.parse().unwrap(), id: id.into() };
        let authors = BTreeSet::from([token("alice", "1").person(), Actor::Local.person()]);
        assert_eq!(
            check_author(&token("alice", "2"), &authors),
            Err(OwnEdit("token:alice".into()))
        );
        assert_eq!(check_author(&token("bob", "1"), &authors), Ok(()));
        // Without tokens nobody can be told apart.
        assert_eq!(check_author(&Actor::Local, &authors), Ok(()));
    }
}
