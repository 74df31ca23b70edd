//! XGBoost and LightGBM models, scored in this process without their libraries.
//!
//! Only what is scored exactly as the library does it: boosters as they are, and XGBoost's scikit-learn classes, whose
//! answers follow from the booster's. Categorical features, other classes and what the reader does not know go to Python.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use lodeway_domain::{
    Error, Result,
    signature::{DataType, ModelFile},
};
use lodeway_inference::{Payload, Tensor};
use lodeway_trees::{Kind, Matrix, Scores, TreeError, TreeModel};
use serde_json::{Map, Value};

use super::{Call, Runtime, TensorSpec, missing, not_loadable};

/// Above this many cells, or this many walks from the root of a tree to a leaf, a batch is scored on a thread for blocking
/// work.
const INLINE_CELLS: usize = 16 << 10;
const INLINE_WALKS: usize = 64 << 10;
/// What the answer is called, as Python models' answers are.
const OUTPUT: &str = "predictions";

/// What the model's class makes of a booster's scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The scores themselves.
    Scores,
    /// The place of the largest, or of two whether it is above one half.
    Label,
}

/// A loaded tree model.
pub(super) struct Trees {
    model: std::sync::Arc<TreeModel>,
    class: Class,
    /// Which rounds of boosting count.
    rounds: std::ops::Range<usize>,
    /// Whether its own library refuses values that are infinite in 32 bits, as a plain booster's does.
    refuses_infinite: bool,
    platform: &'static str,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    file_bytes: u64,
}

impl Trees {
    /// Reads the model in `folder`; none if it is no tree model that is scored here.
    pub(super) async fn load(folder: &Path, file: &ModelFile) -> Result<Option<Self>> {
        let flavor = |name: &str| file.flavors.get(name);
        let text = |flavor: &Map<String, Value>, key: &str| {
            flavor
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        if let Some(xgboost) = flavor("xgboost") {
            // Only the scikit-learn classes stop by themselves where early stopping saw the best score, and only they score
            // tables in place, without the checks of a `DMatrix`.
            let (class, stops_at_best) = match text(xgboost, "model_class").rsplit('.').next() {
                Some("Booster") => (Class::Scores, false),
                Some("XGBRegressor" | "XGBRFRegressor") => (Class::Scores, true),
                Some("XGBClassifier" | "XGBRFClassifier") => (Class::Label, true),
                _ => return Ok(None),
            };
            let name = text(xgboost, "data");
            let bytes = read(folder, &name).await?;
            let read = match name.rsplit('.').next() {
                Some("ubj") => TreeModel::from_xgboost_ubjson(&bytes),
                Some("json") => TreeModel::from_xgboost_json(&bytes),
                _ => return Ok(None),
            };
            let TreeModel::XgBoost(model) = read.map_err(refused)? else {
                return Ok(None);
            };
            if model.feature_types().iter().any(|kind| kind == "c") {
                return Ok(None);
            }
            let best = model.best_iteration().filter(|_| stops_at_best);
            let rounds = best.map(|best| best + 1);
            let model = TreeModel::XgBoost(model);
            let trees = Self::new(model, class, rounds, "xgboost", bytes.len());
            return Ok(trees.map(|trees| Self {
                refuses_infinite: !stops_at_best,
                ..trees
            }));
        }
        if let Some(lightgbm) = flavor("lightgbm") {
            let name = text(lightgbm, "data");
            if !name.ends_with(".lgb") && !name.ends_with(".txt") {
                return Ok(None);
            }
            let bytes = read(folder, &name).await?;
            let Ok(content) = std::str::from_utf8(&bytes) else {
                return Ok(None);
            };
            let TreeModel::LightGbm(model) = TreeModel::from_lightgbm_text(content).map_err(refused)? else {
                return Ok(None);
            };
            let has_categories = (0..model.features()).any(|feature| model.categories(feature).is_some());
            if has_categories || !model.pandas_categories().is_empty() {
                return Ok(None);
            }
            let model = TreeModel::LightGbm(model);
            return Ok(Self::new(model, Class::Scores, None, "lightgbm", bytes.len()));
        }
        Ok(None)
    }

    /// Of `rounds` of boosting, or of all.
    fn new(
        model: TreeModel,
        class: Class,
        rounds: Option<usize>,
        platform: &'static str,
        size: usize,
    ) -> Option<Self> {
        let width = i64::try_from(model.features()).ok()?;
        let outputs = i64::try_from(model.outputs(Kind::Value)).ok()?;
        let (datatype, shape) = match (class, platform) {
            (Class::Label, _) => (DataType::Int64, vec![-1]),
            (Class::Scores, "xgboost") => (DataType::Fp32, shape(-1, outputs)),
            (Class::Scores, _) => (DataType::Fp64, shape(-1, outputs)),
        };
        Some(Self {
            rounds: 0..rounds.unwrap_or(usize::MAX).min(model.iterations()),
            model: std::sync::Arc::new(model),
            class,
            refuses_infinite: false,
            platform,
            inputs: vec![TensorSpec {
                name: "input".to_owned(),
                datatype: DataType::Fp64,
                shape: vec![-1, width],
                is_json: false,
            }],
            outputs: vec![TensorSpec {
                name: OUTPUT.to_owned(),
                datatype,
                shape,
                is_json: false,
            }],
            file_bytes: size as u64,
        })
    }
}

fn shape(rows: i64, outputs: i64) -> Vec<i64> {
    if outputs == 1 {
        vec![rows]
    } else {
        vec![rows, outputs]
    }
}

async fn read(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let inside =
        std::fs::canonicalize(&path).is_ok_and(|p| p.starts_with(folder.canonicalize().unwrap_or_default()));
    if !inside {
        return Err(not_loadable(format!("its data `{name}` is not in its folder")));
    }
    tokio::fs::read(path)
        .await
        .map_err(|e| not_loadable(format!("`{name}` cannot be read: {e}")))
}

/// Why a file was not read: what its own library can score is left to that, in Python.
fn refused(error: TreeError) -> Error {
    match error {
        TreeError::Unsupported { .. } => missing(format!("this model is not scored natively: {error}")),
        _ => not_loadable(format!("the model does not read: {error}")),
    }
}

#[async_trait]
impl Runtime for Trees {
    fn platform(&self) -> &'static str {
        self.platform
    }

    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn column_names(&self) -> &[String] {
        match &*self.model {
            TreeModel::XgBoost(model) => model.feature_names(),
            // LightGBM goes by places.
            TreeModel::LightGbm(_) => &[],
        }
    }

    fn memory_bytes(&self) -> u64 {
        self.file_bytes * 2
    }

    fn parallel(&self) -> usize {
        super::processors()
    }

    fn reads_frames(&self) -> bool {
        false
    }

    fn is_row_independent(&self) -> bool {
        true
    }

    async fn infer(&self, call: Call) -> Result<Payload> {
        let Payload::Tensors(tensors) = call.payload else {
            return Err(Error::invalid("inputs", "this model takes tensors"));
        };
        let tensor = tensors
            .into_iter()
            .next()
            .ok_or_else(|| Error::invalid("inputs", "is empty"))?;
        if self.refuses_infinite {
            check_finite(&tensor, self.model.features())?;
        }
        let (model, class, rounds) = (self.model.clone(), self.class, self.rounds.clone());
        let trees = rounds.len().saturating_mul(model.outputs(Kind::Value));
        let walks = trees.saturating_mul(tensor.rows().unwrap_or(1));
        if tensor.elements() <= INLINE_CELLS && walks <= INLINE_WALKS {
            return score(&model, class, rounds, &tensor);
        }
        tokio::task::spawn_blocking(move || score(&model, class, rounds, &tensor))
            .await
            .map_err(Error::internal)?
    }
}

/// Errors: `INVALID_FIELD` at the first value that is infinite once it has the 32 bits that are computed with.
fn check_finite(tensor: &Tensor, width: usize) -> Result<()> {
    let (chunks, _) = tensor.data().as_chunks::<8>();
    let mut cells = chunks.iter().map(|chunk| f64::from_le_bytes(*chunk));
    match cells.position(|cell| (cell as f32).is_infinite()) {
        Some(at) => {
            let width = width.max(1);
            let why = format!(
                "holds an infinite value, or one too large for 32 bits, in row {}, column {}; XGBoost takes none",
                at / width,
                at % width
            );
            Err(Error::invalid("inputs", why))
        }
        None => Ok(()),
    }
}

fn score(
    model: &TreeModel,
    class: Class,
    rounds: std::ops::Range<usize>,
    tensor: &Tensor,
) -> Result<Payload> {
    let (chunks, _) = tensor.data().as_chunks::<8>();
    let cells: Vec<f64> = chunks.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect();
    let fault = |e: lodeway_trees::TreeError| Error::invalid("inputs", e.to_string());
    let matrix = Matrix::from_f64(&cells, model.features()).map_err(fault)?;
    let scores = model
        .predict_iterations(&matrix, Kind::Value, rounds)
        .map_err(fault)?;
    let rows = i64::try_from(matrix.rows()).unwrap_or(i64::MAX);
    let outputs = i64::try_from(model.outputs(Kind::Value)).unwrap_or(1);
    let answer = match (class, scores) {
        (Class::Label, scores) => {
            let width = usize::try_from(outputs).unwrap_or(1).max(1);
            let labels = scores
                .to_f64()
                .chunks(width)
                .flat_map(|row| label(row).to_le_bytes())
                .collect::<Vec<_>>();
            Tensor::new(OUTPUT, DataType::Int64, vec![rows], labels)?
        }
        (Class::Scores, Scores::F32(scores)) => {
            let packed: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
            Tensor::new(OUTPUT, DataType::Fp32, shape(rows, outputs), Bytes::from(packed))?
        }
        (Class::Scores, Scores::F64(scores)) => {
            let packed: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
            Tensor::new(OUTPUT, DataType::Fp64, shape(rows, outputs), Bytes::from(packed))?
        }
    };
    Ok(Payload::Tensors(vec![answer]))
}

/// The class of one row of scores: the first of the largest, as numpy's `argmax`; of one score whether it is above 0.5,
/// or the score itself where the objective gives classes (`multi:softmax`).
fn label(row: &[f64]) -> i64 {
    match row {
        [one] if *one > 1.0 => *one as i64,
        [one] => i64::from(*one > 0.5),
        many => {
            let best = many
                .iter()
                .enumerate()
                .fold((0, f64::NEG_INFINITY), |best, (at, &score)| {
                    if score > best.1 { (at, score) } else { best }
                });
            i64::try_from(best.0).unwrap_or(i64::MAX)
        }
    }
}
