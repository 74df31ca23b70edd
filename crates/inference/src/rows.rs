//! Inputs of several callers joined along their rows, and answers divided again, for batches.

use std::ops::Range;

use lodeway_domain::{Error, Result};

use crate::{Column, Frame, Payload, Tensor, fault::entry};

/// Whether two payloads can be joined: tensors or columns of the same names, given in the same way, in the same order, of the
/// same datatypes and, beyond the first one, dimensions. Documents and scalars cannot, nor can tensors that differ in rows
/// within a payload.
pub fn compatible(one: &Payload, other: &Payload) -> bool {
    match (one, other) {
        (Payload::Tensors(ones), Payload::Tensors(others)) => {
            one.rows().is_some() && other.rows().is_some() && like(ones.iter(), others.iter())
        }
        (Payload::Frame(one), Payload::Frame(other)) => like(values(one), values(other)),
        _ => false,
    }
}

fn values(frame: &Frame) -> impl ExactSizeIterator<Item = &Tensor> {
    frame.columns().iter().map(|column| &column.values)
}

fn like<'a>(
    ones: impl ExactSizeIterator<Item = &'a Tensor>,
    others: impl ExactSizeIterator<Item = &'a Tensor>,
) -> bool {
    ones.len() == others.len()
        && ones.zip(others).all(|(one, other)| {
            one.name() == other.name()
                && one.datatype() == other.datatype()
                && one.is_json() == other.is_json()
                && one.is_keyed() == other.is_keyed()
                && one.is_numbered() == other.is_numbered()
                && one.shape().get(1..) == other.shape().get(1..)
        })
}

/// Joins payloads along their first dimension, in order.
///
/// Errors: `INVALID_FIELD` at `inputs` for no payloads, and for payloads that are not [`compatible`] with the first.
pub fn concat_rows(payloads: &[&Payload]) -> Result<Payload> {
    let unlike = || {
        Error::invalid(
            "inputs",
            "cannot be joined: they differ in names, datatypes or dimensions",
        )
    };
    let first = *payloads
        .first()
        .ok_or_else(|| Error::invalid("inputs", "holds nothing to join"))?;
    if !payloads.iter().all(|payload| compatible(first, payload)) {
        return Err(unlike());
    }
    match first {
        Payload::Tensors(tensors) => {
            let part = |at: usize| {
                let parts = payloads.iter().filter_map(|payload| match payload {
                    Payload::Tensors(tensors) => tensors.get(at),
                    _ => None,
                });
                concat(parts.collect())
            };
            Ok(Payload::Tensors(
                (0..tensors.len()).map(part).collect::<Result<_>>()?,
            ))
        }
        Payload::Frame(frame) => {
            let part = |at: usize| {
                let parts = payloads.iter().filter_map(|payload| match payload {
                    Payload::Frame(frame) => frame.columns().get(at),
                    _ => None,
                });
                concat_column(parts.collect())
            };
            let columns = (0..frame.columns().len()).map(part).collect::<Result<_>>()?;
            Ok(Payload::Frame(Frame::new(columns)?))
        }
        Payload::Document(_) => Err(unlike()),
    }
}

fn concat(parts: Vec<&Tensor>) -> Result<Tensor> {
    let first = parts
        .first()
        .ok_or_else(|| Error::invalid("inputs", "holds nothing to join"))?;
    let mut data = Vec::with_capacity(parts.iter().map(|part| part.data().len()).sum());
    parts.iter().for_each(|part| data.extend_from_slice(part.data()));
    let mut shape = first.shape().to_vec();
    if let Some(rows) = shape.first_mut() {
        let all = parts.iter().filter_map(|part| part.shape().first());
        *rows = all.fold(0, |sum: i64, rows| sum.saturating_add(*rows));
    }
    let joined = Tensor::new(first.name(), first.datatype(), shape, data)?;
    Ok(said_like(joined, first))
}

fn concat_column(parts: Vec<&Column>) -> Result<Column> {
    let nulls = parts.iter().any(|part| part.nulls.is_some()).then(|| {
        let flags = |part: &&Column| match &part.nulls {
            Some(nulls) => nulls.clone(),
            None => vec![false; part.values.rows().unwrap_or_default()],
        };
        parts.iter().flat_map(flags).collect()
    });
    let values = concat(parts.iter().map(|part| &part.values).collect())?;
    Ok(Column { values, nulls })
}

/// Divides a payload into one of each number of rows, in order; tensors of fixed-size elements are not copied.
///
/// The inverse of [`concat_rows`]. Errors: `INVALID_FIELD` at the tensor or at `outputs` if the rows are not as many as
/// `rows` sums up to, or the payload is a document.
pub fn split_rows(payload: &Payload, rows: &[usize]) -> Result<Vec<Payload>> {
    let wanted = rows.iter().try_fold(0_usize, |sum, &rows| sum.checked_add(rows));
    let fits = |came: Option<usize>, field: String| match came {
        Some(came) if Some(came) == wanted => Ok(()),
        Some(came) => Err(Error::invalid(
            field,
            format!("has {came} rows, which do not divide into {rows:?}"),
        )),
        None => Err(Error::invalid(field, "has no rows that could be divided")),
    };
    match payload {
        Payload::Tensors(tensors) => {
            let mut payloads: Vec<Vec<Tensor>> =
                rows.iter().map(|_| Vec::with_capacity(tensors.len())).collect();
            for tensor in tensors {
                fits(tensor.rows(), entry(tensor.name()))?;
                for (part, payload) in split(tensor, rows)?.into_iter().zip(&mut payloads) {
                    payload.push(part);
                }
            }
            Ok(payloads.into_iter().map(Payload::Tensors).collect())
        }
        Payload::Frame(frame) => {
            fits(Some(frame.rows()), "outputs".to_owned())?;
            let width = frame.columns().len();
            let mut payloads: Vec<Vec<Column>> = rows.iter().map(|_| Vec::with_capacity(width)).collect();
            for column in frame.columns() {
                let mut start = 0;
                for (values, payload) in split(&column.values, rows)?.into_iter().zip(&mut payloads) {
                    let end = start + values.rows().unwrap_or_default();
                    let nulls = column.nulls.as_ref().and_then(|nulls| nulls.get(start..end));
                    let nulls = nulls.filter(|nulls| nulls.contains(&true)).map(<[bool]>::to_vec);
                    payload.push(Column { values, nulls });
                    start = end;
                }
            }
            payloads
                .into_iter()
                .map(|columns| Frame::new(columns).map(Payload::Frame))
                .collect()
        }
        Payload::Document(_) => fits(None, "outputs".to_owned()).map(|()| Vec::new()),
    }
}

/// The parts of a tensor whose rows sum up to those of `rows`.
fn split(tensor: &Tensor, rows: &[usize]) -> Result<Vec<Tensor>> {
    let mut rest = Rest { tensor, at: 0 };
    let part = |&rows: &usize| {
        let mut shape = tensor.shape().to_vec();
        if let Some(first) = shape.first_mut() {
            *first = i64::try_from(rows).unwrap_or(i64::MAX);
        }
        let sizes = shape
            .iter()
            .skip(1)
            .filter_map(|&size| usize::try_from(size).ok());
        // without rows the other dimensions may be of any size
        let per_row = sizes.fold(1, usize::saturating_mul);
        let range = rest.take(per_row.saturating_mul(rows));
        let data =
            range.and_then(|range| (range.end <= tensor.data().len()).then(|| tensor.data().slice(range)));
        let part = Tensor::new(tensor.name(), tensor.datatype(), shape, data.unwrap_or_default())?;
        Ok(said_like(part, tensor))
    };
    rows.iter().map(part).collect()
}

/// With what is known of another tensor beside its elements.
fn said_like(tensor: Tensor, other: &Tensor) -> Tensor {
    tensor
        .with_json(other.is_json())
        .with_key(other.is_keyed())
        .with_number(other.is_numbered())
}

/// Where in the data the next elements are.
struct Rest<'a> {
    tensor: &'a Tensor,
    at: usize,
}

impl Rest<'_> {
    fn take(&mut self, elements: usize) -> Option<Range<usize>> {
        let start = self.at;
        let end = match self.tensor.datatype().element_bytes() {
            Some(size) => start.checked_add(elements.checked_mul(size)?)?,
            None => (0..elements).try_fold(start, |at, _| {
                let length = self.tensor.data().get(at..)?.first_chunk::<4>()?;
                at.checked_add(4)?
                    .checked_add(usize::try_from(u32::from_le_bytes(*length)).ok()?)
            })?,
        };
        self.at = end;
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lodeway_domain::signature::DataType;
    use proptest::prelude::*;

    use super::*;

    fn tensor(name: &str, datatype: DataType, rows: usize, trailing: &[i64], seed: u8) -> Tensor {
        let elements = rows * trailing.iter().product::<i64>() as usize;
        let shape = [&[rows as i64], trailing].concat();
        let byte = |at: usize| seed.wrapping_mul(31).wrapping_add(at as u8);
        match datatype.element_bytes() {
            Some(size) => {
                let most = if datatype == DataType::Bool { 2 } else { 255 };
                let data: Vec<u8> = (0..elements * size).map(|at| byte(at) % most).collect();
                Tensor::new(name, datatype, shape, data).unwrap()
            }
            None => {
                let texts = (0..elements).map(|at| vec![byte(at); usize::from(byte(at)) % 5]);
                let texts = Tensor::of_texts(name, shape, texts).unwrap();
                texts.with_json(trailing.is_empty())
            }
        }
    }

    /// Payloads of one kind, with as many rows as `rows` says.
    fn payloads() -> impl Strategy<Value = (Vec<Payload>, Vec<usize>)> {
        let kinds = proptest::collection::vec(
            (
                proptest::sample::select(DataType::ALL),
                proptest::collection::vec(0..3_i64, 0..3),
            ),
            1..4,
        );
        (
            kinds,
            proptest::collection::vec(0..4_usize, 1..5),
            any::<u8>(),
            any::<bool>(),
        )
            .prop_map(|(kinds, rows, seed, is_frame)| {
                let one = |(call, &rows): (usize, &usize)| {
                    let seed = seed.wrapping_add(call as u8);
                    if is_frame {
                        let column = |(at, (datatype, _)): (usize, &(DataType, Vec<i64>))| {
                            let values = tensor(&at.to_string(), *datatype, rows, &[], seed);
                            let nulls: Vec<_> =
                                (0..rows).map(|row| (row + usize::from(seed)) % 3 == 0).collect();
                            Column {
                                values,
                                nulls: nulls.contains(&true).then_some(nulls),
                            }
                        };
                        return Payload::Frame(
                            Frame::new(kinds.iter().enumerate().map(column).collect()).unwrap(),
                        );
                    }
                    let part = |(at, (datatype, trailing)): (usize, &(DataType, Vec<i64>))| {
                        tensor(&at.to_string(), *datatype, rows, trailing, seed)
                    };
                    Payload::Tensors(kinds.iter().enumerate().map(part).collect())
                };
                (rows.iter().enumerate().map(one).collect(), rows)
            })
    }

    proptest! {
        #[test]
        fn what_was_joined_divides_again((payloads, rows) in payloads()) {
            let all: Vec<_> = payloads.iter().collect();
            let joined = concat_rows(&all).unwrap();
            prop_assert_eq!(joined.rows(), Some(rows.iter().sum()));
            prop_assert_eq!(split_rows(&joined, &rows).unwrap(), payloads);
            let more = [&rows[..], &[1]].concat();
            prop_assert!(split_rows(&joined, &more).is_err());
        }
    }

    #[test]
    fn only_like_is_joined() {
        let of = |name: &str, datatype, trailing: &[i64]| {
            Payload::Tensors(vec![tensor(name, datatype, 2, trailing, 0)])
        };
        let one = of("x", DataType::Fp32, &[2]);
        assert!(compatible(&one, &of("x", DataType::Fp32, &[2])));
        let scalar = Tensor::new("x", DataType::Int8, vec![], vec![1]).unwrap();
        let document = Payload::Document(crate::Document {
            content_type: String::new(),
            body: Bytes::new(),
        });
        for other in [
            of("y", DataType::Fp32, &[2]),
            of("x", DataType::Int32, &[2]),
            of("x", DataType::Fp32, &[1, 2]),
            of("x", DataType::Fp32, &[]),
            Payload::Tensors(vec![]),
            Payload::Frame(Frame::new(vec![]).unwrap()),
            document.clone(),
        ] {
            assert!(
                !compatible(&one, &other) && concat_rows(&[&one, &other]).is_err(),
                "{other:?}"
            );
        }
        let texts = Payload::Tensors(vec![Tensor::of_texts("x", vec![1], ["1"]).unwrap()]);
        let json = Payload::Tensors(vec![
            Tensor::of_texts("x", vec![1], ["1"]).unwrap().with_json(true),
        ]);
        assert!(!compatible(&texts, &json));
        let scalar = Payload::Tensors(vec![scalar]);
        assert!(!compatible(&scalar, &scalar) && !compatible(&document, &document));
        assert!(split_rows(&scalar, &[1]).is_err() && split_rows(&document, &[]).is_err());
        // rows of nothing are as many as one likes, and nothing of them is looked at
        let empty = |shape: [i64; 3]| {
            Payload::Tensors(vec![
                Tensor::new("x", DataType::Int8, shape.to_vec(), vec![]).unwrap(),
            ])
        };
        let flat = empty([i64::MAX, 0, 1]);
        assert_eq!(concat_rows(&[&flat, &flat]).unwrap(), flat);
        let wide = empty([0, i64::MAX, i64::MAX]);
        assert_eq!(split_rows(&wide, &[0, 0]).unwrap(), [wide.clone(), wide]);
        assert!(concat_rows(&[]).is_err() && split_rows(&one, &[usize::MAX, 3]).is_err());
    }
}
