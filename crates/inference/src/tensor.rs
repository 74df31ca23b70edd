//! One tensor, its elements packed as they travel.

use std::collections::HashSet;

use bytes::Bytes;
use lodeway_domain::{Error, Result, signature::DataType};

/// Up to so many tensors are compared one by one.
const FEW: usize = 8;

/// Errors: `INVALID_FIELD` at the first tensor of `list` whose name came before.
pub fn check_distinct(list: &str, tensors: &[Tensor]) -> Result<()> {
    let twice = if tensors.len() <= FEW {
        let before = |at: usize, name: &str| tensors.iter().take(at).any(|tensor| tensor.name() == name);
        let mut places = tensors.iter().enumerate();
        places.find_map(|(at, tensor)| before(at, tensor.name()).then_some(tensor))
    } else {
        let mut seen = HashSet::with_capacity(tensors.len());
        tensors.iter().find(|tensor| !seen.insert(tensor.name()))
    };
    match twice {
        Some(twice) => Err(Error::invalid(
            format!("{list}[\"{}\"]", twice.name()),
            "comes twice; send it once",
        )),
        None => Ok(()),
    }
}

/// A named tensor, row-major.
///
/// `data` is the raw form of the Open Inference Protocol, so that it passes from a gRPC message to a worker's frame
/// without a copy: little-endian elements one after the other; BOOL is one byte each, 0 or 1; BYTES has each element
/// led by its length as 4 little-endian bytes.
#[derive(Debug, Clone)]
pub struct Tensor {
    name: String,
    datatype: DataType,
    shape: Vec<i64>,
    data: Bytes,
    is_inferred: bool,
    is_json: bool,
    is_keyed: bool,
    is_numbered: bool,
}

/// The same name and elements, and the same meaning of them; where the datatype came from, and whether and how the name did,
/// is no part of the value.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        fn parts(of: &Tensor) -> (&str, DataType, &[i64], &[u8], bool) {
            (&of.name, of.datatype, &of.shape, &of.data, of.is_json)
        }
        parts(self) == parts(other)
    }
}

impl Eq for Tensor {}

impl Tensor {
    /// A tensor whose data fit its shape. Errors: `INVALID_FIELD` at `inputs["NAME"]…` for a negative dimension, a
    /// product that overflows, a length that is not the shape's, a BOOL that is neither 0 nor 1, a BYTES element that
    /// ends beyond the data.
    pub fn new(
        name: impl Into<String>,
        datatype: DataType,
        shape: Vec<i64>,
        data: impl Into<Bytes>,
    ) -> Result<Self> {
        let (name, data) = (name.into(), data.into());
        let elements = count(&name, &shape)?;
        let fault = |why: String| Error::invalid(format!("inputs[\"{name}\"]"), why);
        match datatype.element_bytes() {
            Some(size) => {
                let needed = elements
                    .checked_mul(size)
                    .ok_or_else(|| fault("has a shape whose product is beyond any tensor".to_owned()))?;
                if needed != data.len() {
                    return Err(fault(format!(
                        "holds {} bytes; {datatype} of shape {shape:?} takes {needed}",
                        data.len()
                    )));
                }
                if datatype == DataType::Bool && data.iter().any(|&byte| byte > 1) {
                    return Err(fault("is BOOL and holds bytes other than 0 and 1".to_owned()));
                }
            }
            None => {
                let found = byte_elements(&data).try_fold(0_usize, |n, element| element.map(|_| n + 1));
                match found {
                    Some(found) if found == elements => {}
                    Some(found) => {
                        return Err(fault(format!(
                            "holds {found} elements; shape {shape:?} takes {elements}"
                        )));
                    }
                    None => {
                        return Err(fault(
                            "is BYTES and an element's length points beyond the data".to_owned(),
                        ));
                    }
                }
            }
        }
        Ok(Self {
            name,
            datatype,
            shape,
            data,
            is_inferred: false,
            is_json: false,
            is_keyed: false,
            is_numbered: false,
        })
    }

    /// A tensor of texts, packed as BYTES. Errors: as [`Tensor::new`], and a text of 4 GiB or more.
    pub fn of_texts<T: AsRef<[u8]>>(
        name: impl Into<String>,
        shape: Vec<i64>,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self> {
        let name = name.into();
        let mut data = Vec::new();
        for text in texts {
            let text = text.as_ref();
            let length = u32::try_from(text.len()).map_err(|_| {
                Error::invalid(format!("inputs[\"{name}\"]"), "holds a text of 4 GiB or more")
            })?;
            data.extend_from_slice(&length.to_le_bytes());
            data.extend_from_slice(text);
        }
        Self::new(name, DataType::Bytes, shape, data)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its elements.
    pub fn datatype(&self) -> DataType {
        self.datatype
    }

    /// Whether nobody said that type: it is what the values of a document without types look like, which the model may
    /// read otherwise.
    pub fn is_inferred(&self) -> bool {
        self.is_inferred
    }

    /// The same tensor, whose type nobody said.
    #[must_use]
    pub fn inferred(self) -> Self {
        Self {
            is_inferred: true,
            ..self
        }
    }

    /// Whether each element of BYTES is the JSON text of a value, as in a column of lists or objects, and no text of its
    /// own.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// The same tensor, its elements JSON texts or not; only BYTES can be.
    #[must_use]
    pub fn with_json(self, is_json: bool) -> Self {
        let is_json = is_json && self.datatype == DataType::Bytes;
        Self { is_json, ..self }
    }

    /// Whether it came under its name where a document holds no other: as an object with one key, where the value alone has
    /// no name there. Models without a signature get such an input as an object too.
    pub fn is_keyed(&self) -> bool {
        self.is_keyed
    }

    /// The same tensor, given under its name or not.
    #[must_use]
    pub fn with_key(self, is_keyed: bool) -> Self {
        Self { is_keyed, ..self }
    }

    /// Whether its name is a number: that of a table's column which came without a name, or with a number for one. In Python
    /// `1` and `"1"` are two labels.
    pub fn is_numbered(&self) -> bool {
        self.is_numbered
    }

    /// The same tensor, its name a number or a text; a name that is no whole number stays a text, whoever says otherwise.
    #[must_use]
    pub fn with_number(self, is_numbered: bool) -> Self {
        let is_numbered = is_numbered && self.name.parse::<i128>().is_ok();
        Self { is_numbered, ..self }
    }

    /// Its dimensions, outermost first, none negative; empty for a scalar.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Its elements, packed.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// How many elements it holds.
    pub fn elements(&self) -> usize {
        count(&self.name, &self.shape).unwrap_or_default()
    }

    /// The outermost dimension, which is the number of rows of a batch; `None` for a scalar.
    pub fn rows(&self) -> Option<usize> {
        self.shape.first().and_then(|&rows| usize::try_from(rows).ok())
    }

    /// The elements of a BYTES tensor in order; empty for every other datatype.
    pub fn texts(&self) -> impl Iterator<Item = Bytes> + '_ {
        let data = match self.datatype {
            DataType::Bytes => self.data.clone(),
            _ => Bytes::new(),
        };
        let mut at = 0;
        std::iter::from_fn(move || {
            let range = element_at(&data, at)?;
            at = range.end;
            Some(data.slice(range))
        })
    }

    /// The same elements under another name.
    #[must_use]
    pub fn renamed(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// The same elements in another shape. Errors: `INVALID_FIELD` if the shapes differ in elements.
    pub fn reshaped(self, shape: Vec<i64>) -> Result<Self> {
        if count(&self.name, &shape)? == self.elements() {
            return Ok(Self { shape, ..self });
        }
        let why = format!("of shape {:?} cannot become {shape:?}", self.shape);
        Err(Error::invalid(format!("inputs[\"{}\"]", self.name), why))
    }

    /// Its parts.
    pub fn into_parts(self) -> (String, DataType, Vec<i64>, Bytes) {
        (self.name, self.datatype, self.shape, self.data)
    }
}

/// The number of elements of a shape. Errors: a negative dimension, a product beyond `usize`.
fn count(name: &str, shape: &[i64]) -> Result<usize> {
    let field = |at: usize| format!("inputs[\"{name}\"].shape[{at}]");
    let mut product = 1_usize;
    for (at, &size) in shape.iter().enumerate() {
        let size = usize::try_from(size).map_err(|_| Error::invalid(field(at), "must be at least 0"))?;
        product = product
            .checked_mul(size)
            .ok_or_else(|| Error::invalid(field(at), "makes a shape beyond any tensor"))?;
    }
    Ok(product)
}

/// The elements of packed BYTES; `None` once where an element ends beyond the data, and then nothing more.
fn byte_elements(data: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let start = at?;
        if start == data.len() {
            return None;
        }
        let range = element_at(data, start);
        at = range.as_ref().map(|range| range.end);
        Some(range.and_then(|range| data.get(range)))
    })
}

/// Where the element is whose length stands at `at`.
fn element_at(data: &[u8], at: usize) -> Option<std::ops::Range<usize>> {
    let length = data.get(at..)?.first_chunk::<4>()?;
    let start = at + 4;
    let end = start.checked_add(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    (end <= data.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_holds_what_its_shape_says() {
        let tensor = Tensor::new("x", DataType::Fp32, vec![1, 2], vec![0; 8]).unwrap();
        assert_eq!((tensor.elements(), tensor.rows()), (2, Some(1)));
        for (datatype, shape, bytes) in [
            (DataType::Fp32, vec![1, 2], 7),
            (DataType::Fp32, vec![-1, 2], 8),
            (DataType::Fp64, vec![i64::MAX, i64::MAX], 8),
            (DataType::Bytes, vec![1], 3),
        ] {
            let refused = Tensor::new("x", datatype, shape.clone(), vec![0; bytes]).unwrap_err();
            assert!(
                refused.to_string().contains("inputs[\"x\"]"),
                "{shape:?}: {refused}"
            );
        }
        assert!(Tensor::new("x", DataType::Bool, vec![1], vec![2]).is_err());
        let inferred = tensor.clone().inferred().renamed("y").reshaped(vec![2]).unwrap();
        assert!(inferred.is_inferred() && !tensor.is_inferred());
    }

    #[test]
    fn only_numbers_are_numbered() {
        for (name, is_number) in [
            ("0", true),
            ("-7", true),
            ("x", false),
            ("", false),
            ("1.5", false),
        ] {
            let tensor = Tensor::new(name, DataType::Fp32, vec![0], vec![]).unwrap();
            assert_eq!(tensor.with_number(true).is_numbered(), is_number, "{name}");
        }
    }

    #[test]
    fn texts_come_back() {
        let texts = ["", "a", "größer"];
        let tensor = Tensor::of_texts("x", vec![3], texts).unwrap();
        let back: Vec<_> = tensor.texts().map(|text| text.to_vec()).collect();
        assert_eq!(back, texts.map(|text| text.as_bytes().to_vec()));
        let lying = Tensor::new("x", DataType::Bytes, vec![1], vec![255, 255, 255, 255, 1]);
        assert!(lying.is_err());
    }
}
