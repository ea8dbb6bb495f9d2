//! Rows 3 to 9, 13 and 26: documents that are rightly signed, but old, doubled, too
//! far ahead, expired, too large, incomplete, or another's.

use gnomon_schemas::Digest;
use gnomon_schemas::document::{Document, InlineBytes, Slot};
use gnomon_schemas::limits::{DOCUMENT_BYTES_MAX, TIME_STEP_MS_MAX, TRUST_ROOT_BYTES_MAX};
use gnomon_schemas::profile::{Budget, NarrowedBounds};
use gnomon_schemas::reason::Reason;
use gnomon_schemas::value::Values;

use super::form::{Against, Folder, Hears};
use super::make::What;
use super::world::*;

/// Every attack of these rows.
pub(super) fn all() -> Vec<Folder> {
    [order(), time(), parts(), size(), address(), bounds()].concat()
}

fn what(
    row: u8,
    expected: Reason,
    name: &'static str,
    named_by: &'static [&'static str],
    title: &'static str,
    says: &'static str,
) -> What {
    What { name, row, against: Against::Document, expected, named_by, title, says }
}

/// A document without modules, changed.
fn changed(number: u64, change: impl FnOnce(&mut Document)) -> Vec<u8> {
    let mut document = config(number);
    change(&mut document);
    directed(&document)
}

fn warmer(document: &mut Document) {
    document.config.insert("comfort_min_c".into(), 44.into());
}

fn order() -> Vec<Folder> {
    let mut third_epoch = trust_root();
    third_epoch.epoch = 3;
    vec![
        what(
            3,
            Reason::Rollback,
            "replayed-document",
            &[
                "TUF 5.4.3: rollback",
                "tuf-conformance: test_new_timestamp_version_rollback",
                "SUIT THREAT.IMG.EXPIRED",
                "CVE-2022-29173",
            ],
            "A document of yesterday",
            "Publishes a document once more that the director signed before the one in force.",
        )
        .attack()
        .takes(Hears::Document, "seven.json", directed(&config(7)))
        .refuses(Hears::Document, "six.json", directed(&config(6)))
        .refuses(Hears::Document, "one.json", directed(&config(1))),
        what(
            3,
            Reason::Rollback,
            "document-of-an-older-epoch",
            &["TUF 5.3.11", "SUIT THREAT.IMG.EXPIRED"],
            "A higher version of an epoch that is over",
            "Replays a burnt version, the highest of all, after a root has raised the epoch.",
        )
        .attack()
        .under(&third_epoch)
        .refuses(Hears::Document, "epoch-two.json", changed(900_000, |document| document.epoch = 2))
        .refuses(Hears::Document, "epoch-one.json", directed(&config(900_000))),
        what(
            4,
            Reason::Equivocation,
            "same-version-other-content",
            &["tuf-conformance: test_timestamp_content_changes", "Uptane: mix-and-match"],
            "Two documents of one version",
            "Signs another document with the version that is in force already.",
        )
        .attack()
        .takes(Hears::Document, "first.json", directed(&config(7)))
        .refuses(Hears::Document, "second.json", changed(7, warmer)),
        what(
            5,
            Reason::FastForward,
            "fast-forward-version",
            &[
                "TUF 5.3.11: fast-forward",
                "tuf-conformance: test_new_timestamp_fast_forward_recovery",
            ],
            "A version too far ahead",
            "Signs, with a stolen director key, the highest versions there are.",
        )
        .attack()
        .takes(Hears::Document, "first.json", directed(&config(7)))
        .refuses(Hears::Document, "step.json", directed(&config(7 + 1_000_001)))
        .refuses(Hears::Document, "last.json", directed(&config((1 << 53) - 1))),
        what(
            5,
            Reason::FastForward,
            "fast-forward-epoch",
            &["TUF 5.3.11: fast-forward"],
            "An epoch that no trust root has begun",
            "Signs, with a stolen director key, a document of the next epoch.",
        )
        .attack()
        .refuses(Hears::Document, "next.json", changed(1, |document| document.epoch = 2))
        .refuses(
            Hears::Document,
            "last.json",
            changed(1, |document| document.epoch = (1 << 53) - 1),
        ),
    ]
}

fn time() -> Vec<Folder> {
    let year_2099_ms = 4_070_908_800_000;
    let far_root = {
        let mut root = trust_root();
        root.expires_at_ms = year_2099_ms + 10_000 * DAY_MS;
        root
    };
    let dead_root = {
        let mut root = trust_root();
        root.expires_at_ms = NOW_MS;
        root
    };
    let expiring =
        |number, expires_at_ms| changed(number, |document| document.expires_at_ms = expires_at_ms);
    vec![
        what(
            5,
            Reason::Expired,
            "jump-of-the-clock-is-bounded",
            &["TUF 5.3.11: fast-forward", "Uptane: clock reset", "SUIT REQ.SEC.EXP"],
            "A document of the year 2099",
            "Dates a document into 2099: the clock moves 400 days at most, and no further document of then expires later.",
        )
        .attack()
        .under(&far_root)
        .takes(
            Hears::Document,
            "year-2099.json",
            changed(1, |document| {
                document.issued_at_ms = year_2099_ms;
                document.expires_at_ms = year_2099_ms + DAY_MS;
            }),
        )
        .refuses(Hears::Document, "at-the-bound.json", expiring(2, NOW_MS + TIME_STEP_MS_MAX)),
        what(
            6,
            Reason::Expired,
            "expired-document",
            &["TUF 5.4.4: freeze", "tuf-conformance: test_timestamp_expired", "SUIT REQ.SEC.EXP"],
            "A document that is over",
            "Keeps a device on an old document by showing it long after its expiry.",
        )
        .attack()
        .refuses(Hears::Document, "now.json", expiring(1, NOW_MS))
        .refuses(Hears::Document, "long-ago.json", expiring(1, NOW_MS - 300 * DAY_MS))
        .refuses(Hears::Document, "year-1970.json", expiring(1, 0)),
        what(
            6,
            Reason::Expired,
            "clock-of-2106",
            &["SUIT REQ.SEC.EXP", "CWE-190"],
            "A document that is over on a device in the year 2106",
            "Hopes that a clock beyond 32 bits wraps to 1970.",
        )
        .attack()
        .under(&far_root)
        .not_before((1 << 32) * 1000 + 1)
        .refuses_document(expiring(1, NOW_MS + DAY_MS)),
        what(
            6,
            Reason::Expired,
            "document-under-an-expired-root",
            &["TUF 5.3.10: freeze", "tuf-conformance: test_root_expired"],
            "A fresh document under a trust root that is over",
            "Withholds new trust roots from a device, so that revoked keys stay good.",
        )
        .attack()
        .under(&dead_root)
        .refuses_document(directed(&config(1))),
    ]
}

fn parts() -> Vec<Folder> {
    let document = approved(with_module(1, MODULE));
    let other = b"another module that was approved, too";
    let mut mixed = with_module(2, MODULE);
    mixed.functions = with_module(2, other).functions;
    let mut renamed = with_module(1, MODULE);
    renamed.modules.clear();
    renamed.modules.insert(Digest::of(MODULE), listed(EVIL, &publisher()));
    let module = |row, expected, name, named_by, title, says| What {
        against: Against::Module,
        ..what(row, expected, name, named_by, title, says)
    };
    vec![
        module(
            7,
            Reason::ModuleDigestMismatch,
            "module-of-another-document",
            &[
                "TUF 5.5.2: mix-and-match",
                "tuf-conformance: test_repository_substitutes_target_file",
            ],
            "A rightly signed module in the place of another",
            "Puts a module that the publisher signed on the topic of another module.",
        )
        .attack()
        .takes(Hears::Document, "document.json", directed(&document))
        .refuses_module("module.b64", &Digest::of(MODULE), other),
        what(
            7,
            Reason::ModuleMissing,
            "slot-without-its-module",
            &["TUF 5.5.2: mix-and-match", "Uptane: mix-and-match"],
            "A slot of one document with the modules of another",
            "Names in a slot a module that the document does not list.",
        )
        .attack()
        .refuses_document(directed(&approved(mixed))),
        module(
            7,
            Reason::ModuleDigestMismatch,
            "digest-of-another-module",
            &["TUF 5.7: target hash", "tuf-conformance: test_targets_hash_mismatch"],
            "The right digest beside another module's size",
            "Lists a digest with the size and signature of another module.",
        )
        .attack()
        .takes(Hears::Document, "document.json", directed(&approved(renamed)))
        .refuses_module("module.b64", &Digest::of(MODULE), EVIL),
        module(
            8,
            Reason::ModuleMissing,
            "withheld-module",
            &["Uptane: partial bundle installation", "SUIT THREAT.NET.ONPATH"],
            "A document whose module never comes",
            "Lets a document through and keeps its module back.",
        )
        .attack()
        .takes(Hears::Document, "document.json", directed(&document))
        .refuses_silence(),
    ]
}

fn size() -> Vec<Folder> {
    let endless: &[&str] = &["TUF 5.x.1: endless data", "Uptane: endless data"];
    let large = |name, against, title, says| What {
        against,
        ..what(9, Reason::TooLarge, name, endless, title, says)
    };
    let inline = |modules: usize, bytes: usize| {
        let mut document = config(1);
        for number in 0..modules {
            let body = vec![b'a' + u8::try_from(number).unwrap(); bytes];
            let mut module = listed(&body, &publisher());
            module.inline = Some(InlineBytes(body.clone()));
            document.modules.insert(Digest::of(&body), module);
        }
        directed(&document)
    };
    let mut many = with_inline(1, MODULE);
    let envelope = seal(&approval(&many), &[&approver()]);
    many.approvals = vec![envelope; 17];
    let mut candidates = with_inline(1, MODULE);
    let slot = Slot { module: Digest::of(MODULE), params: Values::new() };
    candidates.functions.get_mut(&setpoint()).unwrap().candidates = vec![slot; 5];
    let mut huge = with_module(1, MODULE);
    for listed in huge.modules.values_mut() {
        listed.size_bytes = 1 << 40;
    }
    vec![
        large(
            "oversize-document",
            Against::Document,
            "A document one byte over the cap",
            "Adds spaces to a right document until it is over the cap.",
        )
        .attack()
        .refuses_document(directed(&config(1)))
        .padded_to(DOCUMENT_BYTES_MAX + 1),
        large(
            "oversize-trust-root",
            Against::TrustRoot,
            "A trust root one byte over the cap",
            "Adds spaces to a right trust root until it is over the cap.",
        )
        .attack()
        .refuses_root(rooted(&next_root(|_| {})))
        .padded_to(TRUST_ROOT_BYTES_MAX + 1),
        large(
            "oversize-inline-module",
            Against::Module,
            "Modules in a document over their cap, one or all together",
            "Puts more bytes into a document than may travel inside it.",
        )
        .attack()
        .refuses(Hears::Document, "one.json", inline(1, 16 * 1024 + 1))
        .refuses(Hears::Document, "seven.json", inline(7, 14 * 1024 + 256)),
        large(
            "announced-huge-module",
            Against::Module,
            "A module of a terabyte, announced",
            "Lists a module with a size that no device could hold.",
        )
        .attack()
        .refuses_document(directed(&approved(huge))),
        large(
            "too-many-approvals",
            Against::Document,
            "Seventeen approvals",
            "Has the device check more signatures than any change needs.",
        )
        .attack()
        .refuses_document(directed(&many)),
        large(
            "too-many-candidates",
            Against::Document,
            "Five candidates beside one module",
            "Has the device evaluate more modules than it may.",
        )
        .attack()
        .refuses_document(directed(&approved(candidates))),
    ]
}

fn address() -> Vec<Folder> {
    let to = |change: &dyn Fn(&mut Document)| changed(1, |document| change(document));
    let wrong: &[&str] = &["Uptane: ECU and hardware identifier", "SUIT THREAT.IMG.INCOMPATIBLE"];
    vec![
        what(
            13,
            Reason::WrongFleet,
            "document-of-another-fleet",
            wrong,
            "A document for another fleet",
            "Shows a document of a fleet that has the same director.",
        )
        .attack()
        .refuses(Hears::Document, "other.json", to(&|d| d.fleet = "other".parse().unwrap()))
        .refuses(Hears::Document, "prefix.json", to(&|d| d.fleet = "acm".parse().unwrap())),
        what(
            13,
            Reason::WrongDevice,
            "document-of-another-device",
            wrong,
            "A document for another device",
            "Shows a device what its director signed for its neighbour.",
        )
        .attack()
        .refuses(Hears::Document, "next.json", to(&|d| d.device = "heater-002".parse().unwrap()))
        .refuses(Hears::Document, "prefix.json", to(&|d| d.device = "heater-0".parse().unwrap()))
        .refuses(
            Hears::Document,
            "longer.json",
            to(&|d| {
                d.device = "heater-0011".parse().unwrap();
            }),
        ),
        what(
            13,
            Reason::WrongProfile,
            "document-of-another-profile",
            wrong,
            "A document for other hardware",
            "Shows a document that was made for another profile.",
        )
        .attack()
        .refuses_document(to(&|d| d.profile = Digest::of(b"another profile"))),
    ]
}

fn bounds() -> Vec<Folder> {
    let with = |change: &dyn Fn(&mut gnomon_schemas::document::FunctionPlan)| {
        let mut document = with_inline(1, MODULE);
        change(document.functions.get_mut(&setpoint()).unwrap());
        directed(&approved(document))
    };
    let bounds = |min: Option<f64>, max: Option<f64>, max_step: Option<f64>| {
        with(&|plan| {
            let narrowed = NarrowedBounds { min, max, max_step };
            plan.bounds.insert("setpoint_c".parse().unwrap(), narrowed);
        })
    };
    let budget =
        |fuel, memory_bytes| with(&|plan| plan.budget = Some(Budget { fuel, memory_bytes }));
    vec![
        what(
            18,
            Reason::BoundsWidened,
            "widened-bounds",
            &["SUIT THREAT.MFST.OVERRIDE", "Uptane: director compromise"],
            "Bounds wider than the firmware's, with every signature",
            "Has director and approver sign for more than the hardware permits.",
        )
        .attack()
        .refuses(Hears::Document, "hotter.json", bounds(None, Some(70.5), None))
        .refuses(Hears::Document, "colder.json", bounds(Some(34.0), None, None))
        .refuses(Hears::Document, "faster.json", bounds(None, None, Some(41.0)))
        .refuses(Hears::Document, "empty.json", bounds(Some(60.0), Some(40.0), None)),
        what(
            18,
            Reason::BudgetExceeded,
            "budget-above-the-profile",
            &["SUIT THREAT.MFST.OVERRIDE", "Uptane: director compromise"],
            "A budget above the firmware's, with every signature",
            "Has director and approver sign for more fuel or memory than the device gives.",
        )
        .attack()
        .refuses(Hears::Document, "fuel.json", budget(200_001, 65_536))
        .refuses(Hears::Document, "memory.json", budget(1000, 1_048_577)),
    ]
}
