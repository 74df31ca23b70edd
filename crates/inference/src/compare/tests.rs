use lodeway_domain::signature::DataType;
use proptest::prelude::*;

use super::*;
use crate::Frame;

fn doubles(name: &str, shape: &[i64], values: &[f64]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(name, DataType::Fp64, shape.to_vec(), data).unwrap()
}

fn of(tensor: Tensor) -> Payload {
    Payload::Tensors(vec![tensor])
}

fn agreement(rows: usize, agreeing: usize) -> Option<Agreement> {
    Some(Agreement { rows, agreeing })
}

#[test]
fn probabilities_agree_by_their_greatest() {
    let one = of(doubles("p", &[3, 2], &[0.9, 0.1, 0.4, 0.6, 0.5, 0.5]));
    let other = of(doubles("q", &[3, 2], &[0.8, 0.2, 0.6, 0.4, 0.5, 0.5]));
    let difference = compare(&one, &other).unwrap();
    assert_eq!(
        (difference.elements, difference.unequal, difference.classes),
        (6, 4, agreement(3, 2))
    );
    assert!((difference.largest_absolute - 0.2).abs() < 1e-12);
    assert!((difference.largest_relative - 0.5).abs() < 1e-12);
    assert_eq!(difference.classes.map(Agreement::share), Some(2.0 / 3.0));
    assert_eq!(
        compare(&one, &one).unwrap(),
        Difference {
            elements: 6,
            classes: agreement(3, 3),
            ..Difference::default()
        }
    );
}

#[test]
fn labels_agree_by_equality_and_all_outputs_count() {
    let answer = |labels: [&str; 2], scores: &[f64]| {
        let labels = Tensor::of_texts("label", vec![2], labels).unwrap();
        Payload::Tensors(vec![labels, doubles("p", &[2, 2], scores)])
    };
    let one = answer(["a", "b"], &[1.0, 0.0, 0.0, 1.0]);
    let other = answer(["a", "c"], &[0.0, 1.0, 0.0, 1.0]);
    let difference = compare(&one, &other).unwrap();
    assert_eq!((difference.unequal, difference.classes), (3, agreement(2, 0)));
    let wide = of(Tensor::new(
        "y",
        DataType::Int64,
        vec![2],
        [1_i64, i64::MAX].map(i64::to_le_bytes).concat(),
    )
    .unwrap());
    let narrow = of(Tensor::new("y", DataType::Int8, vec![2], vec![1, 2]).unwrap());
    let difference = compare(&wide, &narrow).unwrap();
    assert_eq!((difference.unequal, difference.classes), (1, agreement(2, 1)));
    assert_eq!(difference.largest_absolute, (i64::MAX - 2) as f64);
}

#[test]
fn floats_of_any_width_are_compared_by_value() {
    let half = of(Tensor::new("y", DataType::Fp16, vec![2], vec![0, 0x3c, 0, 0x7c]).unwrap());
    let brain = of(Tensor::new("y", DataType::Bf16, vec![2], vec![0x80, 0x3f, 0x80, 0x7f]).unwrap());
    let single = of(Tensor::new(
        "y",
        DataType::Fp32,
        vec![2],
        [1.0_f32, f32::INFINITY].map(f32::to_le_bytes).concat(),
    )
    .unwrap());
    for (one, other) in [(&half, &brain), (&brain, &single), (&single, &half)] {
        assert_eq!(
            compare(one, other).unwrap(),
            Difference {
                elements: 2,
                ..Difference::default()
            }
        );
    }
    let nan = of(doubles("y", &[2], &[f64::NAN, 0.0]));
    assert_eq!(compare(&nan, &nan).unwrap().unequal, 0);
    assert_eq!(compare(&nan, &single).unwrap().largest_absolute, f64::INFINITY);
    let zeros = compare(&of(doubles("y", &[1], &[0.0])), &of(doubles("y", &[1], &[-0.0]))).unwrap();
    assert_eq!((zeros.unequal, zeros.largest_relative), (0, 0.0));
}

#[test]
fn a_null_equals_only_a_null() {
    let frame = |null: bool| {
        let values = Tensor::new("y", DataType::Int8, vec![1], vec![0]).unwrap();
        Payload::Frame(
            Frame::new(vec![Column {
                values,
                nulls: null.then(|| vec![true]),
            }])
            .unwrap(),
        )
    };
    assert_eq!(compare(&frame(true), &frame(true)).unwrap().unequal, 0);
    let difference = compare(&frame(true), &frame(false)).unwrap();
    assert_eq!(
        (
            difference.unequal,
            difference.largest_absolute,
            difference.classes
        ),
        (1, f64::INFINITY, agreement(1, 0))
    );
}

#[test]
fn unlike_answers_are_refused() {
    let one = of(doubles("y", &[2], &[1.0, 2.0]));
    let two = Payload::Tensors(vec![doubles("y", &[1], &[1.0]), doubles("z", &[1], &[1.0])]);
    let named = Payload::Tensors(vec![doubles("y", &[1], &[1.0]), doubles("x", &[1], &[1.0])]);
    let document = Payload::Document(crate::Document {
        content_type: String::new(),
        body: bytes::Bytes::new(),
    });
    for (one, other, why) in [
        (&one, &two, "are 1 in one answer and 2"),
        (&two, &named, "`outputs[\"z\"]`: is missing"),
        (
            &one,
            &of(doubles("y", &[2, 1], &[1.0, 2.0])),
            "is of shape [2] in one answer and [2, 1]",
        ),
        (
            &one,
            &of(Tensor::of_texts("y", vec![2], ["a", "b"]).unwrap()),
            "texts in one answer",
        ),
        (&one, &document, "are a document"),
    ] {
        let refused = compare(one, other).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let huge = of(Tensor::new("y", DataType::Int8, vec![i64::MAX, 0], vec![]).unwrap());
    assert_eq!(compare(&huge, &huge).unwrap(), Difference::default());
    assert_eq!(
        numbers(&Tensor::of_texts("y", vec![1], ["a"]).unwrap()).count(),
        0
    );
    assert_eq!(
        numbers(&Tensor::new("y", DataType::Bool, vec![2], vec![1, 0]).unwrap()).collect::<Vec<_>>(),
        [1.0, 0.0]
    );
}

proptest! {
    #[test]
    fn the_order_of_answers_does_not_matter(pairs in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..20)) {
        let (ones, others): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let shape = [ones.len() as i64];
        let (one, other) = (of(doubles("y", &shape, &ones)), of(doubles("y", &shape, &others)));
        let difference = compare(&one, &other).unwrap();
        prop_assert_eq!(difference, compare(&other, &one).unwrap());
        prop_assert!(difference.largest_relative <= 2.0 || difference.largest_relative.is_infinite());
        prop_assert_eq!(difference.unequal == 0, difference.largest_absolute == 0.0);
    }
}
