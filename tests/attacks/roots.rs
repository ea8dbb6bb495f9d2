//! Row 17: trust roots that do not follow the one in force.

use gnomon_schemas::Digest;
use gnomon_schemas::reason::Reason;
use gnomon_schemas::trust::{Proof, TrustRoot};

use super::form::{Against, Folder, Hears};
use super::make::What;
use super::world::*;

fn what(
    expected: Reason,
    name: &'static str,
    named_by: &'static [&'static str],
    title: &'static str,
    says: &'static str,
) -> What {
    What { name, row: 17, against: Against::TrustRoot, expected, named_by, title, says }
}

/// The next root, changed, by the usual keys.
fn next(change: impl FnOnce(&mut TrustRoot)) -> Vec<u8> {
    rooted(&next_root(change))
}

/// Every attack of this row.
pub(super) fn all() -> Vec<Folder> {
    [versions(), thresholds(), contents()].concat()
}

fn versions() -> Vec<Folder> {
    let mut fifth = trust_root();
    fifth.version = 5;
    fifth.epoch = 5;
    let after_fifth = |change: &dyn Fn(&mut TrustRoot)| {
        let mut root = fifth.clone();
        root.version = 6;
        change(&mut root);
        rooted(&root)
    };
    vec![
        what(
            Reason::TrustRootSkipped,
            "skipped-root",
            &["TUF 5.3.5", "tuf-conformance: test_root_rotation", "CVE-2020-15163"],
            "A trust root that leaves one out",
            "Shows a later root and withholds the one between, which revoked a key.",
        )
        .attack()
        .refuses(Hears::TrustRoot, "three.json", next(|root| root.version = 3))
        .refuses(Hears::TrustRoot, "last.json", next(|root| root.version = (1 << 53) - 1)),
        what(
            Reason::Rollback,
            "replayed-root",
            &["TUF 5.3.5: rollback", "Uptane: rollback of the root"],
            "A trust root of yesterday",
            "Shows the root in force once more, changed, and those before it.",
        )
        .attack()
        .under(&fifth)
        .refuses(Hears::TrustRoot, "same.json", rooted(&fifth))
        .refuses(
            Hears::TrustRoot,
            "same-version.json",
            after_fifth(&|root| {
                root.version = 5;
                root.roles.director = role(&[stranger()], 1);
            }),
        )
        .refuses(Hears::TrustRoot, "first.json", rooted(&trust_root())),
        what(
            Reason::FastForward,
            "epoch-jump",
            &["TUF 5.3.11: fast-forward"],
            "An epoch that rises by more than one",
            "Has root holders sign an epoch after which none is left.",
        )
        .attack()
        .refuses(Hears::TrustRoot, "two-steps.json", next(|root| root.epoch = 3))
        .refuses(Hears::TrustRoot, "last.json", next(|root| root.epoch = (1 << 53) - 1)),
        what(
            Reason::Rollback,
            "epoch-back",
            &["TUF 5.3.11"],
            "An epoch that falls",
            "Takes an epoch back, so that burnt documents count again.",
        )
        .attack()
        .under(&fifth)
        .refuses_root(after_fifth(&|root| root.epoch = 4)),
        what(
            Reason::WrongFleet,
            "root-of-another-fleet",
            &["Uptane: ECU and hardware identifier"],
            "A trust root for another fleet",
            "Shows the next root of a fleet that has the same root holders.",
        )
        .attack()
        .refuses_root(next(|root| root.fleet = "other".parse().unwrap())),
    ]
}

fn thresholds() -> Vec<Folder> {
    let fresh = || [Signer::named("root d"), Signer::named("root e"), Signer::named("root f")];
    let rotated = next_root(|root| root.roles.root = role(&fresh(), 2));
    let weaker = next_root(|root| root.roles.root.threshold = 1);
    let by = |root: &TrustRoot, signers: &[&Signer]| json(&seal(root, signers));
    let [d, e, _] = fresh();
    let rotation: &[&str] = &["TUF 5.3.4", "tuf-conformance: test_root_rotation"];
    let row = |name, title, says| what(Reason::ThresholdNotMet, name, rotation, title, says);
    let mut cut = seal(&rotated, &[&root_a(), &root_b(), &d, &e]);
    cut.signatures.truncate(3);
    vec![
        row(
            "root-by-new-keys-only",
            "A new root signed by the new keys alone",
            "Makes new root keys and signs with them what only the old ones may hand over.",
        )
        .attack()
        .refuses_root(by(&rotated, &[&d, &e])),
        row(
            "root-by-old-keys-only",
            "A new root signed by the old keys alone",
            "Names root keys whose holders have not shown that they have them.",
        )
        .attack()
        .refuses_root(by(&rotated, &[&root_a(), &root_b()])),
        row(
            "root-with-half-of-each",
            "A rotation with one signature too few on one side",
            "Counts an old and a new signature towards one threshold.",
        )
        .attack()
        .refuses(Hears::TrustRoot, "one-of-each.json", by(&rotated, &[&root_a(), &d]))
        .refuses(Hears::TrustRoot, "two-and-one.json", json(&cut))
        .refuses(Hears::TrustRoot, "one-and-two.json", by(&rotated, &[&root_a(), &d, &e])),
        row(
            "root-that-lowers-its-own-threshold",
            "A root that lets one key sign, signed by one key",
            "Applies the new threshold to the document that introduces it.",
        )
        .attack()
        .refuses_root(by(&weaker, &[&root_a()])),
        row(
            "root-key-signs-twice",
            "A root signed by one key twice",
            "Meets two of three with the one root key it has stolen.",
        )
        .attack()
        .refuses_root(by(&next_root(|_| {}), &[&root_a(), &root_a()])),
    ]
}

fn contents() -> Vec<Folder> {
    let invalid =
        |name, named_by, title, says| what(Reason::TrustRootInvalid, name, named_by, title, says);
    let expiry: &[&str] = &["TUF 5.3.10: freeze", "tuf-conformance: test_expired_local_root"];
    let mut dead = trust_root();
    dead.expires_at_ms = NOW_MS - 1;
    let still_dead = {
        let mut root = dead.clone();
        root.version = 2;
        root
    };
    let schema = |name, title, says| {
        what(Reason::SchemaViolation, name, &["TUF 4.3: threshold"], title, says)
    };
    let text = String::from_utf8(json(&next_root(|_| {}))).unwrap();
    let edited = |from: &str, to: &str| {
        assert!(text.contains(from));
        let changed = text.replacen(from, to, 1);
        json(&seal_bytes::<TrustRoot>(changed.as_bytes(), &[&root_a(), &root_b()]))
    };
    vec![
        invalid(
            "one-key-in-two-roles",
            &["SUIT THREAT.KEY.EXPOSURE"],
            "One key in two roles",
            "Has one person direct and approve, or hold a root key beside another role.",
        )
        .attack()
        .refuses(
            Hears::TrustRoot,
            "director-approves.json",
            next(|root| root.roles.approver = role(&[director()], 1)),
        )
        .refuses(
            Hears::TrustRoot,
            "root-directs.json",
            next(|root| root.roles.director = role(&[root_c()], 1)),
        )
        .refuses(
            Hears::TrustRoot,
            "publisher-approves.json",
            next(|root| root.roles.approver = role(&[publisher()], 1)),
        ),
        invalid(
            "key-named-twice",
            &["tuf-conformance: test_duplicate_keys", "CVE-2020-6174"],
            "A role that names one key twice",
            "Meets a threshold of two with one key that the role names twice.",
        )
        .attack()
        .refuses_root(next(|root| root.roles.director = role(&[director(), director()], 2))),
        invalid(
            "threshold-above-its-keys",
            &["TUF 4.3: threshold"],
            "A threshold that no one can meet",
            "Locks every device out by wanting more signatures than there are keys.",
        )
        .attack()
        .refuses(Hears::TrustRoot, "director.json", next(|root| root.roles.director.threshold = 2))
        .refuses(
            Hears::TrustRoot,
            "no-keys.json",
            next(|root| root.roles.approver.keys.clear()),
        ),
        invalid(
            "publisher-without-its-root",
            &["sigstore: trusted root"],
            "A publisher judged by a sigstore root that is not pinned",
            "Names a sigstore root that the trust root does not carry.",
        )
        .attack()
        .refuses_root(next(|root| {
            for known in root.publishers.values_mut() {
                let Proof::Key { sigstore_root, .. } = &mut known.proof else { continue };
                *sigstore_root = Some("public-good".parse().unwrap());
            }
        })),
        schema(
            "threshold-of-zero",
            "A threshold of zero",
            "Has documents count that nobody signed.",
        )
        .attack()
        .refuses(Hears::TrustRoot, "zero.json", edited("\"threshold\":1", "\"threshold\":0"))
        .refuses(
            Hears::TrustRoot,
            "negative.json",
            edited("\"threshold\":1", "\"threshold\":-1"),
        ),
        schema(
            "root-with-a-key-of-another-kind",
            "A role with an RSA key, a private key, or text for a key",
            "Names a key of a kind whose signatures are weaker or judged otherwise.",
        )
        .attack()
        .refuses(Hears::TrustRoot, "text.json", edited("-----BEGIN PUBLIC KEY-----", "none "))
        .refuses(
            Hears::TrustRoot,
            "private.json",
            edited("BEGIN PUBLIC KEY", "BEGIN PRIVATE KEY"),
        ),
        what(
            Reason::Rollback,
            "lowered-release-floor",
            &["Uptane: release counter", "SUIT REQ.SEC.SEQUENCE"],
            "A trust root that lets old releases in again",
            "Lowers, or leaves out, the lowest release of a module.",
        )
        .attack()
        .refuses(
            Hears::TrustRoot,
            "lower.json",
            next(|root| {
                root.release_counter_min.insert("setpoint-tou".parse().unwrap(), 2);
            }),
        )
        .refuses(
            Hears::TrustRoot,
            "absent.json",
            next(|root| root.release_counter_min.clear()),
        ),
        what(
            Reason::Rollback,
            "approvals-called-back-count-again",
            &["SUIT THREAT.UPD.UNAPPROVED"],
            "A trust root that lets old approvals count again",
            "Moves back the moment from which approvals count.",
        )
        .attack()
        .refuses_root(next(|root| root.approved_after_ms -= 1)),
        What {
            expected: Reason::Expired,
            ..what(
                Reason::Expired,
                "expired-root-followed-by-an-expired-one",
                expiry,
                "A chain of roots that all are over",
                "Serves the old roots for ever; each is applied, and no document comes in by it.",
            )
        }
        .attack()
        .under(&dead)
        .takes(Hears::TrustRoot, "next-trust-root.json", rooted(&still_dead))
        .refuses(Hears::Document, "document.json", directed(&config(1))),
        What {
            row: 18,
            ..what(
                Reason::ThresholdNotMet,
                "revoked-director",
                &["Uptane: director compromise", "SUIT THREAT.KEY.EXPOSURE"],
                "A document by a director key that a root has revoked",
                "Goes on with a stolen key after the root holders have replaced it.",
            )
        }
        .attack()
        .takes(
            Hears::TrustRoot,
            "next-trust-root.json",
            next(|root| {
                root.roles.director = role(&[Signer::named("director b")], 1);
                root.epoch = 2;
            }),
        )
        .refuses(Hears::Document, "document.json", {
            let mut document = config(900_000);
            document.epoch = 2;
            directed(&document)
        }),
        What {
            row: 18,
            ..what(
                Reason::ModuleDenied,
                "module-denied-by-a-later-root",
                &["Uptane: director compromise", "SUIT THREAT.KEY.EXPOSURE"],
                "A module that a later root denies, published again",
                "Publishes an approved module once more after it was recalled.",
            )
        }
        .attack()
        .takes(
            Hears::TrustRoot,
            "next-trust-root.json",
            next(|root| {
                root.denied.insert(Digest::of(MODULE));
            }),
        )
        .refuses(
            Hears::Document,
            "document.json",
            directed(&approved(with_inline(1, MODULE))),
        ),
    ]
}
