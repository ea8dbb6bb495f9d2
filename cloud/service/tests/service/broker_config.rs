//! What `gnomon broker config` prints, to the letter. `GNOMON_BLESS=1` writes it anew.

use gnomon::broker_config::{BrokerKind, files};
use std::path::Path;

#[test]
fn configurations_for_other_brokers_are_as_committed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/broker_config");
    let fleet = "acme".parse().unwrap();
    let devices = ["heater-1", "heater-2"].map(|device| device.parse().unwrap());
    let kinds = [BrokerKind::Mosquitto, BrokerKind::Emqx, BrokerKind::Nats, BrokerKind::Rabbitmq];
    for kind in kinds {
        for file in files(kind, &fleet, "/etc/gnomon", &devices) {
            let path = folder.join(file.name);
            if std::env::var_os("GNOMON_BLESS").is_some() {
                std::fs::write(&path, &file.text).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(file.text, committed, "{}", path.display());
        }
    }
}
