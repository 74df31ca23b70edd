//! The byte forms: what was written is read, nothing else is believed or makes a panic, and there is a bound.

use std::time::Duration;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    tests::id,
    tests_merge::{events, of},
    *,
};
use crate::Error;

/// A profile of the same columns as the summary.
fn profile(summary: &TrafficSummary) -> Profile {
    let mut profile = Profile::of_traffic(summary);
    profile.add_row([("a", 1.5.into())], [("b", "x".into())]);
    profile
}

/// Damaged bytes are refused as lost data; if they happen to be sound, they are kept as they are and usable.
fn refused_or_kept(bytes: &[u8]) {
    match TrafficSummary::decode(bytes) {
        Ok(mut summary) => {
            assert_eq!(summary.encode(), bytes);
            let copy = summary.clone();
            summary.merge(&copy);
            summary.record_call(Outcome::Ok, Duration::from_secs(1), 1);
            summary
                .features_mut()
                .add_row([("a", 1.0.into()), ("b", "x".into())]);
            summary
                .shadow_mut()
                .record(Comparison::of_numbers(&[0.0], &[1.0]), &id(1));
            let _ = (
                summary.latency().quantile(0.9),
                summary.shadow().median_difference(),
            );
            let columns = summary.features().iter().chain(summary.predictions().iter());
            for (_, column) in columns {
                assert!(column.summary().quantiles.is_sorted());
            }
            let _ = Profile::of_traffic(&copy).drift_of(&summary);
            let _ = summary.encode();
        }
        Err(error) => assert!(matches!(error, Error::DataLoss(_)), "{error}"),
    }
    match Profile::decode(bytes) {
        Ok(mut profile) => {
            assert_eq!(profile.encode(), bytes);
            let copy = profile.clone();
            profile.merge(&copy);
            profile.add_row([("a", 1.0.into())], [("b", true.into())]);
            let _ = profile.drift_of(&TrafficSummary::default());
        }
        Err(error) => assert!(matches!(error, Error::DataLoss(_)), "{error}"),
    }
}

#[test]
fn the_byte_form_does_not_move() {
    let mut summary = TrafficSummary::with_seed(5);
    summary.record_call(Outcome::Ok, Duration::from_millis(1), 200);
    summary.record_call(Outcome::Unavailable, Duration::from_millis(2), 0);
    summary.features_mut().add_row([("x", 2_i64.into())]);
    let bytes = summary.encode();
    // Version, kind; two outcomes; 200 rows; the longest latency and two buckets; seed, nothing left out, one column.
    let expected = "015402 00010e01 c801 80897a02 bf0201 1f01 050001 0178";
    let found = hex::encode(&bytes);
    assert!(found.starts_with(&expected.replace(' ', "")), "{found}");
    assert_eq!(&hex::encode(profile(&summary).encode())[..8], "0150c901");
}

#[test]
fn the_version_is_first_and_another_one_is_named() {
    let mut bytes = TrafficSummary::default().encode();
    bytes[0] = 2;
    assert_eq!(
        TrafficSummary::decode(&bytes).unwrap_err().to_string(),
        "the stored traffic summary has version 2, this program reads version 1"
    );
    let other = Profile::decode(&TrafficSummary::default().encode()).unwrap_err();
    assert_eq!(other.to_string(), "the stored profile is of another kind");
}

#[test]
fn an_empty_summary_is_small() {
    let empty = TrafficSummary::default();
    assert_eq!(TrafficSummary::decode(&empty.encode()).unwrap(), empty);
    assert!(empty.encode().len() < 150, "{}", empty.encode().len());
}

#[test]
fn a_summary_is_bounded_whatever_is_recorded() {
    let mut summary = TrafficSummary::default();
    for i in 0..60_000_u64 {
        summary.record_call(
            Outcome::from_code((i % 20) as i32),
            Duration::from_nanos(i * i * i),
            1,
        );
        let name = format!("{}{}", "n".repeat(200), i % 300);
        let text = format!("{}{i}", "t".repeat(150));
        let row = [
            (name.as_str(), Value::from(i as f64 / 3.0)),
            (&name, Value::from(&*text)),
        ];
        summary.features_mut().add_row(row);
        summary
            .shadow_mut()
            .record(Comparison::of_numbers(&[0.0], &[i as f64]), &id(i));
    }
    let bytes = summary.encode();
    let column = 8 * crate::sketch::Quantiles::max_kept(200) + 100 * (128 + 12) + 32 * 20 + 512;
    assert!(bytes.len() < MAX_COLUMNS * column, "{}", bytes.len());
    assert_eq!(summary.features().len(), MAX_COLUMNS);
    assert_eq!(TrafficSummary::decode(&bytes).unwrap(), summary);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_was_written_is_read(events in events(300), seed: u64) {
        let summary = of(seed, &events);
        let bytes = summary.encode();
        let back = TrafficSummary::decode(&bytes).unwrap();
        prop_assert_eq!(&back, &summary);
        prop_assert_eq!(back.encode(), bytes);
        let profile = profile(&summary);
        prop_assert_eq!(Profile::decode(&profile.encode()).unwrap(), profile);
    }

    #[test]
    fn cut_or_lengthened_bytes_are_refused(events in events(60), cut: Index) {
        let summary = of(1, &events);
        for bytes in [summary.encode(), profile(&summary).encode()] {
            let short = &bytes[..cut.index(bytes.len())];
            prop_assert!(TrafficSummary::decode(short).is_err() && Profile::decode(short).is_err());
            let long = [&bytes[..], &[0]].concat();
            prop_assert!(TrafficSummary::decode(&long).is_err() && Profile::decode(&long).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn random_bytes_do_no_harm(kind in prop::sample::select(vec![b'T', b'P', 0]), rest in vec(any::<u8>(), 0..200)) {
        refused_or_kept(&rest);
        refused_or_kept(&[&[1, kind], &rest[..]].concat());
    }

    #[test]
    fn changed_bytes_do_no_harm(
        events in events(30), changes in vec((any::<Index>(), any::<u8>(), any::<bool>()), 1..4),
    ) {
        let summary = of(1, &events);
        for mut bytes in [summary.encode(), profile(&summary).encode()] {
            for (at, change, is_bit) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = if *is_bit { bytes[at] ^ (1 << (change % 8)) } else { *change };
            }
            refused_or_kept(&bytes);
        }
    }
}
