//! Modules: signed with encrypted keys, verified offline, uploaded with their evidence.

use crate::fixture::{Cloud, active, tou};
use crate::keys::{folder, gnomon, ok};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gnomon_schemas::Digest;
use serde_json::{Value, json};

fn upload(cloud: &Cloud, body: &Value) -> crate::fixture::Answer {
    let headers = [("content-type", "application/vnd.gnomon.module+json")];
    cloud.send("POST", "/v1/modules", &headers, body.to_string().as_bytes())
}

#[test]
fn verify_tells_offline_whose_a_module_is_by_its_exit_code() {
    let (folder, passphrase) = folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let out = path("root");
    ok(&["trust", "init", "--fleet", "acme", "--out", &out, "--passphrase-file", &passphrase]);
    let (module, root) = (path("tou.wasm"), path("root/trust-root.1.json"));
    std::fs::write(&module, gnomon_examples::WATER_HEATER_TOU).unwrap();
    let key = path("root/publisher.pem");
    ok(&["module", "sign", &module, "--key", &key, "--passphrase-file", &passphrase]);
    let signature = format!("{module}.sig");
    let verify = |file: &str, root: &str, more: &[&str]| {
        gnomon(&[&["module", "verify", file, "--root", root], more].concat())
    };
    let good = verify(&module, &root, &["--signature", &signature]);
    assert!(good.0 == 0 && good.1.starts_with("good: "), "{good:?}");
    let other = path("price.wasm");
    std::fs::write(&other, gnomon_examples::WATER_HEATER_PRICE).unwrap();
    let nobody = ["--signature", &signature, "--publisher", "nobody"];
    let none = path("none.sig");
    let cases: [(&str, &[&str], u8, &str); 5] = [
        (&other, &["--signature", &signature], 1, "error: module_signature_invalid: "),
        (&module, &nobody, 1, "error: publisher_unknown: "),
        (&module, &["--bundle", &signature], 1, "error: "),
        (&module, &["--signature", &none], 2, "error: cannot read "),
        (&module, &[], 2, "error: the following required arguments"),
    ];
    for (file, more, code, expected) in cases {
        let found = verify(file, &root, more);
        assert!(found.0 == code && found.2.starts_with(expected), "{more:?}: {found:?}");
    }
    // What the newer root revokes is refused, whoever signed it.
    let dir = ["--dir", &out];
    let keys = [path("root/root-1.pem"), path("root/root-2.pem")];
    for (version, revoke, reason) in [
        (2, vec!["release", "water-heater-tou", "1"], "release_counter_too_low"),
        (
            3,
            vec!["module", Digest::of(gnomon_examples::WATER_HEATER_TOU).as_str()],
            "module_denied",
        ),
    ] {
        ok(&[&["trust", "revoke"], &revoke[..], &dir].concat());
        let sign = ["trust", "sign", "--yes", "--key", &keys[0], "--key", &keys[1]];
        ok(&[&sign[..], &dir, &["--passphrase-file", &passphrase]].concat());
        let root = path(&format!("root/trust-root.{version}.json"));
        let found = verify(&module, &root, &["--signature", &signature]);
        assert!(found.0 == 1 && found.2.starts_with(&format!("error: {reason}: ")), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_comes_with_its_evidence_in_one_body() {
    let cloud = Cloud::start().await;
    cloud.add_profile();
    let module = gnomon_examples::WATER_HEATER_TOU;
    let body = |signature: &str| {
        json!({"bytes": STANDARD.encode(module), "evidence": {
            "kind": "key", "publisher": "local", "signature": signature}})
    };
    let answer = upload(&cloud, &body(&cloud.sign(module)));
    assert_eq!((answer.status, &answer.json()["name"]), (201, &json!("water-heater-tou")));
    assert_eq!(upload(&cloud, &body("AAAA")).problem(), (422, "module_signature_invalid".into()));
    let mut more = body(&cloud.sign(module));
    more["more"] = json!(1);
    assert_eq!(upload(&cloud, &more).problem(), (422, "schema_violation".into()));
    let bundle = json!({"bytes": STANDARD.encode(module), "evidence": {
        "kind": "bundle", "publisher": "local", "bundle": STANDARD.encode("{}")}});
    let (status, reason) = upload(&cloud, &bundle).problem();
    assert_eq!((status, reason.as_str()), (422, "evidence_mismatch"));
    let large = json!({"bytes": "A".repeat(8 << 20), "evidence": {}});
    assert_eq!(upload(&cloud, &large).problem(), (413, "too_large".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_evidence_for_a_module_that_is_there_reaches_the_devices_that_run_it() {
    let cloud = Cloud::with_device().await;
    let module = gnomon_examples::WATER_HEATER_TOU;
    cloud.json("PUT", "/v1/fleet/desired", &active(tou(&Digest::of(module))));
    cloud.approve_all();
    assert_eq!(cloud.version("heater-1"), 2);
    // ECDSA signatures differ each time: another one is other evidence.
    let answer = cloud.upload(module, "local", &cloud.sign(module));
    assert_eq!(answer.status, 200);
    assert_eq!(cloud.version("heater-1"), 3, "approved before: the digest is the same");
    let before = cloud.get("/v1/devices/heater-1/versions/3").body;
    let document: gnomon_schemas::document::Document = cloud.opened(&before);
    let evidence = serde_json::to_value(&document.modules[&Digest::of(module)].evidence).unwrap();
    assert_eq!(evidence["publisher"], "local");
}
