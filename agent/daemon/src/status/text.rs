//! The status as people read it: one fact a line.

use gnomon_schemas::Digest;
use std::fmt::{self, Display, Formatter};

use super::{KeeperStatus, PlannerView, Status};
use crate::keeper::SlotsView;
use crate::planner::store::StoreStatus;

/// One line; what is not there is a dash.
fn line(f: &mut Formatter<'_>, what: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "{what:<24} {value}")
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn ago(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "agent", self.agent_version)?;
        match &self.keeper {
            Some(keeper) => show_keeper(f, keeper)?,
            None => line(f, "keeper", "no keeper answers: is the agent running?")?,
        }
        match &self.planner {
            Some(planner) => show_planner(f, planner)?,
            None => line(f, "planner", "no planner answers")?,
        }
        match (&self.store, &self.store_error) {
            (Some(store), _) => show_store(f, store),
            (None, error) => line(f, "store", or_dash(error.as_ref())),
        }
    }
}

fn show_keeper(f: &mut Formatter<'_>, keeper: &KeeperStatus) -> fmt::Result {
    let view = &keeper.view;
    let trial = if view.on_trial { ", on trial" } else { "" };
    let expired = if view.defaulted { ", expired: the defaults hold" } else { "" };
    line(f, "in force", format!("version {}{trial}{expired}", or_dash(view.version)))?;
    for (name, slots) in &view.functions {
        line(f, &format!("function {name}"), slots_text(slots))?;
    }
    let ticks = view.ticks.iter().map(|(source, count)| {
        format!("{} {count}", serde_json::json!(source).as_str().unwrap_or("-"))
    });
    line(f, "ticks", ticks.collect::<Vec<_>>().join(", "))?;
    line(f, "keeper", format!("process {}, up {}", keeper.pid, ago(view.up_ms)))?;
    let planner = or_dash(keeper.planner_pid);
    line(f, "planner", format!("process {planner}, start {}", keeper.planner_starts))?;
    let runner = format!("process {}, {} died", or_dash(view.runner), view.runner_deaths);
    line(f, "runner", runner)?;
    let walls = keeper.walls.as_ref().map(|walls| {
        let landlock = or_dash(walls.landlock);
        format!("seccomp {}, landlock {landlock}", if walls.seccomp { "on" } else { "off" })
    });
    line(f, "walls", or_dash(walls))
}

fn slots_text(slots: &SlotsView) -> String {
    let short = |digest: &Digest| digest.short().to_owned();
    let candidates: Vec<String> = slots.candidates.iter().map(short).collect();
    let candidates = if candidates.is_empty() { "-".into() } else { candidates.join(" ") };
    let probation = if slots.on_probation { " (on probation)" } else { "" };
    let active = or_dash(slots.active.as_ref().map(short));
    let previous = or_dash(slots.previous.as_ref().map(short));
    format!("active {active}{probation}, previous {previous}, candidates {candidates}")
}

fn show_planner(f: &mut Formatter<'_>, planner: &PlannerView) -> fmt::Result {
    line(f, "broker", if planner.connected { "connected" } else { "not connected" })?;
    if let Some(reported) = &planner.reported {
        let state = serde_json::json!(reported.state);
        line(f, "state", state.as_str().unwrap_or("-"))?;
        line(f, "version seen", or_dash(reported.seen))?;
        line(f, "version applied", or_dash(reported.applied))?;
        line(f, "trust root", reported.trust_version)?;
        line(f, "profile", reported.profile.short())?;
    }
    for reason in &planner.reasons {
        let when = ago(planner.up_ms.saturating_sub(reason.up_ms));
        let version = reason.version.map(|version| format!("version {version}: "));
        let text = format!("{}{} ({when} ago)", version.unwrap_or_default(), reason.refusal);
        line(f, "refused", text)?;
    }
    Ok(())
}

fn show_store(f: &mut Formatter<'_>, store: &StoreStatus) -> fmt::Result {
    let floor = store.floor.as_ref();
    let floor = floor.map(|floor| format!("epoch {} version {}", floor.epoch, floor.version));
    line(f, "floor", or_dash(floor))?;
    line(f, "clock floor", format!("{} ms", store.time_floor_ms))?;
    for (class, amount) in &store.outbox {
        let class = serde_json::json!(class);
        let what = format!("outbox, {}", class.as_str().unwrap_or("-"));
        line(f, &what, format!("{} batches, {} bytes", amount.rows, amount.bytes))?;
    }
    line(f, "outbox holds", format!("at most {} bytes", store.outbox_bytes_max))?;
    line(f, "batches not told dropped", store.dropped_untold)?;
    line(f, "database", format!("{} bytes", store.database_bytes))?;
    if let Some(from) = &store.rolled_back_from {
        line(f, "went back from", from.short())?;
    }
    for failure in &store.failures {
        let text = format!("{}: {}", failure.document.short(), failure.refusal);
        line(f, "not tried again", text)?;
    }
    if let Some(why) = &store.rebuilt {
        line(f, "made anew", why)?;
    }
    Ok(())
}
