//! The command line against a running service.

use crate::fixture::{Cloud, Device, FLEET, PROFILE};
use gnomon_schemas::Digest;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Runs `gnomon` with these arguments: exit code, output, error.
fn gnomon(cloud: &Cloud, args: &[&str]) -> (u8, String, String) {
    let url = cloud.running.http_url();
    let data = cloud.running.data_dir().to_str().unwrap().to_owned();
    let args = args.iter().map(|arg| arg.replace("DATA", &data));
    let all: Vec<String> =
        ["gnomon".to_owned(), "--url".to_owned(), url].into_iter().chain(args).collect();
    tokio::task::block_in_place(|| gnomon::cli::execute(all))
}

fn ok(cloud: &Cloud, args: &[&str]) -> String {
    let (code, out, err) = gnomon(cloud, args);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
    out
}

fn json_of(cloud: &Cloud, args: &[&str]) -> Value {
    let args: Vec<&str> = ["--json"].into_iter().chain(args.iter().copied()).collect();
    serde_json::from_str(&ok(cloud, &args)).unwrap()
}

/// Approves what waits, with the approver's key of a first start.
fn approve(cloud: &Cloud) {
    let waiting = cloud.device("heater-1")["awaiting_approval"].as_str().unwrap().to_owned();
    let short = &waiting[7..19];
    for args in [&["approval", "list"][..], &["device", "list"], &["device", "show", "heater-1"]] {
        assert!(ok(cloud, args).contains(short), "{args:?}");
    }
    let words = ok(cloud, &["approval", "show", short]);
    for part in
        [waiting.as_str(), "in control", "water-heater", "it goes on running", "1: heater-1"]
    {
        assert!(words.contains(part), "{words}");
    }
    let done = ok(cloud, &["approval", "sign", "--all", "--yes", "--data", "DATA"]);
    assert!(done.contains(": 1 devices get it now"), "{done}");
}

fn file(cloud: &Cloud, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = cloud.folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_by_command_line() {
    let cloud = Cloud::start().await;
    let profile = file(&cloud, "profile.json", PROFILE);
    assert!(ok(&cloud, &["profile", "add", &profile]).contains("water-heater"));
    assert!(ok(&cloud, &["profile", "list"]).contains("setpoint"));
    assert_eq!(ok(&cloud, &["profile", "show", "water-heater"]).as_bytes(), PROFILE);
    assert!(ok(&cloud, &["profile", "wit", "water-heater"]).contains("world setpoint"));
    let add = ["device", "add", "heater-1", "--profile", "water-heater", "--label", "site=north"];
    assert!(ok(&cloud, &add).contains("site=north"));
    assert!(ok(&cloud, &["device", "label", "heater-1", "floor=2", "site-"]).contains("floor=2"));
    assert!(ok(&cloud, &["device", "list", "--selector", "floor=2"]).contains("heater-1"));
    assert!(ok(&cloud, &["device", "show", "heater-1"]).contains("unknown"));
    assert!(ok(&cloud, &["group", "set", "second", "--selector", "floor=2"]).contains("second"));
    assert!(ok(&cloud, &["group", "list"]).contains("floor=2"));

    let tou = file(&cloud, "tou.wasm", gnomon_examples::WATER_HEATER_TOU);
    let price = file(&cloud, "price.wasm", gnomon_examples::WATER_HEATER_PRICE);
    assert!(ok(&cloud, &["module", "add", &tou, "--data", "DATA"]).contains("water-heater-tou"));
    ok(&cloud, &["module", "sign", &price, "--data", "DATA"]);
    let signature = format!("{price}.sig");
    ok(&cloud, &["module", "add", &price, "--signature", &signature]);
    let digest = Digest::of(gnomon_examples::WATER_HEATER_TOU);
    assert!(ok(&cloud, &["module", "list"]).contains(digest.short()));
    assert!(ok(&cloud, &["module", "show", digest.short()]).contains("off_peak_start_hour=f64"));

    let params = json!({"comfort_min_c": 40, "high_c": 60, "low_c": 45, "heat_c_per_hour": 10,
        "use_c_per_hour": 2});
    let layer = json!({"functions": {"setpoint": {"active": crate::fixture::tou(&digest)}}});
    let layer = file(&cloud, "layer.json", layer.to_string().as_bytes());
    let set = ok(&cloud, &["desired", "set", "--group", "second", "--file", &layer]);
    assert!(set.contains("waits for approval "), "{set}");
    assert_eq!(cloud.version("heater-1"), 1);
    approve(&cloud);
    assert_eq!(cloud.version("heater-1"), 2);
    let effective = ok(&cloud, &["desired", "effective", "--device", "heater-1"]);
    assert!(effective.contains("group:second"), "{effective}");
    let candidate = ["--function", "setpoint", "water-heater-price@2.0.0", "--group", "second"];
    let with = |command: &str, more: &[&str]| {
        let parts = [&["candidate", command], &candidate[..], more].concat();
        ok(&cloud, &parts)
    };
    assert!(with("add", &["--params", &params.to_string()]).contains("waits for approval "));
    approve(&cloud);
    let shadow = json_of(&cloud, &["desired", "get", "--group", "second"]);
    assert_eq!(shadow["layer"]["functions"]["setpoint"]["candidates"][0]["params"], params);
    let compare = ["candidate", "compare", "--function", "setpoint", "water-heater-price@2.0.0"];
    assert!(ok(&cloud, &compare).contains("not outcomes"));
    with("promote", &[]);
    approve(&cloud);
    let promoted = json_of(&cloud, &["desired", "get", "--group", "second"]);
    let price = Digest::of(gnomon_examples::WATER_HEATER_PRICE);
    let plan = &promoted["layer"]["functions"]["setpoint"];
    assert_eq!((&plan["active"]["module"], &plan["candidates"]), (&json!(price), &Value::Null));
    assert_eq!(plan["active"]["params"], params);
    assert_eq!(cloud.version("heater-1"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_what_an_agent_needs() {
    let cloud = Cloud::with_device().await;
    let out = cloud.folder.path().join("bundle");
    ok(&cloud, &["device", "bundle", "heater-1", "--out", out.to_str().unwrap()]);
    assert_eq!(std::fs::read(out.join("profile.json")).unwrap(), PROFILE);
    assert_eq!(std::fs::read(out.join("trust-root.json")).unwrap(), cloud.get("/v1/trust").body);
    let agent: Value =
        serde_json::from_slice(&std::fs::read(out.join("agent.json")).unwrap()).unwrap();
    let broker = cloud.running.mqtt_url();
    assert_eq!(agent, json!({"fleet": FLEET, "device": "heater-1", "broker": broker}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_module_becomes_a_module_that_fits() {
    let cloud = Cloud::with_device().await;
    let wit = "package a:b;\nworld w {\n  record inputs { hour: f64 }\n  record outputs { setpoint-c: f64 }\n  export evaluate: func(in: inputs) -> outputs;\n}\n";
    let core = wat::parse_str(
        "(module (func (export \"evaluate\") (param f64) (result f64) (f64.const 50)))",
    )
    .unwrap();
    let (core, wit) = (file(&cloud, "core.wasm", &core), file(&cloud, "w.wit", wit.as_bytes()));
    let out = cloud.folder.path().join("fifty.wasm").to_str().unwrap().to_owned();
    let build = |input: &str| {
        let args = [
            "module",
            "build",
            input,
            "--wit",
            &wit,
            "--world",
            "w",
            "--name",
            "fifty",
            "--version",
            "1",
            "--release-counter",
            "1",
            "--function",
            "setpoint",
            "-o",
            &out,
        ];
        gnomon(&cloud, &args)
    };
    assert_eq!(build(&core).0, 0, "{:?}", build(&core));
    ok(&cloud, &["module", "add", &out, "--data", "DATA"]);
    let shown = json_of(&cloud, &["module", "show", "fifty@1"]);
    assert_eq!(shown["interface"]["outputs"], json!({"setpoint_c": "f64"}));
    assert!(build(&out).2.contains("carries a manifest already"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_one_line_with_the_reason() {
    let cloud = Cloud::with_device().await;
    let (code, out, err) = gnomon(&cloud, &["device", "show", "nobody"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(err, "error: unknown_device: no device `nobody` is registered\n");
    let layer = file(&cloud, "bad.json", br#"{"config":{"site":7}}"#);
    let (code, _, err) = gnomon(&cloud, &["desired", "set", "--fleet", "--file", &layer]);
    assert!(code == 1 && err.starts_with("error: config_invalid: device heater-1"), "{err}");
    let (code, _, err) = gnomon(&cloud, &["desired", "get"]);
    assert!(code == 2 && err.contains("--fleet"), "{err}");
    let nowhere = ["gnomon", "--url", "http://127.0.0.1:1", "status"];
    let (code, _, err) = tokio::task::block_in_place(|| gnomon::cli::execute(nowhere));
    assert!(code == 1 && err.starts_with("error: unavailable: "), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_and_refusals_are_shown() {
    let cloud = Cloud::with_device().await;
    let mut device = Device::connect(&cloud, "heater-1").await;
    device.subscribe(&device.topic("ack")).await;
    let refusal = json!({"at_ms": 1, "refusal": {"reason": "rollback", "detail": "too old"}});
    let batch = device.batch(1, json!({"refusals": [refusal]}));
    device.publish(&device.topic("results"), batch.to_string()).await;
    device.next(&device.topic("ack")).await;
    assert!(ok(&cloud, &["refusals", "heater-1"]).contains("too old"));
    assert_eq!(ok(&cloud, &["results", "heater-1"]), "none\n");
    assert!(ok(&cloud, &["status"]).contains("rollback=1"));
}
