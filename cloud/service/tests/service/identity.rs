//! Enrolment and renewal as the service judges them, at times that a test chooses.

use gnomon::identity::{Facts, Identities, IdentityOptions, peer_of};
use gnomon::store::Store;
use gnomon::store::audit::Entry;
use gnomon::store::devices::{self, Device};
use gnomon::store::identity::Certificate;
use gnomon::store::profiles;
use gnomon_cloud_core::Labels;
use gnomon_cloud_core::access::Actor;
use gnomon_schemas::acl::Peer;
use gnomon_schemas::enrol::{EnrolRequest, RenewRequest, renewal_message};
use gnomon_schemas::ids::{DeviceId, Digest, FleetId};
use gnomon_schemas::reason::{Reason, Refusal};
use rcgen::SigningKey as _;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::sync::Arc;
use tempfile::TempDir;

/// Some time in 2026.
const NOW: u64 = 1_795_000_000_000;
const HOUR: u64 = 3600 * 1000;
const DAY: u64 = 24 * HOUR;

struct Office {
    folder: TempDir,
    store: Store,
    identities: Arc<Identities>,
}

fn fleet() -> FleetId {
    "acme".parse().unwrap()
}

fn device(name: &str) -> DeviceId {
    name.parse().unwrap()
}

fn entry() -> Entry {
    Entry::new(Actor::Anonymous, "device.enrol", "test")
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// A request that claims to be somebody else: nothing but its key may count.
fn request(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "gnomon_cloud");
    let uri = "urn:gnomon:acme:gnomon_cloud".try_into().unwrap();
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.serialize_request(key).unwrap().pem().unwrap()
}

impl Office {
    async fn open() -> Office {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&folder.path().join("gnomon.sqlite")).unwrap();
        store
            .write(|db| {
                let profile = Digest::of(b"profile");
                profiles::insert(db, &profile, "water-heater", b"{}", NOW)?;
                for name in ["heater-1", "heater-2"] {
                    devices::insert(
                        db,
                        &Device {
                            device: device(name),
                            profile: profile.clone(),
                            labels: Labels::default(),
                            created_ms: NOW,
                            conflict: None,
                            version_floor: 0,
                        },
                    )?;
                }
                Ok::<_, Refusal>(())
            })
            .await
            .unwrap();
        let options = IdentityOptions::default();
        let opened = Identities::open(folder.path(), &fleet(), &store, &options, NOW).await;
        Office { folder, store, identities: Arc::new(opened.unwrap()) }
    }

    async fn token(&self, name: &str, life_ms: u64) -> Result<String, Refusal> {
        let (identities, device) = (Arc::clone(&self.identities), device(name));
        let offer = move |db: &rusqlite::Connection| identities.offer(db, &device, life_ms, NOW);
        self.store.write(offer).await.map(|offer| offer.token)
    }

    async fn enrol(
        &self,
        name: &str,
        token: &str,
        request: String,
        now_ms: u64,
    ) -> Result<Certificate, Reason> {
        let request = EnrolRequest { device: device(name), token: token.to_owned(), request };
        let done = self.identities.enrol(&self.store, request, entry(), now_ms).await;
        done.map_err(|refusal| refusal.reason)
    }

    async fn renew(
        &self,
        held: &Certificate,
        old: &KeyPair,
        new: &KeyPair,
        now_ms: u64,
    ) -> Result<Certificate, Reason> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let csr = CertificateParams::default().serialize_request(new).unwrap();
        let signature = STANDARD.encode(old.sign(&renewal_message(csr.der())).unwrap());
        let certificate = held.pem.clone();
        let request = RenewRequest { certificate, request: csr.pem().unwrap(), signature };
        let done = self.identities.renew(&self.store, request, entry(), now_ms).await;
        done.map_err(|refusal| refusal.reason)
    }

    async fn revoke(&self, name: &str) {
        let (identities, device) = (Arc::clone(&self.identities), device(name));
        let revoke = move |db: &rusqlite::Connection| identities.revoke(db, &device, NOW);
        let serials = self.store.write(revoke).await.unwrap();
        self.identities.kick(serials);
    }
}

#[tokio::test]
async fn names_are_the_clouds_to_set_whatever_a_request_says() {
    let office = Office::open().await;
    let token = office.token("heater-1", HOUR).await.unwrap();
    let issued = office.enrol("heater-1", &token, request(&key()), NOW).await.unwrap();
    let der = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
    let facts = Facts::read(&der).unwrap();
    assert_eq!(facts.common_names, ["heater-1"]);
    assert_eq!(facts.uris, ["urn:gnomon:acme:heater-1"]);
    assert_eq!(peer_of(&facts, &fleet()).unwrap(), Peer::Device(device("heater-1")));
    assert!(peer_of(&facts, &"other".parse().unwrap()).is_err());
    assert_eq!(facts.not_after_ms, (NOW + 90 * DAY) / 1000 * 1000);
    assert_eq!(facts.serial, issued.serial);
    office.identities.ca().verify(&der, NOW).unwrap();
    assert!(office.identities.ca().verify(&der, NOW + 91 * DAY).is_err());
}

#[tokio::test]
async fn a_token_that_is_expired_used_or_anothers_opens_nothing() {
    let office = Office::open().await;
    let token = office.token("heater-1", HOUR).await.unwrap();
    let refused = Err(Reason::TokenInvalid);
    let expired = office.enrol("heater-1", &token, request(&key()), NOW + HOUR).await;
    assert_eq!(expired, refused);
    assert_eq!(office.enrol("heater-2", &token, request(&key()), NOW).await, refused);
    let mine = key();
    let issued = office.enrol("heater-1", &token, request(&mine), NOW).await.unwrap();
    assert_eq!(office.enrol("heater-1", &token, request(&key()), NOW).await, refused);
    // The same key may ask again: the answer may have been lost on the way.
    let again = office.enrol("heater-1", &token, request(&mine), NOW + 1).await.unwrap();
    assert_eq!(again, issued);
    office.revoke("heater-1").await;
    assert_eq!(office.enrol("heater-1", &token, request(&mine), NOW + 2).await, refused);
}

#[tokio::test]
async fn a_request_that_is_not_its_own_keys_is_refused_and_the_token_is_left() {
    let office = Office::open().await;
    let token = office.token("heater-1", HOUR).await.unwrap();
    let good = request(&key());
    let der = pem::parse(&good).unwrap().into_contents();
    let changed = |at: usize| {
        let mut der = der.clone();
        der[at] ^= 1;
        pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der))
    };
    let other_kind = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut bad = vec![String::new(), "garbage".into(), request(&other_kind)];
    // In the name, in the key, and in the signature.
    bad.extend([40, der.len() / 2, der.len() - 1].map(changed));
    for request in bad {
        let refused = office.enrol("heater-1", &token, request, NOW).await;
        assert_eq!(refused, Err(Reason::CertificateRequestInvalid));
    }
    office.enrol("heater-1", &token, good, NOW).await.unwrap();
}

#[tokio::test]
async fn after_many_guesses_nobody_is_heard_for_the_rest_of_the_minute() {
    let office = Office::open().await;
    let token = office.token("heater-1", HOUR).await.unwrap();
    for _ in 0..60 {
        let refused = office.enrol("heater-1", "gnomon-enroll-x", request(&key()), NOW).await;
        assert_eq!(refused, Err(Reason::TokenInvalid));
    }
    let refused = office.enrol("heater-1", &token, request(&key()), NOW).await;
    assert_eq!(refused, Err(Reason::TooManyAttempts));
    office.enrol("heater-1", &token, request(&key()), NOW + 60_000).await.unwrap();
}

#[tokio::test]
async fn a_renewal_is_signed_by_the_key_in_force() {
    let office = Office::open().await;
    let token = office.token("heater-1", HOUR).await.unwrap();
    let (first, second) = (key(), key());
    let held = office.enrol("heater-1", &token, request(&first), NOW).await.unwrap();
    let later = NOW + 60 * DAY;
    let refused = Err(Reason::DeviceCertificateInvalid);
    assert_eq!(office.renew(&held, &second, &second, later).await, refused, "another's key");
    let renewed = office.renew(&held, &first, &second, later).await.unwrap();
    assert_eq!(renewed.device, device("heater-1"));
    assert_eq!(renewed.expires_at_ms, (later + 90 * DAY) / 1000 * 1000);
    assert_eq!(office.renew(&held, &first, &second, later).await.unwrap(), renewed, "asked again");
    let expired = office.renew(&held, &first, &key(), NOW + 91 * DAY).await;
    assert_eq!(expired, refused, "expired");
    office.revoke("heater-1").await;
    assert_eq!(office.renew(&renewed, &second, &key(), later).await, refused, "revoked");
}

#[tokio::test]
async fn a_stolen_key_cannot_fill_the_store_with_certificates() {
    let office = Office::open().await;
    let token = office.token("heater-1", HOUR).await.unwrap();
    let first = key();
    let held = office.enrol("heater-1", &token, request(&first), NOW).await.unwrap();
    for _ in 0..7 {
        office.renew(&held, &first, &key(), NOW).await.unwrap();
    }
    let refused = office.renew(&held, &first, &key(), NOW).await;
    assert_eq!(refused, Err(Reason::CertificateRequestInvalid));
}

#[tokio::test]
async fn a_token_lives_for_a_day_at_most() {
    let office = Office::open().await;
    assert!(office.token("heater-1", DAY).await.is_ok());
    assert_eq!(
        office.token("heater-1", DAY + 1).await.unwrap_err().reason,
        Reason::NumberOutOfRange
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_mqtt_stays_on_this_machine() {
    let folder = TempDir::new().unwrap();
    let mut options = crate::fixture::options(&folder);
    options.mqtt = "0.0.0.0:0".parse().unwrap();
    let refused = gnomon::serve::start(options).await.err().map(|error| format!("{error:#}"));
    assert!(refused.is_some_and(|error| error.contains("--insecure-mqtt")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exposed_or_foreign_authority_stops_the_start() {
    use std::os::unix::fs::PermissionsExt as _;

    let office = Office::open().await;
    let (folder, store) = (office.folder.path(), &office.store);
    let open = |fleet: &'static str| async move {
        let options = IdentityOptions::default();
        let fleet = fleet.parse().unwrap();
        let opened = Identities::open(folder, &fleet, store, &options, NOW).await;
        opened.err().map(|error| error.to_string())
    };
    assert!(open("other").await.is_some_and(|error| error.contains("`other`")));
    let key = folder.join("keys/ca.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(open("acme").await.is_some_and(|error| error.contains("chmod 600")));
}
