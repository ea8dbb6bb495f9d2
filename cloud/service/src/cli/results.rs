//! `gnomon results` and `gnomon refusals`.

use anyhow::Result;
use clap::Args;

use super::client::{Client, segment};
use super::show::{Shown, table};

#[derive(Debug, Args)]
pub(super) struct ResultsArgs {
    /// The device
    device: String,
    /// At most this many rows
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Rows after this number
    #[arg(long, default_value_t = 0)]
    after: u64,
}

pub(super) fn results(client: &Client, args: &ResultsArgs) -> Result<Shown> {
    let columns = [
        ("ID", "id"),
        ("FUNCTION", "function"),
        ("MODULE", "module"),
        ("ROLE", "role"),
        ("TICKS", "ticks"),
        ("EVALUATIONS", "evaluations"),
        ("FAULTS", "faults"),
        ("CLAMPED", "clamped"),
    ];
    page(client, args, "summaries", &columns)
}

pub(super) fn refusals(client: &Client, args: &ResultsArgs) -> Result<Shown> {
    let columns = [
        ("ID", "id"),
        ("AT MS", "at_ms"),
        ("VERSION", "version"),
        ("REASON", "refusal.reason"),
        ("DETAIL", "refusal.detail"),
    ];
    page(client, args, "refusals", &columns)
}

fn page(
    client: &Client,
    args: &ResultsArgs,
    rows: &str,
    columns: &[(&str, &str)],
) -> Result<Shown> {
    let ResultsArgs { device, limit, after } = args;
    let path = format!("/v1/devices/{}/{rows}?limit={limit}&after={after}", segment(device));
    let page = client.get_json(&path)?;
    let human = table(&page["items"], columns);
    Ok(Shown::new(page, human))
}
