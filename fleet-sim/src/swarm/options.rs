//! What one simulation is like: everything follows from its seed, and is printed with it.

use std::collections::BTreeSet;
use std::fmt;

/// One kind of thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is said in `Fault::name`")]
pub enum Fault {
    Drop,
    Delay,
    Duplicate,
    Partition,
    BrokerForgets,
    PowerCut,
    PlannerCrash,
    PlannerUpgrade,
    KeeperBusy,
    RunnerDies,
    DiskRefuses,
    DiskLost,
    DiskSetBack,
    DiskSpoilt,
    ClockJump,
    SensorFails,
    CloudCrash,
    CloudSetBack,
    Withhold,
    Replay,
    Forge,
    Garble,
    Misdirect,
    WrongModule,
    ForgedAck,
    StolenDirector,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 26] = [
        Fault::Drop,
        Fault::Delay,
        Fault::Duplicate,
        Fault::Partition,
        Fault::BrokerForgets,
        Fault::PowerCut,
        Fault::PlannerCrash,
        Fault::PlannerUpgrade,
        Fault::KeeperBusy,
        Fault::RunnerDies,
        Fault::DiskRefuses,
        Fault::DiskLost,
        Fault::DiskSetBack,
        Fault::DiskSpoilt,
        Fault::ClockJump,
        Fault::SensorFails,
        Fault::CloudCrash,
        Fault::CloudSetBack,
        Fault::Withhold,
        Fault::Replay,
        Fault::Forge,
        Fault::Garble,
        Fault::Misdirect,
        Fault::WrongModule,
        Fault::ForgedAck,
        Fault::StolenDirector,
    ];

    /// What it is, in a few words.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Drop => "message dropped",
            Fault::Delay => "message delayed past others",
            Fault::Duplicate => "message delivered twice",
            Fault::Partition => "device cut off",
            Fault::BrokerForgets => "broker lost its memory",
            Fault::PowerCut => "power cut between two effects",
            Fault::PlannerCrash => "planner crashed between two effects",
            Fault::PlannerUpgrade => "planner of another release",
            Fault::KeeperBusy => "keeper had no time",
            Fault::RunnerDies => "runner died in a call",
            Fault::DiskRefuses => "disk full or broken",
            Fault::DiskLost => "store lost",
            Fault::DiskSetBack => "store set back",
            Fault::DiskSpoilt => "stored module spoilt",
            Fault::ClockJump => "clock jumped",
            Fault::SensorFails => "sensor failed",
            Fault::CloudCrash => "cloud crashed",
            Fault::CloudSetBack => "cloud restored from a backup",
            Fault::Withhold => "documents withheld",
            Fault::Replay => "old message replayed",
            Fault::Forge => "document of a stranger",
            Fault::Garble => "message garbled",
            Fault::Misdirect => "document of another device",
            Fault::WrongModule => "module exchanged",
            Fault::ForgedAck => "acknowledgement of a stranger",
            Fault::StolenDirector => "director's key in a thief's hands",
        }
    }
}

/// What a seed makes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where all of it comes from.
    pub seed: u64,
    /// Devices.
    pub devices: usize,
    /// How long things go wrong.
    pub safety_ms: u64,
    /// From one fault to the next, on average.
    pub fault_every_ms: u64,
    /// From one act of an operator to the next, on average.
    pub operator_every_ms: u64,
    /// The longest usual delay of a message.
    pub delay_ms_max: u64,
    /// Of a thousand messages, so many are lost, and as many delivered twice.
    pub lossy_per_mille: u64,
    /// Small modules go inside documents.
    pub inline: bool,
    /// How fast each device's clock runs, at most, in parts per million.
    pub drift_ppm_max: i64,
    /// What may go wrong.
    pub faults: BTreeSet<Fault>,
}

const MINUTE_MS: u64 = 60_000;

impl Options {
    /// Those of a seed.
    pub fn of(seed: u64) -> Options {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x676e_6f6d_6f6e);
        let share = random.u64(20..100);
        let faults = Fault::ALL.into_iter().filter(|_| random.u64(0..100) < share).collect();
        Options {
            seed,
            devices: random.usize(1..4),
            safety_ms: random.u64(60..480) * MINUTE_MS,
            fault_every_ms: random.u64(1..20) * MINUTE_MS,
            operator_every_ms: random.u64(2..30) * MINUTE_MS,
            delay_ms_max: [50, 500, 5_000][random.usize(0..3)],
            lossy_per_mille: [0, 10, 100][random.usize(0..3)],
            inline: random.bool(),
            drift_ppm_max: [0, 200, 50_000][random.usize(0..3)],
            faults,
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} devices, {} min; fault every {} min, edit every {} min; delay to {} ms, \
             {} of 1000 lost; modules {}; drift to {} ppm; {} kinds of fault",
            self.seed,
            self.devices,
            self.safety_ms / MINUTE_MS,
            self.fault_every_ms / MINUTE_MS,
            self.operator_every_ms / MINUTE_MS,
            self.delay_ms_max,
            self.lossy_per_mille,
            if self.inline { "inside" } else { "on topics" },
            self.drift_ppm_max,
            self.faults.len(),
        )
    }
}
