//! Sections that are programs of the checkout, since they need processes that are built
//! beside them: `cargo bench`, which prints its figures as JSON.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Figure;

#[derive(Deserialize)]
struct Printed {
    figures: Vec<Figure>,
}

/// Runs a bench of the workspace with the features of the whole workspace, so that nothing
/// is compiled a second time.
pub(super) fn cargo_bench(name: &str) -> Result<Vec<Figure>> {
    let output = Command::new("cargo")
        .args(["bench", "--quiet", "--workspace", "--bench", name, "--", "--json"])
        .current_dir(root()?)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    ensure!(output.status.success(), "cargo bench --bench {name} failed: {}", output.status);
    let printed: Printed = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("cargo bench --bench {name} printed no figures"))?;
    Ok(printed.figures)
}

/// The checkout that this program was built from.
fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no folder above")?;
    ensure!(
        root.join("Cargo.toml").is_file(),
        "it is a program of the checkout that this one was built from, and {} is gone; build \
         again from a checkout, or choose other sections with --only",
        root.display()
    );
    Ok(root.to_owned())
}
