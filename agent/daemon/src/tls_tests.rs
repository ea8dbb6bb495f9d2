//! Handshakes in memory: whom a device trusts, at which floor. No clock is read, so
//! what the device's own clock says, 1970 or 2106, cannot matter.

use super::*;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConnection, ServerConfig, ServerConnection};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// The server's certificate is valid in 2027.
const START_MS: u64 = 1_798_761_600_000;
const END_MS: u64 = START_MS + 365 * DAY_MS;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    Authority { issuer: Issuer::new(params, key), certificate }
}

fn server(authority: &Authority, usage: ExtendedKeyUsagePurpose) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2027, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

/// Whether a device with this floor and these roots takes the server to be `name`.
fn connects(
    server: &Arc<ServerConfig>,
    root: &Authority,
    name: &str,
    floor_ms: u64,
) -> Result<(), Error> {
    let clock = Arc::new(FloorClock::new(floor_ms));
    let config = client(std::slice::from_ref(&root.certificate), clock, None).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut device = ClientConnection::new(config, name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while device.is_handshaking() {
        let mut bytes = vec![];
        device.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut bytes = vec![];
        server.write_tls(&mut bytes).unwrap();
        device.read_tls(&mut bytes.as_slice()).unwrap();
        device.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn a_certificate_counts_until_the_floor_has_passed_it_however_early_the_floor_is() {
    let root = authority();
    let server = server(&root, ExtendedKeyUsagePurpose::ServerAuth);
    for floor_ms in [0, START_MS - 50 * 365 * DAY_MS, START_MS, END_MS - DAY_MS] {
        let connected = connects(&server, &root, "broker.example", floor_ms);
        assert_eq!(connected, Ok(()), "floor {floor_ms}");
    }
    // 2038 and 2106 as the floor, which only signed times could have brought about.
    for floor_ms in [END_MS + DAY_MS, 2_145_916_800_000, 4_291_747_200_000] {
        let refused = connects(&server, &root, "broker.example", floor_ms);
        let is_expired = matches!(
            refused,
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
        );
        assert!(is_expired, "floor {floor_ms}: {refused:?}");
    }
}

#[test]
fn another_authority_another_name_and_another_use_are_refused_at_every_floor() {
    let (root, other) = (authority(), authority());
    let good = server(&root, ExtendedKeyUsagePurpose::ServerAuth);
    let for_clients = server(&root, ExtendedKeyUsagePurpose::ClientAuth);
    for floor_ms in [0, START_MS + DAY_MS] {
        let name = "broker.example";
        assert!(connects(&good, &other, name, floor_ms).is_err(), "another authority");
        assert!(connects(&good, &root, "other.example", floor_ms).is_err(), "another name");
        assert!(connects(&for_clients, &root, name, floor_ms).is_err(), "a device as broker");
    }
}

#[test]
fn the_floor_rises_and_never_falls() {
    let clock = FloorClock::new(1_000_000);
    clock.raise(5_000_000);
    let raised = clock.lowest_ms();
    assert!((5_000_000..5_060_000).contains(&raised), "{raised}");
    clock.raise(2_000_000);
    assert!(clock.lowest_ms() >= raised);
}

#[test]
fn a_key_is_not_told_by_debug() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap().der().clone();
    let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let own = OwnCertificate::new(certificate, &private).unwrap();
    assert_eq!(format!("{own:?}"), "OwnCertificate { .. }");
}
