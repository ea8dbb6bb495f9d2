//! Row 19: documents that bring code or loosen something without a second person who
//! signed for exactly that.

use gnomon_schemas::Digest;
use gnomon_schemas::approval::Approval;
use gnomon_schemas::document::{Document, OnExpiry};
use gnomon_schemas::envelope::Envelope;
use gnomon_schemas::profile::{Budget, NarrowedBounds};
use gnomon_schemas::reason::Reason;

use super::form::{Against, Folder, Hears};
use super::make::What;
use super::world::*;

const INSIDER: &[&str] = &["SUIT THREAT.UPD.UNAPPROVED", "SLSA: two-party review"];

fn what(name: &'static str, title: &'static str, says: &'static str) -> What {
    let (against, expected) = (Against::Document, Reason::ApprovalMissing);
    What { name, row: 19, against, expected, named_by: INSIDER, title, says }
}

/// A document with these approvals.
fn with(mut document: Document, approvals: Vec<Envelope>) -> Vec<u8> {
    document.approvals = approvals;
    directed(&document)
}

/// The evil document with the approval that it needs, changed before it is signed.
fn changed(change: impl FnOnce(&mut Approval)) -> Vec<u8> {
    let document = with_inline(1, EVIL);
    let mut approval = approval(&document);
    change(&mut approval);
    with(document, vec![seal(&approval, &[&approver()])])
}

/// A document with narrowed bounds and budget, over on expiry.
fn narrow(bytes: &[u8]) -> Document {
    let mut document = with_inline(1, bytes);
    document.on_expiry = OnExpiry::Default;
    let plan = document.functions.get_mut(&setpoint()).unwrap();
    let bounds = NarrowedBounds { min: Some(45.0), max: Some(60.0), max_step: Some(5.0) };
    plan.bounds.insert("setpoint_c".parse().unwrap(), bounds);
    plan.budget = Some(Budget { fuel: 1000, memory_bytes: 65_536 });
    document
}

/// Every attack of this row.
pub(super) fn all() -> Vec<Folder> {
    [missing(), forged(), foreign(), looser()].concat()
}

fn missing() -> Vec<Folder> {
    let mut listed_only = config(2);
    listed_only.functions = with_inline(2, EVIL).functions;
    listed_only.modules = with_inline(2, EVIL).modules;
    listed_only.approvals = approved(with_inline(1, MODULE)).approvals;
    vec![
        what(
            "module-without-approval",
            "A module that nobody approved",
            "Publishes a module with the director's key alone.",
        )
        .attack()
        .refuses_document(directed(&with_inline(1, EVIL))),
        what(
            "approval-of-another-module",
            "A module under the approval of another",
            "Keeps a right approval in the document and exchanges the module.",
        )
        .attack()
        .takes(Hears::Document, "approved.json", directed(&approved(with_inline(1, MODULE))))
        .refuses(Hears::Document, "exchanged.json", directed(&listed_only)),
        what(
            "approval-stripped",
            "The right document without its approval",
            "Takes the approval out of a document that was approved and signs it anew.",
        )
        .attack()
        .takes(Hears::Document, "approved.json", directed(&approved(with_inline(1, MODULE))))
        .refuses(Hears::Document, "stripped.json", directed(&with_inline(2, MODULE))),
    ]
}

fn forged() -> Vec<Folder> {
    let document = || with_inline(1, EVIL);
    let by = |signers: &[&Signer]| with(document(), vec![seal(&approval(&document()), signers)]);
    let mut changed_after = seal(&approval(&document()), &[&approver()]);
    changed_after.payload = seal(&approval(&with_inline(1, MODULE)), &[&approver()]).payload;
    let mut unsigned = seal(&approval(&document()), &[&approver()]);
    unsigned.signatures.clear();
    let threshold =
        |name, title, says| What { expected: Reason::ThresholdNotMet, ..what(name, title, says) };
    let mut two = trust_root();
    two.roles.approver = role(&[approver(), Signer::named("approver b")], 2);
    vec![
        threshold(
            "approval-by-another-role",
            "Approvals by everyone but the approver",
            "Approves its own module with the director's, a root, the publisher's or its own key.",
        )
        .attack()
        .refuses(Hears::Document, "director.json", by(&[&director()]))
        .refuses(Hears::Document, "root.json", by(&[&root_a(), &root_b()]))
        .refuses(Hears::Document, "publisher.json", by(&[&publisher()]))
        .refuses(Hears::Document, "stranger.json", by(&[&stranger()])),
        threshold(
            "approval-changed",
            "An approval changed after it was signed, or unsigned",
            "Exchanges what an approval says, or strips its signature.",
        )
        .attack()
        .refuses(Hears::Document, "changed.json", with(document(), vec![changed_after]))
        .refuses(Hears::Document, "unsigned.json", with(document(), vec![unsigned])),
        threshold(
            "approver-signs-for-two",
            "One approver where two must sign",
            "Signs an approval twice with one key where the trust root wants two persons.",
        )
        .attack()
        .under(&two)
        .refuses(Hears::Document, "once.json", by(&[&approver()]))
        .refuses(Hears::Document, "twice.json", by(&[&approver(), &approver()])),
        What {
            expected: Reason::ThresholdNotMet,
            ..what(
                "approval-beside-a-forged-one",
                "A right approval beside a forged one",
                "Adds a forged approval for the evil module to the right one for another.",
            )
        }
        .attack()
        .refuses_document({
            let right = seal(&approval(&with_inline(1, MODULE)), &[&approver()]);
            let forged = seal(&approval(&document()), &[&stranger()]);
            with(document(), vec![right, forged])
        }),
    ]
}

fn foreign() -> Vec<Folder> {
    let mut schema = what(
        "approval-for-no-device",
        "An approval with an empty list of devices",
        "Hopes that an approval that names no device is one for every device.",
    );
    schema.expected = Reason::SchemaViolation;
    vec![
        what(
            "approval-for-another-device",
            "An approval for another device",
            "Replays what was approved for a test device on all others.",
        )
        .attack()
        .refuses_document(changed(|approval| {
            approval.devices = Some(["heater-002".parse().unwrap()].into());
        })),
        schema.attack().refuses_document(changed(|approval| approval.devices = Some([].into()))),
        what(
            "approval-for-another-fleet",
            "An approval for another fleet",
            "Replays what the same approver signed for another fleet.",
        )
        .attack()
        .refuses_document(changed(|approval| approval.fleet = "other".parse().unwrap())),
        what(
            "approval-for-another-profile",
            "An approval for other hardware",
            "Replays what was approved for devices of another profile.",
        )
        .attack()
        .refuses_document(changed(|approval| {
            approval.grant.profile = Digest::of(b"another profile");
        })),
        what(
            "approval-for-another-function",
            "An approval for another function",
            "Replays what was approved as a pump's function in control of the set-point.",
        )
        .attack()
        .refuses_document(changed(|approval| {
            let grant = approval.grant.functions.remove(&setpoint()).unwrap();
            approval.grant.functions.insert("pump".parse().unwrap(), grant);
        })),
        what(
            "approval-from-before-the-recall",
            "An approval that a trust root has called back",
            "Replays an approval given before the moment from which approvals count.",
        )
        .attack()
        .refuses_document(changed(|approval| approval.approved_at_ms = NOW_MS - 101 * DAY_MS)),
    ]
}

fn looser() -> Vec<Folder> {
    let grant = || seal(&approval(&narrow(MODULE)), &[&approver()]);
    let loosened = |change: &dyn Fn(&mut Document)| {
        let mut document = narrow(MODULE);
        change(&mut document);
        with(document, vec![grant()])
    };
    let plan = |change: &dyn Fn(&mut gnomon_schemas::document::FunctionPlan)| {
        loosened(&|document| change(document.functions.get_mut(&setpoint()).unwrap()))
    };
    let bounds = |change: &dyn Fn(&mut NarrowedBounds)| {
        plan(&|plan| change(plan.bounds.get_mut(&"setpoint_c".parse().unwrap()).unwrap()))
    };
    let beside = {
        let mut document = narrow(MODULE);
        let plan = document.functions.get_mut(&setpoint()).unwrap();
        plan.candidates = plan.active.take().into_iter().collect();
        seal(&approval(&document), &[&approver()])
    };
    vec![
        what(
            "looser-bounds-than-approved",
            "An approved module with wider bounds",
            "Keeps the module that was approved and widens the bounds that came with it.",
        )
        .attack()
        .refuses(Hears::Document, "max.json", bounds(&|bounds| bounds.max = Some(60.5)))
        .refuses(Hears::Document, "min.json", bounds(&|bounds| bounds.min = Some(44.5)))
        .refuses(Hears::Document, "step.json", bounds(&|bounds| bounds.max_step = Some(6.0)))
        .refuses(Hears::Document, "no-step.json", bounds(&|bounds| bounds.max_step = None))
        .refuses(Hears::Document, "none.json", plan(&|plan| plan.bounds.clear())),
        what(
            "greater-budget-than-approved",
            "An approved module with a greater budget",
            "Keeps the module that was approved and gives it more fuel or memory.",
        )
        .attack()
        .refuses(
            Hears::Document,
            "fuel.json",
            plan(&|plan| plan.budget = Some(Budget { fuel: 1001, memory_bytes: 65_536 })),
        )
        .refuses(
            Hears::Document,
            "memory.json",
            plan(&|plan| plan.budget = Some(Budget { fuel: 1000, memory_bytes: 65_537 })),
        )
        .refuses(Hears::Document, "none.json", plan(&|plan| plan.budget = None)),
        what(
            "holds-where-default-was-approved",
            "An approved module that goes on after its expiry",
            "Has a module that was approved until its expiry run on after it.",
        )
        .attack()
        .refuses_document(loosened(&|document| document.on_expiry = OnExpiry::Hold)),
        what(
            "candidate-in-control",
            "A module that was approved to run beside, in control",
            "Promotes a module that was approved as a candidate.",
        )
        .attack()
        .refuses_document(with(narrow(MODULE), vec![beside])),
    ]
}
