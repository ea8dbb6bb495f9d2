//! Attacks by name: each a folder of `attacks/` with its bytes and the reason that it
//! earns. They run against the production verifier on a bench, through the agent's
//! own commands, and, where they need it, against a running agent.
//!
//! The folders are made here and committed; `GNOMON_BLESS=1` writes them anew.

mod approvals;
mod bench;
mod bundles;
mod commands;
mod device;
mod form;
mod make;
mod modules;
mod order;
pub(crate) mod rig;
mod roots;
mod signatures;
mod table;
mod text;
pub(crate) mod world;

use gnomon_agent_core::Event;
use gnomon_schemas::succession::verify_first_root;
use gnomon_schemas::trust::TrustRoot;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use bench::{Bench, Outcome};
use form::{Folder, Hears, Step};

/// Every attack, as it is made.
fn catalogue() -> Vec<Folder> {
    let parts = [
        signatures::all(),
        order::all(),
        text::all(),
        approvals::all(),
        roots::all(),
        modules::all(),
    ];
    [parts.concat(), bundles::all(), device::all()].concat()
}

/// Every attack as it is committed; written before, when blessing.
fn committed() -> &'static [Folder] {
    static READ: LazyLock<Vec<Folder>> = LazyLock::new(|| {
        catalogue().iter().for_each(Folder::hold);
        table::hold(&form::read_all());
        form::read_all()
    });
    &READ
}

#[test]
fn the_attacks_are_those_that_are_committed() {
    let made = catalogue();
    let names: BTreeSet<&str> = made.iter().map(|folder| folder.name.as_str()).collect();
    assert_eq!(names.len(), made.len(), "two attacks of one name");
    for folder in committed() {
        let name = folder.name.as_str();
        assert!(names.contains(name), "tests/attacks/{name} is made by nothing: delete it");
        let is_kebab =
            name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert!(is_kebab, "{name}");
    }
}

/// The trust root in force before this step.
fn first_root(folder: &Folder, step: &Step) -> Vec<u8> {
    let file = step.trust_root.as_ref().or(folder.attack.given.trust_root.as_ref());
    file.map_or_else(|| world::rooted(&world::trust_root()), |file| folder.files[file].clone())
}

fn bench(folder: &Folder, step: &Step) -> Bench {
    let given = &folder.attack.given;
    let root: TrustRoot = verify_first_root(&first_root(folder, step)).unwrap().into_payload();
    Bench::new(world::identity(), root, given.lowest_ms.unwrap_or(world::NOW_MS))
}

fn hear(bench: &mut Bench, folder: &Folder, step: &Step) -> Outcome {
    let bytes = folder.bytes(step);
    let event = match step.hears {
        Hears::Document => Event::Document(bytes),
        Hears::TrustRoot => Event::TrustRoot(bytes),
        Hears::Module => Event::Module(step.digest.clone().unwrap(), bytes),
        Hears::Ack => Event::Ack(bytes),
        Hears::Silence => {
            bench.wait(120_000);
            Event::Clock
        }
    };
    bench.hear(event)
}

/// What is wrong with how the verifier took this attack.
fn offences(folder: &Folder) -> Vec<String> {
    let mut offences = vec![];
    for (index, attack) in folder.attack.steps.iter().enumerate().filter(|(_, step)| step.refused) {
        // Each in a device of its own: a refusal that is no news is not repeated.
        let mut bench = bench(folder, attack);
        for step in folder.attack.steps[..index].iter().filter(|step| !step.refused) {
            let outcome = hear(&mut bench, folder, step);
            if !outcome.refused.is_empty() {
                offences.push(format!("{}: {step:?}: {outcome:?}", folder.name));
            }
        }
        let before = bench.state();
        let outcome = hear(&mut bench, folder, attack);
        let expected = Outcome { refused: vec![folder.attack.expected], acted: false };
        if outcome != expected {
            let file = attack.file.as_deref().unwrap_or("silence");
            offences.push(format!("{}/{file}: {outcome:?}, expected {expected:?}", folder.name));
        }
        if bench.state() != before {
            offences.push(format!("{}: what runs has changed", folder.name));
        }
    }
    offences
}

#[test]
fn every_attack_earns_its_reason_and_changes_nothing() {
    let folders = committed();
    assert!(folders.len() >= 45, "{} attacks", folders.len());
    let refused = |folder: &&Folder| folder.attack.steps.iter().any(|step| step.refused);
    let on_the_bench: Vec<&Folder> =
        folders.iter().filter(|folder| folder.attack.test.is_none()).collect();
    assert_eq!(on_the_bench.iter().copied().filter(refused).count(), on_the_bench.len());
    let offences: Vec<String> = on_the_bench.into_iter().flat_map(offences).collect();
    assert!(offences.is_empty(), "\n  {}", offences.join("\n  "));
}

#[test]
fn every_row_that_names_an_attack_on_what_is_signed_is_covered() {
    let attacked: BTreeSet<u8> = committed().iter().map(|folder| folder.attack.row).collect();
    let elsewhere: BTreeSet<u8> = table::ELSEWHERE.iter().map(|(row, ..)| *row).collect();
    let open: Vec<u8> = (1..=9)
        .chain(13..=27)
        .filter(|row| !attacked.contains(row) && !elsewhere.contains(row))
        .collect();
    assert_eq!(open, [0; 0], "rows without an attack");
    let functions = table::functions();
    let here = committed().iter().filter_map(|folder| folder.attack.test.as_deref());
    let there = table::ELSEWHERE.iter().flat_map(|(_, _, tests)| tests.iter().copied());
    for test in here.chain(there) {
        assert!(functions.contains(test), "the test `{test}` is named, but does not exist");
    }
}
