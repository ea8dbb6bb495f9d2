//! Harm, tried from the broker's side: someone who can publish on every topic,
//! and who has even stolen the director's key.

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gnomon::keys::PrivateKey;
use gnomon_schemas::document::{Document, InlineBytes};
use gnomon_schemas::envelope::{Envelope, Payload as _};
use gnomon_schemas::strict;
use gnomon_schemas::topics::{Channel, Topic};
use gnomon_schemas::{DeviceId, Digest, FleetId};
use rumqttc::{AsyncClient, Broker, MqttOptions, Packet, PublishOptions, QoS};
use std::net::SocketAddr;
use std::time::Duration;

/// A document whose module was tampered with, under a valid signature of the
/// stolen director's key: what still lacks is the publisher's.
pub(super) fn tampered_module(envelope: &[u8], director: &PrivateKey) -> Result<Vec<u8>> {
    let mut document = open(envelope)?;
    let version = document.version.next().context("no version left")?;
    document.version = version;
    let plan = document.functions.values_mut().next().context("no function")?;
    let slot = plan.active.as_mut().context("no active module")?;
    let mut listed = document.modules.remove(&slot.module).context("module not listed")?;
    let bytes = &mut listed.inline.as_mut().context("module not inline")?.0;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    slot.module = Digest::of(bytes);
    listed.inline = Some(InlineBytes(bytes.clone()));
    document.modules.insert(slot.module.clone(), listed);
    let payload = serde_json::to_vec(&document)?;
    let id = director.public()?.id().to_string();
    let message_signature = |message: &[u8]| director.sign(message).unwrap_or_default();
    let sealed = Envelope::seal::<Document>(&payload, &[(id, &message_signature)]);
    Ok(serde_json::to_vec(&sealed)?)
}

/// A newer document that nobody signed.
pub(super) fn unsigned(envelope: &[u8]) -> Result<Vec<u8>> {
    let mut document = open(envelope)?;
    document.version = document.version.next().context("no version left")?;
    let payload = serde_json::to_vec(&document)?;
    let unsigned = Envelope {
        payload_type: Document::PAYLOAD_TYPE.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![],
    };
    Ok(serde_json::to_vec(&unsigned)?)
}

fn open(envelope: &[u8]) -> Result<Document> {
    let envelope: Envelope = strict::parse(envelope, Document::ENVELOPE_BYTES_MAX)?;
    Ok(strict::parse(&STANDARD.decode(envelope.payload)?, Document::ENVELOPE_BYTES_MAX)?)
}

/// Publishes each message on its device's desired topic, and waits until the
/// broker has taken them all.
pub(super) async fn publish(
    broker: SocketAddr,
    fleet: &FleetId,
    messages: Vec<(DeviceId, Vec<u8>)>,
) -> Result<()> {
    let mut options =
        MqttOptions::new("attacker", Broker::tcp(broker.ip().to_string(), broker.port()));
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) =
        AsyncClient::builder(options).capacity(messages.len() + 8).build();
    let mut unacknowledged = messages.len();
    for (device, bytes) in messages {
        let topic = Topic::Device(fleet.clone(), device, Channel::Desired).to_string();
        client.publish(topic, bytes, PublishOptions::new(QoS::AtLeastOnce)).await?;
    }
    let all_taken = async {
        while unacknowledged > 0 {
            if let rumqttc::Event::Incoming(Packet::PubAck(_)) = connection.poll().await? {
                unacknowledged -= 1;
            }
        }
        Ok::<_, rumqttc::ConnectionError>(())
    };
    match tokio::time::timeout(Duration::from_secs(30), all_taken).await {
        Ok(taken) => Ok(taken?),
        Err(_) => bail!("the broker did not take the attacker's messages"),
    }
}
