//! `gnomon token`: who may use the HTTP API.

use anyhow::{Context as _, Result, anyhow};
use clap::Subcommand;
use gnomon_cloud_core::access::{Actor, Role, Scope, TokenName};
use gnomon_schemas::ids::{DeviceId, GroupId};
use gnomon_schemas::reason::Refusal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::client::{Client, segment};
use super::show::{Shown, table};
use crate::clock;
use crate::store::Store;
use crate::store::audit::Entry;
use crate::tokens::{self, NewToken};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; its text is shown this once
    ///
    /// The first token must be an admin's: from then on every request needs one. With
    /// --data it is made in the data folder itself, without a running service: for the
    /// first token of a service that is reachable from other machines, or when no
    /// admin's token is left.
    Create {
        /// Whom it is for; several tokens may be for one person
        #[arg(long)]
        name: TokenName,
        /// viewer, editor, approver or admin
        #[arg(long)]
        role: Role,
        /// Only paths that name this group; may be given several times
        #[arg(long = "group", value_name = "NAME")]
        groups: Vec<GroupId>,
        /// Only paths that name this device; may be given several times
        #[arg(long = "device", value_name = "NAME")]
        devices: Vec<DeviceId>,
        /// How long it lives: a number of s, m, h or d; a year at most
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = seconds)]
        expires: u64,
        /// The data folder of a service, instead of its HTTP API
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// All tokens, without their texts
    List,
    /// Take a token back; it holds from the next request on
    Revoke {
        /// Its id, as `gnomon token list` shows it
        id: String,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ROLE", "role"),
    ("GROUPS", "scope.groups"),
    ("DEVICES", "scope.devices"),
    ("EXPIRES_AT_MS", "expires_at_ms"),
    ("REVOKED_AT_MS", "revoked_at_ms"),
];

pub(super) fn run(client: &Client, command: TokenCommand) -> Result<Shown> {
    match command {
        TokenCommand::Create { name, role, groups, devices, expires, data } => {
            let scope = Scope {
                groups: groups.into_iter().collect(),
                devices: devices.into_iter().collect(),
            };
            let new = NewToken { name, role, scope, expires_in_s: Some(expires) };
            let made = match data {
                Some(data) => create_in(&data, new)?,
                None => create_by(client, &new)?,
            };
            let text = made["token"].as_str().unwrap_or_default();
            let human = format!("{text}\nThis is the only time that it is shown.\n");
            Ok(Shown::new(made.clone(), human))
        }
        TokenCommand::List => {
            let all = client.get_json("/v1/tokens")?;
            let human = table(&all, COLUMNS);
            Ok(Shown::new(all, human))
        }
        TokenCommand::Revoke { id } => {
            client.delete(&format!("/v1/tokens/{}", segment(&id)))?;
            Ok(Shown::new(json!({"id": id}), format!("token {id} is revoked")))
        }
    }
}

fn create_by(client: &Client, new: &NewToken) -> Result<Value> {
    let body = serde_json::to_vec(new).context("the request cannot be encoded")?;
    Ok(client.send("POST", "/v1/tokens", None, &body)?.json()?)
}

/// Whoever may write the data folder needs no token: that one could as well write the
/// store by hand.
fn create_in(data: &Path, new: NewToken) -> Result<Value> {
    std::fs::create_dir_all(data)
        .with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("cannot start the runtime")?;
    let (token, text) = runtime.block_on(async {
        let store = Store::open(&data.join("gnomon.sqlite")).map_err(Refusal::from)?;
        let entry = Entry::new(Actor::Local, "token.create", "");
        store.write(move |db| tokens::create(db, entry, new, clock::now_ms())).await
    })?;
    Ok(json!({
        "id": token.id, "name": token.name, "role": token.grant.role, "scope": token.grant.scope,
        "expires_at_ms": token.grant.expires_at_ms, "token": text.reveal(),
    }))
}

fn seconds(text: &str) -> Result<u64> {
    let wrong = || anyhow!("expected a number and s, m, h or d, such as 30d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}
