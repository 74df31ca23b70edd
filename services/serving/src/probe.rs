//! The stored input example at load: it warms the model up, and says whether rows may share a batch.

use std::{path::Path, time::Instant};

use bytes::Bytes;
use lodeway_domain::{
    Result,
    signature::{DataType, ModelSignature},
};
use lodeway_inference::{Column, Document, Frame, Params, Payload, Tensor, rows, scoring};

use crate::runtime::{Call, Runtime};

/// Rows of the example that the probe looks at.
const ROWS: usize = 8;
/// What may be read of a file with an example.
const MAX_EXAMPLE_BYTES: u64 = 16 << 20;
/// The example as a scoring document.
const FILE: &str = "serving_input_example.json";

/// The example that was saved with the model, as an input; none if there is none that reads.
pub(crate) async fn example(folder: &Path, signature: Option<&ModelSignature>) -> Option<(Payload, Params)> {
    let path = folder.join(FILE);
    let size = tokio::fs::metadata(&path).await.ok()?.len();
    if size > MAX_EXAMPLE_BYTES {
        return None;
    }
    let document = Document {
        content_type: "application/json".to_owned(),
        body: Bytes::from(tokio::fs::read(&path).await.ok()?),
    };
    match scoring::parse(&document, signature) {
        Ok(scoring::Parsed::Input(input)) => Some((input.payload, input.params)),
        _ => Some((Payload::Document(document), Params::new())),
    }
}

/// Whether each row's answer depends on that row alone, as far as the example can tell: rows singly, together and in
/// another order must give the same answers to the last bit.
///
/// An example of one row is joined by one made of it with other numbers. Whatever fails here says no: that is always
/// right, only slower.
pub(crate) async fn is_row_independent(
    runtime: &dyn Runtime,
    (payload, params): &(Payload, Params),
    deadline: Instant,
) -> bool {
    let look = async {
        let single = singles(payload)?;
        let infer = |payload: Payload| {
            let call = Call {
                payload,
                params: params.clone(),
                deadline,
                trace: "batching probe".into(),
            };
            async move { runtime.infer(call).await.ok() }
        };
        let mut alone = Vec::with_capacity(single.len());
        for row in &single {
            alone.push(infer(row.clone()).await?);
        }
        let ones = vec![1; single.len()];
        let together = infer(rows::concat_rows(&single.iter().collect::<Vec<_>>()).ok()?).await?;
        let backwards = infer(rows::concat_rows(&single.iter().rev().collect::<Vec<_>>()).ok()?).await?;
        let together = rows::split_rows(&together, &ones).ok()?;
        let mut backwards = rows::split_rows(&backwards, &ones).ok()?;
        backwards.reverse();
        Some(together == alone && backwards == alone)
    };
    look.await.unwrap_or(false)
}

/// At least two rows, each an input of its own.
fn singles(payload: &Payload) -> Option<Vec<Payload>> {
    let count = payload.rows()?;
    match count {
        0 => None,
        1 => Some(vec![payload.clone(), varied(payload).ok()?]),
        many => {
            let mut found = rows::split_rows(payload, &vec![1; many]).ok()?;
            found.truncate(ROWS);
            Some(found)
        }
    }
}

/// The same input with other numbers.
fn varied(payload: &Payload) -> Result<Payload> {
    Ok(match payload {
        Payload::Tensors(tensors) => Payload::Tensors(tensors.iter().map(other).collect::<Result<_>>()?),
        Payload::Frame(frame) => {
            let columns = frame.columns().iter().map(|column| {
                Ok(Column {
                    values: other(&column.values)?,
                    nulls: column.nulls.clone(),
                })
            });
            Payload::Frame(Frame::new(columns.collect::<Result<_>>()?)?)
        }
        Payload::Document(document) => Payload::Document(document.clone()),
    })
}

fn other(tensor: &Tensor) -> Result<Tensor> {
    let data = tensor.data();
    let bytes: Bytes = match tensor.datatype() {
        DataType::Fp64 => {
            let (chunks, _) = data.as_chunks::<8>();
            chunks
                .iter()
                .flat_map(|c| (f64::from_le_bytes(*c).mul_add(1.5, 1.0)).to_le_bytes())
                .collect()
        }
        DataType::Fp32 => {
            let (chunks, _) = data.as_chunks::<4>();
            chunks
                .iter()
                .flat_map(|c| (f32::from_le_bytes(*c).mul_add(1.5, 1.0)).to_le_bytes())
                .collect()
        }
        DataType::Int64 => {
            let (chunks, _) = data.as_chunks::<8>();
            chunks
                .iter()
                .flat_map(|c| i64::from_le_bytes(*c).wrapping_add(1).to_le_bytes())
                .collect()
        }
        _ => data.clone(),
    };
    Tensor::new(tensor.name(), tensor.datatype(), tensor.shape().to_vec(), bytes)
}
