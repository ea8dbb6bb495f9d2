//! Who is let in over HTTP: the open service, tokens, roles, scopes, and what leaks.

use crate::fixture::{Answer, Cloud, options};
use gnomon::api::routes;
use gnomon::serve::{HttpTls, start};
use gnomon_cloud_core::access::{Needs, Role};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Runs `gnomon` against this service: exit code, output, error.
pub(crate) fn cli(cloud: &Cloud, args: &[&str]) -> (u8, String, String) {
    let url = cloud.running.http_url();
    let all: Vec<&str> = ["gnomon", "--url", &url].iter().chain(args).copied().collect();
    tokio::task::block_in_place(|| gnomon::cli::execute(all))
}

/// A call with a token.
pub(crate) fn call(cloud: &Cloud, token: &str, method: &str, path: &str, body: &[u8]) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), JSON];
    let headers = if token.is_empty() { &headers[1..] } else { &headers[..] };
    cloud.send(method, path, headers, body)
}

/// Makes a token as `by`, an admin's token or nobody's: its text and its id.
pub(crate) fn make(cloud: &Cloud, by: &str, new: &Value) -> (String, String) {
    let answer = call(cloud, by, "POST", "/v1/tokens", new.to_string().as_bytes());
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    let made = answer.json();
    (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

/// Closes the service: the first admin's token.
pub(crate) fn close(cloud: &Cloud) -> String {
    make(cloud, "", &json!({"name": "root", "role": "admin"})).0
}

fn database(cloud: &Cloud) -> rusqlite::Connection {
    rusqlite::Connection::open(cloud.running.data_dir().join("gnomon.sqlite")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_opens_to_exactly_the_roles_that_it_names() {
    let cloud = Cloud::start().await;
    let admin = close(&cloud);
    let new = |name: &str, role: &str, devices: Value| {
        make(&cloud, &admin, &json!({"name": name, "role": role, "scope": {"devices": devices}}))
    };
    let mut roles: Vec<(Option<Role>, String)> = Role::ALL
        .into_iter()
        .map(|role| (Some(role), new("somebody", role.as_str(), json!([])).0))
        .collect();
    let (expired, expired_id) = new("late", "admin", json!([]));
    let (revoked, revoked_id) = new("gone", "admin", json!([]));
    let sql = "UPDATE tokens SET expires_at_ms = 1 WHERE id = ?1";
    assert_eq!(database(&cloud).execute(sql, [&expired_id]), Ok(1));
    let path = format!("/v1/tokens/{revoked_id}");
    assert_eq!(call(&cloud, &admin, "DELETE", &path, &[]).status, 204);
    // Right in every way but one.
    let mut forged = admin.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'E' } else { 'A' });
    let other_id = admin.replacen(&admin[4..16], &expired_id, 1);
    for nobody in ["", "gnm_", "gnm_0_0", "x", &expired, &revoked, &forged, &other_id] {
        roles.push((None, nobody.to_owned()));
    }
    let opens = |role: Role, needed: Role| match role {
        Role::Viewer => needed == Role::Viewer,
        Role::Editor => matches!(needed, Role::Viewer | Role::Editor),
        Role::Approver => matches!(needed, Role::Viewer | Role::Approver),
        Role::Admin => true,
    };
    let mut tried = 0;
    for route in routes() {
        let path = route.path.replace(['{', '}'], "");
        for (role, token) in &roles {
            let answer = call(&cloud, token, route.method, &path, b"{}");
            let place = format!("{} {path} {role:?}", route.method);
            tried += 1;
            let (Needs::Role(needed) | Needs::WholeFleet(needed)) = route.needs else {
                let by_guard = String::from_utf8_lossy(&answer.body).contains("this needs");
                assert!(!by_guard, "{place}");
                continue;
            };
            match role {
                None => {
                    let expected = (401, "unauthenticated".to_owned());
                    let is_slowed = answer.status == 429;
                    assert!(
                        is_slowed || answer.problem() == expected,
                        "{place} {token}: {answer:?}"
                    );
                }
                Some(role) if opens(*role, needed) => {
                    assert!(!matches!(answer.status, 401 | 403), "{place}: {answer:?}");
                }
                Some(_) => assert_eq!(answer.problem(), (403, "forbidden".into()), "{place}"),
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_description_and_enrolment_are_public() {
    let public: Vec<&str> =
        routes().iter().filter(|r| r.needs == Needs::Public).map(|route| route.path).collect();
    for path in &public {
        let known = ["/v1/openapi.json", "/v1/enroll", "/v1/enroll/renew", "/v1/ca"];
        assert!(known.contains(path), "{path} is public");
    }
    // What changes something needs more than a viewer.
    for route in routes().iter().filter(|route| route.method != "GET") {
        let viewer = [Needs::Role(Role::Viewer), Needs::WholeFleet(Role::Viewer)];
        assert!(!viewer.contains(&route.needs), "{} {}", route.method, route.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_reaches_its_own_names_and_nothing_beside_them() {
    let cloud = Cloud::with_device().await;
    cloud.add_device("heater-2", json!({"site": "north"}));
    for group in ["north", "south"] {
        let body = json!({"selector": "site=north", "priority": 1});
        assert_eq!(cloud.json("PUT", &format!("/v1/groups/{group}"), &body).status, 201);
    }
    let admin = close(&cloud);
    let scope = json!({"groups": ["north"], "devices": ["heater-1"]});
    let new = json!({"name": "site-north", "role": "editor", "scope": scope});
    let (token, _) = make(&cloud, &admin, &new);
    let status = |method: &str, path: &str| call(&cloud, &token, method, path, b"{}").status;
    for (method, path) in [
        ("GET", "/v1/devices/heater-1"),
        ("GET", "/v1/devices/heater-1/effective"),
        ("PUT", "/v1/devices/heater-1/desired"),
        ("GET", "/v1/groups/north"),
        ("PATCH", "/v1/groups/north/desired"),
        ("GET", "/v1/openapi.json"),
    ] {
        assert_eq!(status(method, path), 200, "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/v1/devices/heater-2"),
        ("GET", "/v1/devices/HEATER-1"),
        ("GET", "/v1/devices/heater-1%2F..%2Fheater-2"),
        ("GET", "/v1/groups/south"),
        ("PUT", "/v1/groups/south/desired"),
        // What would make the scope wider, or reach beyond it.
        ("PUT", "/v1/groups/north"),
        ("DELETE", "/v1/groups/north"),
        ("GET", "/v1/devices"),
        ("POST", "/v1/devices"),
        ("GET", "/v1/groups"),
        ("GET", "/v1/status"),
        ("GET", "/v1/modules"),
        ("PUT", "/v1/fleet/desired"),
        ("GET", "/v1/functions/setpoint/comparison?device=heater-1&group=north"),
        ("GET", "/v1/audit"),
        ("GET", "/v1/tokens"),
    ] {
        assert_eq!(status(method, path), 403, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_closes_the_service_and_is_an_admins() {
    let cloud = Cloud::start().await;
    assert!(cloud.running.is_open().await.unwrap());
    for new in [
        json!({"name": "a", "role": "viewer"}),
        json!({"name": "a", "role": "admin", "scope": {"devices": ["heater-1"]}}),
    ] {
        let answer = cloud.json("POST", "/v1/tokens", &new);
        assert_eq!(answer.problem(), (403, "forbidden".into()));
        assert!(answer.json()["detail"].as_str().unwrap().contains("--role admin"));
    }
    assert_eq!(cloud.get("/v1/tokens").json(), json!([]));
    let admin = close(&cloud);
    assert!(!cloud.running.is_open().await.unwrap());
    assert_eq!(cloud.get("/v1/health").problem(), (401, "unauthenticated".into()));
    assert_eq!(call(&cloud, &admin, "GET", "/v1/health", &[]).status, 200);
    // Tokens that are over do not open it again.
    let id = call(&cloud, &admin, "GET", "/v1/tokens", &[]).json()[0]["id"].clone();
    let path = format!("/v1/tokens/{}", id.as_str().unwrap());
    assert_eq!(call(&cloud, &admin, "DELETE", &path, &[]).status, 204);
    for token in ["", &admin] {
        assert_eq!(call(&cloud, token, "GET", "/v1/health", &[]).status, 401);
    }
    let Cloud { running, folder } = cloud;
    running.shutdown().await;
    let cloud = Cloud { running: start(options(&folder)).await.unwrap(), folder };
    assert_eq!(cloud.get("/v1/health").status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_live_too_long_or_name_too_much_are_refused() {
    let cloud = Cloud::start().await;
    let admin = close(&cloud);
    let many: Vec<String> = (0..101).map(|n| format!("d{n}")).collect();
    for (change, status, reason) in [
        (json!({"expires_in_s": 366 * 24 * 3600}), 422, "schema_violation"),
        (json!({"expires_in_s": 0}), 422, "schema_violation"),
        (json!({"role": "owner"}), 422, "schema_violation"),
        (json!({"name": "Alice Smith"}), 422, "schema_violation"),
        (json!({"scope": {"devices": many}}), 413, "too_large"),
        (json!({"scope": {"fleets": ["a"]}}), 422, "schema_violation"),
        (json!({"id": "chosen"}), 422, "schema_violation"),
        (json!({"secret": "chosen"}), 422, "schema_violation"),
    ] {
        let mut new = json!({"name": "a", "role": "viewer"});
        new.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = call(&cloud, &admin, "POST", "/v1/tokens", new.to_string().as_bytes());
        assert_eq!(answer.problem(), (status, reason.into()), "{change}");
    }
    let answer = call(&cloud, &admin, "DELETE", "/v1/tokens/0123456789ab", &[]);
    assert_eq!(answer.problem(), (404, "unknown_token".into()));
    assert_eq!(call(&cloud, &admin, "GET", "/v1/tokens", &[]).json().as_array().unwrap().len(), 1);
}

/// Sends a request as it is written; the status and the whole answer.
fn raw(address: SocketAddr, text: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_service_answers_no_page_of_another_origin_and_no_foreign_name() {
    let cloud = Cloud::start().await;
    let address = cloud.running.http_addr();
    let get = |headers: &str| {
        let text = format!("GET /v1/health HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        tokio::task::block_in_place(|| raw(address, &text)).0
    };
    for headers in [
        format!("host: {address}\r\n"),
        format!("host: localhost:{}\r\n", address.port()),
        "host: [::1]:8480\r\n".to_owned(),
        format!("host: {address}\r\norigin: http://{address}\r\n"),
    ] {
        assert_eq!(get(&headers), 200, "{headers}");
    }
    for headers in [
        "host: rebound.example.com\r\n".to_owned(),
        "host: 10.0.0.1:8480\r\n".to_owned(),
        format!("host: {address}.example.com\r\n"),
        format!("host: {address}\r\norigin: http://example.com\r\n"),
        format!("host: {address}\r\norigin: null\r\n"),
        format!("host: {address}\r\norigin: http://127.0.0.1:1\r\n"),
        String::new(),
    ] {
        assert!(matches!(get(&headers), 400 | 403), "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_known_is_told_how_and_is_slowed_and_nobody_else_is() {
    let cloud = Cloud::start().await;
    let admin = close(&cloud);
    let address = cloud.running.http_addr();
    let text = format!("GET /v1/health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let (status, answer) = tokio::task::block_in_place(|| raw(address, &text));
    assert_eq!(status, 401);
    assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
    // More than two minutes' worth: wherever a minute ends, one of them is full.
    let mut slowed = 0;
    for _ in 0..260 {
        let answer = call(&cloud, "gnm_000000000000_AAAA", "GET", "/v1/health", &[]);
        slowed += usize::from(answer.status == 429);
        assert!(matches!(answer.status, 401 | 429));
    }
    assert!(slowed > 0);
    assert_eq!(call(&cloud, &admin, "GET", "/v1/health", &[]).status, 200);
    // The log is not filled by it: what was not recorded is counted.
    let page = call(&cloud, &admin, "GET", "/v1/audit?limit=1000", &[]).json();
    let refused = page["items"].as_array().unwrap().iter();
    let refused = refused.filter(|entry| entry["action"] == "access.refuse").count();
    assert!((1..=90).contains(&refused), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_hears_why() {
    let cloud = Cloud::start().await;
    close(&cloud);
    let answer = cloud.upload(&vec![0; 3 << 20], "local", "none");
    assert_eq!(answer.problem(), (401, "unauthenticated".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_this_machine_nothing_is_served_without_tls_and_a_token() {
    let folder = TempDir::new().unwrap();
    let mut beyond = options(&folder);
    beyond.http = "0.0.0.0:0".parse().unwrap();
    let error = start(beyond.clone()).await.err().unwrap().to_string();
    assert!(error.contains("without TLS") && error.contains("--http-cert"), "{error}");
    let (certificate, key) = crate::https::self_signed(folder.path());
    beyond.http_tls = HttpTls::Files { certificate, key };
    let error = start(beyond.clone()).await.err().unwrap().to_string();
    assert!(error.contains("no token exists"), "{error}");
    let data = beyond.data_dir.to_str().unwrap();
    let hint = error.split('`').nth(1).unwrap().replace("NAME", "root");
    let args: Vec<&str> = hint.split(' ').collect();
    assert!(args.contains(&data));
    let (code, out, err) = tokio::task::block_in_place(|| gnomon::cli::execute(args));
    assert_eq!((code, out.starts_with("gnm_"), err.as_str()), (0, true, ""));
    start(beyond).await.unwrap().shutdown().await;
}

fn every_file(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { every_file(&path, into) } else { into.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_stands_nowhere_else() {
    let cloud = Cloud::start().await;
    let (code, out, _) =
        cli(&cloud, &["token", "create", "--name", "root", "--role", "admin", "--expires", "1d"]);
    assert_eq!(code, 0);
    let admin = out.lines().next().unwrap().to_owned();
    let secret = admin.splitn(3, '_').nth(2).unwrap().to_owned();
    assert!(admin.starts_with("gnm_") && secret.len() == 43, "{}", admin.len());
    let mut seen = vec![];
    // A token in every place where one could be given by mistake or be echoed.
    for args in [
        vec!["token", "list"],
        vec!["--json", "token", "list"],
        vec!["audit", "list"],
        vec!["--json", "audit", "list"],
        vec!["token", "revoke", "nobody"],
        vec!["device", "show", "nobody"],
        vec!["status", "--no-such-flag"],
        vec!["--help"],
        vec!["token", "create", "--help"],
    ] {
        let args: Vec<&str> = ["--token", &admin].into_iter().chain(args).collect();
        let (_, out, err) = cli(&cloud, &args);
        seen.push(out + &err);
    }
    let (code, _, err) =
        gnomon::cli::execute(["gnomon", "--url", "http://10.9.9.9:1", "--token", &admin, "status"]);
    assert!(code == 1 && err.contains("not sent"), "{err}");
    seen.push(err);
    seen.push(format!("{:?}", gnomon::tokens::TokenText::new(&admin)));
    let answer = call(&cloud, &format!("{admin}x"), "GET", "/v1/status", &[]);
    seen.push(String::from_utf8(answer.body).unwrap());
    assert!(seen.iter().any(|text| text.contains("root")), "the list shows who, not what");
    for text in &seen {
        assert!(!text.contains(&secret), "{text}");
    }
    let Cloud { running, folder } = cloud;
    running.shutdown().await;
    let mut files = vec![];
    every_file(folder.path(), &mut files);
    assert!(files.len() > 5);
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!is_there, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_proves_itself_by_argument_or_by_a_file_of_ones_own() {
    let cloud = Cloud::start().await;
    let data = cloud.running.data_dir().to_str().unwrap().to_owned();
    // In the folder itself, while the service runs: it is closed from the next request on.
    let create = ["token", "create", "--data", &data, "--name", "root", "--role", "admin"];
    let (code, out, err) = cli(&cloud, &create);
    assert_eq!((code, err.as_str()), (0, ""));
    let admin = out.lines().next().unwrap().to_owned();
    let (code, _, err) = cli(&cloud, &["status"]);
    assert!(code == 1 && err.contains("unauthenticated"), "{err}");
    assert_eq!(cli(&cloud, &["--token", &admin, "status"]).0, 0);
    let file = cloud.folder.path().join("token");
    std::fs::write(&file, format!("{admin}\n")).unwrap();
    let file = file.to_str().unwrap();
    let mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(file, mode).unwrap();
    };
    mode(0o644);
    let (code, _, err) = cli(&cloud, &["--token-file", file, "status"]);
    assert!(code == 1 && err.contains("chmod 600"), "{err}");
    mode(0o600);
    assert_eq!(cli(&cloud, &["--token-file", file, "status"]).0, 0);

    let as_admin = |args: &[&str]| {
        let args: Vec<&str> = ["--token", &admin].iter().chain(args).copied().collect();
        let (code, out, err) = cli(&cloud, &args);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        out
    };
    let new = ["token", "create", "--name", "bob", "--role", "viewer", "--device", "heater-1"];
    as_admin(&new);
    let list = as_admin(&["token", "list"]);
    assert!(list.contains("bob") && list.contains("heater-1"), "{list}");
    let all: Value = serde_json::from_str(&as_admin(&["--json", "token", "list"])).unwrap();
    let id = all[1]["id"].as_str().unwrap();
    assert!(as_admin(&["token", "revoke", id]).contains(id));
    let all: Value = serde_json::from_str(&as_admin(&["--json", "token", "list"])).unwrap();
    assert!(all[1]["revoked_at_ms"].is_u64());
    for bad in ["9y", "x", "", "99999999999999999999d"] {
        let (code, ..) =
            cli(&cloud, &["token", "create", "--name", "c", "--role", "viewer", "--expires", bad]);
        assert_eq!(code, 2, "{bad}");
    }
}
