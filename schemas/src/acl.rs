//! Who may read and write which topic: one list of rules, asked by the embedded
//! broker's hooks and printed into the configurations of other brokers.
//!
//! It knows names, not certificates: who somebody is was decided before.

use std::fmt;
use std::str::FromStr;

use crate::ids::{DeviceId, FleetId, IdError};

/// The cloud's name on the bus. No device can have it: it has an underscore.
pub const SERVICE_NAME: &str = "gnomon_cloud";

/// Somebody on the bus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// The cloud itself.
    Service,
    /// A device.
    Device(DeviceId),
}

impl Peer {
    /// The name: in a certificate, as user and as client id.
    pub fn name(&self) -> &str {
        match self {
            Peer::Service => SERVICE_NAME,
            Peer::Device(device) => device.as_str(),
        }
    }

    /// What a certificate of this peer says in its one URI.
    pub fn urn(&self, fleet: &FleetId) -> String {
        format!("urn:gnomon:{fleet}:{}", self.name())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Peer {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Peer, IdError> {
        if text == SERVICE_NAME { Ok(Peer::Service) } else { text.parse().map(Peer::Device) }
    }
}

/// What a device may do with the topics of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Subscribe.
    Read,
    /// Publish.
    Write,
}

/// One right of every device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What it may do.
    pub access: Access,
    /// The parts of the topic behind `gnomon/{fleet}/`. `{device}` is the device's own
    /// name, `+` any one part.
    pub topic: &'static str,
}

/// Where a device's own name stands in a rule.
pub const DEVICE_PART: &str = "{device}";

/// All that a device may do. What is not here is denied.
pub const DEVICE_RULES: [Rule; 8] = [
    Rule { access: Access::Read, topic: "d/{device}/desired" },
    Rule { access: Access::Read, topic: "d/{device}/ack" },
    Rule { access: Access::Read, topic: "m/+" },
    Rule { access: Access::Read, topic: "m/+/bundle" },
    Rule { access: Access::Read, topic: "trust/+" },
    Rule { access: Access::Write, topic: "d/{device}/reported" },
    Rule { access: Access::Write, topic: "d/{device}/results" },
    Rule { access: Access::Write, topic: "d/{device}/status" },
];

/// Whether `peer` may publish on `topic`.
pub fn may_publish(fleet: &FleetId, peer: &Peer, topic: &str) -> bool {
    // A topic with a wildcard is no topic.
    !has_wildcard(topic) && may(fleet, peer, Access::Write, topic)
}

/// Whether `peer` may subscribe to `filter`. A device names each topic whole: with
/// wildcards it could learn what others have.
pub fn may_subscribe(fleet: &FleetId, peer: &Peer, filter: &str) -> bool {
    (*peer == Peer::Service || !has_wildcard(filter)) && may(fleet, peer, Access::Read, filter)
}

/// Whether `peer` may leave `topic` as its last will: its own status, nothing else.
pub fn may_leave_will(fleet: &FleetId, peer: &Peer, topic: &str) -> bool {
    match peer {
        Peer::Service => false,
        Peer::Device(device) => topic == format!("gnomon/{fleet}/d/{device}/status"),
    }
}

fn has_wildcard(topic: &str) -> bool {
    topic.contains(['+', '#', '$', '\0'])
}

fn may(fleet: &FleetId, peer: &Peer, access: Access, topic: &str) -> bool {
    let Some(rest) = topic.strip_prefix(&format!("gnomon/{fleet}/")) else { return false };
    match peer {
        Peer::Service => !rest.is_empty() && !rest.contains(['$', '\0']),
        Peer::Device(device) => {
            DEVICE_RULES.iter().any(|rule| rule.access == access && fits(rule.topic, rest, device))
        }
    }
}

fn fits(rule: &str, topic: &str, device: &DeviceId) -> bool {
    let mut parts = topic.split('/');
    let all = rule.split('/').all(|expected| match (expected, parts.next()) {
        (_, None | Some("")) => false,
        ("+", Some(_)) => true,
        (DEVICE_PART, Some(part)) => part == device.as_str(),
        (expected, Some(part)) => part == expected,
    });
    all && parts.next().is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
mod tests {
    use super::*;
    use crate::ids::Digest;
    use crate::topics::{Channel, Topic};

    fn fleet() -> FleetId {
        "acme".parse().unwrap()
    }

    fn device(name: &str) -> Peer {
        Peer::Device(name.parse().unwrap())
    }

    #[test]
    fn a_device_reads_and_writes_its_own_channels_and_nobody_elses() {
        let own: DeviceId = "heater-1".parse().unwrap();
        let other: DeviceId = "heater-2".parse().unwrap();
        let peer = Peer::Device(own.clone());
        for channel in Channel::ALL {
            let reads = matches!(channel, Channel::Desired | Channel::Ack);
            let topic = Topic::Device(fleet(), own.clone(), channel).to_string();
            assert_eq!(may_subscribe(&fleet(), &peer, &topic), reads, "{topic}");
            assert_eq!(may_publish(&fleet(), &peer, &topic), !reads, "{topic}");
            assert_eq!(
                may_leave_will(&fleet(), &peer, &topic),
                channel == Channel::Status,
                "{topic}"
            );
            let topic = Topic::Device(fleet(), other.clone(), channel).to_string();
            assert!(!may_subscribe(&fleet(), &peer, &topic), "{topic}");
            assert!(!may_publish(&fleet(), &peer, &topic), "{topic}");
            assert!(!may_leave_will(&fleet(), &peer, &topic), "{topic}");
        }
    }

    #[test]
    fn modules_and_trust_roots_are_for_every_device_to_read_and_for_none_to_write() {
        let peer = device("heater-1");
        let module = Topic::Module(fleet(), Digest::of(b"module")).to_string();
        for topic in [module.clone(), format!("{module}/bundle"), "gnomon/acme/trust/7".into()] {
            assert!(may_subscribe(&fleet(), &peer, &topic), "{topic}");
            assert!(!may_publish(&fleet(), &peer, &topic), "{topic}");
        }
    }

    #[test]
    fn wildcards_foreign_fleets_and_near_misses_are_denied() {
        let peer = device("heater-1");
        for topic in [
            "#",
            "+/#",
            "gnomon/#",
            "gnomon/acme/#",
            "gnomon/acme/d/+/desired",
            "gnomon/acme/d/heater-1/#",
            "gnomon/acme/d/heater-1/+",
            "gnomon/acme/m/+",
            "gnomon/acme/m/#",
            "gnomon/acme/trust/+",
            "gnomon/acme/trust/#",
            "gnomon/acme/d/heater-1/desired/",
            "gnomon/acme/d/heater-1/desired/x",
            "gnomon/acme/d/heater-1",
            "gnomon/acme//heater-1/desired",
            "gnomon/acme/m/",
            "gnomon/acme/",
            "gnomon/other/d/heater-1/desired",
            "/gnomon/acme/d/heater-1/desired",
            "$share/g/gnomon/acme/d/heater-1/desired",
            "$SYS/#",
            "$SYS/brokers",
            "$CONTROL/dynamic-security/v1",
            "",
        ] {
            assert!(!may_subscribe(&fleet(), &peer, topic), "{topic}");
            assert!(!may_publish(&fleet(), &peer, topic), "{topic}");
        }
    }

    #[test]
    fn the_service_has_its_fleet_and_no_more() {
        let every = ["gnomon/acme/d/+/results", "gnomon/acme/#", "gnomon/acme/trust/1"];
        for filter in every {
            assert!(may_subscribe(&fleet(), &Peer::Service, filter), "{filter}");
        }
        assert!(may_publish(&fleet(), &Peer::Service, "gnomon/acme/d/a/desired"));
        assert!(!may_publish(&fleet(), &Peer::Service, "gnomon/acme/d/+/desired"));
        let foreign = ["#", "$SYS/#", "gnomon/other/#", "gnomon/acme", "$share/a/gnomon/acme/#"];
        for filter in foreign {
            assert!(!may_subscribe(&fleet(), &Peer::Service, filter), "{filter}");
            assert!(!may_publish(&fleet(), &Peer::Service, filter), "{filter}");
        }
    }

    #[test]
    fn no_device_can_have_the_services_name() {
        assert!(SERVICE_NAME.parse::<DeviceId>().is_err());
        assert_eq!(SERVICE_NAME.parse::<Peer>().unwrap(), Peer::Service);
        assert_eq!("heater-1".parse::<Peer>().unwrap(), device("heater-1"));
        assert_eq!(device("heater-1").urn(&fleet()), "urn:gnomon:acme:heater-1");
        assert!("+".parse::<Peer>().is_err());
    }
}
