//! The audit log: what is in it, and that every way to tamper with it is found.

use crate::access::{call, cli, close, make};
use crate::fixture::{Cloud, active, tou};
use gnomon_cloud_core::audit_chain::{Event, genesis, hash};
use gnomon_schemas::Digest;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A closed cloud whose log has entries on both sides of a checkpoint, stopped, in a
/// folder that a test may tamper with; and that first checkpoint.
async fn stopped() -> (tempfile::TempDir, PathBuf, String) {
    let cloud = Cloud::with_device().await;
    let admin = close(&cloud);
    let checkpoint = call(&cloud, &admin, "GET", "/v1/audit/checkpoint", &[]).body;
    for n in 0..5 {
        make(&cloud, &admin, &json!({"name": format!("n{n}"), "role": "viewer"}));
    }
    let Cloud { running, folder } = cloud;
    let data = running.data_dir().to_owned();
    running.shutdown().await;
    (folder, data, String::from_utf8(checkpoint).unwrap())
}

fn verify(data: &Path, more: &[&str]) -> (u8, String) {
    let data = data.to_str().unwrap();
    let args = [&["gnomon", "audit", "verify", "--data", data][..], more].concat();
    let (code, out, err) = gnomon::cli::execute(args);
    (code, out + &err)
}

/// A copy of the folder with one thing done to its database.
fn tampered(data: &Path, sql: &str) -> (u8, String) {
    let copy = tempfile::TempDir::new().unwrap();
    for name in ["gnomon.sqlite", "audit-checkpoints.jsonl", "keys/audit.pub"] {
        std::fs::create_dir_all(copy.path().join("keys")).unwrap();
        std::fs::copy(data.join(name), copy.path().join(name)).unwrap();
    }
    let db = Connection::open(copy.path().join("gnomon.sqlite")).unwrap();
    let unlocked = "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted;";
    db.execute_batch(&format!("{unlocked} {sql}")).unwrap();
    drop(db);
    verify(copy.path(), &[])
}

fn size(data: &Path) -> u64 {
    let db = Connection::open(data.join("gnomon.sqlite")).unwrap();
    let size: i64 = db.query_row("SELECT max(sequence) FROM audit", [], |row| row.get(0)).unwrap();
    size.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_state_is_recorded_with_who_made_it() {
    let cloud = Cloud::with_device().await;
    let admin = close(&cloud);
    let (editor, id) = make(&cloud, &admin, &json!({"name": "alice", "role": "editor"}));
    let digest = Digest::of(gnomon_examples::WATER_HEATER_TOU);
    let layer = active(tou(&digest)).to_string();
    let edit = |method: &str, path: &str, body: &str| {
        let answer = call(&cloud, &editor, method, path, body.as_bytes());
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
    };
    edit("PATCH", "/v1/devices/heater-1", r#"{"labels": {"floor": "2"}}"#);
    edit("PUT", "/v1/groups/second", r#"{"selector": "floor=2", "priority": 1}"#);
    edit("PUT", "/v1/groups/second/desired", "{}");
    edit("PATCH", "/v1/fleet/desired", r#"{"config": {}}"#);
    edit("PUT", "/v1/devices/heater-1/desired", "{}");
    edit("POST", "/v1/devices/heater-1/resolve", "{}");
    edit("DELETE", "/v1/groups/second", "");
    edit("DELETE", "/v1/devices/heater-1", "");
    let refused = call(&cloud, &editor, "GET", "/v1/tokens", &[]);
    assert_eq!(refused.status, 403);
    // A refused edit changed nothing, and is no entry.
    assert_eq!(call(&cloud, &editor, "PUT", "/v1/fleet/desired", b"{").status, 400);
    assert_eq!(
        call(&cloud, &editor, "PUT", "/v1/groups/none/desired", layer.as_bytes()).status,
        404
    );

    let page = call(&cloud, &admin, "GET", "/v1/audit", &[]).json();
    let items: Vec<&Value> = page["items"].as_array().unwrap().iter().rev().collect();
    let told: Vec<String> = items
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap().to_owned();
            format!("{} {} {}", text("actor"), text("action"), text("subject"))
        })
        .collect();
    let alice = format!("token:alice:{id}");
    let module = |bytes: &[u8]| Digest::of(bytes).to_string();
    let tail = |told: &[String], from: &str| -> Vec<String> {
        told.iter().filter_map(|line| line.strip_prefix(from)).map(str::to_owned).collect()
    };
    assert_eq!(
        tail(&told, "local ")[..4],
        [
            "profile.add water-heater".to_owned(),
            format!("module.add {}", module(gnomon_examples::WATER_HEATER_TOU)),
            format!("module.add {}", module(gnomon_examples::WATER_HEATER_PRICE)),
            "device.add heater-1".to_owned(),
        ]
    );
    assert_eq!(
        tail(&told, &format!("{alice} ")),
        [
            "device.change heater-1",
            "group.put second",
            "layer.put group:second",
            "layer.patch fleet",
            "layer.put device:heater-1",
            "device.resolve heater-1",
            "group.remove second",
            "device.remove heater-1",
            "access.refuse GET /v1/tokens",
        ]
    );
    // Every handler records by itself: the net below them caught nothing.
    assert!(told.iter().all(|line| !line.contains("request.succeed")), "{told:?}");
    let created = items.iter().find(|entry| entry["subject"] == id.as_str()).unwrap();
    assert_eq!(created["detail"]["role"], "editor");
    let sequences: Vec<u64> = items.iter().map(|e| e["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=items.len() as u64).collect::<Vec<_>>());
    // Pages meet without a gap.
    let first = call(&cloud, &admin, "GET", "/v1/audit?limit=2", &[]).json();
    let next = first["next_before"].as_u64().unwrap();
    let path = format!("/v1/audit?limit=2&before={next}");
    let second = call(&cloud, &admin, "GET", &path, &[]).json();
    assert_eq!(second["items"][0]["sequence"].as_u64(), Some(next - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_touched_holds_while_the_service_runs_and_after() {
    let cloud = Cloud::with_device().await;
    let data = cloud.running.data_dir().to_owned();
    let (code, text) = verify(&data, &[]);
    assert!(code == 0 && text.contains("holds: 4 entries"), "{text}");
    let (code, printed, _) = cli(&cloud, &["audit", "checkpoint"]);
    assert_eq!(code, 0);
    let kept = cloud.folder.path().join("kept");
    // As people keep it: the end of the line got lost.
    std::fs::write(&kept, printed.trim_end()).unwrap();
    let (code, text) = verify(&data, &["--checkpoint", kept.to_str().unwrap()]);
    assert!(code == 0 && text.contains("a checkpoint covers 4"), "{text}");
    let (code, out, _) = cli(&cloud, &["audit", "list"]);
    assert!(code == 0 && out.contains("device.add"), "{out}");
    cloud.add_device("heater-2", json!({}));
    let Cloud { running, folder } = cloud;
    running.shutdown().await;
    // Stopping signs what came since.
    let (code, text) = verify(&data, &["--checkpoint", kept.to_str().unwrap()]);
    assert!(code == 0 && text.contains("5 entries, of which a checkpoint covers 5"), "{text}");
    let (code, text) = verify(&folder.path().join("nowhere"), &[]);
    assert_eq!(code, 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tampering_with_the_database_is_found_at_its_entry() {
    let (_folder, data, _) = stopped().await;
    let size = size(&data);
    assert!(size >= 9, "{size}");
    for (sql, place) in [
        ("UPDATE audit SET actor = 'token:eve:1' WHERE sequence = 3", "entry 3 was changed"),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE sequence = 1", "entry 1 was changed"),
        ("UPDATE audit SET at_ms = -1 WHERE sequence = 2", "entry 2 was changed"),
        ("UPDATE audit SET detail = '{}' WHERE sequence = 4", "entry 4 was changed"),
        (
            "UPDATE audit SET subject = CAST(x'ff' AS TEXT) WHERE sequence = 4",
            "entry 4 was changed",
        ),
        ("UPDATE audit SET hash = 'x' WHERE sequence = 4", "entry 4 was changed"),
        ("UPDATE audit SET previous = hash WHERE sequence = 4", "entry 4 does not follow"),
        ("DELETE FROM audit WHERE sequence = 1", "entry 1 is missing"),
        ("DELETE FROM audit WHERE sequence = 5", "entry 5 is missing"),
        (
            "DELETE FROM audit WHERE sequence = 5;
             UPDATE audit SET sequence = sequence - 1 WHERE sequence > 5",
            "entry 5 does not follow",
        ),
        (
            "UPDATE audit SET sequence = 1000 WHERE sequence = 2;
             UPDATE audit SET sequence = 2 WHERE sequence = 3;
             UPDATE audit SET sequence = 3 WHERE sequence = 1000",
            "entry 2 does not follow",
        ),
        (
            "UPDATE audit SET sequence = -sequence WHERE sequence > 3;
             INSERT INTO audit SELECT 4, at_ms, actor, action, subject, detail, previous, hash
             FROM audit WHERE sequence = 3;
             UPDATE audit SET sequence = 1 - sequence WHERE sequence < 0",
            "entry 4 does not follow",
        ),
        (&format!("DELETE FROM audit WHERE sequence = {size}"), &format!("entry {size} and what")),
        ("DELETE FROM audit WHERE sequence > 6", "entry 7 and what follows are missing"),
        ("DELETE FROM audit", "entry 1 and what follows are missing"),
        (
            // Also from the store's own checkpoints: the file beside it still knows.
            "DELETE FROM audit WHERE sequence > 6; DELETE FROM audit_checkpoints",
            "entry 7 and what follows are missing",
        ),
    ] {
        let (code, text) = tampered(&data, sql);
        assert!(code == 3 && text.contains(place), "{sql}\n{code} {text}");
    }
    assert_eq!(verify(&data, &[]).0, 0);
}

/// Writes the whole log anew after a change, so that the chain holds.
fn rewrite(db: &Connection) {
    let mut query = db
        .prepare("SELECT sequence, at_ms, actor, action, subject, detail FROM audit ORDER BY 1")
        .unwrap();
    let rows: Vec<(i64, i64, [String; 4])> = query
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?]))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut previous = genesis();
    for (sequence, at_ms, [actor, action, subject, detail]) in &rows {
        let at_ms = (*at_ms).try_into().unwrap();
        let event = Event { at_ms, actor, action, subject, detail };
        let new = hash((*sequence).try_into().unwrap(), &previous, event);
        let sql = "UPDATE audit SET previous = ?2, hash = ?3 WHERE sequence = ?1";
        db.execute(sql, rusqlite::params![sequence, previous.as_str(), new.as_str()]).unwrap();
        previous = new;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_elsewhere_shows_what_the_folder_itself_cannot() {
    let (folder, data, kept) = stopped().await;
    let signed = 5;
    let checkpoint = folder.path().join("kept");
    std::fs::write(&checkpoint, kept).unwrap();
    let kept_args = ["--checkpoint", checkpoint.to_str().unwrap()];
    assert_eq!(verify(&data, &kept_args).0, 0);
    let db = Connection::open(data.join("gnomon.sqlite")).unwrap();
    db.execute_batch(
        "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted;
         UPDATE audit SET actor = 'token:eve:1' WHERE sequence = 2",
    )
    .unwrap();
    rewrite(&db);
    // The folder's own checkpoints disagree; without any, the chain is as good as new.
    let (code, text) = verify(&data, &[]);
    assert!(code == 3 && text.contains("the log was rewritten"), "{text}");
    db.execute_batch("DELETE FROM audit_checkpoints").unwrap();
    std::fs::remove_file(data.join("audit-checkpoints.jsonl")).unwrap();
    let (code, text) = verify(&data, &[]);
    assert!(code == 0 && text.contains("no checkpoint was found"), "{text}");
    let (code, text) = verify(&data, &kept_args);
    let rewritten = format!("entry {signed} is not the one");
    assert!(code == 3 && text.contains(&rewritten), "{text}");
    // Cut back to before it.
    db.execute_batch("DELETE FROM audit WHERE sequence > 3").unwrap();
    let (code, text) = verify(&data, &kept_args);
    assert!(code == 3 && text.contains("entry 4 and what follows"), "{text}");
    drop(db);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_another_key_signed_is_found() {
    let (_folder, data, _) = stopped().await;
    let (_other_folder, other, foreign) = stopped().await;
    let (code, text) = verify(&data, &["--key", other.join("keys/audit.pub").to_str().unwrap()]);
    assert!(code == 3 && text.contains("vouches for"), "{text}");
    let file = data.join("audit-checkpoints.jsonl");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{whole}{foreign}\n")).unwrap();
    let (code, text) = verify(&data, &[]);
    assert!(code == 3 && text.contains("audit-checkpoints.jsonl"), "{text}");
    // What a power cut left of a line is no checkpoint yet; the next start goes on after it.
    std::fs::write(&file, format!("{whole}{}", &foreign[..40])).unwrap();
    assert_eq!(verify(&data, &[]).0, 0);
    let mut options = crate::fixture::options(&_folder);
    options.data_dir = data.clone();
    let running = gnomon::serve::start(options).await.unwrap();
    let cloud = Cloud { running, folder: _folder };
    assert_eq!(cloud.get("/v1/health").status, 401);
    cloud.running.shutdown().await;
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count(), whole.lines().count() + 1, "{lines}");
    assert_eq!(verify(&data, &[]).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_refuses_to_be_changed_and_its_key_to_be_replaced() {
    let (folder, data, _) = stopped().await;
    let db = Connection::open(data.join("gnomon.sqlite")).unwrap();
    for sql in ["UPDATE audit SET actor = 'x'", "DELETE FROM audit WHERE sequence = 9"] {
        let text = db.execute(sql, []).unwrap_err().to_string();
        assert!(text.contains("only added to"), "{sql}: {text}");
    }
    std::fs::remove_file(data.join("keys/audit.pem")).unwrap();
    let mut options = crate::fixture::options(&folder);
    options.data_dir = data;
    let error = gnomon::serve::start(options).await.err().unwrap().to_string();
    assert!(error.contains("audit.pem is missing"), "{error}");
}
