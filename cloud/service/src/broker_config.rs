//! Ready configurations for other brokers: TLS with client certificates, the name from
//! the certificate and from nowhere else, and the rules of `gnomon_schemas::acl`.
//!
//! Texts only: it reads and writes nothing. mosquitto's is tested against the real
//! server; the others say what the same rules are in their words.

use gnomon_schemas::acl::{Access, DEVICE_PART, DEVICE_RULES, SERVICE_NAME};
use gnomon_schemas::ids::{DeviceId, FleetId};
use gnomon_schemas::limits::MQTT_PACKET_BYTES_MAX;
use serde_json::json;
use std::fmt::Write as _;

/// What stands above the texts that no test has tried.
const UNTRIED: &str = "Not yet tested against the real server: try it before you rely on it.";

/// A broker that there is a configuration for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BrokerKind {
    /// Eclipse Mosquitto 2.
    Mosquitto,
    /// EMQX 5.
    Emqx,
    /// NATS server 2.9 and later, with JetStream.
    Nats,
    /// RabbitMQ 3.12 and later.
    Rabbitmq,
}

impl BrokerKind {
    /// Whether every device is named in it, so that it is made again for each new one.
    pub fn names_devices(self) -> bool {
        matches!(self, BrokerKind::Nats | BrokerKind::Rabbitmq)
    }
}

/// A file of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// The files of a broker's configuration. `folder` is where they and the certificates
/// will lie; `devices` matters where [`BrokerKind::names_devices`].
pub fn files(
    kind: BrokerKind,
    fleet: &FleetId,
    folder: &str,
    devices: &[DeviceId],
) -> Vec<ConfigFile> {
    match kind {
        BrokerKind::Mosquitto => mosquitto(fleet, folder),
        BrokerKind::Emqx => emqx(fleet, folder),
        BrokerKind::Nats => nats(fleet, folder, devices),
        BrokerKind::Rabbitmq => rabbitmq(fleet, folder, devices),
    }
}

/// The rules of one kind, whole, with `own` where the device's name stands.
fn topics(fleet: &FleetId, access: Access, own: &str) -> Vec<String> {
    let rules = DEVICE_RULES.iter().filter(|rule| rule.access == access);
    rules.map(|rule| format!("gnomon/{fleet}/{}", rule.topic.replace(DEVICE_PART, own))).collect()
}

fn mosquitto(fleet: &FleetId, folder: &str) -> Vec<ConfigFile> {
    let text = format!(
        "\
# Fleet `{fleet}` on Eclipse Mosquitto 2, by `gnomon broker config mosquitto`.
# Certificates: `gnomon broker certificate --name HOST --out {folder}`.
# Revoked ones: `gnomon device crl --out {folder}/crl.pem` after each revocation and at
# least every 30 days, then SIGHUP; Mosquitto cuts nobody off who is connected.

listener 8883
cafile {folder}/ca.crt
certfile {folder}/broker.crt
keyfile {folder}/keys/broker.pem
crlfile {folder}/crl.pem
tls_version tlsv1.3

# Who connects is who the certificate says; a client id of another's is not taken.
allow_anonymous false
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file {folder}/gnomon.acl

# The default loses acknowledged messages when the power goes.
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true

max_packet_size {MQTT_PACKET_BYTES_MAX}
check_retain_source true
"
    );
    let mut acl = format!(
        "\
# Who may what in fleet `{fleet}`. What is not here is denied.
user {SERVICE_NAME}
topic readwrite gnomon/{fleet}/#

# Every device, by the name in its certificate.
"
    );
    for (access, word) in [(Access::Read, "read"), (Access::Write, "write")] {
        for topic in topics(fleet, access, "%u") {
            // Writing to a text cannot fail.
            let _ = writeln!(acl, "pattern {word} {topic}");
        }
    }
    vec![ConfigFile { name: "mosquitto.conf", text }, ConfigFile { name: "gnomon.acl", text: acl }]
}

fn emqx(fleet: &FleetId, folder: &str) -> Vec<ConfigFile> {
    let text = format!(
        r#"# Fleet `{fleet}` on EMQX 5, by `gnomon broker config emqx`: append to emqx.conf.
# Certificates: `gnomon broker certificate --name HOST --out {folder}`.
# Revoked ones: put the list of `gnomon device crl` where `crl_cache` finds it by HTTP, or
# ban the device's client id, which also cuts it off.
# {UNTRIED}

listeners.tcp.default.enable = false
listeners.ws.default.enable = false
listeners.wss.default.enable = false
listeners.ssl.default {{
  bind = "0.0.0.0:8883"
  ssl_options {{
    cacertfile = "{folder}/ca.crt"
    certfile = "{folder}/broker.crt"
    keyfile = "{folder}/keys/broker.pem"
    versions = ["tlsv1.3"]
    verify = verify_peer
    fail_if_no_peer_cert = true
  }}
}}

mqtt {{
  peer_cert_as_username = cn
  peer_cert_as_clientid = cn
  max_packet_size = {MQTT_PACKET_BYTES_MAX}
}}

authorization {{
  no_match = deny
  deny_action = disconnect
  sources = [{{ type = file, enable = true, path = "{folder}/acl.conf" }}]
}}
"#
    );
    let list = |access| {
        let topics = topics(fleet, access, "${username}");
        topics.iter().map(|topic| format!("  \"{topic}\"")).collect::<Vec<_>>().join(",\n")
    };
    let acl = format!(
        "\
%% Who may what in fleet `{fleet}`. What is not here is denied.
{{allow, {{username, \"{SERVICE_NAME}\"}}, all, [\"gnomon/{fleet}/#\"]}}.
{{allow, all, subscribe, [
{}
]}}.
{{allow, all, publish, [
{}
]}}.
{{deny, all}}.
",
        list(Access::Read),
        list(Access::Write)
    );
    vec![ConfigFile { name: "emqx.conf", text }, ConfigFile { name: "acl.conf", text: acl }]
}

/// NATS has dots where MQTT has slashes, and `*` for `+`.
fn subject(topic: &str) -> String {
    topic.replace('/', ".").replace('+', "*").replace('#', ">")
}

fn nats(fleet: &FleetId, folder: &str, devices: &[DeviceId]) -> Vec<ConfigFile> {
    let mut users = String::new();
    let everything = [subject(&format!("gnomon/{fleet}/#"))];
    let mut add = |name: &str, publish: &[String], subscribe: &[String]| {
        let quoted = |subjects: &[String]| {
            subjects.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(
            users,
            "    {{ user: \"CN={name}\", permissions: {{\n      publish: [{}]\n      \
             subscribe: [{}, \"$MQTT.sub.>\"]\n    }} }}",
            quoted(publish),
            quoted(subscribe)
        );
    };
    add(SERVICE_NAME, &everything, &everything);
    for device in devices {
        let of = |access| {
            let topics = topics(fleet, access, device.as_str());
            topics.iter().map(|topic| subject(topic)).collect::<Vec<_>>()
        };
        add(device.as_str(), &of(Access::Write), &of(Access::Read));
    }
    let text = format!(
        r#"# Fleet `{fleet}` on NATS with JetStream, by `gnomon broker config nats`. Every device is
# named: make it again, and reload, for each new or removed one. A revoked device is one
# that is left out. NATS takes a client id from whoever gives it: a device could end
# another's connection by it, not read or write in its name.
# {UNTRIED}

server_name: gnomon
# Only over MQTT do devices come; NATS's own door wants the same certificates.
listen: "127.0.0.1:4222"
tls {{
  ca_file: "{folder}/ca.crt"
  cert_file: "{folder}/broker.crt"
  key_file: "{folder}/keys/broker.pem"
  verify_and_map: true
}}
max_payload: {MQTT_PACKET_BYTES_MAX}
jetstream {{ store_dir: "{folder}/jetstream" }}

mqtt {{
  listen: "0.0.0.0:8883"
  ack_wait: "5s"
  max_ack_pending: 100
  tls {{
    ca_file: "{folder}/ca.crt"
    cert_file: "{folder}/broker.crt"
    key_file: "{folder}/keys/broker.pem"
    verify_and_map: true
  }}
}}

authorization {{
  users: [
{users}  ]
}}
"#
    );
    vec![ConfigFile { name: "nats.conf", text }]
}

/// A regular expression for topics as RabbitMQ knows them: dots for slashes.
fn expression(topics: &[String]) -> String {
    let one = |topic: &String| topic.replace('/', "\\.").replace('+', "[^.]+");
    format!("^({})$", topics.iter().map(one).collect::<Vec<_>>().join("|"))
}

fn rabbitmq(fleet: &FleetId, folder: &str, devices: &[DeviceId]) -> Vec<ConfigFile> {
    let text = format!(
        "\
# Fleet `{fleet}` on RabbitMQ with its MQTT plugin, by `gnomon broker config rabbitmq`.
# Every device is a user in definitions.json: make it again for each new or removed one.
# A revoked device is one whose user is deleted. RabbitMQ takes a client id from whoever
# gives it: a device could end another's connection by it, not read or write in its name.
# {UNTRIED}

listeners.tcp = none
mqtt.listeners.tcp = none
mqtt.listeners.ssl.default = 8883
mqtt.allow_anonymous = false
mqtt.ssl_cert_login = true
mqtt.exchange = amq.topic
ssl_cert_login_from = common_name
ssl_options.cacertfile = {folder}/ca.crt
ssl_options.certfile = {folder}/broker.crt
ssl_options.keyfile = {folder}/keys/broker.pem
ssl_options.versions.1 = tlsv1.3
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
load_definitions = {folder}/definitions.json
"
    );
    let service = [format!("gnomon\\.{fleet}\\..+")].map(|all| format!("^{all}$"));
    let own = "{username}";
    let (write, read) = (
        expression(&topics(fleet, Access::Write, own)),
        expression(&topics(fleet, Access::Read, own)),
    );
    let names = || std::iter::once(SERVICE_NAME).chain(devices.iter().map(DeviceId::as_str));
    let users: Vec<_> =
        names().map(|name| json!({ "name": name, "password_hash": "", "tags": "" })).collect();
    // Only queues of MQTT subscriptions and the topic exchange behind them.
    let queues = "^(mqtt-subscription-.*|amq\\.topic)$";
    let permissions: Vec<_> = names()
        .map(|name| {
            json!({ "user": name, "vhost": "/", "configure": queues, "write": queues,
                "read": queues })
        })
        .collect();
    let topic_permissions: Vec<_> = names()
        .map(|name| {
            let is_service = name == SERVICE_NAME;
            json!({ "user": name, "vhost": "/", "exchange": "amq.topic",
                "write": if is_service { &service[0] } else { &write },
                "read": if is_service { &service[0] } else { &read } })
        })
        .collect();
    let definitions = json!({ "vhosts": [{ "name": "/" }], "users": users,
        "permissions": permissions, "topic_permissions": topic_permissions });
    vec![
        ConfigFile { name: "rabbitmq.conf", text },
        ConfigFile { name: "definitions.json", text: format!("{definitions:#}\n") },
    ]
}
