//! Strict JSON: nothing accepted that RFC 8259 refuses, nothing lost of what it accepts.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::fixture::cases;
use gnomon_schemas::limits::{JSON_DEPTH_MAX, JSON_INTEGER_MAX};
use gnomon_schemas::strict::{ParseError, parse};
use gnomon_schemas::{Coded, Reason};

fn strict(bytes: &[u8]) -> Result<Value, ParseError> {
    parse(bytes, 1 << 20)
}

/// Texts that RFC 8259 accepts and that lie within our limits.
const ACCEPTED: &[&[u8]] = &[
    b"0",
    b"-0",
    b"-0.0",
    b"0.5",
    b"1e0",
    b"1E+2",
    b"1e-2",
    b"-1.5e3",
    b"1e308",
    b"1e-400",
    b"9007199254740991",
    b"-9007199254740991",
    b"9007199254740993.0",
    b"1e30",
    b"true",
    b"false",
    b"null",
    b"\"\"",
    b"\"a\"",
    b"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    b"\"\\u0000\"",
    b"\"\\u00e9\\u00E9\"",
    b"\"\\ud83d\\ude00\"",
    "\"\u{1F600}\"".as_bytes(),
    "\"\u{2028}\u{2029}\u{7f}\u{feff}\"".as_bytes(),
    b"[]",
    b"[ ]",
    b"{}",
    b" \t\r\n{ \t\r\n} \t\r\n",
    b"[1,2]",
    b"[[],[[]],{}]",
    b"{\"\":0}",
    b"{\"a\":1,\"A\":2}",
    b"{\"a\":{\"a\":{\"a\":1}}}",
    b"[{\"a\":1},{\"a\":2}]",
    b"[\"9007199254740992\",\"-1e999\",\"\\\"12345678901234567890\"]",
    b"{\"12345678901234567890\":1}",
    b"[true,false,null,0,\"\",[],{}]",
];

/// Texts that RFC 8259 refuses.
const REFUSED: &[&[u8]] = &[
    b"",
    b" ",
    b"\xef\xbb\xbf1",
    b"\xfe\xff\x00[\x00]",
    b"[\x00]",
    b"\x00",
    b"+1",
    b"01",
    b"-01",
    b"00",
    b"-",
    b"- 1",
    b"--1",
    b"1.",
    b".5",
    b"-.5",
    b"1.e1",
    b"1e",
    b"1e+",
    b"1E-",
    b"1e1.5",
    b"1 000",
    b"1_000",
    b"1,5",
    b"0x10",
    b"0b1",
    b"1f",
    b"1n",
    "\u{ff11}".as_bytes(),
    b"NaN",
    b"nan",
    b"Infinity",
    b"-Infinity",
    b"inf",
    b"True",
    b"NULL",
    b"nul",
    b"truefalse",
    b"undefined",
    b"a",
    b"'a'",
    b"`a`",
    b"\"",
    b"\"a",
    b"\"\\\"",
    b"\"a\nb\"",
    b"\"a\tb\"",
    b"\"a\x00b\"",
    b"\"a\x1fb\"",
    b"\"\\a\"",
    b"\"\\x41\"",
    b"\"\\'\"",
    b"\"\\u12\"",
    b"\"\\u123g\"",
    b"\"\\U0041\"",
    b"\"\\ud800\"",
    b"\"\\udfff\"",
    b"\"\\ud800\\n\"",
    b"\"\\ud800\\u0041\"",
    b"\"\\ud800\\ud800\"",
    b"\"\\ud83d\\",
    b"\"\x80\"",
    b"\"\xff\"",
    b"\"\xc0\x80\"",
    b"\"\xe0\x80\xaf\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xf4\x90\x80\x80\"",
    b"\"\xf8\x88\x80\x80\x80\"",
    b"\"\xe2\x82\"",
    b"[",
    b"]",
    b"[1",
    b"[1,",
    b"[1,]",
    b"[,]",
    b"[,1]",
    b"[1,,2]",
    b"[1 2]",
    b"[1;2]",
    b"[1:2]",
    b"[\"a\":1]",
    b"[1]]",
    b"[1}",
    b"(1)",
    b"{",
    b"}",
    b"{]",
    b"{\"a\"}",
    b"{\"a\":}",
    b"{\"a\":1,}",
    b"{,}",
    b"{\"a\":1,,\"b\":2}",
    b"{\"a\" 1}",
    b"{\"a\"=1}",
    b"{\"a\"::1}",
    b"{\"a\":1 \"b\":2}",
    b"{\"a\":1;\"b\":2}",
    b"{a:1}",
    b"{'a':1}",
    b"{1:1}",
    b"{null:1}",
    b"{[1]:1}",
    b"{\"a\":1}}",
    b"{\"a\":1}#",
    b"{\"a\":1} //",
    b"/**/1",
    b"[1/**/]",
    b"# a\n1",
    b"1 1",
    b"{}{}",
    b"[]\x00",
    b"\x0b1",
    b"1\x0c",
    "\u{a0}1".as_bytes(),
    "1\u{2028}".as_bytes(),
    "1\u{feff}".as_bytes(),
    b"<a/>",
    b"\xff",
];

#[test]
fn what_rfc_8259_accepts_is_accepted_unchanged() {
    for text in ACCEPTED {
        let shown = String::from_utf8_lossy(text);
        let value = strict(text).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(value, serde_json::from_slice::<Value>(text).unwrap(), "{shown}");
    }
}

#[test]
fn what_rfc_8259_refuses_is_refused_as_malformed() {
    assert!(ACCEPTED.len() + REFUSED.len() >= 60);
    for text in REFUSED {
        let shown = String::from_utf8_lossy(text);
        match strict(text) {
            Ok(value) => panic!("{shown:?} was read as {value}"),
            Err(error) => assert_eq!(error.reason(), Reason::MalformedJson, "{shown:?}: {error}"),
        }
        // The same text must not slip in as a part of a larger one either.
        let inside = [b"{\"k\":[", *text, b"]}"].concat();
        // (except these, which are well-formed there)
        if ![&b""[..], b" ", b"1,5"].contains(text) {
            assert!(strict(&inside).is_err(), "{:?}", String::from_utf8_lossy(&inside));
        }
    }
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}0{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn depth_is_capped_at_its_limit_exactly() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":[", "]}]")] {
        let each = open.matches(['[', '{']).count();
        let at = JSON_DEPTH_MAX / each;
        if each * at == JSON_DEPTH_MAX {
            strict(nested(open, close, at).as_bytes()).unwrap();
        }
        let deep = Err(ParseError::TooDeep { depth_max: JSON_DEPTH_MAX });
        assert_eq!(strict(nested(open, close, at + 1).as_bytes()), deep);
        assert_eq!(strict(open.repeat(50_000).as_bytes()), deep, "nothing is overrun");
    }
}

#[test]
fn numbers_are_capped_at_their_limits_exactly() {
    let out_of_range = |text: &str, named: &str| {
        let named = ParseError::NumberOutOfRange { text: named.to_owned() };
        assert_eq!(strict(text.as_bytes()), Err(named), "{text}");
    };
    for text in ["9007199254740992", "-9007199254740992", "18446744073709551616"] {
        out_of_range(text, text);
        out_of_range(&format!("{{\"a\":[0.5,\"\\\\\",{text}]}}"), text);
    }
    for text in ["1e309", "-1e400", "1E+999999999999", "123.4e308"] {
        out_of_range(text, text);
        out_of_range(&format!("{{\"a\":\n [1,{text}\n,2]}}"), text);
    }
    out_of_range(&"9".repeat(500), &"9".repeat(40));
    assert_eq!(strict(JSON_INTEGER_MAX.to_string().as_bytes()).unwrap(), JSON_INTEGER_MAX);
}

#[test]
fn duplicate_keys_are_named_wherever_they_stand() {
    for (text, key) in [
        (r#"{"a":1,"a":1}"#, "a"),
        (r#"{"a":1,"\u0061":1}"#, "a"),
        (r#"{"é":1,"\u00e9":1}"#, "é"),
        (r#"{"":1,"b":2,"":3}"#, ""),
        (r#"[[{"x":{"y":[{"z":0,"z":0}]}}]]"#, "z"),
        (r#"{"a":{"a":1},"b":{"a":1,"c":2,"a":3}}"#, "a"),
    ] {
        let error = ParseError::DuplicateKey { key: key.to_owned() };
        assert_eq!(strict(text.as_bytes()), Err(error), "{text}");
    }
}

#[test]
fn a_message_that_holds_a_position_is_not_cut() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Empty {}
    let error = parse::<Empty>(br#"{"sold at line 3 of": 1}"#, 100).unwrap_err();
    assert!(error.to_string().contains("sold at line 3 of"), "{error}");
    assert!(!error.to_string().contains("column"), "{error}");
}

/// Any JSON value within our limits.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-JSON_INTEGER_MAX..=JSON_INTEGER_MAX).prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn strict_agrees_with_serde_json_on_valid_values(value in json()) {
        let compact = serde_json::to_vec(&value).unwrap();
        for text in [compact, serde_json::to_vec_pretty(&value).unwrap()] {
            prop_assert_eq!(&strict(&text).unwrap(), &value);
        }
    }

    #[test]
    fn strict_accepts_no_damaged_text_that_serde_json_refuses(
        value in json(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"\"\\{}[]:,0129.-+eE tn\n".to_vec())],
        insert in any::<bool>(),
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        let at = at.index(text.len());
        if insert { text.insert(at, byte) } else { text[at] = byte }
        let lenient = serde_json::from_slice::<Value>(&text);
        match strict(&text) {
            Ok(value) => prop_assert_eq!(value, lenient.unwrap()),
            Err(error) => prop_assert!(
                lenient.is_err()
                    || matches!(error.reason(), Reason::DuplicateKey | Reason::NumberOutOfRange),
                "{error}"
            ),
        }
    }

    #[test]
    fn strict_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = strict(&bytes) {
            prop_assert_eq!(value, serde_json::from_slice::<Value>(&bytes).unwrap());
        }
    }
}
