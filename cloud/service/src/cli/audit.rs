//! `gnomon audit`: reads the log, takes a checkpoint out of the house, checks the log.

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

use super::client::Client;
use super::show::{Shown, table};
use super::{DataDir, Exit};
use crate::audit::{self, AuditError, Check};

/// The exit code for a log that does not hold.
const BROKEN: u8 = 3;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Entries of the log, newest first
    List {
        /// At most this many, 1 to 1000
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Print a signed checkpoint over the log as it is now, to be kept elsewhere
    Checkpoint,
    /// Check the log of a data folder, whether or not the service runs
    ///
    /// Finds an entry that was changed, taken out, put in or moved, a log that was written
    /// anew, an end that was cut off, and a checkpoint that another key signed. Exit code 0:
    /// the log holds; 3: it does not, and the message names the first entry at fault;
    /// 1: it could not be checked.
    ///
    /// What this cannot see: whoever can write the data folder can cut the log back to a
    /// time before the newest checkpoint that anybody kept elsewhere, and take the later
    /// checkpoints in the folder away with it. Whoever has the folder's key as well can
    /// write a new log after that checkpoint. So keep checkpoints, and the public key,
    /// where the service cannot write.
    Verify {
        #[command(flatten)]
        data: DataDir,
        /// Checkpoints that were kept elsewhere, one on each line
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The public key that was kept elsewhere; keys/audit.pub of the folder unless given
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("SEQUENCE", "sequence"),
    ("AT_MS", "at_ms"),
    ("ACTOR", "actor"),
    ("ACTION", "action"),
    ("SUBJECT", "subject"),
    ("DETAIL", "detail"),
];

pub(super) fn run(client: &Client, command: AuditCommand) -> Result<Shown> {
    match command {
        AuditCommand::List { limit } => {
            let page = client.get_json(&format!("/v1/audit?limit={limit}"))?;
            let human = table(&page["items"], COLUMNS);
            Ok(Shown::new(page, human))
        }
        AuditCommand::Checkpoint => {
            let envelope = client.get_json("/v1/audit/checkpoint")?;
            let human = envelope.to_string();
            Ok(Shown::new(envelope, human))
        }
        AuditCommand::Verify { data, checkpoint, key } => {
            verify(&Check { data_dir: data.data, checkpoints: checkpoint, key })
        }
    }
}

fn verify(check: &Check) -> Result<Shown> {
    let checked = audit::check(check).map_err(|error: AuditError| Exit {
        code: if error.is_fault() { BROKEN } else { 1 },
        message: error.to_string(),
    })?;
    let entries = checked.entries;
    let human = match checked.signed_entries {
        Some(signed) => format!(
            "the audit log holds: {entries} entries, of which a checkpoint covers {signed} \
             ({} checkpoints)",
            checked.checkpoints
        ),
        None => format!(
            "the audit log's chain holds: {entries} entries; no checkpoint was found, so an \
             end that was cut off would not be seen"
        ),
    };
    let json: Value = json!({
        "entries": entries, "head": checked.head, "signed_entries": checked.signed_entries,
        "checkpoints": checked.checkpoints,
    });
    Ok(Shown::new(json, human))
}
