//! Good bundles and every way we know to spoil one, each with the reason that it
//! earns. Made of whatever folder `bundles.mjs` filled: the committed fixtures, or
//! bundles that are a second old.

use base64::{Engine, engine::general_purpose::STANDARD};
use gnomon_schemas::keys::PublicKey;
use gnomon_schemas::reason::{Coded, Reason};
use gnomon_schemas::trust::CertificateIdentity;
use gnomon_sigstore::{Artifact, BundlePolicy, verify_bundle};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Who must have signed, owned.
#[derive(Clone)]
pub(crate) enum Signer {
    Certificate(CertificateIdentity, String),
    Key(PublicKey),
}

/// One verification and what it must say.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bundle: Vec<u8>,
    pub(crate) artifact: Vec<u8>,
    pub(crate) signer: Signer,
    pub(crate) root: String,
    pub(crate) now_ms: u64,
    pub(crate) expected: Option<Reason>,
}

impl Case {
    /// The production verifier's answer.
    pub(crate) fn verdict(&self) -> Result<(), (Reason, String)> {
        let policy = match &self.signer {
            Signer::Certificate(identity, issuer) => BundlePolicy::Certificate { identity, issuer },
            Signer::Key(key) => BundlePolicy::Key(key),
        };
        let artifact = Artifact::Bytes(&self.artifact);
        verify_bundle(&self.bundle, artifact, policy, &self.root, self.now_ms)
            .map_err(|error| (error.reason(), error.to_string()))
    }

    /// What is wrong with the answer, if anything.
    pub(crate) fn offence(&self) -> Option<String> {
        let verdict = self.verdict();
        let found = verdict.as_ref().err().map(|(reason, _)| *reason);
        (found != self.expected).then(|| format!("{}: {verdict:?}", self.name))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.bundle).unwrap()
    }

    fn but(&self, name: &str, expected: Reason, edit: impl FnOnce(&mut Case)) -> Case {
        let mut case = self.clone();
        case.name = format!("{} but {name}", self.name);
        case.expected = Some(expected);
        edit(&mut case);
        case
    }

    fn with(&self, name: &str, expected: Reason, edit: impl FnOnce(&mut Value)) -> Case {
        self.but(name, expected, |case| {
            let mut json = case.json();
            edit(&mut json);
            case.bundle = json.to_string().into_bytes();
        })
    }

    fn root_with(&self, name: &str, expected: Reason, edit: impl FnOnce(&mut Value)) -> Case {
        self.but(name, expected, |case| {
            let mut json: Value = serde_json::from_str(&case.root).unwrap();
            edit(&mut json);
            case.root = json.to_string();
        })
    }
}

/// A folder that `bundles.mjs` filled.
pub(crate) struct Made {
    folder: PathBuf,
    facts: Value,
}

impl Made {
    pub(crate) fn read(folder: &Path) -> Made {
        let facts = std::fs::read(folder.join("made.json")).unwrap();
        Made { folder: folder.to_owned(), facts: serde_json::from_slice(&facts).unwrap() }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap()
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.facts["time_ms"].as_u64().unwrap()
    }

    fn fact(&self, name: &str) -> String {
        self.facts[name].as_str().unwrap().to_owned()
    }

    pub(crate) fn uri(&self) -> Signer {
        let identity = CertificateIdentity::Uri { value: self.fact("identity") };
        Signer::Certificate(identity, self.fact("issuer"))
    }

    fn email(&self, value: &str) -> Signer {
        let identity = CertificateIdentity::Email { value: value.to_owned() };
        Signer::Certificate(identity, self.fact("issuer"))
    }

    pub(crate) fn key(&self, name: &str) -> Signer {
        Signer::Key(PublicKey::from_pem(&self.text(name)).unwrap())
    }

    /// A bundle of the folder as it is, a day after it was made.
    pub(crate) fn case(&self, name: &str, signer: Signer, expected: Option<Reason>) -> Case {
        Case {
            name: name.to_owned(),
            bundle: self.text(&format!("{name}.json")).into_bytes(),
            artifact: self.text("artifact.txt").into_bytes(),
            signer,
            root: self.text("trusted_root.json"),
            now_ms: self.time_ms() + 24 * 3600 * 1000,
            expected,
        }
    }

    /// The bundles that prove what they say.
    pub(crate) fn good(&self) -> Vec<Case> {
        let key = || self.key("publisher.pem");
        vec![
            self.case("good", self.uri(), None),
            self.case("good-timestamp", self.uri(), None),
            self.case("good-email", self.email("releases@acme.test"), None),
            self.case("good-key", key(), None),
            self.case("good-key-timestamp", key(), None),
        ]
    }

    /// Everything that must be refused.
    pub(crate) fn bad(&self) -> Vec<Case> {
        let [good, stamped, email, key, _] = <[Case; 5]>::try_from(self.good()).ok().unwrap();
        let mut cases = self.made_wrong();
        cases.extend(spoilt_entries(&good, &email));
        cases.extend(spoilt_times(&good, &stamped, &key));
        cases.extend(spoilt_signers(self, &good, &email, &key));
        cases.extend(spoilt_shapes(&good, &key));
        cases.extend(spoilt_roots(self, &good, &stamped));
        cases
    }

    fn made_wrong(&self) -> Vec<Case> {
        let wrong = |name: &str, reason| self.case(name, self.uri(), Some(reason));
        vec![
            wrong("other-identity", Reason::IdentityMismatch),
            wrong("other-issuer", Reason::IdentityMismatch),
            wrong("other-artifact", Reason::ModuleSignatureInvalid),
            wrong("other-authority", Reason::CertificateInvalid),
            wrong("other-log", Reason::LogEntryInvalid),
            wrong("other-stamp", Reason::SignedTimeInvalid),
            wrong("late-key", Reason::SignedTimeInvalid),
            wrong("late-key-timestamp", Reason::SignedTimeInvalid),
            self.case("other-key", self.key("publisher.pem"), Some(Reason::ModuleSignatureInvalid)),
        ]
    }
}

const MATERIAL: &str = "/verificationMaterial";
const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

fn at<'a>(json: &'a mut Value, path: &str) -> &'a mut Value {
    json.pointer_mut(path).unwrap_or_else(|| panic!("no {path}"))
}

fn entry<'a>(json: &'a mut Value, path: &str) -> &'a mut Value {
    at(json, &format!("{ENTRY}{path}"))
}

fn remove(json: &mut Value, path: &str, key: &str) {
    at(json, path).as_object_mut().unwrap().remove(key).unwrap();
}

/// Flips one bit in the middle of base64 that stays base64.
fn flip(value: &mut Value) {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *value = json!(STANDARD.encode(bytes));
}

fn add_to_number(value: &mut Value, by: i64) {
    let number: i64 = value.as_str().unwrap().parse().unwrap();
    *value = json!((number + by).to_string());
}

fn edit_text(value: &mut Value, edit: impl FnOnce(&str) -> String) {
    *value = json!(edit(value.as_str().unwrap()));
}

fn spoilt_entries(good: &Case, email: &Case) -> Vec<Case> {
    let spoilt = |name, edit: &dyn Fn(&mut Value)| {
        good.with(name, Reason::LogEntryInvalid, |json| edit(json))
    };
    let another = email.json()["verificationMaterial"]["tlogEntries"].clone();
    let body = another[0]["canonicalizedBody"].clone();
    let proof = "/inclusionProof";
    let note = "/inclusionProof/checkpoint/envelope";
    vec![
        spoilt("its log entry altered", &|json| flip(entry(json, "/canonicalizedBody"))),
        spoilt("the body of another entry", &|json| {
            *entry(json, "/canonicalizedBody") = body.clone();
        }),
        spoilt("the log entry of another bundle", &|json| {
            *at(json, "/verificationMaterial/tlogEntries") = another.clone();
        }),
        spoilt("its entry timestamp altered", &|json| {
            flip(entry(json, "/inclusionPromise/signedEntryTimestamp"));
        }),
        spoilt("its time moved by a minute", &|json| {
            add_to_number(entry(json, "/integratedTime"), 60);
        }),
        spoilt("its log index moved", &|json| add_to_number(entry(json, "/logIndex"), 1)),
        spoilt("its log's id altered", &|json| flip(entry(json, "/logId/keyId"))),
        spoilt("a hash of its proof altered", &|json| {
            flip(entry(json, "/inclusionProof/hashes/1"));
        }),
        spoilt("a hash of its proof dropped", &|json| {
            entry(json, "/inclusionProof/hashes").as_array_mut().unwrap().pop();
        }),
        spoilt("a hash added to its proof", &|json| {
            let hashes = entry(json, "/inclusionProof/hashes").as_array_mut().unwrap();
            hashes.push(hashes[0].clone());
        }),
        spoilt("its place in the tree moved", &|json| {
            add_to_number(entry(json, "/inclusionProof/logIndex"), 1);
        }),
        spoilt("the tree's size altered", &|json| {
            add_to_number(entry(json, "/inclusionProof/treeSize"), 8);
        }),
        spoilt("the tree's root altered", &|json| flip(entry(json, "/inclusionProof/rootHash"))),
        spoilt("the checkpoint's size altered", &|json| {
            edit_text(entry(json, note), |text| text.replacen("\n8\n", "\n9\n", 1));
        }),
        spoilt("the checkpoint's origin altered", &|json| {
            edit_text(entry(json, note), |text| text.replacen("log.test", "log.tost", 1));
        }),
        spoilt("the checkpoint signed by nobody", &|json| {
            edit_text(entry(json, note), |text| {
                let (head, signature) = text.trim_end().rsplit_once(' ').unwrap();
                let mut signature = json!(signature);
                flip(&mut signature);
                format!("{head} {}\n", signature.as_str().unwrap())
            });
        }),
        spoilt("no checkpoint", &|json| *entry(json, note) = json!("")),
        spoilt("no proof", &|json| remove(json, ENTRY, &proof[1..])),
        spoilt("no log entry", &|json| {
            *at(json, "/verificationMaterial/tlogEntries") = json!([]);
        }),
        spoilt("its log entry twice", &|json| {
            let entries = at(json, "/verificationMaterial/tlogEntries").as_array_mut().unwrap();
            entries.push(entries[0].clone());
        }),
    ]
}

fn spoilt_times(good: &Case, stamped: &Case, key: &Case) -> Vec<Case> {
    let reason = Reason::SignedTimeInvalid;
    let without_promise = |json: &mut Value| remove(json, ENTRY, "inclusionPromise");
    let token =
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
    let early = |case: &Case, now_ms: u64| {
        case.but(&format!("a device at {now_ms}"), reason, |case| case.now_ms = now_ms)
    };
    let signed_ms = 1000
        * good.json()["verificationMaterial"]["tlogEntries"][0]["integratedTime"]
            .as_str()
            .and_then(|time| time.parse::<u64>().ok())
            .unwrap();
    vec![
        early(good, 0),
        early(good, signed_ms - 1),
        early(stamped, 0),
        early(key, 0),
        good.with("no signed time", reason, without_promise),
        key.with("no signed time", reason, without_promise),
        stamped.with("its timestamp altered", reason, |json| flip(at(json, token))),
        stamped.with("a timestamp that is none", reason, |json| {
            *at(json, token) = json!(STANDARD.encode("noon"));
        }),
        stamped.with("another signature than was stamped", reason, |json| {
            let other = good.json()["messageSignature"]["signature"].clone();
            *at(json, "/messageSignature/signature") = other;
        }),
    ]
}

fn spoilt_signers(made: &Made, good: &Case, email: &Case, key: &Case) -> Vec<Case> {
    let signer = |case: &Case, name, signer: Signer, reason| {
        case.but(name, reason, |case| case.signer = signer)
    };
    let mismatch = Reason::IdentityMismatch;
    let kind = Reason::EvidenceMismatch;
    let issuer = made.fact("issuer");
    let uri =
        |value: String| Signer::Certificate(CertificateIdentity::Uri { value }, issuer.clone());
    let certificate = "/verificationMaterial/certificate/rawBytes";
    let invalid = Reason::ModuleSignatureInvalid;
    vec![
        signer(good, "an e-mail asked for", made.email(&made.fact("identity")), mismatch),
        signer(email, "a URI asked for", uri("releases@acme.test".to_owned()), mismatch),
        signer(email, "another letter case", made.email("Releases@acme.test"), mismatch),
        signer(good, "a longer identity", uri(made.fact("identity") + "s"), mismatch),
        signer(good, "no identity", uri(String::new()), mismatch),
        signer(good, "a key asked for", made.key("publisher.pem"), kind),
        signer(key, "a certificate asked for", made.uri(), kind),
        signer(key, "another key", made.key("other-publisher.pem"), invalid),
        good.but("another artifact", invalid, |case| {
            case.artifact = made.text("other-artifact.txt").into_bytes();
        }),
        good.but("no artifact", invalid, |case| case.artifact.clear()),
        good.with("its signature altered", invalid, |json| {
            flip(at(json, "/messageSignature/signature"));
        }),
        good.with("no signature", invalid, |json| {
            *at(json, "/messageSignature/signature") = json!("");
        }),
        good.with("its digest altered", invalid, |json| {
            flip(at(json, "/messageSignature/messageDigest/digest"));
        }),
        good.with("its certificate altered", Reason::CertificateInvalid, |json| {
            edit_der(at(json, certificate), b"release.yml", b"release.yaml");
        }),
        good.with("its certificate cut off", Reason::BundleMalformed, |json| {
            *at(json, certificate) = json!("MIIC");
        }),
    ]
}

/// Replaces bytes inside base64, keeping the length.
fn edit_der(value: &mut Value, from: &[u8], to: &[u8]) {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    let place = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[place..place + from.len()].copy_from_slice(&to[..from.len()]);
    *value = json!(STANDARD.encode(bytes));
}

fn spoilt_shapes(good: &Case, key: &Case) -> Vec<Case> {
    let reason = Reason::BundleMalformed;
    let shape = |name: &str, edit: &dyn Fn(&mut Value)| good.with(name, reason, |json| edit(json));
    let media =
        |text: &'static str| shape(text, &|json: &mut Value| *at(json, "/mediaType") = json!(text));
    let bytes = |name: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        good.but(name, reason, |case| edit(&mut case.bundle))
    };
    vec![
        media("application/vnd.dev.sigstore.bundle+json;version=0.1"),
        media("application/vnd.dev.sigstore.bundle+json;version=0.2"),
        media("application/vnd.dev.sigstore.bundle+json;version=0.3"),
        media("application/vnd.dev.sigstore.bundle.v0.4+json"),
        media(""),
        shape("version 0.1 and no proof", &|json| {
            *at(json, "/mediaType") = json!("application/vnd.dev.sigstore.bundle+json;version=0.1");
            remove(json, ENTRY, "inclusionProof");
        }),
        shape("no media type", &|json| remove(json, "", "mediaType")),
        shape("a field more", &|json| json["note"] = json!("")),
        shape("a field more inside", &|json| json["verificationMaterial"]["note"] = json!("")),
        shape("a chain of certificates", &|json| {
            let certificate = at(json, "/verificationMaterial/certificate").take();
            remove(json, MATERIAL, "certificate");
            at(json, MATERIAL)["x509CertificateChain"] = json!({ "certificates": [certificate] });
        }),
        shape("a key as well", &|json| at(json, MATERIAL)["publicKey"] = json!({ "hint": "" })),
        shape("no certificate", &|json| remove(json, MATERIAL, "certificate")),
        shape("a statement instead of a signature", &|json| {
            remove(json, "", "messageSignature");
            json["dsseEnvelope"] = json!({
                "payload": "", "payloadType": "application/vnd.in-toto+json",
                "signatures": [{ "sig": "" }],
            });
        }),
        shape("another kind of entry", &|json| {
            *entry(json, "/kindVersion") = json!({ "kind": "intoto", "version": "0.0.2" });
        }),
        shape("the next log's kind of entry", &|json| {
            *entry(json, "/kindVersion/version") = json!("0.0.2");
        }),
        shape("an entry timestamp without a time", &|json| remove(json, ENTRY, "integratedTime")),
        bytes("a key twice", &|text| {
            let twice = String::from_utf8(text.clone()).unwrap();
            *text = twice.replacen('{', r#"{"mediaType":"","#, 1).into_bytes();
        }),
        bytes("something behind it", &|text| text.extend_from_slice(b" {}")),
        bytes("its end missing", &|text| text.truncate(text.len() - 1)),
        bytes("nothing", &|text| text.clear()),
        bytes("64 KiB of blanks", &|text| text.extend_from_slice(&[b' '; 64 * 1024])),
        bytes("deep nesting", &|text| *text = b"[".repeat(10_000)),
        key.with("no hint and no certificate", reason, |json| {
            remove(json, MATERIAL, "publicKey");
        }),
    ]
}

fn spoilt_roots(made: &Made, good: &Case, stamped: &Case) -> Vec<Case> {
    let root = |name: &str, reason, edit: &dyn Fn(&mut Value)| {
        good.root_with(name, reason, |json| edit(json))
    };
    let text = |name: &str, text: String| {
        good.but(name, Reason::SigstoreRootInvalid, |case| case.root = text)
    };
    let over = || json!({ "start": "2001-01-01T00:00:00Z", "end": "2002-01-01T00:00:00Z" });
    let not_begun = || json!({ "start": "2105-01-01T00:00:00Z" });
    let (log, ca) = (Reason::LogEntryInvalid, Reason::CertificateInvalid);
    vec![
        good.but("another root", log, |case| case.root = made.text("trusted_root.other.json")),
        root("no log in the root", log, &|json| json["tlogs"] = json!([])),
        root("no authority in the root", ca, &|json| json["certificateAuthorities"] = json!([])),
        root("a log whose key is over", log, &|json| {
            *at(json, "/tlogs/0/publicKey/validFor") = over();
        }),
        root("a log that has not begun", log, &|json| {
            *at(json, "/tlogs/0/publicKey/validFor") = not_begun();
        }),
        root("an authority that is over", ca, &|json| {
            *at(json, "/certificateAuthorities/0/validFor") = over();
        }),
        root("a certificate log that is over", ca, &|json| {
            *at(json, "/ctlogs/0/publicKey/validFor") = over();
        }),
        root("no certificate log", Reason::SigstoreRootInvalid, &|json| {
            json["ctlogs"] = json!([]);
        }),
        stamped.root_with(
            "a timestamp authority that is over",
            Reason::SignedTimeInvalid,
            |json| {
                *at(json, "/timestampAuthorities/0/validFor") = over();
            },
        ),
        stamped.root_with("no timestamp authority", Reason::SignedTimeInvalid, |json| {
            json["timestampAuthorities"] = json!([]);
        }),
        text("a root that is no JSON", "root".to_owned()),
        text("a root that is another JSON", "{}".to_owned()),
        text("a root of 33 KiB", format!("{}{}", good.root, " ".repeat(33 * 1024))),
        text("a root with a key twice", good.root.replacen('{', r#"{"tlogs":[],"#, 1)),
    ]
}
