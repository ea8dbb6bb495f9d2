//! Bugs that are let out on purpose, one after the other: the swarm must find each within
//! a stated number of seeds, or it would not find a real one either.

use clap::Args;

use super::Verdict;

/// `fleet-sim canaries`.
#[derive(Args)]
pub struct CanaryOptions {
    /// Threads; 0 for as many as there are processors.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Lets each bug out, and looks for it.
///
/// # Errors
/// When this program was built without bugs, or the engine cannot start.
#[cfg(not(feature = "canary"))]
pub fn run(_: &CanaryOptions) -> anyhow::Result<Verdict> {
    anyhow::bail!(
        "this program was built without canaries; build it with `--features fleet-sim/canary`"
    )
}

/// Lets each bug out, and looks for it.
///
/// # Errors
/// When the engine cannot start.
#[cfg(feature = "canary")]
pub fn run(options: &CanaryOptions) -> anyhow::Result<Verdict> {
    use gnomon_agent_core::canary::{Canary, release};

    /// Within so many seeds each must be found.
    const SEEDS_MAX: u64 = 300;
    let seeds: Vec<u64> = (0..SEEDS_MAX).collect();
    let mut verdict = Verdict::Held;
    for canary in Canary::ALL {
        release(Some(canary));
        let is_found = |outcome: &super::Outcome| outcome.verdict() != Verdict::Held;
        let (outcomes, took) = super::run_all(&seeds, super::threads(options.threads), is_found)?;
        release(None);
        let found = outcomes.iter().find(|outcome| is_found(outcome));
        let how = match found {
            Some(outcome) => outcome.tell().lines().next().unwrap_or_default().to_owned(),
            None => {
                verdict = Verdict::Missed;
                format!("NOT FOUND in {SEEDS_MAX} seeds")
            }
        };
        println!("{canary:?}: {} seeds, {:.1} s: {how}", outcomes.len(), took.as_secs_f64());
    }
    Ok(verdict)
}
