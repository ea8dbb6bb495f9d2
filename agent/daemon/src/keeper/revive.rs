//! A cell in the place of one that died, made off the control path: at once the first
//! time, then less and less often. Meanwhile the actuator is held.

use gnomon_schemas::Digest;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use super::prepare::Housed;
use super::ticks::Command;
use crate::cell::{Purpose, Workshop};

/// The first pause, after a death that soon follows another, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(160));
/// A cell that lived for so long did not die of what killed the one before.
const LONG_LIFE: Duration = Duration::from_secs(10);

/// Makes cells again.
pub(super) struct Revive {
    workshop: Arc<dyn Workshop>,
    commands: Sender<Command>,
    last: Option<Instant>,
    pause: Duration,
}

impl Revive {
    pub(super) fn new(workshop: Arc<dyn Workshop>, commands: Sender<Command>) -> Revive {
        Revive { workshop, commands, last: None, pause: Duration::ZERO }
    }

    /// Has another cell made for what this one held.
    pub(super) fn start(&mut self, document: Digest, dead: Housed) {
        let is_again = self.last.is_some_and(|last| last.elapsed() < LONG_LIFE);
        self.pause =
            if is_again { (self.pause * 2).clamp(PAUSE.0, PAUSE.1) } else { Duration::ZERO };
        self.last = Some(Instant::now());
        let (workshop, commands) = (Arc::clone(&self.workshop), self.commands.clone());
        let mut pause = self.pause;
        let work = move || {
            let spec = Arc::clone(&dead.spec);
            drop(dead);
            loop {
                thread::sleep(pause);
                pause = (pause * 2).clamp(PAUSE.0, PAUSE.1);
                match workshop.build(&spec, Purpose::Active) {
                    Ok((cell, _)) => {
                        // The tick loop may have ended.
                        let _ = commands.send(Command::Revived(document, Housed { cell, spec }));
                        return;
                    }
                    Err(refusal) => tracing::error!(%refusal, "there is no runner yet"),
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("revive".into()).spawn(work) {
            tracing::error!(%error, "a dead runner cannot be replaced");
        }
    }
}
