//! Frames: garbage, truncation, and a message that is over the cap.

use gnomon_agent::frames::{read_frame, receiver, sender, write_frame};
use gnomon_agent_core::message::{FRAME_BYTES_MAX, ToKeeper};
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use super::fixture::PATIENCE;

#[test]
fn what_is_no_frame_is_an_error_and_never_a_wait_for_more() {
    let mut whole = vec![];
    write_frame(&mut whole, &"hello").unwrap();
    for end in 0..whole.len() {
        let error = read_frame::<String>(&mut &whole[..end]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "cut after {end}");
    }
    for (name, bytes) in [
        ("a length over the cap", u32::MAX.to_be_bytes().to_vec()),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("not JSON", [&3_u32.to_be_bytes()[..], b"abc"].concat()),
        ("another message", [&2_u32.to_be_bytes()[..], b"{}"].concat()),
        ("no message at all", 0_u32.to_be_bytes().to_vec()),
    ] {
        let error = read_frame::<ToKeeper>(&mut bytes.as_slice()).unwrap_err();
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
            "{name}: {kind}"
        );
    }
}

#[test]
fn a_reader_ends_at_garbage_and_at_the_end_of_the_stream() {
    for garbage in [&b"\xff\xff\xff\xff"[..], b""] {
        let (mut here, there) = UnixStream::pair().unwrap();
        let (got, frames) = channel();
        let reader = receiver("test", there, move |text: String| got.send(text).is_ok()).unwrap();
        write_frame(&mut here, &"first").unwrap();
        here.write_all(garbage).unwrap();
        here.shutdown(std::net::Shutdown::Write).unwrap();
        reader.join().unwrap();
        assert_eq!(frames.iter().collect::<Vec<_>>(), ["first"]);
    }
}

#[test]
fn a_message_that_is_not_understood_is_left_out_and_the_next_one_is_read() {
    let (mut here, there) = UnixStream::pair().unwrap();
    let (got, frames) = channel();
    receiver("test", there, move |text: String| got.send(text).is_ok()).unwrap();
    write_frame(&mut here, &42).unwrap();
    write_frame(&mut here, &"next").unwrap();
    assert_eq!(frames.recv_timeout(PATIENCE).unwrap(), "next");
}

#[test]
fn a_message_over_the_cap_is_left_out_and_the_next_one_still_goes() {
    let (here, there) = UnixStream::pair().unwrap();
    let (got, frames) = channel();
    receiver("test", there, move |text: String| got.send(text).is_ok()).unwrap();
    let sender = sender::<String>("test", here).unwrap();
    sender.send("x".repeat(FRAME_BYTES_MAX)).unwrap();
    sender.send("next".into()).unwrap();
    assert_eq!(frames.recv_timeout(PATIENCE).unwrap(), "next");
    drop(sender);
    assert!(frames.recv_timeout(PATIENCE).is_err(), "the stream ends with its sender");
}
