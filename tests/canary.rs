//! Secrets that can be recognised, and a search for them in everything that the programs
//! print and keep: each may stand only where it is meant to be kept.

use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::stage::{Cloud, DEVICE, PROFILE, free_port, until};

const PASSPHRASE: &str = "canary passphrase: seven yellow birds";
const WRONG_PASSPHRASE: &str = "canary passphrase: seven yellow cats";
const BROKER_PASSWORD: &str = "canary-password-of-a-broker";

/// A process that is ended when the handle goes.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What one secret is, and the files that may hold it.
struct Secret {
    name: String,
    bytes: Vec<u8>,
    kept_in: Vec<&'static str>,
}

impl Secret {
    fn text(name: &str, text: &str, kept_in: &[&'static str]) -> Secret {
        Secret { name: name.to_owned(), bytes: text.as_bytes().to_vec(), kept_in: kept_in.to_vec() }
    }

    /// Every form in which it could stand somewhere.
    fn forms(&self) -> Vec<(&'static str, Vec<u8>)> {
        let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let decimal: Vec<String> = self.bytes.iter().map(u8::to_string).collect();
        let mut forms = vec![
            ("raw", self.bytes.clone()),
            ("upper-case hex", hex.to_uppercase().into_bytes()),
            ("hex", hex.into_bytes()),
            ("decimal", decimal.join(", ").into_bytes()),
        ];
        // Inside longer base64 it may begin at any of three places.
        for skipped in 0..3 {
            let whole = (self.bytes.len() - skipped) / 3 * 3;
            let encoded = STANDARD_NO_PAD.encode(&self.bytes[skipped..skipped + whole]);
            forms.push(("base64", encoded.clone().into_bytes()));
            let url_safe = encoded.replace('+', "-").replace('/', "_");
            forms.push(("url-safe base64", url_safe.into_bytes()));
        }
        forms
    }
}

/// A text once as it is and once without its line breaks, written out or escaped.
fn with_joined_lines(content: Vec<u8>) -> Vec<u8> {
    let mut joined = vec![];
    let mut rest = content.as_slice();
    while let [byte, after @ ..] = rest {
        let is_break = matches!(byte, b'\r' | b'\n');
        let is_escaped = matches!(rest, [b'\\', b'r' | b'n', ..]);
        joined.extend((!is_break && !is_escaped).then_some(*byte));
        rest = if is_escaped { &after[1..] } else { after };
    }
    [content, joined].concat()
}

/// Every file below a folder, by its path from there.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            let path: PathBuf = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if entry.file_type().unwrap().is_file() {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.push((name, with_joined_lines(fs::read(&path).unwrap())));
            }
        }
    }
    found
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// A session of which everything that is printed is kept in `printed/`.
struct Session {
    cloud: Cloud,
    commands: usize,
}

impl Session {
    fn path(&self, name: &str) -> PathBuf {
        self.cloud.folder.path().join(name)
    }

    fn keep(&mut self, what: &str, output: &Output) {
        self.commands += 1;
        let both = [&output.stdout[..], &output.stderr].concat();
        fs::write(self.path(&format!("printed/{:02} {what}", self.commands)), both).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gnomon-under-test"));
        command
            .args(["--url", &format!("http://127.0.0.1:{}", self.cloud.http)])
            .args(arguments)
            .env("GNOMON_LOG", "trace")
            .current_dir(self.cloud.folder.path());
        command
    }

    /// A command that must succeed or fail; what it printed is searched later.
    #[track_caller]
    fn run(&mut self, works: bool, arguments: &[&str], environment: &[(&str, &str)]) {
        let output = self.command(arguments).envs(environment.iter().copied()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), works, "{arguments:?}: {error}");
        self.keep(arguments[0], &output);
    }

    /// A command whose output is the secret itself: it is not kept.
    fn tells(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Value {
        let output = self.command(arguments).envs(environment.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn spawn(&self, program: &str, name: &str, arguments: &[&str]) -> Ended {
        let printed = File::create(self.path(&format!("printed/{name}"))).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .env("GNOMON_LOG", "trace")
            .current_dir(self.cloud.folder.path())
            .stdin(Stdio::null())
            .stdout(printed.try_clone().unwrap())
            .stderr(printed)
            .spawn()
            .unwrap();
        Ended(child)
    }

    /// The private part of a plain key file.
    fn key(&self, path: &'static str, kept_in: &[&'static str]) -> Vec<Secret> {
        let text = fs::read_to_string(self.path(path)).unwrap();
        let pem = pem::parse(&text).unwrap();
        // PKCS#8: the private key is an OCTET STRING of 32 bytes, in either kind of key.
        let der = pem.contents();
        let at = der.windows(2).position(|window| window == [4, 32]).unwrap() + 2;
        let body = text.lines().nth(1).unwrap();
        let secret = |what: &str, bytes: &[u8]| Secret {
            name: format!("{what} of {path}"),
            bytes: bytes.to_vec(),
            kept_in: kept_in.to_vec(),
        };
        vec![secret("the number", &der[at..at + 32]), secret("the text", body.as_bytes())]
    }
}

#[track_caller]
fn no_core_dumps(process: &Ended) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.0.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{line}");
}

#[test]
fn secrets_stand_only_where_they_are_kept() {
    let mut session = Session { cloud: Cloud::prepare(free_port(), &[]), commands: 0 };
    fs::create_dir(session.path("printed")).unwrap();
    let words = [("GNOMON_PASSPHRASE", PASSPHRASE)];
    let wrong = [("GNOMON_PASSPHRASE", WRONG_PASSPHRASE)];

    // Keys: made, opened, not opened, malformed.
    let init = ["trust", "init", "--fleet", "acme", "--out", "trust", "--data", "cloud"];
    session.run(true, &init, &words);
    session.run(true, &["key", "public", "trust/root-1.pem"], &words);
    session.run(false, &["key", "public", "trust/root-1.pem"], &wrong);
    session.run(true, &["key", "new", "--out", "plain.pem", "--plain"], &[]);
    let plain = fs::read_to_string(session.path("plain.pem")).unwrap();
    for (name, text) in [
        ("cut.pem", plain.replace("-----END", "----END")),
        ("other.pem", plain.replace("PRIVATE KEY", "RSA PRIVATE KEY")),
        ("short.pem", plain.replacen("MC4", "MC", 1).replacen("MFE", "MF", 1)),
    ] {
        session.cloud.file(name, text.as_bytes());
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(session.path(name), private).unwrap();
        session.run(false, &["key", "public", name], &[]);
    }
    session.cloud.file("open.pem", plain.as_bytes());
    session.run(false, &["module", "sign", "open.pem", "--key", "open.pem"], &[]);

    // A service whose broker wants certificates, and what is asked of it.
    let http = format!("127.0.0.1:{}", session.cloud.http);
    let mqtt = format!("127.0.0.1:{}", session.cloud.mqtt);
    let serve = ["serve", "--fleet", "acme", "--data", "cloud", "--http", &http, "--mqtt", &mqtt];
    let program = env!("CARGO_BIN_EXE_gnomon-under-test");
    let service = session.spawn(program, "the service", &serve);
    until("the service answers", || {
        session.command(&["status"]).output().unwrap().status.success().then_some(())
    });
    no_core_dumps(&service);
    session.cloud.file("profile.json", PROFILE);
    session.cloud.file("tou.wasm", gnomon_examples::WATER_HEATER_TOU);
    session.run(true, &["profile", "add", "profile.json"], &[]);
    session.run(true, &["device", "add", DEVICE, "--profile", "water-heater"], &[]);
    session.run(true, &["device", "bundle", DEVICE, "--out", "bundle"], &[]);
    let add = ["module", "add", "tou.wasm", "--key", "trust/publisher.pem"];
    session.run(false, &add, &wrong);
    session.run(true, &add, &words);

    // An enrolment: by a wrong token, by the right one, by the right one again.
    let made = session.tells(&["--json", "device", "enroll", DEVICE], &[]);
    let enrolment = made["token"].as_str().unwrap().to_owned();
    let agent_program = env!("CARGO_BIN_EXE_gnomon-agent-under-test");
    let (head, tail) = enrolment.split_at(enrolment.len() - 6);
    let guessed = format!("{head}{}", tail.chars().rev().collect::<String>());
    // The second time there may be nothing left to do; what is said is searched, too.
    for (token, works) in [(&guessed, Some(false)), (&enrolment, Some(true)), (&enrolment, None)] {
        let output = Command::new(agent_program)
            .args(["enroll", "--config", "bundle", "--data", "agent"])
            .envs([("GNOMON_ENROLL_TOKEN", token.as_str()), ("GNOMON_LOG", "trace")])
            .current_dir(session.cloud.folder.path())
            .output()
            .unwrap();
        let succeeded = output.status.success();
        assert!(works.is_none_or(|works| works == succeeded), "{output:?}");
        session.keep("enroll", &output);
    }
    let run = ["run", "--config", "bundle", "--data", "agent", "--socket", "agent.sock"];
    let agent = session.spawn(agent_program, "the agent", &run);
    until("the agent is online", || {
        let output = session.command(&["--json", "device", "show", DEVICE]).output().unwrap();
        let device: Value = serde_json::from_slice(&output.stdout).ok()?;
        (device["online"] == true).then_some(())
    });
    no_core_dumps(&agent);

    // Tokens: in the environment, as an argument, wrong, revoked.
    let admin = ["--json", "token", "create", "--name", "anna", "--role", "admin"];
    let made = session.tells(&admin, &[]);
    let token = made["token"].as_str().unwrap().to_owned();
    let (head, tail) = token.split_at(token.len() - 6);
    let other = format!("{head}{}", tail.chars().rev().collect::<String>());
    let by = [("GNOMON_TOKEN", token.as_str())];
    session.run(true, &["token", "list"], &by);
    session.run(true, &["audit", "list"], &by);
    session.run(true, &["--token", &token, "status"], &[]);
    session.run(false, &["status"], &[("GNOMON_TOKEN", &other)]);
    session.run(false, &["status"], &[]);
    session.run(true, &["trust", "bump-epoch", "--dir", "trust"], &[]);
    let sign = ["trust", "sign", "--dir", "trust", "--yes", "--key", "trust/root-1.pem"];
    session.run(false, &sign, &wrong);
    session.run(true, &sign, &words);

    // A broker's password where none belongs.
    let url = format!("mqtts://gnomon:{BROKER_PASSWORD}@localhost:1");
    let elsewhere = session.spawn(
        program,
        "a service with a password",
        &["serve", "--fleet", "acme", "--data", "other", "--http", "127.0.0.1:0", "--broker", &url],
    );
    std::thread::sleep(std::time::Duration::from_millis(1500));
    drop((elsewhere, agent, service));

    let mut secrets = vec![
        Secret::text("the passphrase", PASSPHRASE, &[]),
        Secret::text("the wrong passphrase", WRONG_PASSPHRASE, &[]),
        Secret::text("the broker's password", BROKER_PASSWORD, &[]),
        Secret::text("the enrolment token", &enrolment, &[]),
        Secret::text("the guessed enrolment token", &guessed, &[]),
        Secret::text("the token", &token, &[]),
        Secret::text("the guessed token", &other, &[]),
    ];
    for key in [
        "cloud/keys/director.pem",
        "cloud/keys/ca.pem",
        "cloud/keys/broker.pem",
        "cloud/keys/service.pem",
        "cloud/keys/audit.pem",
        "agent/device.key",
    ] {
        secrets.extend(session.key(key, &[key]));
    }
    let copies = ["plain.pem", "cut.pem", "other.pem", "short.pem", "open.pem"];
    secrets.extend(session.key("plain.pem", &copies));
    search(&session, &secrets);
}

fn search(session: &Session, secrets: &[Secret]) {
    let files = files(session.cloud.folder.path());
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    for needed in
        ["cloud/gnomon.sqlite", "agent/agent.db", "printed/the service", "printed/the agent"]
    {
        assert!(names.contains(&needed), "{needed} is not among {names:?}");
    }
    let mut offences = vec![];
    for secret in secrets {
        let mut seen = 0;
        for (form, bytes) in secret.forms() {
            for (name, content) in &files {
                // A PEM file is base64 of the secret: its text is a secret of its own.
                if secret.kept_in.contains(&name.as_str()) {
                    seen += usize::from(holds(content, &bytes));
                } else if holds(content, &bytes) {
                    offences.push(format!("{}, {form}, in {name}", secret.name));
                }
            }
        }
        // The search finds what is there: else it would prove nothing.
        assert!(seen > 0 || secret.kept_in.is_empty(), "{} is not where it is kept", secret.name);
    }
    assert!(offences.is_empty(), "secrets:\n  {}", offences.join("\n  "));
    for log in ["printed/the service", "printed/the agent"] {
        let is_on = files.iter().any(|(name, content)| name == log && holds(content, b" INFO "));
        assert!(is_on, "{log}: the log is off");
    }
}

#[test]
fn the_search_for_secrets_finds_each_form() {
    let secret = Secret::text("a secret", "canary 0123456789", &[]);
    let long = [b"before ".to_vec(), secret.bytes.clone(), b" after".to_vec()].concat();
    for skipped in 0..3 {
        let encoded = STANDARD.encode(&long[skipped..]).into_bytes();
        assert!(secret.forms().iter().any(|(_, form)| holds(&encoded, form)), "from {skipped}");
    }
    let printed = format!("{:?}", secret.bytes).into_bytes();
    assert!(secret.forms().iter().any(|(_, form)| holds(&printed, form)));
}
