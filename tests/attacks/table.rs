//! The table of all attacks: `README.md` of the folder, generated, and the rows of
//! SECURITY.md's own table that other tests show.

use std::collections::BTreeSet;
use std::path::Path;

use super::form::{ADVICE, Against, Folder, blessing, here};

/// Rows that are shown elsewhere: row, what it is, and the tests that show it.
pub(crate) const ELSEWHERE: &[(u8, &str, &[&str])] = &[
    (
        8,
        "modules come in pieces, or never",
        &["a_module_that_never_comes_times_out_and_the_next_delivery_tries_again"],
    ),
    (
        10,
        "slow retrieval, slowloris",
        &["a_peer_that_trickles_its_request_is_cut_off_and_keeps_nobody_out"],
    ),
    (
        11,
        "no network at all",
        &["an_agent_goes_on_offline_with_its_stored_document_and_keeps_what_it_did"],
    ),
    (
        16,
        "malleable, BER, truncated and zero signatures",
        &[
            "every_ed25519_vector_is_judged_as_rfc_8032_says",
            "every_p256_vector_is_judged_as_x9_62_says",
        ],
    ),
    (
        17,
        "a chain of fifty rotations",
        &["fifty_rotations_are_applied_offline_one_after_the_other"],
    ),
    (
        18,
        "stolen keys, end to end",
        &[
            "a_stolen_director_key_runs_no_new_code_and_one_root_recovers_every_device",
            "a_stolen_publisher_key_reaches_no_device",
            "a_stolen_approver_key_does_nothing",
        ],
    ),
    (20, "a module changed in the store", &["a_tampered_module_is_refused_and_fetched_again"]),
    (28, "endless loops", &["work_without_end", "the_deadline_ends_what_fuel_does_not"]),
    (
        29,
        "memory and table bombs",
        &["declared_memory_and_tables_are_within_the_budget", "tables_count_as_memory"],
    ),
    (
        30,
        "deep recursion",
        &["the_stack_ends_in_a_trap", "the_stack_of_an_evaluating_thread_suffices"],
    ),
    (31, "compile bombs", &["compile_bombs_without_locals", "dimensions_of_functions"]),
    (32, "section bombs", &["dimensions_of_modules", "dimensions_of_components"]),
    (33, "code in a start function", &["a_start_function_counts_apart_from_the_call"]),
    (
        34,
        "NaN, infinity and slewing outputs",
        &["whatever_is_proposed_the_actuator_gets_what_the_firmware_permits"],
    ),
    (35, "hidden state between calls", &["hidden_state_is_gone", "memory_is_clean_between_guests"]),
    (36, "imports, threads, memory64", &["imports_of_anything", "features_that_are_off"]),
    (
        38,
        "a candidate that harms what is in control",
        &["a_hostile_candidate_stops_no_tick_and_each_of_its_ticks_is_counted"],
    ),
    (43, "messages doubled and reordered", &["no_sequence_of_events_breaks_an_invariant"]),
    (
        44,
        "a broker that forgets",
        &["a_cloud_that_is_killed_loses_no_result_and_leaves_no_device_behind"],
    ),
    (49, "no clock", &["a_restart_needs_no_clock_an_expired_document_still_runs"]),
    (50, "an image of yesterday", &["a_store_set_back_does_not_take_the_device_back"]),
    (
        54,
        "an audit log edited or cut",
        &["every_tampering_with_the_database_is_found_at_its_entry"],
    ),
    (
        55,
        "the wrong role at the wrong route",
        &["every_route_opens_to_exactly_the_roles_that_it_names"],
    ),
    (56, "secrets in what is printed and stored", &["secrets_stand_only_where_they_are_kept"]),
    (57, "another crypto provider", &["one_crypto_provider_is_linked"]),
];

const HEAD: &str = "# Attacks

Each folder is one attack: `attack.json` says what it is, what standards call it and
which reason it must earn; the other files are the bytes that the device hears, a
module's in base64. All are made by `tests/attacks.rs` from fixed keys and held to what
is committed here; `GNOMON_BLESS=1` writes them anew, this table too.

They run against the production verifier on a bench, those on documents, trust roots and
bundles also through `gnomon-agent verify-document` and `verify-bundle`, and those on a
running agent over an open broker that belongs to the attacker. Each must be refused with
exactly its reason, and what runs, the floor and the trust root must stay as they were.

`Row` is the row of the table of attacks from which this list was made.
";

fn aim(against: Against) -> &'static str {
    match against {
        Against::Document => "document",
        Against::TrustRoot => "trust root",
        Against::Module => "module",
        Against::Bundle => "bundle",
        Against::Agent => "agent",
    }
}

fn text(folders: &[Folder]) -> String {
    let mut rows: Vec<&Folder> = folders.iter().collect();
    rows.sort_by_key(|folder| (folder.attack.row, folder.name.clone()));
    let mut text = format!("{HEAD}\n## {} attacks\n\n", rows.len());
    text += "| Row | Attack | Against | The attacker | Named by | Reason |\n";
    text += "|---|---|---|---|---|---|\n";
    for folder in rows {
        let attack = &folder.attack;
        let link = match &attack.test {
            Some(test) => format!("{} (test `{test}`)", folder.name),
            None => format!("[{}]({}/)", folder.name, folder.name),
        };
        text += &format!(
            "| {} | {link} | {} | {} | {} | `{}` |\n",
            attack.row,
            aim(attack.against),
            attack.says,
            attack.named_by.join("; "),
            attack.expected
        );
    }
    text += "\n## Rows that other tests show\n\n| Row | What | Tests |\n|---|---|---|\n";
    for (row, what, tests) in ELSEWHERE {
        let tests: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        text += &format!("| {row} | {what} | {} |\n", tests.join(", "));
    }
    text
}

/// Compares the committed table with the attacks, or writes it when blessing.
pub(crate) fn hold(folders: &[Folder]) {
    let path = here().join("README.md");
    let expected = text(folders);
    if blessing() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "tests/attacks/README.md is not of these attacks: {ADVICE}");
}

/// The names of all functions in the workspace's sources.
pub(crate) fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut names = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
                folders.extend((!skipped).then(|| entry.path()));
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let after = text.split("fn ").skip(1);
                names.extend(after.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
            }
        }
    }
    names
}
