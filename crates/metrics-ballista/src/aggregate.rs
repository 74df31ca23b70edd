//! The aggregate functions: rows into states, states into one.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray},
        datatypes::DataType,
    },
    common::ScalarValue,
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility,
        function::AccumulatorArgs,
    },
    physical_expr::expressions::Literal,
};
use lodeway_metrics::{
    ClassificationBatch, ClassificationSpec, ClassificationState, ProbabilityClasses, RegressionState, State,
};

use crate::{
    columns::{Kind, Labels, numbers, probabilities},
    error::{engine, invalid},
    settings::{self, ClassificationSettings, Columns, RegressionSettings},
};

/// `classification_state(target, prediction [, probability [, weight [, settings]]])` gives bytes.
///
/// `prediction`, `probability` and `weight` may be the literal `NULL` for none, but one of the first two is needed.
/// `probability` is a number, that of the positive class, or a list with one for each class. `settings` is a literal: the
/// JSON of [`ClassificationSettings`]. Of no rows it is `NULL`.
pub const CLASSIFICATION_STATE: &str = "classification_state";

/// `regression_state(target, prediction [, weight [, settings]])` gives bytes; `settings` is the JSON of
/// [`RegressionSettings`].
pub const REGRESSION_STATE: &str = "regression_state";

/// Both functions, to be registered wherever plans are made or run.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    let of = |function| Arc::new(AggregateUDF::from(StateFunction::new(function)));
    vec![of(Function::Classification), of(Function::Regression)]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Classification,
    Regression,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct StateFunction {
    function: Function,
    signature: Signature,
}

impl StateFunction {
    fn new(function: Function) -> Self {
        let most = match function {
            Function::Classification => 5,
            Function::Regression => 4,
        };
        let arities = (2..=most).map(TypeSignature::Any).collect();
        Self {
            function,
            signature: Signature::one_of(arities, Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for StateFunction {
    fn name(&self) -> &str {
        match self.function {
            Function::Classification => CLASSIFICATION_STATE,
            Function::Regression => REGRESSION_STATE,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(invalid(self.name(), "counts every row; leave DISTINCT out"));
        }
        let accumulator = match self.function {
            Function::Classification => of_classifier(&args)?,
            Function::Regression => of_numbers(&args)?,
        };
        Ok(Box::new(accumulator))
    }
}

/// Where the arguments of a call stand, and what they are.
#[derive(Debug, Clone, Copy)]
enum Reader {
    Classification {
        target: Kind,
        prediction: Option<Kind>,
        /// How many probabilities a row has.
        width: Option<usize>,
        has_weights: bool,
    },
    Regression {
        has_weights: bool,
    },
}

fn of_classifier(args: &AccumulatorArgs) -> Result<StateAccumulator> {
    let types = types(args);
    let kind = |name: &str, place: usize| types(place).map(|found| Kind::of(name, found)).transpose();
    let Some(target) = kind("target", 0)? else {
        return Err(invalid("target", "is missing"));
    };
    let prediction = kind("prediction", 1)?;
    let columns = types(2).map(|found| match found {
        DataType::FixedSizeList(..) | DataType::List(_) | DataType::LargeList(_) => Columns::Each,
        _ => Columns::One,
    });
    let told: ClassificationSettings = settings::parse(literal(args, 4)?)?;
    let spec = told.spec(target.beside(prediction), columns)?;
    let width = spec.probabilities.as_ref().map(width_of);
    let reader = Reader::Classification {
        target: target.beside(prediction),
        prediction: prediction.map(|kind| kind.beside(Some(target))),
        width,
        has_weights: types(3).is_some(),
    };
    let state = ClassificationState::new(spec).map_err(engine)?;
    Ok(StateAccumulator::new(
        State::Classification(Box::new(state)),
        reader,
    ))
}

fn of_numbers(args: &AccumulatorArgs) -> Result<StateAccumulator> {
    let types = types(args);
    for (name, place) in [("target", 0), ("prediction", 1)] {
        if types(place).is_none() {
            return Err(invalid(name, "is missing"));
        }
    }
    let told: RegressionSettings = settings::parse(literal(args, 3)?)?;
    let state = RegressionState::new(told.spec()).map_err(engine)?;
    let reader = Reader::Regression {
        has_weights: types(2).is_some(),
    };
    Ok(StateAccumulator::new(State::Regression(Box::new(state)), reader))
}

/// The type of an argument; none if it is not there or the literal `NULL`.
fn types<'a>(args: &AccumulatorArgs<'a>) -> impl Fn(usize) -> Option<&'a DataType> + use<'a> {
    let fields = args.expr_fields;
    move |place| {
        let found = fields.get(place)?.data_type();
        (*found != DataType::Null).then_some(found)
    }
}

/// A text that has to be the same for all rows.
fn literal<'a>(args: &AccumulatorArgs<'a>, place: usize) -> Result<Option<&'a str>> {
    let Some(given) = args.exprs.get(place) else {
        return Ok(None);
    };
    let value = given.downcast_ref::<Literal>().map(Literal::value);
    match value {
        Some(value) if value.is_null() => Ok(None),
        Some(value) => match value.try_as_str() {
            Some(text) => Ok(text),
            None => Err(invalid("settings", "are no text")),
        },
        None => Err(invalid(
            "settings",
            "are no literal, and have to be the same for all rows",
        )),
    }
}

fn width_of(classes: &ProbabilityClasses) -> usize {
    match classes {
        ProbabilityClasses::Binary { .. } => 1,
        ProbabilityClasses::PerClass(labels) => labels.len(),
    }
}

/// A state that takes batches of rows, and bytes of other states.
struct StateAccumulator {
    state: State,
    reader: Reader,
    /// Bytes that scores or errors take, for the engine's account of memory.
    held: usize,
}

impl fmt::Debug for StateAccumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateAccumulator")
            .field("reader", &self.reader)
            .field("rows", &self.state.rows())
            .finish_non_exhaustive()
    }
}

impl StateAccumulator {
    fn new(state: State, reader: Reader) -> Self {
        Self {
            state,
            reader,
            held: 0,
        }
    }

    fn bytes(&self) -> ScalarValue {
        ScalarValue::Binary((self.state.rows() > 0).then(|| self.state.encode()))
    }
}

impl Accumulator for StateAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [target, prediction, ..] = values else {
            return Err(invalid("target", "and prediction are needed"));
        };
        if target.is_empty() {
            return Ok(());
        }
        let rows = target.len();
        match (&mut self.state, self.reader) {
            (
                State::Classification(state),
                Reader::Classification {
                    target: target_kind,
                    prediction: prediction_kind,
                    width,
                    has_weights,
                },
            ) => {
                let target = Labels::of("target", target, target_kind)?;
                let prediction = prediction_kind.map(|kind| Labels::of("prediction", prediction, kind));
                let prediction = prediction.transpose()?;
                let probability = match (width, values.get(2)) {
                    (Some(width), Some(values)) => Some(probabilities("probability", values, width)?),
                    _ => None,
                };
                let weights = weights(values.get(3), has_weights)?;
                let target_texts = target.texts();
                let prediction_texts = prediction.as_ref().map(Labels::texts).unwrap_or_default();
                let batch = ClassificationBatch {
                    target: target.column(&target_texts),
                    prediction: prediction.as_ref().map(|labels| labels.column(&prediction_texts)),
                    probability: probability.as_ref().map(|values| &**values.values()),
                    weights: weights.as_ref().map(|values| &**values.values()),
                };
                state.update(&batch).map_err(engine)?;
                let numbers = width.unwrap_or(0) + usize::from(width.is_some() && has_weights);
                self.held += rows * numbers * size_of::<f64>();
            }
            (State::Regression(state), Reader::Regression { has_weights }) => {
                let target = numbers("target", target)?;
                let prediction = numbers("prediction", prediction)?;
                let weights = weights(values.get(2), has_weights)?;
                let weights = weights.as_ref().map(|values| &**values.values());
                state
                    .update(target.values(), prediction.values(), weights)
                    .map_err(engine)?;
                self.held += rows * (1 + usize::from(has_weights)) * size_of::<f64>();
            }
            _ => return Err(invalid("state", "is of another task")),
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(states) = states.first().and_then(|array| array.as_binary_opt::<i32>()) else {
            return Err(invalid("state", "is not bytes"));
        };
        for bytes in states.iter().flatten() {
            let other = State::decode(bytes).map_err(engine)?;
            self.state.merge(&other).map_err(engine)?;
            self.held += bytes.len();
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.bytes()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.bytes())
    }

    fn size(&self) -> usize {
        // The sums of a state are a few hundred bytes a class; what grows with rows is counted.
        size_of_val(self) + size_of::<ClassificationSpec>() + self.held
    }
}

fn weights(
    values: Option<&ArrayRef>,
    is_given: bool,
) -> Result<Option<datafusion::arrow::array::Float64Array>> {
    match values {
        Some(values) if is_given => numbers("weight", values).map(Some),
        _ => Ok(None),
    }
}
