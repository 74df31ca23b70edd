//! Bodies that come packed: `Content-Encoding` (RFC 9110, section 8.4).

use std::io::{self, Read};

use axum::http::{HeaderMap, header::CONTENT_ENCODING};
use bytes::Bytes;
use flate2::read::{GzDecoder, ZlibDecoder};
use lodeway_domain::Error;

/// Longer packed bodies are unpacked on a thread for blocking work.
const INLINE_BYTES: usize = 16 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    /// In the zlib format, as RFC 9110 says and clients do.
    Deflate,
}

impl Coding {
    /// What the headers say. Errors: `INVALID_FIELD` for another coding or several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let mut all = headers.get_all(CONTENT_ENCODING).iter();
        let (first, second) = (all.next(), all.next());
        let word = first.map_or("identity", |value| value.to_str().unwrap_or_default());
        match (word.trim().to_ascii_lowercase().as_str(), second) {
            ("" | "identity", None) => Ok(Self::Identity),
            ("gzip" | "x-gzip", None) => Ok(Self::Gzip),
            ("deflate", None) => Ok(Self::Deflate),
            _ => Err(Error::invalid(
                "Content-Encoding",
                "is none of gzip, deflate and identity, which are the ones taken here; send the body as it is",
            )),
        }
    }

    /// The body as it was packed; none if it is longer than `limit`. Errors: `Invalid` for one that does not unpack.
    pub(super) async fn unpack(self, body: Bytes, limit: usize) -> Result<Option<Bytes>, Error> {
        if self == Self::Identity {
            return Ok(Some(body));
        }
        let unpacked = if body.len() <= INLINE_BYTES {
            self.read(&body, limit.min(INLINE_BYTES * 4))
        } else {
            Ok(None)
        };
        let unpacked = match unpacked {
            Ok(None) => tokio::task::spawn_blocking(move || self.read(&body, limit))
                .await
                .map_err(Error::internal)?,
            done => done,
        };
        unpacked.map_err(|error| Error::invalid("body", format!("does not unpack: {error}")))
    }

    /// None: it is longer than `limit`.
    fn read(self, body: &[u8], limit: usize) -> io::Result<Option<Bytes>> {
        let mut reader: Box<dyn Read + '_> = match self {
            Self::Identity => Box::new(body),
            Self::Gzip => Box::new(GzDecoder::new(body)),
            Self::Deflate => Box::new(ZlibDecoder::new(body)),
        };
        let mut unpacked = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        reader.by_ref().take(most).read_to_end(&mut unpacked)?;
        Ok((unpacked.len() <= limit).then(|| unpacked.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use axum::http::HeaderValue;
    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn said(words: &[&str]) -> HeaderMap {
        let pairs = words
            .iter()
            .map(|word| (CONTENT_ENCODING, HeaderValue::from_str(word).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap().into()
    }

    #[test]
    fn codings_are_known_by_their_names() {
        for (words, coding) in [
            (&[][..], Coding::Identity),
            (&["identity"], Coding::Identity),
            (&["GZip"], Coding::Gzip),
            (&["deflate"], Coding::Deflate),
        ] {
            assert_eq!(Coding::of(&said(words)).unwrap(), coding, "{words:?}");
        }
        for odd in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"]] {
            assert!(Coding::of(&said(odd)).is_err(), "{odd:?}");
        }
    }

    #[tokio::test]
    async fn bodies_are_unpacked_up_to_the_limit() {
        let long: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        for plain in [&b"{}"[..], &[7; 200_000], &long] {
            let mut deflated = ZlibEncoder::new(Vec::new(), Compression::fast());
            deflated.write_all(plain).unwrap();
            let deflated = Bytes::from(deflated.finish().unwrap());
            for (coding, packed) in [(Coding::Gzip, gzip(plain)), (Coding::Deflate, deflated)] {
                let unpacked = coding.unpack(packed.clone(), plain.len()).await;
                assert_eq!(unpacked.unwrap().unwrap(), plain);
                if plain.len() > INLINE_BYTES * 4 {
                    let beyond = coding.unpack(packed, plain.len() - 1).await;
                    assert_eq!(beyond.unwrap(), None);
                }
            }
        }
        let whole = gzip(&long);
        for broken in [
            whole.slice(..whole.len() / 2),
            Bytes::from_static(b"{}"),
            Bytes::new(),
        ] {
            let refused = Coding::Gzip.unpack(broken, 1 << 24).await;
            assert!(matches!(refused, Err(Error::Invalid(_))));
        }
    }
}
