//! `gnomon profile`.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::Value;
use std::path::PathBuf;

use super::client::{Client, segment};
use super::show::{Shown, table};

#[derive(Debug, Subcommand)]
pub(super) enum ProfileCommand {
    /// Register a profile file
    Add {
        /// The firmware's profile
        file: PathBuf,
    },
    /// All profiles
    List,
    /// A profile's file
    Show {
        /// Its digest or name
        profile: String,
    },
    /// The WIT world of a function, to start writing a module from
    Wit {
        /// Its digest or name
        profile: String,
        /// The function; not needed if there is only one
        #[arg(long)]
        function: Option<String>,
    },
}

const COLUMNS: &[(&str, &str)] =
    &[("NAME", "name"), ("VERSION", "version"), ("DIGEST", "digest"), ("FUNCTIONS", "functions")];

pub(super) fn run(client: &Client, command: ProfileCommand) -> Result<Shown> {
    match command {
        ProfileCommand::Add { file } => {
            let bytes =
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let added = client.send("POST", "/v1/profiles", None, &bytes)?.json()?;
            let human = table(&Value::Array(vec![added.clone()]), COLUMNS);
            Ok(Shown::new(added, human))
        }
        ProfileCommand::List => {
            let all = client.get_json("/v1/profiles")?;
            let human = table(&all, COLUMNS);
            Ok(Shown::new(all, human))
        }
        ProfileCommand::Show { profile } => {
            let answer = client.get(&format!("/v1/profiles/{}", segment(&profile)))?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            Ok(Shown::new(answer.json()?, text))
        }
        ProfileCommand::Wit { profile, function } => {
            let path = format!("/v1/profiles/{}", segment(&profile));
            let function = match function {
                Some(function) => function,
                None => only_function(&client.get_json(&path)?)?,
            };
            let path = format!("{path}/functions/{}/wit", segment(&function));
            let answer = client.get(&path)?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            Ok(Shown::new(Value::String(text.clone()), text))
        }
    }
}

fn only_function(profile: &Value) -> Result<String> {
    let functions = profile["functions"].as_object().context("the profile has no functions")?;
    let names: Vec<&String> = functions.keys().collect();
    match names.as_slice() {
        [only] => Ok((*only).clone()),
        _ => anyhow::bail!("give --function: the profile has {names:?}"),
    }
}
