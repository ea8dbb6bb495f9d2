//! Values: types accept what fits them, and JSON carries it without loss.

use proptest::prelude::*;
use std::collections::BTreeMap;

use super::fixture::cases;
use gnomon_schemas::limits::{LIST_ITEMS_MAX, STRING_BYTES_MAX};
use gnomon_schemas::strict;
use gnomon_schemas::value::Values;
use gnomon_schemas::{Value, ValueType};

fn through_json(value: &Value) -> Value {
    strict::parse(&serde_json::to_vec(value).unwrap(), 1 << 24).unwrap()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn numbers_fit_their_types_exactly() {
    let ranges: [(ValueType, i128, i128); 8] = [
        (ValueType::U8, 0, 255),
        (ValueType::S8, -128, 127),
        (ValueType::U16, 0, 65_535),
        (ValueType::S16, -32_768, 32_767),
        (ValueType::U32, 0, u32::MAX.into()),
        (ValueType::S32, i32::MIN.into(), i32::MAX.into()),
        (ValueType::U64, 0, u64::MAX.into()),
        (ValueType::S64, i64::MIN.into(), i64::MAX.into()),
    ];
    for (of, min, max) in ranges {
        for inside in [min, max, 0, 1] {
            assert_eq!(of.accept(&Value::Int(inside)), Ok(Value::Int(inside)), "{of}");
            assert_eq!(of.accept(&through_json(&Value::Int(inside))), Ok(Value::Int(inside)));
        }
        for outside in [min - 1, max + 1] {
            let message = of.accept(&Value::Int(outside)).unwrap_err();
            assert_eq!(message, format!("the value is {outside}, not {of}"));
        }
        assert!(of.accept(&Value::Float(1.0)).is_err(), "a float is not {of}");
    }
}

#[test]
fn digits_in_a_string_are_a_64_bit_integer_in_one_way_only() {
    let max = text("18446744073709551615");
    assert_eq!(ValueType::U64.accept(&max), Ok(Value::Int(u64::MAX.into())));
    assert_eq!(ValueType::S64.accept(&text("-5")), Ok(Value::Int(-5)));
    for other in ["", "+5", "-0", "007", "5.0", "1e3", "0x5", " 5", "5 ", "1_000", "\u{ff15}"] {
        assert!(ValueType::U64.accept(&text(other)).is_err(), "{other:?}");
        assert!(ValueType::S64.accept(&text(other)).is_err(), "{other:?}");
    }
    for of in [ValueType::U32, ValueType::S32, ValueType::U8, ValueType::F64] {
        assert!(of.accept(&text("5")).is_err(), "{of}");
    }
}

#[test]
fn an_f32_is_a_number_that_an_f32_holds() {
    let of = ValueType::F32;
    assert_eq!(of.accept(&Value::Float(0.1)), Ok(Value::Float(f64::from(0.1_f32))));
    assert_eq!(of.accept(&Value::Int(16_777_217)), Ok(Value::Float(16_777_216.0)));
    let message = of.accept(&Value::Float(1e300)).unwrap_err();
    assert!(message.ends_with("not f32"), "{message}");
    assert!(of.accept(&Value::Float(-3.5e38)).is_err());
    // What a guest returned stays what it was: whether it may be is asked elsewhere.
    let infinite = of.accept(&Value::Float(f64::INFINITY)).unwrap();
    assert!(!infinite.is_finite());
}

#[test]
fn what_json_cannot_carry_is_a_string_that_no_float_accepts() {
    for (number, name) in
        [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")]
    {
        let carried = through_json(&Value::Float(number));
        assert_eq!(carried, text(name));
        assert!(ValueType::F64.accept(&carried).is_err());
        assert!(!Value::List(vec![Value::Float(number)]).is_finite());
    }
    let large = through_json(&Value::Int(1 << 53));
    assert_eq!(large, text("9007199254740992"));
    assert_eq!(ValueType::U64.accept(&large), Ok(Value::Int(1 << 53)));
    let negative_zero = through_json(&Value::Float(-0.0));
    assert!(negative_zero.as_f64().unwrap().is_sign_negative());
}

#[test]
fn refusals_name_the_place() {
    let of: ValueType = serde_json::from_str(
        r#"{"record": {"gain": "f64", "steps": {"list": {"record": {"at": "u8"}}},
            "mode": {"option": {"enum": ["eco", "boost"]}}}}"#,
    )
    .unwrap();
    let check = |json: &str| of.accept(&serde_json::from_str(json).unwrap());
    let accepted = check(r#"{"gain": 1, "steps": [{"at": 3}]}"#).unwrap();
    let json = serde_json::to_string(&accepted).unwrap();
    assert_eq!(json, r#"{"gain":1.0,"mode":null,"steps":[{"at":3}]}"#);
    for (json, expected) in [
        (r#"{"steps": []}"#, "`gain` is missing (f64)"),
        (r#"{"gain": "1", "steps": []}"#, "gain is a string, not f64"),
        (r#"{"gain": null, "steps": []}"#, "gain is null, not f64"),
        (r#"{"gain": 1, "steps": [{"at": 1}, {"at": 256}]}"#, "steps[1].at is 256, not u8"),
        (r#"{"gain": 1, "steps": [{}]}"#, "`steps[0].at` is missing (u8)"),
        (r#"{"gain": 1, "steps": {}}"#, "steps is a record, not list<record {at: u8}>"),
        (
            r#"{"gain": 1, "steps": [{"at": 1, "to": 2}]}"#,
            "`steps[0].to` is not a field of record {at: u8}",
        ),
        (r#"{"gain": 1, "steps": [], "mode": "off"}"#, "mode is a string, not enum {eco, boost}"),
    ] {
        assert_eq!(check(json), Err(expected.to_owned()), "{json}");
    }
    assert!(check("[]").unwrap_err().starts_with("the value is a list, not record {"));
}

#[test]
fn characters_strings_and_lists_have_limits() {
    assert!(ValueType::Char.accept(&text("\u{1F600}")).is_ok());
    assert!(ValueType::Char.accept(&text("")).is_err());
    assert!(ValueType::Char.accept(&text("ab")).is_err());
    assert!(ValueType::String.accept(&text(&"a".repeat(STRING_BYTES_MAX))).is_ok());
    assert!(ValueType::String.accept(&text(&"a".repeat(STRING_BYTES_MAX + 1))).is_err());
    let bools = ValueType::List(Box::new(ValueType::Bool));
    let list = |items| Value::List(vec![Value::Bool(true); items]);
    assert!(bools.accept(&list(LIST_ITEMS_MAX)).is_ok());
    assert!(bools.accept(&list(LIST_ITEMS_MAX + 1)).is_err());
}

/// A type with a value of it, as the type itself would give it.
fn typed() -> impl Strategy<Value = (ValueType, Value)> {
    let integer = |of: ValueType, min: i128, max: i128| {
        (min..=max).prop_map(move |number| (of.clone(), Value::Int(number)))
    };
    let cases = prop::collection::btree_set("[a-z][a-z0-9]{0,8}", 1..5);
    let leaf = prop_oneof![
        any::<bool>().prop_map(|truth| (ValueType::Bool, Value::Bool(truth))),
        integer(ValueType::U8, 0, u8::MAX.into()),
        integer(ValueType::S32, i32::MIN.into(), i32::MAX.into()),
        integer(ValueType::U64, 0, u64::MAX.into()),
        integer(ValueType::S64, i64::MIN.into(), i64::MAX.into()),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| (ValueType::F64, Value::Float(number))),
        any::<f32>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| (ValueType::F32, Value::Float(number.into()))),
        any::<char>().prop_map(|letter| (ValueType::Char, Value::Text(letter.into()))),
        any::<String>().prop_map(|text| (ValueType::String, Value::Text(text))),
        (cases, any::<prop::sample::Index>()).prop_map(|(cases, chosen)| {
            let cases: Vec<String> = cases.into_iter().collect();
            let case = chosen.get(&cases).clone();
            (ValueType::Enum(cases), Value::Text(case))
        }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let record = prop::collection::btree_map("[a-z]{1,6}", inner.clone(), 0..4);
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|((of, value), some)| {
                let value = if some { value } else { Value::Null };
                (ValueType::Option(Box::new(of)), value)
            }),
            (inner, 0_usize..4).prop_map(|((of, value), items)| {
                (ValueType::List(Box::new(of)), Value::List(vec![value; items]))
            }),
            record.prop_map(|fields| {
                let types: BTreeMap<_, _> =
                    fields.iter().map(|(name, (of, _))| (name.clone(), of.clone())).collect();
                let values: Values =
                    fields.into_iter().map(|(name, (_, value))| (name, value)).collect();
                (ValueType::Record(types), Value::Record(values))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_value_of_a_type_survives_json_and_its_own_type((of, value) in typed()) {
        prop_assert_eq!(of.accept(&value), Ok(value.clone()));
        prop_assert_eq!(of.accept(&through_json(&value)), Ok(value.clone()));
        let json = serde_json::to_string(&of).unwrap();
        prop_assert_eq!(serde_json::from_str::<ValueType>(&json).unwrap(), of);
        prop_assert!(value.is_finite());
    }

    #[test]
    fn what_a_type_accepts_it_accepts_again((of, _) in typed(), (_, value) in typed()) {
        if let Ok(accepted) = of.accept(&value) {
            prop_assert_eq!(of.accept(&accepted), Ok(accepted.clone()));
            prop_assert_eq!(of.accept(&through_json(&accepted)), Ok(accepted.clone()));
        }
    }
}
