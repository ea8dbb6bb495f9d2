//! Names, versions, topics and reasons.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use gnomon_schemas::limits::JSON_INTEGER_MAX;
use gnomon_schemas::topics::{Channel, Topic};
use gnomon_schemas::{
    BootId, Coded, DeviceId, Digest, FleetId, FunctionName, GroupId, ModuleName, PublisherName,
    Reason, Refusal, SignalName, Version, generate,
};

fn takes<T: FromStr + Display>(good: &[&str], bad: &[&str])
where
    T::Err: Coded,
{
    for text in good {
        let name = text.parse::<T>().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(&name.to_string(), text);
    }
    for text in bad {
        match text.parse::<T>() {
            Ok(name) => panic!("{text:?} was taken as {name}"),
            Err(error) => assert_eq!(error.reason(), Reason::InvalidId, "{text:?}"),
        }
    }
}

#[test]
fn names_have_one_form() {
    let long = "a".repeat(64);
    let longer = "a".repeat(65);
    let good = &["a", "0", "heater-001", "a--b", "2-b", &long][..];
    let bad = &[
        "", "-", "-a", "a-", "A", "heater_1", "a.b", "a b", "a/b", "+", "#", "a+", "$sys", "a\0",
        "a\n", "\u{e9}", "\u{ff41}", "..", &longer,
    ][..];
    takes::<FleetId>(good, bad);
    takes::<DeviceId>(good, bad);
    takes::<GroupId>(good, bad);
    takes::<ModuleName>(good, bad);
    takes::<PublisherName>(good, bad);
    let good = &["a", "tank_temp_c", "a1", "b_c2", &long][..];
    let bad = &[
        "", "_", "_a", "a_", "a__b", "1a", "a_1", "A", "aB", "a-b", "a b", "a.b", "a\n", "\u{e9}",
        "%", &longer,
    ][..];
    takes::<SignalName>(good, bad);
    takes::<FunctionName>(good, bad);
    assert_eq!("tank_temp_c".parse::<SignalName>().unwrap().kebab(), "tank-temp-c");
    assert_eq!("set_point".parse::<FunctionName>().unwrap().kebab(), "set-point");
}

#[test]
fn digests_and_boots_are_lower_case_hexadecimal_of_one_length() {
    let hex = "0123456789abcdef".repeat(4);
    let (good, capital) = (format!("sha256:{hex}"), format!("sha256:{}", hex.to_uppercase()));
    let cut = &good[..good.len() - 1];
    let other = format!("sha512:{hex}");
    let long = format!("{good}0");
    takes::<Digest>(&[&good], &["", "sha256:", &hex, &capital, cut, &long, &other]);
    let boot = "5a".repeat(16);
    takes::<BootId>(&[&boot], &["", "5a", &boot.to_uppercase(), &boot[1..], &hex, "zz"]);
    assert_eq!(BootId::from_random([0x5a; 16]).as_str(), boot);
    let digest: Digest = good.parse().unwrap();
    assert_eq!((digest.hex(), digest.short()), (hex.as_str(), "0123456789ab"));
    assert_eq!(Digest::from_hex(&hex).unwrap(), digest);
    assert!(Digest::from_hex(&good).is_err());
    // FIPS 180-4: the digest of the empty message.
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").as_str(), empty);
}

#[test]
fn an_id_error_is_short_whatever_it_was_given() {
    let error = "\u{1F600}".repeat(10_000).parse::<DeviceId>().unwrap_err();
    assert_eq!(error.value.chars().count(), 80);
}

#[test]
fn versions_run_from_1_to_what_json_carries() {
    let max = JSON_INTEGER_MAX.unsigned_abs();
    assert_eq!(Version::try_from(1), Ok(Version::FIRST));
    assert_eq!(Version::try_from(max).unwrap().next(), None);
    assert_eq!(Version::FIRST.next().map(Version::get), Some(2));
    for outside in [0, max + 1, u64::MAX] {
        assert_eq!(Version::try_from(outside).unwrap_err().reason(), Reason::InvalidId);
    }
}

#[test]
fn topics_are_ours_to_the_letter_or_not_at_all() {
    let fleet: FleetId = "a".repeat(64).parse().unwrap();
    let device: DeviceId = "0-9".parse().unwrap();
    let digest = Digest::of(b"module");
    let mut topics = vec![Topic::Module(fleet.clone(), digest.clone())];
    topics.extend(Channel::ALL.map(|c| Topic::Device(fleet.clone(), device.clone(), c)));
    let texts: BTreeSet<String> = topics.iter().map(Topic::to_string).collect();
    assert_eq!(texts.len(), topics.len());
    for topic in topics {
        let text = topic.to_string();
        assert_eq!(Topic::parse(&text), Some(topic));
        assert!(text.matches('/').count() <= 7 && !text.contains(['.', ' ', '$', '+', '#']));
        for spoilt in [
            format!("/{text}"),
            format!("{text}/"),
            format!("{text} "),
            format!("{text}\0"),
            text.to_uppercase(),
            text.replacen("gnomon", "gnomon2", 1),
            text.replacen('/', "//", 1),
            text.replacen("a/", "+/", 1),
            text[..text.len() - 1].to_owned(),
        ] {
            assert_eq!(Topic::parse(&spoilt), None, "{spoilt:?}");
        }
    }
    for filter in ["#", "gnomon/#", "gnomon/acme/d/+/reported", "$share/g/gnomon/acme/trust"] {
        assert_eq!(Topic::parse(filter), None, "{filter}");
    }
    let acme: FleetId = "acme".parse().unwrap();
    let filter = Topic::all_devices(&acme, Channel::Results);
    assert_eq!(filter, "gnomon/acme/d/+/results");
    let module = Topic::Module(acme, digest.clone()).to_string();
    assert_eq!(module, format!("gnomon/acme/m/{}", digest.hex()));
}

#[test]
fn reasons_have_unique_stable_codes() {
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let meanings: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.meaning()).collect();
    assert_eq!((codes.len(), meanings.len()), (Reason::ALL.len(), Reason::ALL.len()));
    for &reason in Reason::ALL {
        let code = reason.code();
        assert!(
            code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{code}"
        );
        assert!(
            code.starts_with(|c: char| c.is_ascii_lowercase())
                && !code.ends_with('_')
                && !code.contains("__"),
            "{code}"
        );
        assert_eq!(serde_json::to_value(reason).unwrap(), code);
        assert_eq!(serde_json::from_value::<Reason>(code.into()).unwrap(), reason);
        assert_eq!(reason.to_string(), code);
        let meaning = reason.meaning();
        assert!(!meaning.is_empty() && !meaning.ends_with('.') && !meaning.contains('|'), "{code}");
        assert!(!meaning.starts_with(char::is_uppercase) || meaning.starts_with("JSON"), "{code}");
    }
    assert!(serde_json::from_str::<Reason>("\"because\"").is_err());
}

#[test]
fn the_schema_of_reasons_lists_every_code() {
    let schemas = generate::json_schemas();
    let (_, schema) = schemas.iter().find(|(stem, _)| *stem == "reason").unwrap();
    let schema = jsonschema::validator_for(schema.as_value()).unwrap();
    for reason in Reason::ALL {
        assert!(schema.is_valid(&reason.code().into()), "{reason}");
    }
    assert!(!schema.is_valid(&"because".into()));
}

#[test]
fn a_refusal_reads_as_code_and_sentence() {
    let refusal = Refusal::new(Reason::Rollback, "version 6 is not above 7").at("heater-001");
    assert_eq!(refusal.to_string(), "rollback: heater-001: version 6 is not above 7");
    let json = serde_json::to_string(&refusal).unwrap();
    assert_eq!(serde_json::from_str::<Refusal>(&json).unwrap(), refusal);
}
