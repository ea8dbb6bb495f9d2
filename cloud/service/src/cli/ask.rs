//! Shows what would be signed to the one who signs, and asks.

use anyhow::{Result, ensure};
use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// Asks on the terminal unless `yes` was said already.
pub(super) fn confirm(yes: bool, words: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    ensure!(std::io::stdin().is_terminal(), "nobody is there to ask; give --yes to sign:\n{words}");
    let mut err = std::io::stderr();
    write!(err, "{words}Sign this? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "nothing is signed");
    Ok(())
}
