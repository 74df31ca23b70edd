use std::sync::Arc;

use arrow_array::{
    ArrayRef, DictionaryArray, Int8Array, StringArray, StructArray, builder::MapBuilder, types::Int8Type,
};
use arrow_buffer::i256;
use arrow_schema::{Field as ArrowField, TimeUnit};

use super::{
    convert::column,
    decimal::{decimal, wide_decimal},
    *,
};
use crate::Value;

fn read(array: ArrayRef) -> Vec<String> {
    let dtype = type_of(array.data_type()).unwrap();
    let column = column(&"x".into(), dtype, &array, 1 << 20).unwrap();
    (0..column.len())
        .map(|row| match column.value(row) {
            Value::Null => "-".to_owned(),
            Value::Text(text) => text.to_owned(),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn decimals_are_the_nearest_floats() {
    for (value, scale, wanted) in [
        (1, 1, 0.1),
        (-123_456_789, 4, -12_345.678_9),
        (12, -3, 12_000.0),
        (i128::MAX, 38, 1.701_411_834_604_692_3),
        (3, 30, 3e-30),
        (9_007_199_254_740_993, 0, 9_007_199_254_740_992.0),
    ] {
        assert_eq!(decimal(value, scale), wanted, "{value} {scale}");
        assert_eq!(wide_decimal(i256::from_i128(value), scale), wanted);
    }
    assert_eq!(wide_decimal(i256::MAX, 76), 5.789_604_461_865_809);
}

#[test]
fn categories_are_their_values() {
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    let keys = Int8Array::from(vec![Some(2), None, Some(1), Some(0)]);
    let array: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::new(keys, words));
    assert_eq!(read(array.clone()), ["c", "-", "-", "a"]);
    assert_eq!(read(array.slice(2, 2)), ["-", "a"]);
    let nothing: ArrayRef = Arc::new(StringArray::from(Vec::<String>::new()));
    let keys = Int8Array::from(vec![None, None]);
    let array: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::new(keys, nothing));
    assert_eq!(read(array.clone()), ["-", "-"]);
    assert_eq!(
        convert::rows_within([array.as_ref() as &dyn Array].into_iter(), 2, 0),
        2
    );
    let record = StructArray::from(vec![(
        Arc::new(ArrowField::new("k", array.data_type().clone(), true)),
        array,
    )]);
    assert_eq!(read(Arc::new(record)), ["{\"k\":null}", "{\"k\":null}"]);
}

#[test]
fn maps_have_texts_as_keys() {
    let mut map = MapBuilder::new(None, Int8Array::builder(2), Int8Array::builder(2));
    map.keys().append_slice(&[10, 9]);
    map.values().append_value(1);
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    assert_eq!(read(Arc::new(map.finish())), ["{\"10\":1,\"9\":null}", "-"]);
}

#[test]
fn what_is_not_read_is_named() {
    for (dtype, what) in [
        (DataType::Time32(TimeUnit::Second), "times of day"),
        (DataType::Duration(TimeUnit::Second), "durations"),
        (
            DataType::new_list(DataType::Duration(TimeUnit::Second), true),
            "durations",
        ),
        (
            DataType::Interval(arrow_schema::IntervalUnit::DayTime),
            "intervals",
        ),
    ] {
        let fields: Fields = vec![
            ArrowField::new("a", DataType::Int8, true),
            ArrowField::new("x", dtype, true),
        ]
        .into();
        let error = Plan::of(&fields, None).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("column `x`: holds {what}, which are not read; leave it out or convert it")
        );
        let some = Plan::of(&fields, Some(&["a".to_owned()])).unwrap();
        assert_eq!(some.roots(), [0]);
    }
}
