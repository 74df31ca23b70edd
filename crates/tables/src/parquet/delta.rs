//! Looks into delta-encoded pages: how many values they claim.
//!
//! Source: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>.

use parquet::basic::Encoding;

use super::thrift::Walk;

/// Checks that byte strings in a delta encoding are no more than `most`, for room is made for all of them at once.
/// `values` begins after the levels. `None` if there are more, or it is damaged; other encodings pass.
pub(super) fn check(encoding: Encoding, values: &[u8], most: usize) -> Option<()> {
    match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => drop(pass(values, most)?),
        Encoding::DELTA_BYTE_ARRAY => {
            let prefixes = pass(values, most)?;
            pass(values.get(prefixes..)?, most)?;
        }
        _ => {}
    }
    Some(())
}

/// Walks over one run of integers and returns where it ends.
fn pass(values: &[u8], most: usize) -> Option<usize> {
    let mut walk = Walk::new(values);
    let block = usize::try_from(walk.varint()?).ok()?;
    let minis = usize::try_from(walk.varint()?).ok()?;
    let total = usize::try_from(walk.varint()?).ok()?;
    walk.varint()?;
    if total > most || block == 0 || minis == 0 || block % minis != 0 {
        return None;
    }
    let per_mini = block / minis;
    // the first value stands in the head
    let mut left = total.saturating_sub(1);
    while left > 0 {
        walk.varint()?;
        let widths = walk.at();
        walk.pass(minis)?;
        for &width in values.get(widths..widths + minis)? {
            if left == 0 {
                break;
            }
            walk.pass(per_mini.checked_mul(width.into())? / 8)?;
            left = left.saturating_sub(per_mini);
        }
    }
    Some(walk.at())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_checked() {
        // block 128, 4 miniblocks, 3 values, first 1; least delta 0, widths 1 0 0 0, 32 bits
        let run = [0x80, 1, 4, 3, 2, 0, 1, 0, 0, 0, 0xff, 0, 0, 0];
        assert_eq!(pass(&run, 3), Some(run.len()));
        assert_eq!(pass(&run, 2), None);
        for cut in 0..run.len() {
            assert_eq!(pass(&run[..cut], 3), None, "{cut}");
        }
        let twice = [run, run].concat();
        assert_eq!(check(Encoding::DELTA_BYTE_ARRAY, &twice, 3), Some(()));
        assert_eq!(check(Encoding::DELTA_BYTE_ARRAY, &run, 3), None);
        assert_eq!(check(Encoding::PLAIN, &[], 3), Some(()));
    }
}
