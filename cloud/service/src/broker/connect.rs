//! The first packet of a connection, MQTT 3.1.1 CONNECT: parsed strictly, judged
//! against who the certificate says it is, and written anew.
//!
//! It knows no socket. Whatever name or password the client gave is left out.

use gnomon_schemas::acl::{self, Peer};
use gnomon_schemas::ids::FleetId;

/// The largest CONNECT that is read: a name, a topic and a status fit many times.
pub(super) const CONNECT_BYTES_MAX: usize = 4096;

/// Why a CONNECT is refused: the return code of a CONNACK (MQTT 3.1.1, table 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectRefusal {
    /// Not CONNECT, or not to the letter; nothing is answered.
    #[error("the first packet is not an MQTT 3.1.1 CONNECT")]
    Malformed,
    /// Another version of MQTT.
    #[error("another version of MQTT than 3.1.1")]
    Version,
    /// The client id is another's.
    #[error("a client id that is not the certificate's name")]
    ClientId,
    /// A last will where it may not be.
    #[error("a last will on another topic than its own status")]
    Will,
}

impl ConnectRefusal {
    /// The CONNACK that says so; none where nothing is to be said.
    pub(super) fn answer(self) -> Option<[u8; 4]> {
        let code = match self {
            ConnectRefusal::Malformed => return None,
            ConnectRefusal::Version => 1,
            ConnectRefusal::ClientId => 2,
            ConnectRefusal::Will => 5,
        };
        Some([0x20, 2, 0, code])
    }
}

/// A last will.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Will {
    topic: String,
    payload: Vec<u8>,
    /// QoS and retain, as they stand in the flags.
    flags: u8,
}

/// What matters of a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connect {
    client: String,
    clean_session: bool,
    keep_alive_s: u16,
    will: Option<Will>,
}

/// What the first bytes of a connection tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A whole packet of that many bytes.
    Whole(Connect, usize),
    /// More is to come.
    More,
}

const WILL: u8 = 0x04;
const CLEAN_SESSION: u8 = 0x02;
const WILL_FLAGS: u8 = 0x38;
const USER: u8 = 0x80;
const PASSWORD: u8 = 0x40;

impl Connect {
    /// Reads the packet at the start of `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Result<Read, ConnectRefusal> {
        if bytes.first().is_some_and(|first| *first != 0x10) {
            return Err(ConnectRefusal::Malformed);
        }
        let Some((length, start)) = remaining_length(bytes)? else { return Ok(Read::More) };
        let end = start + length;
        if end > CONNECT_BYTES_MAX {
            return Err(ConnectRefusal::Malformed);
        }
        match bytes.get(start..end) {
            Some(body) => Ok(Read::Whole(Connect::parse(body)?, end)),
            None => Ok(Read::More),
        }
    }

    fn parse(body: &[u8]) -> Result<Connect, ConnectRefusal> {
        let mut rest = Fields(body);
        if rest.text()? != "MQTT" {
            return Err(ConnectRefusal::Malformed);
        }
        if rest.byte()? != 4 {
            return Err(ConnectRefusal::Version);
        }
        let flags = rest.byte()?;
        let has = |flag: u8| flags & flag != 0;
        let is_wrong = has(1)
            || (!has(WILL) && has(WILL_FLAGS))
            || flags & 0x18 == 0x18
            || (has(PASSWORD) && !has(USER));
        if is_wrong {
            return Err(ConnectRefusal::Malformed);
        }
        let keep_alive_s = rest.number()?;
        let client = rest.text()?.to_owned();
        let will = if has(WILL) {
            let topic = rest.text()?.to_owned();
            let payload = rest.bytes()?.to_vec();
            Some(Will { topic, payload, flags: flags & WILL_FLAGS })
        } else {
            None
        };
        if has(USER) {
            rest.text()?;
        }
        if has(PASSWORD) {
            rest.bytes()?;
        }
        if !rest.0.is_empty() {
            return Err(ConnectRefusal::Malformed);
        }
        Ok(Connect { client, clean_session: has(CLEAN_SESSION), keep_alive_s, will })
    }

    /// Whether `peer` may connect so. A client that gives no id gets its own name; one
    /// that gives another's is refused, so that a mistake is heard of.
    pub(super) fn check(&self, fleet: &FleetId, peer: &Peer) -> Result<(), ConnectRefusal> {
        if !self.client.is_empty() && self.client != peer.name() {
            return Err(ConnectRefusal::ClientId);
        }
        match &self.will {
            Some(will) if !acl::may_leave_will(fleet, peer, &will.topic) => {
                Err(ConnectRefusal::Will)
            }
            _ => Ok(()),
        }
    }

    /// The packet as the broker behind gets it: `peer`'s name as client id and as user,
    /// and the word that the broker knows us by.
    pub(super) fn write(&self, peer: &Peer, secret: &str) -> Vec<u8> {
        let mut flags = USER | PASSWORD;
        if self.clean_session {
            flags |= CLEAN_SESSION;
        }
        let mut body = vec![];
        put(&mut body, b"MQTT");
        if let Some(will) = &self.will {
            flags |= WILL | will.flags;
        }
        body.extend([4, flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        put(&mut body, peer.name().as_bytes());
        if let Some(will) = &self.will {
            put(&mut body, will.topic.as_bytes());
            put(&mut body, &will.payload);
        }
        put(&mut body, peer.name().as_bytes());
        put(&mut body, secret.as_bytes());
        let mut packet = vec![0x10];
        let mut length = body.len();
        while length > 0x7f {
            packet.push(0x80 | low_bits(length));
            length >>= 7;
        }
        packet.push(low_bits(length));
        packet.extend(body);
        packet
    }
}

fn low_bits(number: usize) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or(0)
}

/// A field behind its length. What is put came out of a packet of at most
/// [`CONNECT_BYTES_MAX`] or is one of our short names.
fn put(to: &mut Vec<u8>, field: &[u8]) {
    to.extend(u16::try_from(field.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend_from_slice(field);
}

/// The remaining length and where the body starts; none when more bytes are needed.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, ConnectRefusal> {
    let mut length = 0;
    for place in 0..4 {
        let Some(byte) = bytes.get(1 + place) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((length, 2 + place)));
        }
    }
    Err(ConnectRefusal::Malformed)
}

/// What is left of a packet's body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Result<u8, ConnectRefusal> {
        let (first, rest) = self.0.split_first().ok_or(ConnectRefusal::Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u16, ConnectRefusal> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn bytes(&mut self) -> Result<&'a [u8], ConnectRefusal> {
        let length = usize::from(self.number()?);
        let (field, rest) = self.0.split_at_checked(length).ok_or(ConnectRefusal::Malformed)?;
        self.0 = rest;
        Ok(field)
    }

    fn text(&mut self) -> Result<&'a str, ConnectRefusal> {
        let text = std::str::from_utf8(self.bytes()?).ok();
        text.filter(|text| !text.contains('\0')).ok_or(ConnectRefusal::Malformed)
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
