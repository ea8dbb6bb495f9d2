//! What keeper and runner say to each other: a head in JSON and, where modules or their
//! native code go with it, raw bytes behind it. Both sides cap what they take; the keeper
//! takes a runner's word for nothing but the outcome of the call that it asked for.
//!
//! A frame: the head's length and the attachments' length (four bytes each, big-endian),
//! the head, the attachments.

use gnomon_schemas::profile::Profile;
use gnomon_schemas::value::Values;
use gnomon_schemas::{Digest, Refusal};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

use crate::cell::{SlotAsk, SlotFacts};
use crate::sandbox::Walls;

/// The largest head: a profile, or the outputs and the state of a call.
pub(super) const HEAD_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes of modules and native code behind one head.
pub(super) const ATTACHED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The most that the answer to a call may weigh.
pub(super) const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Keeper to runner.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Admit these slots. Attached: for each module its bytes, then its native code.
    Load {
        profile: Box<Profile>,
        slots: Vec<SlotAsk>,
        /// Of each module, how much of the attachment is its bytes, and its native code.
        modules: Vec<(Digest, usize, usize)>,
        key: [u8; 32],
    },
    /// Evaluate a slot.
    Evaluate { number: u64, slot: usize, inputs: Values, state: Option<Values> },
    /// Have a slot's module make its own state of another one's.
    Migrate { number: u64, slot: usize, old: Values },
    /// Compile the attached module, and seal its native code.
    Compile { key: [u8; 32] },
}

/// Runner to keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Behind its walls, and they hold.
    Ready { walls: Walls, engine: Digest },
    /// Whether the slots were admitted.
    Loaded(Result<Vec<SlotFacts>, Refusal>),
    /// The end of a call.
    Evaluated {
        number: u64,
        outcome: Result<Proposed, Refusal>,
        fuel: Option<u64>,
        memory_bytes: u64,
        time_ns: u64,
    },
    /// The end of a migration.
    Migrated { number: u64, outcome: Result<Values, Refusal> },
    /// The native code is attached, if there is any.
    Compiled(Result<(), Refusal>),
}

/// What a call returned.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Proposed {
    pub(super) outputs: Values,
    pub(super) state: Option<Values>,
}

/// Writes one frame.
pub(super) fn write(
    stream: &mut impl Write,
    head: &impl Serialize,
    attached: &[&[u8]],
) -> io::Result<()> {
    let body = serde_json::to_vec(head)?;
    let attached_bytes: usize = attached.iter().map(|part| part.len()).sum();
    if body.len() > HEAD_BYTES_MAX || attached_bytes > ATTACHED_BYTES_MAX {
        return Err(over_its_cap());
    }
    let length = |bytes: usize| u32::try_from(bytes).map_err(|_| over_its_cap());
    let mut frame = Vec::with_capacity(8 + body.len());
    frame.extend(length(body.len())?.to_be_bytes());
    frame.extend(length(attached_bytes)?.to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame)?;
    attached.iter().try_for_each(|part| stream.write_all(part))
}

/// Reads one frame, and waits for it.
pub(super) fn read<T: for<'de> Deserialize<'de>>(
    stream: &mut impl Read,
) -> io::Result<(T, Vec<u8>)> {
    let mut lengths = [0; 8];
    stream.read_exact(&mut lengths)?;
    let (head_bytes, attached_bytes) = split(lengths)?;
    let mut head = vec![0; head_bytes];
    stream.read_exact(&mut head)?;
    let mut attached = vec![];
    // Grown as it comes: a length is only a claim.
    let expected = attached_bytes as u64;
    if stream.take(expected).read_to_end(&mut attached)? != attached_bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(&head)?, attached))
}

/// The lengths of head and attachment.
pub(super) fn split(lengths: [u8; 8]) -> io::Result<(usize, usize)> {
    let [a, b, c, d, e, f, g, h] = lengths;
    let head = u32::from_be_bytes([a, b, c, d]) as usize;
    let attached = u32::from_be_bytes([e, f, g, h]) as usize;
    if head > HEAD_BYTES_MAX || attached > ATTACHED_BYTES_MAX {
        return Err(over_its_cap());
    }
    Ok((head, attached))
}

fn over_its_cap() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a frame is over its cap")
}
