//! The next trust root: the first one, and the edits by which one is drafted from the
//! one before. Nothing is signed here, and no file or clock is known.
//!
//! A draft may contradict itself in between; `TrustRoot::check` and
//! `gnomon_schemas::succession` say at the end whether it may be signed and may follow.

use gnomon_schemas::ids::{Digest, FleetId, ModuleName, PublisherName, SigstoreRootName};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::reason::{Coded, Reason};
use gnomon_schemas::trust::{Publisher, Role, Roles, TrustRoot, TrustRootSchema};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The fewest digits by which a key may be named.
const KEY_ID_PREFIX_MIN: usize = 4;

/// A role of the trust root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleName {
    /// Signs trust roots.
    Root,
    /// Signs documents.
    Director,
    /// Signs approvals.
    Approver,
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleName::Root => "root",
            RoleName::Director => "director",
            RoleName::Approver => "approver",
        })
    }
}

/// One edit of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// One more key for a role.
    AddKey(RoleName, PublicKey),
    /// One key less for a role, by the beginning of its id.
    RemoveKey(RoleName, String),
    /// As removing it, after a theft: the epoch rises, too.
    RevokeDirector(String),
    /// How many keys of a role must sign.
    Threshold(RoleName, usize),
    /// A publisher, or another proof or place for it.
    AddPublisher(PublisherName, Box<Publisher>),
    /// A publisher less: its modules are taken no more.
    RemovePublisher(PublisherName),
    /// A pinned sigstore root, or a newer one in its place.
    AddSigstoreRoot(SigstoreRootName, String),
    /// A pinned sigstore root less.
    RemoveSigstoreRoot(SigstoreRootName),
    /// A module that must not run.
    DenyModule(Digest),
    /// All releases of a module up to this one.
    DenyReleases(ModuleName, u64),
    /// All approvals from before this moment (Unix time, ms).
    DenyApprovalsBefore(u64),
    /// The epoch rises by one.
    BumpEpoch,
    /// When the root expires (Unix time, ms).
    Expires(u64),
}

/// Why an edit cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EditError(pub String);

impl Coded for EditError {
    fn reason(&self) -> Reason {
        Reason::TrustRootInvalid
    }
}

fn wrong<T>(text: String) -> Result<T, EditError> {
    Err(EditError(text))
}

/// A fleet's first trust root.
pub fn first(
    fleet: FleetId,
    roles: Roles,
    publishers: BTreeMap<PublisherName, Publisher>,
    expires_at_ms: u64,
) -> TrustRoot {
    TrustRoot {
        schema: TrustRootSchema::V1,
        fleet,
        version: 1,
        epoch: 1,
        expires_at_ms,
        roles,
        publishers,
        sigstore_roots: BTreeMap::new(),
        denied: BTreeSet::new(),
        release_counter_min: BTreeMap::new(),
        approved_after_ms: 0,
    }
}

/// What follows `newest`, unchanged but for its version.
pub fn next(newest: &TrustRoot) -> TrustRoot {
    TrustRoot { version: newest.version.saturating_add(1), ..newest.clone() }
}

/// Edits the draft of what follows `newest`; says in one sentence what that did.
///
/// # Errors
/// [`EditError`], and the draft is as it was.
pub fn apply(draft: &mut TrustRoot, newest: &TrustRoot, edit: Edit) -> Result<String, EditError> {
    match edit {
        Edit::AddKey(role, key) => add_key(draft, role, key),
        Edit::RemoveKey(role, id) => remove_key(draft, role, &id),
        Edit::RevokeDirector(id) => {
            let removed = remove_key(draft, RoleName::Director, &id)?;
            Ok(format!("{removed}; {}", bump_epoch(draft, newest)))
        }
        Edit::Threshold(role, threshold) => {
            role_of(draft, role).threshold = threshold.max(1);
            Ok(format!("{} of the {role} keys must sign", threshold.max(1)))
        }
        Edit::AddPublisher(name, publisher) => {
            let known = draft.publishers.insert(name.clone(), *publisher).is_some();
            Ok(format!("publisher `{name}` is {}", if known { "changed" } else { "added" }))
        }
        Edit::RemovePublisher(name) => match draft.publishers.remove(&name) {
            Some(_) => Ok(format!("publisher `{name}` is gone: its modules are taken no more")),
            None => wrong(format!("there is no publisher `{name}`")),
        },
        Edit::AddSigstoreRoot(name, text) => {
            let known = draft.sigstore_roots.insert(name.clone(), text).is_some();
            Ok(format!("sigstore root `{name}` is {}", if known { "replaced" } else { "added" }))
        }
        Edit::RemoveSigstoreRoot(name) => match draft.sigstore_roots.remove(&name) {
            Some(_) => Ok(format!("sigstore root `{name}` is gone")),
            None => wrong(format!("there is no sigstore root `{name}`")),
        },
        Edit::DenyModule(digest) => {
            draft.denied.insert(digest.clone());
            Ok(format!("module {} must not run", digest.short()))
        }
        Edit::DenyReleases(name, counter) => {
            let min = draft.release_counter_min.entry(name.clone()).or_insert(0);
            *min = (*min).max(counter.saturating_add(1));
            Ok(format!("of `{name}` only releases from {min} on may run"))
        }
        Edit::DenyApprovalsBefore(at_ms) => {
            if at_ms <= draft.approved_after_ms {
                let floor = draft.approved_after_ms;
                return wrong(format!(
                    "approvals from before {floor} (Unix time, ms) count no more already; that \
                     line never goes back"
                ));
            }
            draft.approved_after_ms = at_ms;
            Ok(format!("approvals from before {at_ms} (Unix time, ms) count no more"))
        }
        Edit::BumpEpoch => Ok(bump_epoch(draft, newest)),
        Edit::Expires(at_ms) => {
            draft.expires_at_ms = at_ms;
            Ok("the root expires then".to_owned())
        }
    }
}

fn role_of(draft: &mut TrustRoot, role: RoleName) -> &mut Role {
    match role {
        RoleName::Root => &mut draft.roles.root,
        RoleName::Director => &mut draft.roles.director,
        RoleName::Approver => &mut draft.roles.approver,
    }
}

fn add_key(draft: &mut TrustRoot, role: RoleName, key: PublicKey) -> Result<String, EditError> {
    let keys = &mut role_of(draft, role).keys;
    let id = key.id();
    if keys.iter().any(|known| known.id() == id) {
        return wrong(format!("{} is a {role} key already", id.short()));
    }
    keys.push(key);
    Ok(format!("{} is a {role} key", id.short()))
}

fn remove_key(draft: &mut TrustRoot, role: RoleName, id: &str) -> Result<String, EditError> {
    let keys = &mut role_of(draft, role).keys;
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    let is = |key: &PublicKey| hex.len() >= KEY_ID_PREFIX_MIN && key.id().hex().starts_with(hex);
    let found: Vec<Digest> = keys.iter().filter(|key| is(key)).map(PublicKey::id).collect();
    match found.as_slice() {
        [one] => {
            keys.retain(|key| key.id() != *one);
            Ok(format!("{} is no {role} key any more", one.short()))
        }
        [] => {
            let known: Vec<String> = keys.iter().map(|key| key.id().short().to_owned()).collect();
            wrong(format!("no {role} key begins with `{id}`; there are {}", known.join(", ")))
        }
        more => wrong(format!("`{id}` begins the ids of {} {role} keys; give more", more.len())),
    }
}

/// Once per root: a device takes no epoch that jumps.
fn bump_epoch(draft: &mut TrustRoot, newest: &TrustRoot) -> String {
    draft.epoch = newest.epoch.saturating_add(1);
    format!(
        "the epoch is {}: every document must be signed again, and whatever a stolen key \
         signed counts no more",
        draft.epoch
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it fails")]
    use super::*;
    use gnomon_schemas::trust::Proof;

    fn key(number: u8) -> PublicKey {
        PublicKey::from_ed25519(&[number; 32]).unwrap()
    }

    fn root() -> TrustRoot {
        let role = |number: u8| Role { keys: vec![key(number)], threshold: 1 };
        let roles = Roles { root: role(1), director: role(2), approver: role(3) };
        first("acme".parse().unwrap(), roles, BTreeMap::new(), 1_000)
    }

    fn edited(edits: Vec<Edit>) -> TrustRoot {
        let newest = root();
        let mut draft = next(&newest);
        for edit in edits {
            apply(&mut draft, &newest, edit).unwrap();
        }
        draft
    }

    #[test]
    fn a_revoked_director_raises_the_epoch_once_however_many_are_revoked() {
        let newest = root();
        let mut draft = next(&newest);
        let id = |number| key(number).id().hex()[..8].to_owned();
        apply(&mut draft, &newest, Edit::AddKey(RoleName::Director, key(4))).unwrap();
        apply(&mut draft, &newest, Edit::AddKey(RoleName::Director, key(5))).unwrap();
        let told = apply(&mut draft, &newest, Edit::RevokeDirector(id(2))).unwrap();
        assert!(told.contains("epoch is 2"), "{told}");
        apply(&mut draft, &newest, Edit::RevokeDirector(id(4))).unwrap();
        apply(&mut draft, &newest, Edit::BumpEpoch).unwrap();
        assert_eq!((draft.version, draft.epoch), (2, 2));
        assert_eq!(draft.roles.director.keys, [key(5)]);
        assert_eq!(draft.check(), Ok(()));
    }

    #[test]
    fn removing_the_last_key_leaves_a_draft_that_cannot_be_signed() {
        let draft = edited(vec![Edit::RemoveKey(RoleName::Approver, key(3).id().to_string())]);
        assert!(draft.check().is_err());
        let draft = edited(vec![Edit::Threshold(RoleName::Root, 2)]);
        assert!(draft.check().is_err());
        let both = vec![
            Edit::AddKey(RoleName::Root, key(9)),
            Edit::Threshold(RoleName::Root, 2),
            Edit::Expires(7),
        ];
        let draft = edited(both);
        assert_eq!((draft.check(), draft.expires_at_ms), (Ok(()), 7));
    }

    #[test]
    fn an_edit_that_names_nothing_is_refused_and_changes_nothing() {
        let newest = root();
        let mut draft = next(&newest);
        let before = draft.clone();
        for edit in [
            Edit::AddKey(RoleName::Root, key(1)),
            Edit::RemoveKey(RoleName::Root, "abcd".into()),
            Edit::RemoveKey(RoleName::Root, key(1).id().hex()[..3].to_owned()),
            Edit::RevokeDirector(String::new()),
            Edit::RemovePublisher("nobody".parse().unwrap()),
            Edit::RemoveSigstoreRoot("none".parse().unwrap()),
        ] {
            assert!(apply(&mut draft, &newest, edit.clone()).is_err(), "{edit:?}");
        }
        assert_eq!(draft, before);
    }

    #[test]
    fn floors_only_rise() {
        let name: ModuleName = "heater".parse().unwrap();
        let draft = edited(vec![
            Edit::DenyReleases(name.clone(), 4),
            Edit::DenyReleases(name.clone(), 2),
            Edit::DenyApprovalsBefore(9),
            Edit::DenyModule(Digest::of(b"bad")),
        ]);
        assert_eq!(draft.release_counter_min[&name], 5);
        assert_eq!(draft.approved_after_ms, 9);
        let mut again = draft.clone();
        // What would change nothing is not told as done.
        assert!(apply(&mut again, &draft, Edit::DenyApprovalsBefore(3)).is_err());
        assert_eq!(again, draft);
        assert!(draft.denied.contains(&Digest::of(b"bad")));
    }

    #[test]
    fn publishers_and_sigstore_roots_come_and_go() {
        let proof = Proof::Key { key: key(7), sigstore_root: Some("public".parse().unwrap()) };
        let publisher = Publisher { proof, profiles: BTreeSet::new(), functions: BTreeSet::new() };
        let (name, pinned): (PublisherName, SigstoreRootName) =
            ("acme".parse().unwrap(), "public".parse().unwrap());
        let added = Edit::AddPublisher(name.clone(), Box::new(publisher));
        assert!(edited(vec![added.clone()]).check().is_err(), "its sigstore root is missing");
        let all = vec![added, Edit::AddSigstoreRoot(pinned.clone(), "{}".into())];
        assert_eq!(edited(all.clone()).check(), Ok(()));
        let gone = [Edit::RemovePublisher(name), Edit::RemoveSigstoreRoot(pinned)];
        let draft = edited(all.into_iter().chain(gone).collect());
        assert!(draft.publishers.is_empty() && draft.sigstore_roots.is_empty());
    }
}
