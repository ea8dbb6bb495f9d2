//! Harm, tried from the broker's side: someone who can publish on every topic, and who
//! has even stolen two of the three keys that it takes.

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gnomon::keys::{LOCAL_PUBLISHER, PrivateKey, seal};
use gnomon_schemas::approval::{Approval, ApprovalSchema, Grant};
use gnomon_schemas::document::{Document, InlineBytes, ModuleRef, Slot};
use gnomon_schemas::envelope::{Envelope, Payload as _};
use gnomon_schemas::module::ModuleEvidence;
use gnomon_schemas::strict;
use gnomon_schemas::topics::{Channel, Topic};
use gnomon_schemas::value::{Value, Values};
use gnomon_schemas::{DeviceId, Digest, FleetId};
use rumqttc::{AsyncClient, Broker, MqttOptions, Packet, PublishOptions, QoS};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// The keys that an attacker has stolen.
pub(super) struct Stolen {
    pub(super) director: PrivateKey,
    pub(super) approver: PrivateKey,
    pub(super) publisher: PrivateKey,
}

/// A document whose module was tampered with, under valid signatures of the stolen
/// director's and approver's keys: what still lacks is the publisher's.
pub(super) fn tampered_module(envelope: &[u8], stolen: &Stolen) -> Result<Vec<u8>> {
    let mut document = next(envelope)?;
    let plan = document.functions.values_mut().next().context("no function")?;
    let slot = plan.active.as_mut().context("no active module")?;
    let mut listed = document.modules.remove(&slot.module).context("module not listed")?;
    let bytes = &mut listed.inline.as_mut().context("module not inline")?.0;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    slot.module = Digest::of(bytes);
    listed.inline = Some(InlineBytes(bytes.clone()));
    document.modules.insert(slot.module.clone(), listed);
    let approval = Approval {
        schema: ApprovalSchema::V1,
        fleet: document.fleet.clone(),
        devices: None,
        approved_at_ms: document.issued_at_ms,
        grant: Grant::of(&document),
    };
    let payload = serde_json::to_vec(&approval)?;
    let approval = seal::<Approval>(&payload, &[&stolen.approver])?;
    document.approvals = vec![strict::parse(&approval, Approval::ENVELOPE_BYTES_MAX)?];
    Ok(seal::<Document>(&serde_json::to_vec(&document)?, &[&stolen.director])?)
}

/// A document that brings another module, under valid signatures of the stolen director's
/// and publisher's keys: what still lacks is the approver's.
pub(super) fn unapproved_module(
    envelope: &[u8],
    component: &[u8],
    stolen: &Stolen,
) -> Result<Vec<u8>> {
    let mut document = next(envelope)?;
    let manifest = gnomon_host::manifest(component).context("a module without a manifest")?;
    let plan = document.functions.values_mut().next().context("no function")?;
    let module = Digest::of(component);
    plan.active = Some(Slot {
        module: module.clone(),
        params: Values::from([("asked_c".to_owned(), Value::Float(95.0))]),
    });
    plan.candidates.clear();
    let listed = ModuleRef {
        name: manifest.name,
        version: manifest.version,
        release_counter: manifest.release_counter,
        size_bytes: component.len() as u64,
        evidence: ModuleEvidence::Key {
            publisher: LOCAL_PUBLISHER.parse()?,
            signature: stolen.publisher.sign_blob(component)?,
        },
        inline: Some(InlineBytes(component.to_vec())),
    };
    document.modules = BTreeMap::from([(module, listed)]);
    Ok(seal::<Document>(&serde_json::to_vec(&document)?, &[&stolen.director])?)
}

fn next(envelope: &[u8]) -> Result<Document> {
    let mut document = open(envelope)?;
    document.version = document.version.next().context("no version left")?;
    Ok(document)
}

/// A newer document that nobody signed.
pub(super) fn unsigned(envelope: &[u8]) -> Result<Vec<u8>> {
    let payload = serde_json::to_vec(&next(envelope)?)?;
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
