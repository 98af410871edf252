//! Random texts, and events that were changed at random: none makes it panic, and none is read as what it is not.

use proptest::prelude::*;
use serde_json::Value;

use super::schema::{fits, recorded, signal_schema};
use super::{LAUNCHES, RESERVATIONS, SIGNALS, fixture, signals};
use crate::api::termination::Signal;
use crate::event::{Heard, parse};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z0-9T:Z.+-]{0,300}".prop_map(Value::from),
        "i-[0-9a-f]{7,18}".prop_map(Value::from),
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](Z|[+]0[0-9]:00)"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z-]{0,12}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A readable event of any kind; of one that SNS wraps, nothing is changed inside the wrapping.
fn good_event() -> impl Strategy<Value = Value> {
    let names = SIGNALS.iter().chain(LAUNCHES).chain(RESERVATIONS);
    let names: Vec<_> = names.copied().collect();
    prop::sample::select(names).prop_map(|name| serde_json::from_str(&fixture(name)).unwrap())
}

/// One of which one field, of the envelope or the detail, is taken away or replaced.
fn mutated_event() -> impl Strategy<Value = Value> {
    (
        good_event(),
        any::<bool>(),
        any::<prop::sample::Index>(),
        prop::option::of(any_json()),
    )
        .prop_map(|(mut event, of_detail, field, replacement)| {
            let object = if of_detail && event["detail"].is_object() {
                &mut event["detail"]
            } else {
                &mut event
            };
            let object = object.as_object_mut().unwrap();
            let fields: Vec<String> = object.keys().cloned().collect();
            let field = field.get(&fields);
            match replacement {
                Some(value) => object.insert(field.clone(), value),
                None => object.remove(field),
            };
            event
        })
}

/// The event as text, the fields of each object in another order, and with more fields in each.
fn rewritten(value: &Value, turn: usize, more: &[(String, Value)]) -> String {
    let fields = |object: &serde_json::Map<String, Value>| {
        let mut fields: Vec<_> = object
            .iter()
            .map(|(key, value)| (key.clone(), rewritten(value, turn, more)))
            .collect();
        let new = more.iter().filter(|(key, _)| !object.contains_key(key));
        fields.extend(new.map(|(key, value)| (key.clone(), value.to_string())));
        if !fields.is_empty() {
            let turn = turn % fields.len();
            fields.rotate_left(turn);
        }
        let fields = fields
            .iter()
            .map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())));
        fields.collect::<Vec<_>>().join(",")
    };
    match value {
        Value::Object(object) => format!("{{{}}}", fields(object)),
        Value::Array(list) => {
            let list = list.iter().map(|value| rewritten(value, turn, more));
            format!("[{}]", list.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(body in any::<String>()) {
        let _ = parse(&body);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_json_makes_it_panic(body in any_json()) {
        let _ = parse(&body.to_string());
    }

    #[test]
    fn no_cut_or_changed_byte_makes_it_panic(event in good_event(), at in any::<prop::sample::Index>(), with in any::<char>(), cut in any::<bool>()) {
        let mut body: Vec<char> = event.to_string().chars().collect();
        let at = at.index(body.len());
        body[at] = with;
        if cut {
            body.truncate(at + 1);
        }
        let _ = parse(&body.into_iter().collect::<String>());
    }

    #[test]
    fn a_changed_event_is_refused_or_still_fits_the_schema(event in mutated_event()) {
        if let Ok(parsed) = parse(&event.to_string()) {
            let schema = signal_schema();
            for Heard { instance_id, signal } in signals(parsed) {
                prop_assert!((10..=19).contains(&instance_id.len()));
                let written = recorded(signal.clone());
                prop_assert_eq!(fits(&schema, &written), Ok(()));
                let read: Signal = serde_json::from_value(serde_json::to_value(&signal).unwrap()).unwrap();
                prop_assert_eq!(read, signal);
            }
        }
    }

    /// Whatever AWS adds, in whatever order it writes, and however often it sends it.
    #[test]
    fn a_notice_keeps_its_identity(
        event in good_event(),
        envelope_id in any::<String>(),
        turn in 0_usize..20,
        more in prop::collection::vec(("new-[a-z]{1,8}", any_json()), 0..3),
    ) {
        let first = parse(&event.to_string()).unwrap();
        prop_assert_eq!(&first, &parse(&event.to_string()).unwrap());
        let mut again = event.clone();
        for of_envelope in ["id", "RequestId", "MessageId"] {
            if let Some(id) = again.get_mut(of_envelope) {
                *id = Value::from(envelope_id.as_str());
            }
        }
        let more: std::collections::BTreeMap<_, _> = more.into_iter().collect();
        let more: Vec<_> = more.into_iter().collect();
        let again = parse(&rewritten(&again, turn, &more)).unwrap();
        prop_assert_eq!(&first, &again);
        for Heard { signal, .. } in signals(again) {
            prop_assert!(is_an_id(&signal.id), "{}", signal.id);
        }
    }
}

/// The schema's pattern of an ID: `^[A-Za-z]+-[0-9a-f]{16}$`.
fn is_an_id(id: &str) -> bool {
    id.split_once('-').is_some_and(|(kind, hash)| {
        !kind.is_empty()
            && kind.bytes().all(|b| b.is_ascii_alphabetic())
            && hash.len() == 16
            && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}
