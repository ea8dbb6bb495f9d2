//! MQTT topics, built and parsed here and nowhere else.
//!
//! At most seven slashes, and no dot, space or dollar sign in any part, so that
//! bridges to AWS, Azure and NATS carry them as they are.

use std::fmt;

use crate::ids::{DeviceId, Digest, FleetId};

/// A topic of Gnomon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// `gnomon/{fleet}/d/{device}/{channel}`
    Device(FleetId, DeviceId, Channel),
    /// `gnomon/{fleet}/m/{hex digest}`: a module's bytes, retained, for all devices.
    Module(FleetId, Digest),
    /// `gnomon/{fleet}/trust/{version}`: one trust root, retained. A device that was
    /// away takes one after the other.
    Trust(FleetId, u64),
}

/// The channels of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Cloud to device, retained: the signed desired document.
    Desired,
    /// Device to cloud, retained: what the device says it has.
    Reported,
    /// Device to cloud: batches of results.
    Results,
    /// Cloud to device: which batches are stored.
    Ack,
    /// Device to cloud, retained, last will: online or not.
    Status,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Channel; 5] =
        [Channel::Desired, Channel::Reported, Channel::Results, Channel::Ack, Channel::Status];

    /// The last part of the topic.
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Desired => "desired",
            Channel::Reported => "reported",
            Channel::Results => "results",
            Channel::Ack => "ack",
            Channel::Status => "status",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Device(fleet, device, channel) => {
                write!(f, "gnomon/{fleet}/d/{device}/{}", channel.as_str())
            }
            Topic::Module(fleet, digest) => write!(f, "gnomon/{fleet}/m/{}", digest.hex()),
            Topic::Trust(fleet, version) => write!(f, "gnomon/{fleet}/trust/{version}"),
        }
    }
}

impl Topic {
    /// Parses a topic; `None` for anything that is not one of ours to the letter.
    pub fn parse(text: &str) -> Option<Topic> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            ["gnomon", fleet, "d", device, channel] => Some(Topic::Device(
                fleet.parse().ok()?,
                device.parse().ok()?,
                Channel::ALL.into_iter().find(|known| known.as_str() == *channel)?,
            )),
            ["gnomon", fleet, "m", hex] => {
                Some(Topic::Module(fleet.parse().ok()?, Digest::from_hex(hex).ok()?))
            }
            ["gnomon", fleet, "trust", version] => {
                let number: u64 = version.parse().ok()?;
                // One spelling for each: no sign, no leading zero.
                (number.to_string() == *version)
                    .then_some(Topic::Trust(fleet.parse().ok()?, number))
            }
            _ => None,
        }
    }

    /// The filter by which the cloud hears one channel of all devices of a fleet.
    pub fn all_devices(fleet: &FleetId, channel: Channel) -> String {
        format!("gnomon/{fleet}/d/+/{}", channel.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
mod tests {
    use super::*;

    #[test]
    fn topics_survive_a_round_trip() {
        let fleet: FleetId = "acme".parse().unwrap();
        let device: DeviceId = "heater-001".parse().unwrap();
        let module = Topic::Module(fleet.clone(), Digest::of(b"module"));
        let mut all = vec![module, Topic::Trust(fleet.clone(), 12)];
        all.extend(Channel::ALL.map(|c| Topic::Device(fleet.clone(), device.clone(), c)));
        for topic in all {
            let text = topic.to_string();
            assert_eq!(Topic::parse(&text), Some(topic));
            assert!(text.matches('/').count() <= 7 && !text.contains(['.', ' ', '$']));
        }
    }

    #[test]
    fn foreign_topics_are_not_ours() {
        for text in [
            "",
            "gnomon/acme/d/a/desired/",
            "gnomon/acme/d/+/desired",
            "gnomon/acme/d/A/desired",
            "gnomon/acme/m/00",
            "$SYS/broker",
            "gnomon//d/a/desired",
            "gnomon/acme/d/a/other",
            "gnomon/acme/trust",
            "gnomon/acme/trust/+1",
            "gnomon/acme/trust/01",
        ] {
            assert_eq!(Topic::parse(text), None, "{text}");
        }
    }
}
