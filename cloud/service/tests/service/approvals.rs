//! Nothing new runs that a second person has not signed for, and what was signed for
//! goes on without them.

use crate::access::{call, close, make};
use crate::fixture::{Cloud, FLEET, PROFILE, active, tou};
use gnomon_schemas::Digest;
use gnomon_schemas::approval::{self, Approval};
use gnomon_schemas::document::Document;
use serde_json::{Value, json};

const DEVICE: &str = "heater-1";
const LAYER: &str = "/v1/fleet/desired";

fn tou_digest() -> Digest {
    Digest::of(gnomon_examples::WATER_HEATER_TOU)
}

fn price(comfort_min_c: f64) -> Value {
    json!({"module": Digest::of(gnomon_examples::WATER_HEATER_PRICE), "params": {
        "comfort_min_c": comfort_min_c, "high_c": 60, "low_c": 45, "heat_c_per_hour": 10,
        "use_c_per_hour": 2
    }})
}

fn put(cloud: &Cloud, layer: &Value) {
    let answer = cloud.json("PUT", LAYER, layer);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// The one grant that waits.
fn waiting(cloud: &Cloud) -> Value {
    let all = cloud.get("/v1/approvals").json();
    assert_eq!(all["waiting"].as_array().unwrap().len(), 1, "{all}");
    all["waiting"][0].clone()
}

fn newest(cloud: &Cloud, device: &str) -> Document {
    let path = format!("/v1/devices/{device}/versions/{}", cloud.version(device));
    cloud.opened(&cloud.get(&path).body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_waits_for_a_second_person_and_goes_out_with_their_approval() {
    let cloud = Cloud::with_device().await;
    put(&cloud, &active(tou(&tou_digest())));
    assert_eq!(cloud.version(DEVICE), 1, "the device keeps its last document");
    let request = waiting(&cloud);
    assert_eq!(cloud.device(DEVICE)["awaiting_approval"], request["digest"]);
    assert_eq!(request["devices"], json!([DEVICE]));
    assert_eq!(request["asked_by"], json!(["local"]));
    assert_eq!(request["modules"][tou_digest().as_str()], "water-heater-tou@1.0.0");
    let short = &request["digest"].as_str().unwrap()[7..15];
    assert_eq!(cloud.get(&format!("/v1/approvals/{short}")).json()["grant"], request["grant"]);

    let taken = cloud.approve(&request["grant"], Some(&[DEVICE]), "approver.pem");
    assert_eq!((taken.status, &taken.json()["published"]), (201, &json!([DEVICE])));
    assert_eq!(
        (cloud.version(DEVICE), &cloud.device(DEVICE)["awaiting_approval"]),
        (2, &json!(null))
    );
    let document = newest(&cloud, DEVICE);
    assert_eq!(document.approvals.len(), 1);
    assert_eq!(approval::check(&document, &cloud.root()), Ok(()));
    let list = cloud.get("/v1/approvals").json();
    assert_eq!(
        (list["waiting"].as_array().unwrap().len(), &list["given"][0]["added_by"]),
        (0, &json!("local"))
    );
    let gone = cloud.get(&format!("/v1/approvals/{short}")).problem();
    assert_eq!(gone, (404, "unknown_approval".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_goes_on_under_the_director_alone() {
    let cloud = Cloud::with_device().await;
    put(&cloud, &active(tou(&tou_digest())));
    cloud.approve_all();
    let approved = newest(&cloud, DEVICE).approvals;
    let bounded = |max: u64| json!({"bounds": {"setpoint_c": {"max": max}}});
    let plan = |more: Value| {
        let mut layer = active(tou(&tou_digest()));
        let fields = layer["functions"]["setpoint"].as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        layer
    };
    let mut params = tou(&tou_digest());
    params["params"]["high_c"] = json!(55);
    let with = |mut layer: Value, key: &str, value: Value| {
        layer[key] = value;
        layer
    };
    let edits = [
        ("config", with(plan(json!({})), "config", json!({"site": "x"})), true),
        ("params", active(params), true),
        ("narrower bounds", plan(bounded(55)), true),
        (
            "a smaller budget",
            plan(json!({"budget": {"fuel": 50_000, "memory_bytes": 131_072}})),
            true,
        ),
        ("reporting", with(plan(json!({})), "reporting", json!({"summary_ticks": 5})), true),
        (
            "the module as a candidate",
            json!({"functions": {"setpoint": {"candidates": [tou(&tou_digest())]}}}),
            true,
        ),
        ("nothing at all", json!({}), true),
        ("back again", active(tou(&tou_digest())), true),
        ("another module", active(price(40.0)), false),
        ("another candidate", plan(json!({"candidates": [price(40.0)]})), false),
    ];
    for (what, layer, goes) in edits {
        let before = cloud.version(DEVICE);
        put(&cloud, &layer);
        let (after, waits) =
            (cloud.version(DEVICE), !cloud.device(DEVICE)["awaiting_approval"].is_null());
        assert_eq!((after > before, waits), (goes, !goes), "{what}");
        if goes && what != "nothing at all" {
            assert_eq!(newest(&cloud, DEVICE).approvals, approved, "{what}");
        }
    }
    // Taken back: what waits is void, and there is nothing new to sign.
    let before = cloud.version(DEVICE);
    put(&cloud, &active(tou(&tou_digest())));
    assert_eq!(cloud.get("/v1/approvals").json()["waiting"], json!([]));
    assert_eq!(cloud.version(DEVICE), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_that_were_approved_may_be_narrowed_but_not_widened() {
    let cloud = Cloud::with_device().await;
    let layer = |max: u64| {
        json!({"functions": {"setpoint": {
            "active": tou(&tou_digest()), "bounds": {"setpoint_c": {"max": max}}}}})
    };
    put(&cloud, &layer(60));
    cloud.approve_all();
    put(&cloud, &layer(58));
    assert_eq!(cloud.version(DEVICE), 3);
    put(&cloud, &layer(61));
    assert_eq!(cloud.version(DEVICE), 3);
    assert_eq!(
        waiting(&cloud)["grant"]["functions"]["setpoint"]["bounds"]["setpoint_c"]["max"],
        61.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_after_the_request_makes_the_request_void() {
    let cloud = Cloud::with_device().await;
    put(&cloud, &active(tou(&tou_digest())));
    let asked = waiting(&cloud);
    put(&cloud, &active(price(40.0)));
    assert_ne!(waiting(&cloud)["digest"], asked["digest"]);
    let late = cloud.approve(&asked["grant"], None, "approver.pem");
    assert_eq!((late.status, &late.json()["published"]), (201, &json!([])));
    assert_eq!(cloud.version(DEVICE), 1);
    cloud.approve_all();
    let document = newest(&cloud, DEVICE);
    let plan = document.functions.values().next().unwrap();
    assert_eq!(
        plan.active.as_ref().unwrap().module,
        Digest::of(gnomon_examples::WATER_HEATER_PRICE)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_counts_for_its_devices_and_a_device_that_comes_later_waits() {
    let cloud = Cloud::with_device().await;
    put(&cloud, &active(tou(&tou_digest())));
    let grant = waiting(&cloud)["grant"].clone();
    cloud.approve(&grant, Some(&[DEVICE]), "approver.pem");
    cloud.add_device("heater-2", json!({}));
    assert_eq!(waiting(&cloud)["devices"], json!(["heater-2"]));
    assert_eq!(cloud.device("heater-2")["desired"], json!(null));
    // For all of the fleet: also for one that is not there yet.
    cloud.approve(&grant, None, "approver.pem");
    cloud.add_device("heater-3", json!({}));
    assert_eq!((cloud.version("heater-2"), cloud.version("heater-3")), (1, 1));
    assert_eq!(cloud.version(DEVICE), 2, "it has what it needs");
    // The one for all takes the place of the one that it covers.
    assert_eq!(cloud.get("/v1/approvals").json()["given"].as_array().unwrap().len(), 1);
    cloud.json("PUT", "/v1/devices/heater-3/desired", &active(price(40.0)));
    assert_eq!(waiting(&cloud)["devices"], json!(["heater-3"]));
    cloud.send("DELETE", "/v1/devices/heater-3", &[], &[]);
    assert_eq!(cloud.get("/v1/approvals").json()["waiting"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_by_another_key_or_for_another_fleet_or_time_counts_for_nothing() {
    let cloud = Cloud::with_device().await;
    put(&cloud, &active(tou(&tou_digest())));
    let grant = waiting(&cloud)["grant"].clone();
    for key in ["director.pem", "publisher.pem", "root.pem"] {
        let refused = cloud.approve(&grant, None, key).problem();
        assert_eq!(refused, (422, "threshold_not_met".into()), "{key}");
    }
    let approver = cloud.running.data_dir().join("keys/approver.pem");
    let approver = gnomon::keys::PrivateKey::read(&approver).unwrap();
    let now_ms = gnomon::clock::now_ms();
    let approval = |changes: Value| {
        let mut approval = json!({"schema": "gnomon.approval.v1", "fleet": FLEET,
            "approved_at_ms": now_ms, "grant": grant});
        approval.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let payload = serde_json::to_vec(&approval).unwrap();
        let sealed = gnomon::keys::seal::<Approval>(&payload, &[&approver]).unwrap();
        serde_json::from_slice::<Value>(&sealed).unwrap()
    };
    let mut document = approval(json!({}));
    document["payloadType"] = json!("application/vnd.gnomon.desired.v1+json");
    let many: Vec<String> = (0..257).map(|number| format!("heater-{number}")).collect();
    for (body, reason) in [
        (approval(json!({"fleet": "other"})), "wrong_fleet"),
        (approval(json!({"approved_at_ms": now_ms + 3_600_000})), "fast_forward"),
        (approval(json!({"devices": []})), "schema_violation"),
        (approval(json!({"devices": many})), "too_large"),
        (approval(json!({"more": 1})), "schema_violation"),
        (document, "wrong_payload_type"),
        (json!({}), "schema_violation"),
    ] {
        let refused = cloud.json("POST", "/v1/approvals", &body).problem();
        assert_eq!(refused, (422, reason.to_owned()), "{body}");
    }
    assert_eq!(
        (cloud.version(DEVICE), cloud.get("/v1/approvals").json()["given"].clone()),
        (1, json!([]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_made_the_edit_does_not_approve_it_with_any_token() {
    let cloud = Cloud::start().await;
    let admin = close(&cloud);
    let token =
        |name: &str, role: &str| make(&cloud, &admin, &json!({"name": name, "role": role})).0;
    let (alice, alice_approver) = (token("alice", "editor"), token("alice", "approver"));
    let (bob, carol) = (token("bob", "approver"), token("carol", "editor"));
    let by = |who: &str, method: &str, path: &str, body: &Value| {
        call(&cloud, who, method, path, body.to_string().as_bytes())
    };
    assert_eq!(call(&cloud, &alice, "POST", "/v1/profiles", PROFILE).status, 201);
    let module = gnomon_examples::WATER_HEATER_TOU;
    let bearer = format!("Bearer {alice}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/wasm"),
        ("x-gnomon-publisher", "local"),
        ("x-gnomon-signature", &cloud.sign(module)),
    ];
    assert_eq!(cloud.send("POST", "/v1/modules", &headers, module).status, 201);
    let device = json!({"device": DEVICE, "profile": "water-heater"});
    assert_eq!(by(&alice, "POST", "/v1/devices", &device).status, 201);
    assert_eq!(by(&alice, "PUT", LAYER, &active(tou(&tou_digest()))).status, 200);
    // What alice began stays hers, whoever adds to it.
    let mut bounded = active(tou(&tou_digest()));
    bounded["functions"]["setpoint"]["bounds"] = json!({"setpoint_c": {"max": 61}});
    assert_eq!(by(&carol, "PUT", LAYER, &bounded).status, 200);
    let all = by(&bob, "GET", "/v1/approvals", &json!({})).json();
    assert_eq!(all["waiting"][0]["asked_by"], json!(["token:alice", "token:carol"]));
    let approval = cloud.approval(&all["waiting"][0]["grant"], None, "approver.pem");
    for nobody in [&alice, &alice_approver, &carol] {
        let refused = by(nobody, "POST", "/v1/approvals", &approval).problem();
        assert_eq!(refused, (403, "forbidden".into()));
    }
    let taken = by(&bob, "POST", "/v1/approvals", &approval);
    assert_eq!(taken.json()["published"], json!([DEVICE]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_put_into_the_store_are_not_signed() {
    let cloud = Cloud::with_device().await;
    put(&cloud, &active(tou(&tou_digest())));
    let request = waiting(&cloud);
    let database = cloud.running.data_dir().join("gnomon.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    // An approval that the director's key signed, as if it had been taken.
    let forged = cloud.approval(&request["grant"], None, "director.pem").to_string();
    let sql = "INSERT INTO approvals VALUES (?1, ?2, ?3, NULL, ?4, 9, 'local', 9)";
    let digest = Digest::of(forged.as_bytes()).to_string();
    let profile = Digest::of(PROFILE).to_string();
    let grant = request["digest"].as_str().unwrap();
    let row = rusqlite::params![digest, grant, profile, forged.as_bytes()];
    assert_eq!(database.execute(sql, row), Ok(1));
    assert_eq!(database.execute("DELETE FROM waiting", []), Ok(1));
    put(
        &cloud,
        &json!({"config": {"site": "x"}, "functions": active(tou(&tou_digest()))["functions"]}),
    );
    assert_eq!(cloud.version(DEVICE), 1);
    assert_eq!(waiting(&cloud)["digest"], request["digest"]);
    assert_eq!(cloud.get("/v1/approvals").json()["given"][0]["approval"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_renewed_with_its_approval_and_while_another_one_waits_as_it_was() {
    let cloud = Cloud::with_device().await;
    cloud.add_device("heater-2", json!({}));
    put(&cloud, &active(tou(&tou_digest())));
    cloud.approve_all();
    let own = json!({"functions": {"setpoint": {"candidates": [price(40.0)]}}});
    assert_eq!(cloud.json("PUT", "/v1/devices/heater-2/desired", &own).status, 200);
    assert_eq!(waiting(&cloud)["devices"], json!(["heater-2"]));
    let before = [newest(&cloud, DEVICE), newest(&cloud, "heater-2")];
    // Past half of their lives, at the next start.
    let Cloud { running, folder } = cloud;
    let database = running.data_dir().join("gnomon.sqlite");
    running.shutdown().await;
    let sql = "UPDATE versions SET issued_at_ms = 1, expires_at_ms = 2";
    rusqlite::Connection::open(database).unwrap().execute(sql, []).unwrap();
    let cloud = Cloud::start_in(folder).await;
    cloud.until("both are renewed", |cloud| {
        [DEVICE, "heater-2"].iter().all(|device| cloud.version(device) == 3)
    });
    for before in before {
        let after = newest(&cloud, before.device.as_str());
        assert_eq!(approval::check(&after, &cloud.root()), Ok(()));
        assert!(after.issued_at_ms > before.issued_at_ms);
        let same = Document {
            version: before.version,
            issued_at_ms: before.issued_at_ms,
            expires_at_ms: before.expires_at_ms,
            ..after.clone()
        };
        assert_eq!(same, before);
        let lifetime = |document: &Document| document.expires_at_ms - document.issued_at_ms;
        assert_eq!(lifetime(&after), lifetime(&before));
    }
    assert_eq!(waiting(&cloud)["devices"], json!(["heater-2"]));
}
