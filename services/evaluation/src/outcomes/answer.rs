//! What a record of the gateway says was predicted.

use std::fmt;

use lodeway_domain::evaluation::{MAX_OUTCOME_ROWS, MAX_OUTCOME_TEXT, OutcomeValue};
use lodeway_proto::gateway::v1::PredictionRecord;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The prediction of each row: the first output of the answer, or the first column of an answer in rows, in the order in
/// which they are written. Errors: in words, why the record does not say it.
pub(super) fn predicted(record: &PredictionRecord) -> Result<Vec<OutcomeValue>, String> {
    if !record.prediction_json.is_empty() {
        let rows: Result<Rows, _> = serde_json::from_str(&record.prediction_json);
        return rows.map(|rows| rows.0).map_err(|error| {
            let said = error.to_string();
            // Without the place in a text that nobody sees.
            let said = said.split(" at line ").next().unwrap_or_default();
            format!("the recorded answer says no prediction of each row: {said}")
        });
    }
    match (record.value, &record.class) {
        (Some(value), _) if record.rows <= 1 && value.is_finite() => Ok(vec![OutcomeValue::Number(value)]),
        (None, Some(class)) if record.rows <= 1 && class.len() <= MAX_OUTCOME_TEXT => {
            Ok(vec![OutcomeValue::Text(class.clone())])
        }
        _ => Err("the answer was too long to be recorded, or is left out of records".to_owned()),
    }
}

/// The rows of an answer.
struct Rows(Vec<OutcomeValue>);

/// One value, or what is first in something that has one a row.
struct First(OutcomeValue);

fn number<E: Error>(value: f64) -> Result<OutcomeValue, E> {
    if value.is_finite() {
        Ok(OutcomeValue::Number(value))
    } else {
        Err(E::custom("a value is not finite"))
    }
}

fn text<E: Error>(value: &str) -> Result<OutcomeValue, E> {
    if value.len() <= MAX_OUTCOME_TEXT {
        Ok(OutcomeValue::Text(value.to_owned()))
    } else {
        Err(E::custom(format!(
            "a text is longer than {MAX_OUTCOME_TEXT} bytes"
        )))
    }
}

/// The first value of an object; the others are passed over.
fn first_of<'de, T: Deserialize<'de>, A: MapAccess<'de>>(mut map: A) -> Result<T, A::Error> {
    let first = map.next_entry::<IgnoredAny, T>()?;
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    let (_, first) = first.ok_or_else(|| A::Error::custom("an object is empty"))?;
    Ok(first)
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = First;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value a row")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<First, E> {
                Ok(First(OutcomeValue::Flag(value)))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<First, E> {
                Ok(First(OutcomeValue::Number(value as f64)))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<First, E> {
                Ok(First(OutcomeValue::Number(value as f64)))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<First, E> {
                number(value).map(First)
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<First, E> {
                text(value).map(First)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First, A::Error> {
                let first = seq.next_element::<First>()?;
                let first = first.ok_or_else(|| A::Error::custom("a list is empty"))?;
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("there are several values a row"));
                }
                Ok(first)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<First, A::Error> {
                first_of(map)
            }
        }
        deserializer.deserialize_any(Look)
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value a row")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Rows, E> {
                Ok(Rows(vec![OutcomeValue::Flag(value)]))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Rows, E> {
                Ok(Rows(vec![OutcomeValue::Number(value as f64)]))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Rows, E> {
                Ok(Rows(vec![OutcomeValue::Number(value as f64)]))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Rows, E> {
                number(value).map(|value| Rows(vec![value]))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Rows, E> {
                text(value).map(|value| Rows(vec![value]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rows, A::Error> {
                let mut rows = Vec::new();
                while let Some(First(value)) = seq.next_element()? {
                    if rows.len() == MAX_OUTCOME_ROWS {
                        return Err(A::Error::custom(format!(
                            "it has more than {MAX_OUTCOME_ROWS} rows"
                        )));
                    }
                    rows.push(value);
                }
                Ok(Rows(rows))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rows, A::Error> {
                first_of(map)
            }
        }
        deserializer.deserialize_any(Look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Vec<OutcomeValue>, String> {
        predicted(&PredictionRecord {
            prediction_json: json.to_owned(),
            ..PredictionRecord::default()
        })
    }

    fn numbers(all: &[f64]) -> Vec<OutcomeValue> {
        all.iter().map(|value| OutcomeValue::Number(*value)).collect()
    }

    #[test]
    fn each_row_has_the_first_value_of_the_first_output() {
        assert_eq!(of("[4.0, 5]").unwrap(), numbers(&[4.0, 5.0]));
        assert_eq!(of("[[4.0], [5.0]]").unwrap(), numbers(&[4.0, 5.0]));
        assert_eq!(of("7").unwrap(), numbers(&[7.0]));
        let classes = [
            OutcomeValue::Text("b".to_owned()),
            OutcomeValue::Text("a".to_owned()),
        ];
        // The order is that of the answer, not of names.
        assert_eq!(
            of(r#"{"z": ["b", "a"], "a": [[1, 2], [3, 4]]}"#).unwrap(),
            classes
        );
        assert_eq!(
            of(r#"[{"z": "b", "a": 1}, {"z": "a", "a": 2}]"#).unwrap(),
            classes
        );
        assert_eq!(of("[true]").unwrap(), [OutcomeValue::Flag(true)]);
    }

    #[test]
    fn what_says_no_prediction_is_told_in_words() {
        for (json, why) in [
            ("[[0.2, 0.8]]", "several values a row"),
            ("[[]]", "a list is empty"),
            ("[{}]", "an object is empty"),
            ("[null]", "one value a row"),
            ("[NaN]", "expected value"),
        ] {
            let said = of(json).unwrap_err();
            assert!(said.contains(why) && !said.contains("line"), "{json}: {said}");
        }
    }

    #[test]
    fn an_answer_that_was_not_recorded_may_be_one_value() {
        let mut record = PredictionRecord {
            rows: 1,
            value: Some(2.0),
            class: Some("2".to_owned()),
            ..PredictionRecord::default()
        };
        assert_eq!(predicted(&record).unwrap(), numbers(&[2.0]));
        record.value = None;
        assert_eq!(predicted(&record).unwrap(), [OutcomeValue::Text("2".to_owned())]);
        record.rows = 2;
        assert!(predicted(&record).is_err());
    }
}
