//! The byte forms: what was written is read, and nothing else is believed or makes a panic.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    tests::{SHAPES, of, shape},
    *,
};
use crate::Error;

fn frequencies(bound: u16, names: &[String]) -> Frequencies {
    let mut summary = Frequencies::new(bound);
    names.iter().for_each(|name| summary.add(name));
    summary.add_missing();
    summary
}

/// Damaged bytes are refused as lost data; if they happen to be sound, they are kept as they are and usable.
fn refused_or_kept(bytes: &[u8]) {
    match Quantiles::decode(bytes) {
        Ok(mut sketch) => {
            assert_eq!(sketch.encode(), bytes);
            let copy = sketch.clone();
            sketch.merge(&copy);
            sketch.add(1.0);
            let _ = (
                sketch.quantile(0.5),
                sketch.rank(0.0),
                sketch.sum(),
                sketch.variance(),
            );
            let _ = compare_quantiles(&copy, &sketch);
        }
        Err(error) => assert!(matches!(error, Error::DataLoss(_)), "{error}"),
    }
    match Frequencies::decode(bytes) {
        Ok(mut summary) => {
            assert_eq!(summary.encode(), bytes);
            let copy = summary.clone();
            summary.merge(&copy);
            summary.add("new");
            let _ = (summary.other(), compare_frequencies(&copy, &summary));
        }
        Err(error) => assert!(matches!(error, Error::DataLoss(_)), "{error}"),
    }
}

#[test]
fn the_version_is_first_and_another_one_is_named() {
    for mut bytes in [Quantiles::default().encode(), Frequencies::default().encode()] {
        assert_eq!(bytes[0], 1);
        bytes[0] = 2;
        let refusal = |error: Error| assert!(error.to_string().contains("has version 2"), "{error}");
        refusal(Quantiles::decode(&bytes).unwrap_err());
        refusal(Frequencies::decode(&bytes).unwrap_err());
    }
}

#[test]
fn one_kind_is_not_the_other() {
    let error = Quantiles::decode(&Frequencies::default().encode()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the stored quantile sketch is a sketch of another kind"
    );
    assert!(Frequencies::decode(&Quantiles::default().encode()).is_err());
}

#[test]
fn the_byte_form_does_not_move() {
    let mut sketch = Quantiles::with_seed(8, 1);
    [2.0, -1.0, f64::NAN]
        .into_iter()
        .for_each(|value| sketch.add(value));
    let expected = "015102000000000000000100000000000000000000000000f0bf0000000000000040";
    assert!(
        hex::encode(sketch.encode()).starts_with(expected),
        "{}",
        hex::encode(sketch.encode())
    );
    let mut summary = Frequencies::new(3);
    ["b", "a", "b"]
        .into_iter()
        .for_each(|category| summary.add(category));
    let expected = "01460300030000000000000000000000000000000000000000000000\
                    0200000001000000610100000000000000010000006202000000000000 00";
    assert_eq!(hex::encode(summary.encode()), expected.replace(' ', ""));
}

#[test]
fn sums_beyond_the_range_are_written_too() {
    let sketch = of(8, 0, &[f64::MAX, f64::MAX, f64::INFINITY, -f64::MAX]);
    assert_eq!(Quantiles::decode(&sketch.encode()).unwrap().sum(), f64::INFINITY);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quantiles_come_back(name in select(&SHAPES[..]), len in 0_usize..3_000, seed: u64, k in 0_u16..60) {
        let sketch = of(k, seed, &shape(name, len, seed));
        let bytes = sketch.encode();
        let mut back = Quantiles::decode(&bytes).unwrap();
        prop_assert_eq!(&back, &sketch);
        prop_assert_eq!(back.encode(), &*bytes);
        // The coin came back too: both go on alike.
        let mut sketch = sketch;
        for value in shape("random", 300, seed) {
            sketch.add(value);
            back.add(value);
        }
        prop_assert_eq!(back.encode(), sketch.encode());
    }

    #[test]
    fn values_of_every_kind_come_back(bits in vec(any::<u64>(), 0..200)) {
        let values: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
        let bytes = of(8, 0, &values).encode();
        prop_assert_eq!(Quantiles::decode(&bytes).unwrap().encode(), bytes);
    }

    #[test]
    fn frequencies_come_back(names in vec("[a-e]{0,2}|.{100,140}", 0..100), bound in 0_u16..20) {
        let summary = frequencies(bound, &names);
        let bytes = summary.encode();
        prop_assert_eq!(Frequencies::decode(&bytes).unwrap().encode(), &*bytes);
        prop_assert_eq!(Frequencies::decode(&bytes).unwrap(), summary);
    }

    #[test]
    fn cut_or_lengthened_bytes_are_refused(
        len in 0_usize..200, names in vec("[a-c]", 0..20), cut: prop::sample::Index,
    ) {
        for bytes in [of(8, 1, &shape("random", len, 1)).encode(), frequencies(2, &names).encode()] {
            let short = &bytes[..cut.index(bytes.len())];
            prop_assert!(Quantiles::decode(short).is_err() && Frequencies::decode(short).is_err());
            let long = [&bytes[..], &[0]].concat();
            prop_assert!(Quantiles::decode(&long).is_err() && Frequencies::decode(&long).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn random_bytes_do_no_harm(kind in select(vec![b'Q', b'F', 0]), rest in vec(any::<u8>(), 0..200)) {
        refused_or_kept(&rest);
        refused_or_kept(&[&[1, kind], &rest[..]].concat());
    }

    #[test]
    fn changed_bytes_do_no_harm(
        len in 0_usize..60,
        names in vec("[a-c]", 0..20),
        changes in vec((any::<prop::sample::Index>(), select(vec![0_u8, 1, 2, 8, 0x40, 0x7f, 0xf0, 0xff])), 1..4),
    ) {
        for mut bytes in [of(8, 1, &shape("tied", len, 1)).encode(), frequencies(2, &names).encode()] {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            refused_or_kept(&bytes);
        }
    }
}
