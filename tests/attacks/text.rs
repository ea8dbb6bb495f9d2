//! Row 15: bytes that two parsers would read differently.

use base64::{Engine, engine::general_purpose};
use gnomon_schemas::document::Document;
use gnomon_schemas::reason::Reason;
use serde_json::Value;

use super::form::{Against, Folder, Hears};
use super::make::What;
use super::world::*;

fn what(
    expected: Reason,
    name: &'static str,
    named_by: &'static [&'static str],
    title: &'static str,
    says: &'static str,
) -> What {
    What { name, row: 15, against: Against::Document, expected, named_by, title, says }
}

/// The text of a right document.
fn text() -> String {
    String::from_utf8(json(&config(1))).unwrap()
}

/// What the director signed, whatever it is.
fn signed(payload: impl AsRef<[u8]>) -> Vec<u8> {
    json(&seal_bytes::<Document>(payload.as_ref(), &[&director()]))
}

/// The director's text with one part exchanged.
fn swapped(from: &str, to: &str) -> Vec<u8> {
    let text = text();
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    signed(text.replace(from, to))
}

/// A right envelope with one part of its text exchanged.
fn around(from: &str, to: &str) -> Vec<u8> {
    let envelope = String::from_utf8(directed(&config(1))).unwrap();
    assert!(envelope.contains(from));
    envelope.replacen(from, to, 1).into_bytes()
}

/// Every attack of this row.
pub(super) fn all() -> Vec<Folder> {
    [keys(), numbers(), forms(), encodings()].concat()
}

fn keys() -> Vec<Folder> {
    vec![
        what(
            Reason::DuplicateKey,
            "duplicate-key-in-the-envelope",
            &["RFC 8259 4", "CVE-2017-12635"],
            "An envelope that names a field twice",
            "Puts a second payload, or a second list of signatures, before the right one.",
        )
        .attack()
        .refuses(Hears::Document, "payload.json", around("{", r#"{"payload":"","#))
        .refuses(Hears::Document, "signatures.json", around("{", r#"{"signatures":[],"#))
        .refuses(Hears::Document, "sig.json", around(r#"{"keyid""#, r#"{"sig":"","keyid""#))
        .refuses(Hears::Document, "escaped.json", around("{", r#"{"p\u0061yload":"","#)),
        what(
            Reason::DuplicateKey,
            "duplicate-key-in-the-payload",
            &["RFC 7493 2.3", "CVE-2017-12635"],
            "A signed document that names a field twice",
            "Has two meanings signed at once, at the top, in config and below it.",
        )
        .attack()
        .refuses(Hears::Document, "top.json", swapped("{\"schema\"", "{\"version\":9,\"schema\""))
        .refuses(
            Hears::Document,
            "config.json",
            swapped("\"config\":{}", r#""config":{"vacation":true,"vacation":false}"#),
        )
        .refuses(
            Hears::Document,
            "deep.json",
            swapped("\"config\":{}", r#""config":{"site":{"a":[{"b":1,"b":2}]}}"#),
        ),
    ]
}

fn numbers() -> Vec<Folder> {
    let version = |number: &str| swapped("\"version\":1,", &format!("\"version\":{number},"));
    vec![
        what(
            Reason::NumberOutOfRange,
            "big-integers",
            &["RFC 7493 2.2", "RFC 8785 3.2.2.3"],
            "Integers that a double cannot hold",
            "Signs versions that one parser rounds and another does not.",
        )
        .attack()
        .refuses(Hears::Document, "two-to-the-53.json", version("9007199254740992"))
        .refuses(Hears::Document, "two-to-the-64.json", version("18446744073709551617"))
        .refuses(Hears::Document, "below.json", version("-9007199254740993"))
        .refuses(Hears::Document, "infinite.json", version("1e999"))
        .refuses(
            Hears::Document,
            "in-config.json",
            swapped("\"config\":{}", r#""config":{"comfort_min_c":100000000000000000000}"#),
        ),
        what(
            Reason::MalformedJson,
            "numbers-that-are-none",
            &["RFC 8259 6", "JSONTestSuite n_number_*"],
            "NaN, Infinity, hexadecimal and other numbers that JSON has not",
            "Writes numbers that lenient parsers take.",
        )
        .attack()
        .refuses(Hears::Document, "nan.json", version("NaN"))
        .refuses(Hears::Document, "infinity.json", version("-Infinity"))
        .refuses(Hears::Document, "hexadecimal.json", version("0x1"))
        .refuses(Hears::Document, "leading-zero.json", version("01"))
        .refuses(Hears::Document, "plus.json", version("+1"))
        .refuses(Hears::Document, "point.json", version("1.")),
        what(
            Reason::SchemaViolation,
            "versions-of-another-type",
            &["RFC 7493 2.2", "CWE-843"],
            "A version as a float, a string, negative, or none",
            "Signs versions that a weakly typed reader takes for 1.",
        )
        .attack()
        .refuses(Hears::Document, "float.json", version("1.0"))
        .refuses(Hears::Document, "exponent.json", version("1e0"))
        .refuses(Hears::Document, "string.json", version("\"1\""))
        .refuses(Hears::Document, "negative.json", version("-1"))
        .refuses(Hears::Document, "zero.json", version("0"))
        .refuses(Hears::Document, "null.json", version("null")),
    ]
}

fn forms() -> Vec<Folder> {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let with_mark = |bytes: Vec<u8>| [b"\xef\xbb\xbf".to_vec(), bytes].concat();
    let utf_16: Vec<u8> = text().encode_utf16().flat_map(u16::to_be_bytes).collect();
    let mut latin: Vec<u8> =
        text().replace("\"config\":{}", "\"config\":{\"site\":\"?\"}").into_bytes();
    let at = latin.iter().position(|&byte| byte == b'?').unwrap();
    latin[at] = 0xe9;
    let right = directed(&config(1));
    let trailing = |tail: &[u8]| [&right[..], tail].concat();
    vec![
        what(
            Reason::TooDeep,
            "deep-nesting",
            &["JSONTestSuite n_structure_100000_opening_arrays", "CWE-674"],
            "JSON nested without end",
            "Nests arrays deeper than any document needs, in the payload and as the envelope.",
        )
        .attack()
        .refuses(
            Hears::Document,
            "payload.json",
            swapped("\"config\":{}", &format!(r#""config":{{"site":{}}}"#, nested(40))),
        )
        .refuses(Hears::Document, "envelope.json", nested(20_000).into_bytes()),
        what(
            Reason::MalformedJson,
            "trailing-bytes",
            &["RFC 8259 2", "JSONTestSuite n_structure_trailing_*"],
            "Something after the end",
            "Adds a second envelope, or garbage, after the first.",
        )
        .attack()
        .refuses(Hears::Document, "second.json", trailing(&right))
        .refuses(Hears::Document, "brace.json", trailing(b"}"))
        .refuses(Hears::Document, "zero.json", trailing(b"\0"))
        .refuses(Hears::Document, "payload.json", signed(format!("{}{{}}", text()))),
        what(
            Reason::MalformedJson,
            "byte-order-mark-and-other-encodings",
            &["RFC 8259 8.1", "RFC 7493 2.1"],
            "A byte-order mark, UTF-16, Latin-1 and lone surrogates",
            "Writes JSON in encodings that some parsers guess.",
        )
        .attack()
        .refuses(Hears::Document, "envelope-mark.json", with_mark(right.clone()))
        .refuses(Hears::Document, "payload-mark.json", signed(with_mark(text().into_bytes())))
        .refuses(Hears::Document, "utf-16.json", signed(utf_16))
        .refuses(Hears::Document, "latin-1.json", signed(latin))
        .refuses(
            Hears::Document,
            "surrogate.json",
            swapped("\"config\":{}", r#""config":{"site":"\ud800"}"#),
        ),
        what(
            Reason::MalformedJson,
            "almost-json",
            &["RFC 8259 2", "JSONTestSuite n_object_*"],
            "Comments, single quotes, trailing commas and other dialects",
            "Writes what JSON5, YAML and JavaScript take and JSON does not.",
        )
        .attack()
        .refuses(Hears::Document, "comment.json", swapped("\"config\":{}", "\"config\":{/* */}"))
        .refuses(Hears::Document, "comma.json", swapped("\"config\":{}", "\"config\":{},"))
        .refuses(Hears::Document, "quotes.json", signed(text().replace('"', "'")))
        .refuses(Hears::Document, "yaml.yaml", signed("schema: gnomon.desired.v1\n"))
        .refuses(Hears::Document, "nothing.json", signed(""))
        .refuses(Hears::Document, "cut.json", signed(&text()[..text().len() - 1])),
        what(
            Reason::SchemaViolation,
            "unknown-fields",
            &["CWE-915: mass assignment"],
            "Fields that the schema does not have",
            "Adds fields that another version might obey, at the top, below, and in the envelope.",
        )
        .attack()
        .refuses(Hears::Document, "top.json", swapped("{\"schema\"", "{\"force\":true,\"schema\""))
        .refuses(
            Hears::Document,
            "reporting.json",
            swapped("\"reporting\":{", "\"reporting\":{\"force\":true,"),
        )
        .refuses(Hears::Document, "envelope.json", around("{", r#"{"force":true,"#))
        .refuses(
            Hears::Document,
            "prototype.json",
            swapped("{\"schema\"", "{\"__proto__\":{},\"schema\""),
        )
        .refuses(
            Hears::Document,
            "schema.json",
            swapped("gnomon.desired.v1", "gnomon.desired.v2"),
        ),
    ]
}

fn encodings() -> Vec<Folder> {
    let right: Value = serde_json::from_slice(&directed(&config(1))).unwrap();
    let payload = general_purpose::STANDARD.decode(right["payload"].as_str().unwrap()).unwrap();
    let sig = right["signatures"][0]["sig"].as_str().unwrap().to_owned();
    // The payload of the same document in a form whose length is not a multiple of
    // three, so that there is padding to leave out.
    let spaced = [&payload[..], &b"  "[..(4 - payload.len() % 3) % 3]].concat();
    let spaced = if spaced.len() % 3 == 0 { [&spaced[..], b" "].concat() } else { spaced };
    let padded: Value = serde_json::from_slice(&signed(&spaced)).unwrap();
    let encoded = padded["payload"].as_str().unwrap();
    assert!(encoded.ends_with('='));
    let with_payload = |payload: String| {
        let mut envelope = padded.clone();
        envelope["payload"] = payload.into();
        json(&envelope)
    };
    let with_sig = |sig: String| {
        let mut envelope = right.clone();
        envelope["signatures"][0]["sig"] = sig.into();
        json(&envelope)
    };
    let bare = encoded.trim_end_matches('=').to_owned();
    // The last character before the padding holds bits that say nothing.
    let (head, last) = bare.split_at(bare.len() - 1);
    let other = char::from(last.as_bytes()[0] + 1);
    let loose = format!("{head}{other}{}", &encoded[bare.len()..]);
    let url_safe = sig.replace('+', "-").replace('/', "_");
    assert_ne!(url_safe, sig);
    vec![
        what(
            Reason::BadBase64,
            "loose-base64",
            &["RFC 4648 3", "Wycheproof ModifiedPadding"],
            "Base64 without padding, with spaces, of the other alphabet, with loose bits",
            "Writes the same bytes in forms that only some decoders take.",
        )
        .attack()
        .refuses(Hears::Document, "unpadded.json", with_payload(bare.clone()))
        .refuses(Hears::Document, "double-padding.json", with_payload(format!("{encoded}=")))
        .refuses(Hears::Document, "loose-bits.json", with_payload(loose))
        .refuses(Hears::Document, "line-break.json", with_payload(format!("{encoded}\n")))
        .refuses(Hears::Document, "space.json", with_payload(format!(" {encoded}")))
        .refuses(Hears::Document, "url-safe-signature.json", with_sig(url_safe))
        .refuses(
            Hears::Document,
            "unpadded-signature.json",
            with_sig(sig.trim_end_matches('=').to_owned()),
        )
        .refuses(Hears::Document, "broken-signature.json", with_sig(format!("{sig}\r\n"))),
    ]
}
