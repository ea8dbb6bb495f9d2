//! The house rules that a program can check (`CONTRIBUTING.md`, `ARCHITECTURE.md`).
//!
//! It reads the files that git knows or would take, and runs none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file without its tests.
const FILE_LINES_MAX: usize = 500;
/// Characters of a source line.
const LINE_CHARS_MAX: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files that are tracked, or new and not ignored.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "git: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|path| root().join(path).is_file()).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources() -> Vec<(String, String)> {
    let rust = files().into_iter().filter(|path| path.ends_with(".rs"));
    rust.map(|path| (path.clone(), read(&path))).collect()
}

/// Fails with all offences at once, so that one run shows them all.
#[track_caller]
fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

#[test]
fn every_source_file_says_what_it_owns() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//!"));
    let silent: Vec<String> = silent.map(|(path, _)| path).collect();
    assert_none("a Rust file opens with `//!`", &silent);
}

#[test]
fn no_file_holds_two_rooms_and_no_line_runs_off() {
    let mut offences = vec![];
    for (path, text) in sources() {
        let code = text.split("\n#[cfg(test)]").next().unwrap_or("");
        let lines = code.lines().count();
        if lines > FILE_LINES_MAX {
            offences.push(format!("{path}: {lines} lines without tests"));
        }
        for (index, line) in text.lines().enumerate() {
            // A string cannot always be broken; code and comments can.
            if line.chars().count() > LINE_CHARS_MAX && !line.contains('"') {
                offences.push(format!("{path}:{}: over {LINE_CHARS_MAX} characters", index + 1));
            }
        }
    }
    assert_none("sizes", &offences);
}

#[test]
fn nothing_is_left_open() {
    // Written apart, so that this file does not offend itself.
    let marks = ["TO", "FIX", "XX"].map(|head| {
        format!(
            "{head}{}",
            if head == "TO" {
                "DO"
            } else if head == "FIX" {
                "ME"
            } else {
                "X"
            }
        )
    });
    let macros = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let ignored = format!("#[{}", "ignore");
    let mut offences = vec![];
    for (path, text) in sources() {
        for (index, line) in text.lines().enumerate() {
            let word =
                |mark: &String| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == mark);
            if marks.iter().any(word)
                || macros.iter().any(|name| line.contains(name))
                || line.contains(&ignored)
            {
                offences.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert_none("leftovers", &offences);
}

#[test]
fn names_say_what_is_inside() {
    let vague = ["utils", "util", "helpers", "helper", "common", "manager", "misc"];
    let offences: Vec<String> = files()
        .into_iter()
        .filter(|path| {
            let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
            vague.contains(&stem)
        })
        .collect();
    assert_none("vague file names", &offences);
}

#[test]
fn no_binary_is_committed() {
    let binary = [".wasm", ".so", ".a", ".o", ".exe", ".db", ".png", ".zip", ".gz"];
    let offences: Vec<String> = files()
        .into_iter()
        .filter(|path| binary.iter().any(|ending| path.ends_with(ending)))
        .collect();
    assert_none("binaries", &offences);
}

/// Which of our crates each may depend on: DESIGN's arrows.
fn arrows() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let arrow = |to: &[&'static str]| to.iter().copied().collect::<BTreeSet<_>>();
    BTreeMap::from([
        ("schemas", arrow(&[])),
        ("modules/host", arrow(&["gnomon-schemas"])),
        ("modules/sigstore", arrow(&["gnomon-schemas"])),
        ("modules/examples", arrow(&[])),
        ("agent/core", arrow(&["gnomon-schemas"])),
        (
            "agent/daemon",
            arrow(&["gnomon-schemas", "gnomon-host", "gnomon-sigstore", "gnomon-agent-core"]),
        ),
        ("cloud/core", arrow(&["gnomon-schemas"])),
        (
            "cloud/service",
            arrow(&["gnomon-schemas", "gnomon-host", "gnomon-sigstore", "gnomon-cloud-core"]),
        ),
        (
            "fleet-sim",
            arrow(&[
                "gnomon",
                "gnomon-agent",
                "gnomon-agent-core",
                "gnomon-cloud-core",
                "gnomon-examples",
                "gnomon-host",
                "gnomon-schemas",
            ]),
        ),
        ("tests", arrow(&["gnomon", "gnomon-agent", "gnomon-agent-core", "gnomon-schemas"])),
    ])
}

/// The dependencies of a crate, without those for its build and its tests.
fn dependencies(krate: &str) -> BTreeSet<String> {
    let manifest = read(&format!("{krate}/Cargo.toml"));
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or("");
    let section = section.split("\n[").next().unwrap_or("");
    section
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_arrow_points_where_it_must_not() {
    let ours: BTreeSet<String> = arrows()
        .keys()
        .map(|krate| {
            let manifest = read(&format!("{krate}/Cargo.toml"));
            let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
            name.trim_matches('"').to_owned()
        })
        .collect();
    let mut offences = vec![];
    for (krate, allowed) in arrows() {
        for dependency in dependencies(krate).intersection(&ours) {
            if !allowed.contains(dependency.as_str()) {
                offences.push(format!("{krate} -> {dependency}"));
            }
        }
    }
    assert_none("forbidden arrows", &offences);
}

#[test]
fn the_pure_crates_know_no_io() {
    let io =
        ["tokio", "rumqttc", "rusqlite", "axum", "ureq", "wasmtime", "tracing", "rmqtt", "rustix"];
    let mut offences = vec![];
    for krate in ["schemas", "agent/core", "cloud/core"] {
        let depends = dependencies(krate);
        offences.extend(
            io.iter().filter(|io| depends.contains(**io)).map(|io| format!("{krate} -> {io}")),
        );
        for (path, text) in sources() {
            if !path.starts_with(&format!("{krate}/src/")) {
                continue;
            }
            for clock in
                ["SystemTime", "Instant::now", "std::fs", "std::net", "std::thread", "std::env"]
            {
                if text.contains(clock) {
                    offences.push(format!("{path} uses {clock}"));
                }
            }
        }
    }
    assert_none("IO in a pure crate", &offences);
}

#[test]
fn one_crypto_provider_is_linked() {
    let lock = read("Cargo.lock");
    for provider in ["aws-lc-sys", "openssl-sys"] {
        assert!(!lock.contains(&format!("name = \"{provider}\"")), "{provider} is in Cargo.lock");
    }
}

/// Crates with unsafe code, and the one file of each that may have it.
const UNSAFE: &[(&str, &str)] = &[("modules/host", "modules/host/src/artifact.rs")];

/// The lint levels of a manifest below these headings.
fn lints(manifest: &str, headings: [&str; 2]) -> Vec<String> {
    let section = |heading: &str| {
        let section = manifest.split(&format!("\n{heading}\n")).nth(1).unwrap_or("").to_owned();
        section.split("\n[").next().unwrap_or("").to_owned()
    };
    let text = headings.map(section).join("\n");
    let levels = text.lines().filter(|line| line.contains('=') && !line.starts_with('#'));
    levels.map(str::to_owned).collect()
}

#[test]
fn unsafe_code_stands_in_the_files_that_are_named() {
    let workspace =
        lints(&read("Cargo.toml"), ["[workspace.lints.rust]", "[workspace.lints.clippy]"]);
    assert!(workspace.contains(&"unsafe_code = \"forbid\"".to_owned()), "{workspace:?}");
    let but_one: Vec<String> = workspace
        .iter()
        .map(|line| line.replace("unsafe_code = \"forbid\"", "unsafe_code = \"deny\""))
        .collect();
    let lint = "unsafe_code";
    for (krate, file) in UNSAFE {
        let own = lints(&read(&format!("{krate}/Cargo.toml")), ["[lints.rust]", "[lints.clippy]"]);
        assert_eq!(own, but_one, "{krate} has the workspace's lints, with `unsafe_code` denied");
        for once in [lint, "unsafe {", "SAFETY: "] {
            assert_eq!(read(file).matches(once).count(), 1, "{file}: `{once}`");
        }
    }
    let named =
        |path: &str| path == "tests/tidy.rs" || UNSAFE.iter().any(|(_, file)| *file == path);
    let elsewhere =
        sources().into_iter().filter(|(path, text)| text.contains(lint) && !named(path));
    assert_none("unsafe code", &elsewhere.map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn each_crate_has_one_test_binary_and_the_workspace_lints() {
    let mut offences = vec![];
    for krate in arrows().keys() {
        let manifest = read(&format!("{krate}/Cargo.toml"));
        let has_unsafe = UNSAFE.iter().any(|(known, _)| known == krate);
        if !has_unsafe && !manifest.contains("[lints]\nworkspace = true") {
            offences.push(format!("{krate} does not take the workspace's lints"));
        }
        if *krate == "tests" {
            continue;
        }
        let folder = root().join(krate).join("tests");
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let binaries = entries
            .filter_map(Result::ok)
            .filter(|entry| {
                let path = entry.path();
                path.extension().is_some_and(|ending| ending == "rs")
                    || path.join("main.rs").is_file()
            })
            .count();
        if binaries > 1 {
            offences.push(format!("{krate} has {binaries} test binaries"));
        }
    }
    assert_none("crates", &offences);
}

/// What stands between backticks in a text, code blocks left out.
fn quoted(text: &str) -> Vec<String> {
    let outside: Vec<&str> = text.split("```").step_by(2).collect();
    outside.iter().flat_map(|part| part.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn paths_that_documents_name_exist() {
    let mut offences = vec![];
    for document in files().into_iter().filter(|path| path.ends_with(".md")) {
        let folder = Path::new(&document).parent().unwrap().to_owned();
        for name in quoted(&read(&document)) {
            // `ours/bare` is a ratio.
            let is_path = name != "ours/bare"
                && (name.contains('/') || name.ends_with(".md") || name.ends_with(".toml"))
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
                && !name.starts_with('/')
                && !name.starts_with("../shared");
            let known = root().join(&name).exists() || root().join(&folder).join(&name).exists();
            // Paths of an URL, a topic or a data folder are not files of ours.
            let elsewhere = ["v1/", "gnomon/", "application/", "keys/", "vnd."];
            if is_path && !known && !elsewhere.iter().any(|start| name.starts_with(start)) {
                offences.push(format!("{document}: {name}"));
            }
        }
    }
    assert_none("paths in documents", &offences);
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let architecture = read("ARCHITECTURE.md");
    let section = architecture.split("## Invariants").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let code: String = sources().into_iter().map(|(_, text)| text).collect();
    let mut numbered = 0;
    for line in section.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        numbered += 1;
        let tests: Vec<String> =
            quoted(line).into_iter().filter(|name| name.contains('_')).collect();
        let named: Vec<&String> =
            tests.iter().filter(|name| code.contains(&format!("fn {name}("))).collect();
        assert!(!named.is_empty(), "no test that exists is named in: {line}");
        assert_eq!(named.len(), tests.len(), "a test that is named does not exist: {line}");
    }
    assert_eq!(numbered, 15, "fifteen invariants");
}
