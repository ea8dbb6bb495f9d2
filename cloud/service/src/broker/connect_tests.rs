//! CONNECT packets as foreign clients send them, and as attackers would.

use super::*;

fn fleet() -> FleetId {
    "acme".parse().unwrap()
}

fn device() -> Peer {
    "heater-1".parse().unwrap()
}

/// A packet with this body.
fn packet(body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[0x10, u8::try_from(body.len()).unwrap()], body].concat()
}

fn body(level: u8, flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![];
    put(&mut body, b"MQTT");
    body.extend([level, flags, 0, 30]);
    fields.iter().for_each(|field| put(&mut body, field));
    body
}

fn whole(bytes: &[u8]) -> Result<Connect, ConnectRefusal> {
    match Connect::read(bytes)? {
        Read::Whole(connect, length) => {
            assert_eq!(length, bytes.len());
            Ok(connect)
        }
        Read::More => panic!("not whole"),
    }
}

#[test]
fn what_is_handed_on_has_the_certificates_name_and_nothing_that_the_client_claimed() {
    let fields: [&[u8]; 5] = [b"heater-1", b"gnomon/acme/d/heater-1/status", b"{}", b"root", b"pw"];
    let connect = whole(&packet(&body(4, 0xee, &fields))).unwrap();
    assert_eq!(connect.check(&fleet(), &device()), Ok(()));
    let written = connect.write(&device(), "our word");
    let again = whole(&written).unwrap();
    assert_eq!(again, connect, "session, keep-alive and will are as they were");
    let text = String::from_utf8_lossy(&written).into_owned();
    assert!(text.ends_with("\u{8}heater-1\0\u{8}our word"), "{text:?}");
    assert!(!text.contains("root") && !text.contains("pw"));
}

#[test]
fn a_client_without_an_id_gets_its_own_name_and_one_with_anothers_is_refused() {
    let connect = whole(&packet(&body(4, 2, &[b""]))).unwrap();
    assert_eq!(connect.check(&fleet(), &device()), Ok(()));
    assert!(String::from_utf8_lossy(&connect.write(&device(), "s")).contains("heater-1"));
    for other in [&b"heater-2"[..], b"heater-1 ", b"HEATER-1", b"gnomon_cloud", b"+"] {
        let connect = whole(&packet(&body(4, 2, &[other]))).unwrap();
        assert_eq!(connect.check(&fleet(), &device()), Err(ConnectRefusal::ClientId));
    }
    assert_eq!(ConnectRefusal::ClientId.answer(), Some([0x20, 2, 0, 2]));
}

#[test]
fn a_will_is_left_on_the_own_status_only() {
    for topic in [
        "gnomon/acme/d/heater-2/status",
        "gnomon/acme/d/heater-1/reported",
        "gnomon/acme/d/heater-1/desired",
        "gnomon/other/d/heater-1/status",
        "$SYS/x",
        "",
    ] {
        let connect = whole(&packet(&body(4, 6, &[b"heater-1", topic.as_bytes(), b"x"]))).unwrap();
        assert_eq!(connect.check(&fleet(), &device()), Err(ConnectRefusal::Will), "{topic}");
    }
    let own = b"gnomon/acme/d/heater-1/status";
    let connect = whole(&packet(&body(4, 6, &[b"", own, b"x"]))).unwrap();
    assert_eq!(connect.check(&fleet(), &Peer::Service), Err(ConnectRefusal::Will));
}

#[test]
fn bytes_that_come_in_pieces_are_waited_for_and_garbage_is_not() {
    let good = packet(&body(4, 2, &[b"heater-1"]));
    for end in 0..good.len() {
        assert_eq!(Connect::read(&good[..end]), Ok(Read::More), "{end} bytes");
    }
    // What follows the packet is none of ours.
    let longer = [&good[..], &[0xc0, 0]].concat();
    assert!(matches!(Connect::read(&longer), Ok(Read::Whole(_, length)) if length == good.len()));
    for first in [0x00, 0x11, 0x20, 0x30, 0x82, 0xe0, b'G'] {
        let refused = Connect::read(&[first]);
        assert_eq!(refused, Err(ConnectRefusal::Malformed), "first byte {first:#x}");
    }
    // More is announced than is ever read.
    assert_eq!(Connect::read(&[0x10, 0xff, 0xff, 0x7f]), Err(ConnectRefusal::Malformed));
    assert_eq!(Connect::read(&[0x10, 0xff, 0xff, 0xff, 0xff]), Err(ConnectRefusal::Malformed));
}

#[test]
fn a_packet_that_is_not_to_the_letter_is_refused() {
    let refused = |body: Vec<u8>| whole(&packet(&body)).unwrap_err();
    assert_eq!(refused(body(5, 2, &[b"heater-1"])), ConnectRefusal::Version);
    assert_eq!(refused(body(3, 2, &[b"heater-1"])), ConnectRefusal::Version);
    for flags in [0x03, 0x0a, 0x22, 0x1e, 0x42] {
        let with = body(4, flags, &[b"heater-1", b"a", b"b", b"c", b"d"]);
        assert_eq!(refused(with), ConnectRefusal::Malformed, "flags {flags:#x}");
    }
    for fields in [&[][..], &[&b"a\0b"[..]], &[&b"\xff"[..]], &[&b"a"[..], b"left over"]] {
        assert_eq!(refused(body(4, 2, fields)), ConnectRefusal::Malformed, "{fields:?}");
    }
    assert_eq!(refused(body(4, 0x82, &[b"heater-1"])), ConnectRefusal::Malformed);
    let mut other = body(4, 2, &[b"heater-1"]);
    other[2..6].copy_from_slice(b"MQIs");
    assert_eq!(refused(other), ConnectRefusal::Malformed);
}

#[test]
fn any_changed_byte_gives_a_packet_a_refusal_or_a_wait_and_no_panic() {
    let own = b"gnomon/acme/d/heater-1/status";
    let good = packet(&body(4, 0xee, &[b"heater-1", own, b"{}", b"u", b"p"]));
    for place in 0..good.len() {
        for value in 0..=255 {
            let mut bytes = good.clone();
            bytes[place] = value;
            if let Ok(Read::Whole(connect, _)) = Connect::read(&bytes)
                && connect.check(&fleet(), &device()).is_ok()
            {
                let again = whole(&connect.write(&device(), "word")).unwrap();
                assert!(again.client == "heater-1", "byte {place}");
                let will = again.will.map_or(String::from_utf8_lossy(own).into(), |w| w.topic);
                assert_eq!(will.as_bytes(), own, "byte {place}");
            }
        }
    }
}
