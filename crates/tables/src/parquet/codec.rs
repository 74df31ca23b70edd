//! Decompresses pages, into no more than they say they hold.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;

/// A way of compression, with what it keeps between pages.
pub(super) enum Codec {
    Plain,
    Snappy(snap::raw::Decoder),
    Gzip,
    Lz4,
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl Codec {
    /// The codec of a column. Errors: one that is not read, in words.
    pub(super) fn new(compression: Compression) -> Result<Self, String> {
        Ok(match compression {
            Compression::UNCOMPRESSED => Self::Plain,
            Compression::SNAPPY => Self::Snappy(snap::raw::Decoder::new()),
            Compression::GZIP(_) => Self::Gzip,
            Compression::LZ4_RAW => Self::Lz4,
            Compression::ZSTD(_) => {
                Self::Zstd(zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?)
            }
            other => {
                return Err(format!(
                    "is compressed with {other}; snappy, gzip, zstd and lz4_raw are read"
                ));
            }
        })
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Appends to `out` the `size` bytes that `packed` holds; `None` if it holds others or more or less.
    pub(super) fn decompress(&mut self, packed: &[u8], out: &mut Vec<u8>, size: usize) -> Option<()> {
        // a page of nulls has no bytes, and some writers then compress nothing
        if size == 0 {
            return Some(());
        }
        let start = out.len();
        if let Self::Gzip = self {
            let read = MultiGzDecoder::new(packed).take(size as u64 + 1).read_to_end(out);
            return (read.ok()? == size).then_some(());
        }
        out.resize(start.checked_add(size)?, 0);
        let room = out.get_mut(start..)?;
        let written = match self {
            Self::Plain => {
                room.copy_from_slice(packed.get(..size)?);
                packed.len()
            }
            Self::Snappy(decoder) => decoder.decompress(packed, room).ok()?,
            Self::Lz4 => lz4_flex::block::decompress_into(packed, room).ok()?,
            Self::Zstd(decoder) => decoder.decompress_to_buffer(packed, room).ok()?,
            Self::Gzip => return None,
        };
        (written == size).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pages_hold_what_they_say() {
        let data: Vec<u8> = (0..10_000_u32).map(|n| (n / 7) as u8).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&data).unwrap();
        for (compression, packed) in [
            (Compression::UNCOMPRESSED, data.clone()),
            (
                Compression::SNAPPY,
                snap::raw::Encoder::new().compress_vec(&data).unwrap(),
            ),
            (Compression::GZIP(Default::default()), gzip.finish().unwrap()),
            (Compression::LZ4_RAW, lz4_flex::block::compress(&data)),
            (
                Compression::ZSTD(Default::default()),
                zstd::bulk::compress(&data, 1).unwrap(),
            ),
        ] {
            let mut codec = Codec::new(compression).unwrap();
            let mut out = vec![9];
            codec.decompress(&packed, &mut out, data.len()).unwrap();
            assert_eq!((out[0], &out[1..]), (9, &data[..]), "{compression}");
            for wrong in [data.len() - 1, data.len() + 1] {
                assert_eq!(
                    codec.decompress(&packed, &mut Vec::new(), wrong),
                    None,
                    "{compression} {wrong}"
                );
            }
            let cut = &packed[..packed.len() / 2];
            assert_eq!(
                codec.decompress(cut, &mut Vec::new(), data.len()),
                None,
                "{compression}"
            );
        }
        assert!(Codec::new(Compression::LZ4).is_err());
    }
}
