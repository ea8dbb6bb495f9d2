//! Frames between the halves: a length of four bytes (big-endian) and JSON, over
//! a Unix socket pair. What comes is capped and parsed, never trusted. What the
//! messages mean is not known here.
//!
//! Each end has a thread that reads and one that writes, so that neither half
//! ever waits for the other's attention.

use gnomon_agent_core::message::FRAME_BYTES_MAX;
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Frames that may wait to be written before the sender is told to come again.
const WAITING_MAX: usize = 256;

/// Writes one frame.
///
/// # Errors
/// The stream's, or `InvalidData` for a message over [`FRAME_BYTES_MAX`].
pub fn write_frame(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_BYTES_MAX);
    let Some(length) = length else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is over its cap"));
    };
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&body)?;
    stream.flush()
}

/// Reads one frame.
///
/// # Errors
/// The stream's, `UnexpectedEof` at its end, or `InvalidData` for a frame over
/// the cap or one that is not `T`.
pub fn read_frame<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    Ok(serde_json::from_slice(&read_body(stream)?)?)
}

fn read_body(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is over its cap"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// A sender of frames: dropped, it ends the stream.
pub type FrameSender<T> = SyncSender<T>;

/// Starts the writer of one end.
///
/// # Errors
/// When the thread cannot be made.
pub fn sender<T>(name: &str, mut stream: UnixStream) -> io::Result<FrameSender<T>>
where
    T: Serialize + Send + 'static,
{
    let (sender, receiver): (_, Receiver<T>) = sync_channel(WAITING_MAX);
    thread::Builder::new().name(format!("{name}-write")).spawn(move || {
        while let Ok(message) = receiver.recv() {
            match write_frame(&mut stream, &message) {
                Ok(()) => {}
                // Nothing of it was written: the next message may still go.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::error!(%error, "a message was not sent");
                }
                Err(error) => {
                    tracing::debug!(%error, "the other half no longer listens");
                    return;
                }
            }
        }
        // The other half reads the end of the stream and stops in its turn.
        let _ = stream.shutdown(std::net::Shutdown::Write);
    })?;
    Ok(sender)
}

/// Starts the reader of one end: hands each frame to `take` until that says to
/// stop or the stream ends.
///
/// # Errors
/// When the thread cannot be made.
pub fn receiver<T>(
    name: &str,
    mut stream: UnixStream,
    mut take: impl FnMut(T) -> bool + Send + 'static,
) -> io::Result<thread::JoinHandle<()>>
where
    T: DeserializeOwned,
{
    thread::Builder::new().name(format!("{name}-read")).stack_size(READER_STACK_BYTES).spawn(
        move || {
            loop {
                match read_body(&mut stream).map(|body| serde_json::from_slice(&body)) {
                    Ok(Ok(message)) => {
                        if !take(message) {
                            return;
                        }
                    }
                    // The frame was read whole: the next one may still be understood.
                    Ok(Err(error)) => tracing::error!(%error, "a message was not understood"),
                    Err(error) => {
                        tracing::debug!(%error, "the other half is gone");
                        return;
                    }
                }
            }
        },
    )
}

/// The runner admits modules on its reader's thread: compilation recurses.
const READER_STACK_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_a_round_trip_and_oversized_ones_are_refused() {
        let mut wire = Vec::new();
        write_frame(&mut wire, &"hello").unwrap();
        assert_eq!(read_frame::<String>(&mut wire.as_slice()).unwrap(), "hello");

        let huge = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
        let error = read_frame::<String>(&mut huge.as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = read_frame::<u64>(&mut wire.as_slice()).unwrap_err();
        assert!(error.to_string().contains("invalid type"), "{error}");
    }
}
