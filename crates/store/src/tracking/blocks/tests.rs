use proptest::{collection::vec, prelude::*};

use super::*;

fn int() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        -3_i64..3,
        Just(i64::MIN),
        Just(i64::MAX),
        1_700_000_000_000_i64..1_700_000_100_000
    ]
}

fn point() -> impl Strategy<Value = Point> {
    let bits = prop_oneof![
        any::<u64>(),
        any::<f64>().prop_map(f64::to_bits),
        0x7ff0_0000_0000_0001_u64..0x7ff0_0000_0000_0009
    ];
    (bits, int(), int()).prop_map(|(bits, ms, step)| Point {
        value: f64::from_bits(bits),
        time: Timestamp::from_millis(ms),
        step,
    })
}

fn read_all(block: &NewBlock) -> Result<Vec<(i64, SeqPoint)>> {
    let mut open = Block::open(&block.data, block.first_seq)?;
    let mut all = Vec::new();
    while let Some(group) = open.next()? {
        let (key, mut points) = (group.key, Vec::new());
        open.read(group, &mut points)?;
        all.extend(points.into_iter().map(|p| (key, p)));
    }
    Ok(all)
}

proptest! {
    #[test]
    fn an_append_comes_back_bit_for_bit(mut points in vec((1_i64..40, point()), 0..200), seq in 1_i64..1000) {
        points.sort_by_key(|p| p.0);
        let blocks = pack(seq, &points);
        let mut back = Vec::new();
        for block in &blocks {
            prop_assert_eq!(block.key == 0, blocks.len() == 1 && points.iter().any(|p| p.0 != points[0].0));
            let all = read_all(block).unwrap();
            prop_assert_eq!(block.points, all.len() as i64);
            prop_assert!(all.iter().all(|(_, p)| p.seq == seq && block.times_ms.0 <= p.point.time.millis()
                && p.point.time.millis() <= block.times_ms.1 && block.steps.0 <= p.point.step && p.point.step <= block.steps.1));
            back.extend(all.into_iter().map(|(key, p)| (key, p.point)));
        }
        prop_assert_eq!(back, points);
    }

    #[test]
    fn merged_points_keep_their_appends(points in vec((point(), int()), 1..300), key in 1_i64..i64::MAX) {
        let points: Vec<_> = points.into_iter().map(|(point, seq)| SeqPoint { point, seq }).collect();
        let block = merge(key, &points).unwrap();
        let back: Vec<_> = read_all(&block).unwrap();
        prop_assert!(back.iter().all(|(k, _)| *k == key));
        prop_assert_eq!(back.into_iter().map(|(_, p)| p).collect::<Vec<_>>(), points);
    }

    #[test]
    fn a_changed_byte_is_found(points in vec((1_i64..9, point()), 1..30), at: prop::sample::Index, by in 1_u8..=255) {
        let mut points = points;
        points.sort_by_key(|p| p.0);
        let mut block = pack(7, &points).remove(0);
        let at = at.index(block.data.len());
        block.data[at] ^= by;
        prop_assert!(matches!(read_all(&block), Err(Error::DataLoss(_))));
        block.data.truncate(at);
        prop_assert!(matches!(read_all(&block), Err(Error::DataLoss(_))));
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut data in vec(any::<u8>(), 0..200), valid_head: bool) {
        if valid_head && data.len() > 2 {
            (data[0], data[1]) = (VERSION, data[1] & HAS_SEQS);
        }
        let sum = checksum(&data);
        data.extend_from_slice(&sum);
        let block = NewBlock { key: 0, first_seq: 1, last_seq: 1, points: 0, times_ms: (0, 0), steps: (0, 0), data };
        prop_assert!(matches!(read_all(&block), Ok(_) | Err(Error::DataLoss(_))));
    }
}

#[test]
fn a_batch_of_many_keys_is_one_block_and_of_few_is_a_block_each() {
    let at = |step: i64| Point {
        value: 0.5,
        time: Timestamp::from_millis(1_700_000_000_000 + step),
        step,
    };
    let wide: Vec<_> = (1..=1000).map(|key| (key, at(7))).collect();
    let blocks = pack(1, &wide);
    assert_eq!((blocks.len(), blocks[0].key), (1, 0));
    assert!(blocks[0].data.len() < 16 * 1000, "{} bytes", blocks[0].data.len());
    let deep: Vec<_> = (1..=10)
        .flat_map(|key| (0..100).map(move |step| (key, at(step))))
        .collect();
    let blocks = pack(1, &deep);
    assert_eq!(
        blocks.iter().map(|b| b.key).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>()
    );
    assert!(
        blocks[0].data.len() < 11 * 100 + 40,
        "{} bytes",
        blocks[0].data.len()
    );
    let mut found = Vec::new();
    read_key(&pack(1, &wide)[0].data, 1, 500, &mut found).unwrap();
    assert_eq!(found, [SeqPoint { point: at(7), seq: 1 }]);
}
