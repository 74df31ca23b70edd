//! Answers.

use serde::de::IgnoredAny;

use super::Form;
use crate::{
    Frame, Payload, Tensor,
    elements::{Element, Elements},
    json::{plain, python_float},
    packed::encode_base64,
};

/// So many empty lists are written for a tensor without elements, such as `[3, 0]`; beyond that a single one.
const MOST_EMPTY: usize = 1 << 16;

/// Writes an answer as JSON: `{"predictions": …}`, and without this wrapping for [`Form::Llm`].
///
/// One tensor is a nested list of its shape, several are an object by name, and so is one that came
/// [under its name](Tensor::is_keyed); a frame is a list of records. A document is the
/// answer already and is returned as it is. Numbers look as in Python: floats with the fewest digits that bring them back
/// as 64 bits, so that an FP32 of 0.1 is `0.10000000149011612`. NaN, the infinities and nulls are written as null, where
/// MLflow writes words that are no JSON and that browsers and most parsers refuse; pandas reads null as NaN, so that only
/// infinities are lost. BYTES are texts; if one of a tensor is not UTF-8, all of it is base64, as MLflow writes `bytes`,
/// but without line breaks. Those of a tensor [of JSON texts](Tensor::is_json) stand there as the values that they are.
pub fn write_predictions(answer: &Payload, form: Form) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.size_bytes().saturating_mul(2).clamp(64, 1 << 24));
    let is_wrapped = form != Form::Llm;
    match answer {
        Payload::Document(document) => return document.body.to_vec(),
        _ if is_wrapped => out.extend(b"{\"predictions\": "),
        _ => {}
    }
    match answer {
        Payload::Tensors(tensors) => match tensors.as_slice() {
            [only] if !only.is_keyed() => tensor(&mut out, only),
            tensors => {
                out.push(b'{');
                for (at, one) in tensors.iter().enumerate() {
                    separate(&mut out, at);
                    plain(&mut out, one.name());
                    out.extend(b": ");
                    tensor(&mut out, one);
                }
                out.push(b'}');
            }
        },
        Payload::Frame(frame) => records(&mut out, frame),
        Payload::Document(_) => {}
    }
    if is_wrapped {
        out.push(b'}');
    }
    out
}

fn separate(out: &mut Vec<u8>, at: usize) {
    if at != 0 {
        out.extend(b", ");
    }
}

/// What the elements of BYTES are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Texts {
    Plain,
    Base64,
    Json,
}

impl Texts {
    fn of(tensor: &Tensor) -> Self {
        match tensor.texts().any(|text| std::str::from_utf8(&text).is_err()) {
            true => Self::Base64,
            false if tensor.is_json() => Self::Json,
            false => Self::Plain,
        }
    }
}

/// Whether the text is one value of JSON; another server may say so of anything.
fn is_value(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

fn element(out: &mut Vec<u8>, element: Element<'_>, texts: Texts) {
    match element {
        Element::Bool(value) => plain(out, &value),
        Element::Int(value) => plain(out, &value),
        Element::Uint(value) => plain(out, &value),
        Element::Single(value) => python_float(out, value.into()),
        Element::Double(value) => python_float(out, value),
        Element::Text(text) if texts == Texts::Base64 => plain(out, &encode_base64(text)),
        Element::Text(text) if texts == Texts::Json && is_value(text) => out.extend_from_slice(text),
        Element::Text(text) => plain(out, std::str::from_utf8(text).unwrap_or_default()),
    }
}

fn tensor(out: &mut Vec<u8>, tensor: &Tensor) {
    let size = |&length: &i64| usize::try_from(length).unwrap_or_default();
    let shape: Vec<usize> = tensor.shape().iter().map(size).collect();
    let Some(empty) = shape.iter().position(|&length| length == 0) else {
        let texts = Texts::of(tensor);
        return nested(out, &shape, Elements::of(tensor), |out, value| {
            element(out, value, texts)
        });
    };
    let outer = shape.get(..empty).unwrap_or_default();
    let lists = outer
        .iter()
        .try_fold(1_usize, |lists, &length| lists.checked_mul(length));
    match lists.filter(|&lists| lists <= MOST_EMPTY) {
        Some(lists) => nested(out, outer, 0..lists, |out, _| out.extend(b"[]")),
        None => out.extend(b"[]"),
    }
}

/// Writes values as lists of a shape without zeros; a loop and no recursion, as shapes may be long.
fn nested<T>(
    out: &mut Vec<u8>,
    shape: &[usize],
    values: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    // how many values a list of each depth holds, the innermost first
    let mut sizes: Vec<usize> = shape.to_vec();
    sizes.reverse();
    let mut product = 1;
    for size in &mut sizes {
        product *= *size;
        *size = product;
    }
    let bounds = |at: usize| sizes.iter().take_while(|&&size| at.is_multiple_of(size)).count();
    for (at, value) in values.enumerate() {
        separate(out, at);
        out.resize(out.len() + bounds(at), b'[');
        write(out, value);
        out.resize(out.len() + bounds(at + 1), b']');
    }
}

fn records(out: &mut Vec<u8>, frame: &Frame) {
    let mut columns = Vec::with_capacity(frame.columns().len());
    for column in frame.columns() {
        let mut key = Vec::new();
        plain(&mut key, column.values.name());
        key.extend(b": ");
        columns.push((
            key,
            Elements::of(&column.values),
            Texts::of(&column.values),
            &column.nulls,
        ));
    }
    out.push(b'[');
    for row in 0..frame.rows() {
        separate(out, row);
        out.push(b'{');
        for (at, (key, elements, texts, nulls)) in columns.iter_mut().enumerate() {
            separate(out, at);
            out.extend_from_slice(key);
            let is_null = nulls.as_ref().is_some_and(|nulls| nulls.get(row) == Some(&true));
            match elements.next() {
                Some(value) if !is_null => element(out, value, *texts),
                _ => out.extend(b"null"),
            }
        }
        out.push(b'}');
    }
    out.push(b']');
}
