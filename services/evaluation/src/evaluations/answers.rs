//! What a target answered, as columns: one of predictions, and those of probabilities.

use lodeway_domain::{
    Error, Result,
    evaluation::{ColumnRoles, Usage},
};
use lodeway_inference::{Document, Payload, Tensor};
use lodeway_tables::{Batch, Column, Texts, Type, Values};
use serde_json::Value;

/// The column of predictions in a part.
pub(crate) const PREDICTION: &str = "prediction";
/// What the column of predictions of an LLM is called beside the rows.
pub(super) const ANSWER: &str = "answer";
/// What the names of probability columns of a part begin with; the class follows.
pub(crate) const PROBABILITY: &str = "probability:";
/// Names under which models commonly give the class or the number itself.
const LABELS: [&str; 6] = [
    "prediction",
    "predictions",
    "output_label",
    "label",
    "variable",
    "output",
];
/// Names under which models commonly give probabilities.
const PROBABILITIES: [&str; 3] = ["probabilities", "probability", "output_probability"];

/// What was answered about some rows, one value a row in each column.
pub(super) struct Answer {
    /// The prediction, and probabilities if there are any.
    pub(super) columns: Vec<Column>,
    /// The id under which the gateway knows it; empty for a model.
    pub(super) prediction_id: String,
    /// What it cost.
    pub(super) usage: Usage,
}

/// Columns of one output: one of them, or those of a matrix.
pub(super) struct Output {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// What the columns of a matrix are called, where each row came as an object.
    keys: Vec<String>,
}

impl Output {
    fn of_column(column: Column) -> Self {
        Self {
            name: column.name().to_owned(),
            columns: vec![column],
            keys: Vec::new(),
        }
    }

    /// Objects of numbers, each with the same keys, as a matrix; none if they are others.
    fn of_objects(name: &str, rows: &[Value]) -> Result<Option<Self>> {
        let Some(first) = rows
            .first()
            .and_then(Value::as_object)
            .filter(|row| row.len() > 1)
        else {
            return Ok(None);
        };
        let is_like = |row: &Value| {
            row.as_object().is_some_and(|row| {
                row.len() == first.len()
                    && row
                        .iter()
                        .all(|(key, n)| n.is_number() && first.contains_key(key))
            })
        };
        if !rows.iter().all(is_like) {
            return Ok(None);
        }
        let column = |key: &String| {
            let numbers = rows
                .iter()
                .map(|row| row.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN));
            Column::new(
                format!("{name}:{key}"),
                Type::Float64,
                Values::Double(numbers.collect()),
                None,
            )
        };
        let columns = first.keys().map(column).collect::<Result<_, _>>();
        Ok(Some(Self {
            name: name.to_owned(),
            columns: columns.map_err(|e| refused(e.to_string()))?,
            keys: first.keys().cloned().collect(),
        }))
    }

    fn is_matrix(&self) -> bool {
        self.columns.len() > 1
    }
}

/// The prediction and, where there are any, probabilities, one a row.
///
/// Which output is the prediction: the one that the role names; else one with a usual name; else the only single column;
/// else, where there is only a matrix, the class of its greatest number, and the matrix are the probabilities of the
/// classes. Those are 0, 1, …, or what the keys say where a row is an object of numbers, as a classifier in ONNX gives them.
/// Errors: what is said in words: another number of rows, no output that could be meant.
pub(crate) fn columns(payload: &Payload, roles: &ColumnRoles, rows: usize) -> Result<Vec<Column>> {
    let outputs = outputs(payload)?;
    for output in &outputs {
        if let Some(column) = output.columns.iter().find(|column| column.len() != rows) {
            let (name, found) = (&output.name, column.len());
            return Err(refused(format!(
                "gave {found} values of `{name}` for {rows} rows"
            )));
        }
    }
    let mut found = Vec::new();
    let single: Vec<_> = outputs.iter().filter(|output| !output.is_matrix()).collect();
    let named = |name: &str| single.iter().find(|output| output.name == name).copied();
    let asked = roles.prediction.as_deref().and_then(named);
    let label = asked.or_else(|| LABELS.iter().find_map(|name| named(name)));
    let label = label.or(match single.as_slice() {
        [only] => Some(*only),
        _ => None,
    });
    let matrix = outputs
        .iter()
        .find(|output| output.is_matrix() && PROBABILITIES.contains(&output.name.as_str()))
        .or_else(|| outputs.iter().find(|output| output.is_matrix()));
    match (label, matrix) {
        (Some(label), _) => {
            if let Some(column) = label.columns.first() {
                found.push(renamed(column, PREDICTION)?);
            }
        }
        (None, Some(matrix)) => found.push(greatest(matrix)?),
        (None, None) => {
            let names: Vec<_> = outputs
                .iter()
                .map(|output| format!("`{}`", output.name))
                .collect();
            let names = names.join(", ");
            return Err(refused(format!(
                "gave {names}, and none of them is known to be the prediction; name it in `roles.prediction`"
            )));
        }
    }
    if roles.probabilities.is_empty() {
        // Which class a place means is only known where the answer says so, or the classes are the places themselves.
        match (label, matrix) {
            (_, Some(Output { columns, .. })) if columns.len() == 2 => {
                let positive = columns.last().map(|column| renamed(column, PROBABILITY));
                found.extend(positive.transpose()?);
            }
            (_, Some(Output { columns, keys, .. })) if !keys.is_empty() => {
                for (column, class) in columns.iter().zip(keys) {
                    found.push(renamed(column, &format!("{PROBABILITY}{class}"))?);
                }
            }
            (None, Some(Output { columns, .. })) => {
                for (class, column) in columns.iter().enumerate() {
                    found.push(renamed(column, &format!("{PROBABILITY}{class}"))?);
                }
            }
            _ => {}
        }
        return Ok(found);
    }
    for role in &roles.probabilities {
        let column = probability(&outputs, &role.column);
        let column =
            column.ok_or_else(|| refused(format!("gives no `{}` for a probability", role.column)))?;
        found.push(renamed(column, &format!("{PROBABILITY}{}", role.class))?);
    }
    Ok(found)
}

/// `NAME`, or `NAME:2` for a column of a matrix, or `NAME:KEY` where its columns have names.
fn probability<'a>(outputs: &'a [Output], name: &str) -> Option<&'a Column> {
    let find = |name: &str| outputs.iter().find(|output| output.name == name);
    if let Some(output) = find(name).filter(|output| !output.is_matrix()) {
        return output.columns.first();
    }
    let (name, place) = name.rsplit_once(':')?;
    let output = find(name)?;
    let named = output.keys.iter().position(|key| key == place);
    output.columns.get(named.or_else(|| place.parse().ok())?)
}

fn refused(why: String) -> Error {
    Error::invalid("outputs", why)
}

fn renamed(column: &Column, name: &str) -> Result<Column> {
    let (_, dtype, values, nulls) = column.clone().into_parts();
    Column::new(name, dtype, values, nulls).map_err(|e| refused(e.to_string()))
}

/// The class of the greatest number of each row: its place, or its key where the columns have any.
fn greatest(matrix: &Output) -> Result<Column> {
    let rows = matrix.columns.first().map_or(0, Column::len);
    let place = |row: usize| {
        let (mut best, mut greatest) = (0, f64::NEG_INFINITY);
        for (class, column) in matrix.columns.iter().enumerate() {
            let number = number(column, row);
            if number > greatest {
                (best, greatest) = (class, number);
            }
        }
        best
    };
    let places = (0..rows).map(place);
    let (dtype, values) = if matrix.keys.is_empty() {
        let places = places.map(|place| i64::try_from(place).unwrap_or(i64::MAX));
        (Type::Int64, Values::Int(places.collect()))
    } else {
        let keys = places.map(|place| matrix.keys.get(place).map_or("", String::as_str));
        (Type::Text, Values::Text(keys.collect()))
    };
    Column::new(PREDICTION, dtype, values, None).map_err(|e| refused(e.to_string()))
}

/// A value as a number; NaN where it is none.
pub(super) fn number(column: &Column, row: usize) -> f64 {
    match column.value(row) {
        lodeway_tables::Value::Int(n) => n as f64,
        lodeway_tables::Value::Uint(n) => n as f64,
        lodeway_tables::Value::Single(n) => n.into(),
        lodeway_tables::Value::Double(n) => n,
        lodeway_tables::Value::Bool(b) => f64::from(u8::from(b)),
        _ => f64::NAN,
    }
}

/// Every output, its columns as long as they came.
pub(super) fn outputs(payload: &Payload) -> Result<Vec<Output>> {
    match payload {
        Payload::Frame(frame) => {
            let batch = Batch::from_frame(frame).map_err(|e| refused(e.to_string()))?;
            let columns = batch.into_columns().into_iter().zip(frame.columns());
            let one = |(column, came): (Column, &lodeway_inference::Column)| {
                Ok(match of_json(&came.values)? {
                    Some(output) => output,
                    None => Output::of_column(column),
                })
            };
            columns.map(one).collect()
        }
        Payload::Tensors(tensors) => tensors.iter().map(of_tensor).collect(),
        Payload::Document(document) => of_document(document),
    }
}

/// The matrix of a tensor of JSON texts that are objects of numbers; none of any other.
fn of_json(tensor: &Tensor) -> Result<Option<Output>> {
    if !tensor.is_json() {
        return Ok(None);
    }
    let rows: Result<Vec<Value>, _> = tensor.texts().map(|text| serde_json::from_slice(&text)).collect();
    match rows {
        Ok(rows) => Output::of_objects(tensor.name(), &rows),
        Err(_) => Ok(None),
    }
}

/// A tensor `[rows]` or `[rows, 1]` is a column, one `[rows, k]` a matrix.
fn of_tensor(tensor: &Tensor) -> Result<Output> {
    if let Some(output) = of_json(tensor)? {
        return Ok(output);
    }
    let name = tensor.name().to_owned();
    let (rows, width) = match tensor.shape() {
        [rows] | [rows, 1] => (*rows, 1),
        [rows, width] => (*rows, *width),
        shape => {
            return Err(refused(format!(
                "gave `{name}` of the shape {shape:?}, which is no table"
            )));
        }
    };
    let flat = tensor.clone().reshaped(vec![rows.saturating_mul(width)])?;
    let flat = lodeway_inference::Frame::new(vec![lodeway_inference::Column::new(flat)])?;
    let flat = Batch::from_frame(&flat).map_err(|e| refused(e.to_string()))?;
    let all = flat.into_columns().into_iter().next();
    let all = all.ok_or_else(|| refused(format!("gave `{name}` without values")))?;
    let width = usize::try_from(width).unwrap_or(1).max(1);
    if width == 1 {
        return Ok(Output::of_column(all));
    }
    let numbers: Vec<f64> = (0..all.len()).map(|row| number(&all, row)).collect();
    let column = |place: usize| {
        let values = numbers.iter().skip(place).step_by(width).copied().collect();
        Column::new(
            format!("{name}:{place}"),
            Type::Float64,
            Values::Double(values),
            None,
        )
    };
    let columns = (0..width).map(column).collect::<Result<_, _>>();
    let columns = columns.map_err(|e| refused(e.to_string()))?;
    Ok(Output {
        name,
        columns,
        keys: Vec::new(),
    })
}

/// `{"predictions": …}`: a list of values, of lists, or of records, or lists by name.
fn of_document(document: &Document) -> Result<Vec<Output>> {
    let tree: Value =
        serde_json::from_slice(&document.body).map_err(|e| refused(format!("gave no JSON: {e}")))?;
    let predictions = tree.get("predictions").unwrap_or(&tree);
    match predictions {
        Value::Object(lists) => {
            let one = |(name, list): (&String, &Value)| match list {
                Value::Array(list) => of_list(name, list),
                _ => Err(refused(format!("gave `{name}`, which is no list"))),
            };
            lists.iter().map(one).collect()
        }
        Value::Array(list) if list.iter().all(Value::is_object) && !list.is_empty() => {
            let mut names: Vec<&String> = Vec::new();
            for record in list.iter().filter_map(Value::as_object) {
                for name in record.keys() {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
            let values = |name: &String| -> Vec<Value> {
                let value = |record: &Value| record.get(name).cloned().unwrap_or(Value::Null);
                list.iter().map(value).collect()
            };
            names
                .into_iter()
                .map(|name| of_list(name, &values(name)))
                .collect()
        }
        Value::Array(list) => Ok(vec![of_list(PREDICTION, list)?]),
        _ => Err(refused("gave no list of predictions".to_owned())),
    }
}

fn of_list(name: &str, list: &[Value]) -> Result<Output> {
    if let Some(output) = Output::of_objects(name, list)? {
        return Ok(output);
    }
    let bad = |e: lodeway_tables::TableError| refused(e.to_string());
    let width = match list.first() {
        Some(Value::Array(first)) if !first.is_empty() => first.len(),
        _ => 0,
    };
    let is_matrix = width > 0
        && list.iter().all(|row| {
            row.as_array()
                .is_some_and(|row| row.len() == width && row.iter().all(Value::is_number))
        });
    let columns = if is_matrix {
        let column = |place: usize| {
            let numbers = list
                .iter()
                .map(|row| row.get(place).and_then(Value::as_f64).unwrap_or(f64::NAN));
            Column::new(
                format!("{name}:{place}"),
                Type::Float64,
                Values::Double(numbers.collect()),
                None,
            )
        };
        (0..width).map(column).collect::<Result<_, _>>().map_err(bad)?
    } else {
        vec![of_values(name, list).map_err(bad)?]
    };
    Ok(Output {
        name: name.to_owned(),
        columns,
        keys: Vec::new(),
    })
}

/// Values of one kind keep it; others become texts, as JSON writes them.
fn of_values(name: &str, list: &[Value]) -> lodeway_tables::Result<Column> {
    let nulls: Vec<bool> = list.iter().map(Value::is_null).collect();
    let all = |is: fn(&Value) -> bool| list.iter().all(|value| value.is_null() || is(value));
    let (dtype, values) = if all(Value::is_boolean) {
        (
            Type::Bool,
            Values::Bool(list.iter().map(|v| v.as_bool().unwrap_or(false)).collect()),
        )
    } else if all(Value::is_i64) {
        (
            Type::Int64,
            Values::Int(list.iter().map(|v| v.as_i64().unwrap_or(0)).collect()),
        )
    } else if all(Value::is_number) {
        (
            Type::Float64,
            Values::Double(list.iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()),
        )
    } else {
        let mut texts = Texts::default();
        for value in list {
            match value {
                Value::String(text) => texts.push(text),
                Value::Null => texts.push(""),
                other => texts.push(&other.to_string()),
            }
        }
        (Type::Text, Values::Text(texts))
    };
    Column::new(name, dtype, values, Some(nulls))
}

#[cfg(test)]
mod tests {
    use lodeway_domain::{evaluation::ProbabilityColumn, signature::DataType};

    use super::*;

    fn json(text: &str) -> Payload {
        Payload::Document(Document {
            content_type: "application/json".to_owned(),
            body: text.to_owned().into(),
        })
    }

    fn names(columns: &[Column]) -> Vec<&str> {
        columns.iter().map(Column::name).collect()
    }

    fn doubles(name: &str, shape: Vec<i64>, numbers: &[f64]) -> Tensor {
        let data: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Tensor::new(name, DataType::Fp64, shape, data).unwrap()
    }

    #[test]
    fn one_list_is_the_prediction() {
        let found = columns(
            &json(r#"{"predictions": ["a", null]}"#),
            &ColumnRoles::default(),
            2,
        )
        .unwrap();
        assert_eq!(names(&found), [PREDICTION]);
        assert!(found[0].is_null(1));
        let found = columns(&json(r#"{"predictions": [1, 2.5]}"#), &ColumnRoles::default(), 2).unwrap();
        assert_eq!(found[0].values(), &Values::Double(vec![1.0, 2.5]));
    }

    #[test]
    fn a_matrix_alone_gives_classes_and_probabilities() {
        let tensor = doubles("output", vec![2, 3], &[0.1, 0.7, 0.2, 0.5, 0.2, 0.3]);
        let found = columns(&Payload::Tensors(vec![tensor]), &ColumnRoles::default(), 2).unwrap();
        assert_eq!(
            names(&found),
            [PREDICTION, "probability:0", "probability:1", "probability:2"]
        );
        assert_eq!(found[0].values(), &Values::Int(vec![1, 0]));
        assert_eq!(found[1].values(), &Values::Double(vec![0.1, 0.5]));
    }

    #[test]
    fn objects_of_numbers_name_their_classes() {
        let labels = Tensor::of_texts("output_label", vec![2], ["b", "c"]).unwrap();
        let rows = [r#"{"a":0.2,"b":0.7,"c":0.1}"#, r#"{"a":0.1,"b":0.2,"c":0.7}"#];
        let maps = Tensor::of_texts("output_probability", vec![2], rows)
            .unwrap()
            .with_json(true);
        let frame = [&labels, &maps].map(|tensor| lodeway_inference::Column::new(tensor.clone()));
        let frame = Payload::Frame(lodeway_inference::Frame::new(frame.into()).unwrap());
        let document = br#"{"predictions": [
            {"output_label": "b", "output_probability": {"a": 0.2, "b": 0.7, "c": 0.1}},
            {"output_label": "c", "output_probability": {"a": 0.1, "b": 0.2, "c": 0.7}}]}"#;
        let document = Document {
            content_type: "application/json".to_owned(),
            body: document.as_slice().into(),
        };
        for payload in [
            Payload::Tensors(vec![labels, maps]),
            frame,
            Payload::Document(document),
        ] {
            let found = columns(&payload, &ColumnRoles::default(), 2).unwrap();
            assert_eq!(
                names(&found),
                [PREDICTION, "probability:a", "probability:b", "probability:c"]
            );
            assert_eq!((number(&found[2], 0), number(&found[3], 1)), (0.7, 0.7));
            let roles = ColumnRoles {
                probabilities: vec![ProbabilityColumn {
                    class: "b".to_owned(),
                    column: "output_probability:b".to_owned(),
                }],
                ..ColumnRoles::default()
            };
            let found = columns(&payload, &roles, 2).unwrap();
            assert_eq!(names(&found), [PREDICTION, "probability:b"]);
        }
    }

    #[test]
    fn label_and_probabilities_of_two_classes() {
        let both = vec![
            doubles("label", vec![2], &[1.0, 0.0]),
            doubles("probabilities", vec![2, 2], &[0.2, 0.8, 0.6, 0.4]),
        ];
        let found = columns(&Payload::Tensors(both), &ColumnRoles::default(), 2).unwrap();
        assert_eq!(names(&found), [PREDICTION, PROBABILITY]);
        assert_eq!(found[1].values(), &Values::Double(vec![0.8, 0.4]));
    }

    #[test]
    fn roles_name_outputs() {
        let roles = ColumnRoles {
            prediction: Some("said".to_owned()),
            probabilities: vec![ProbabilityColumn {
                class: "yes".to_owned(),
                column: "p:1".to_owned(),
            }],
            ..ColumnRoles::default()
        };
        let answer = json(r#"{"predictions": {"said": ["yes"], "why": ["x"], "p": [[0.1, 0.9]]}}"#);
        let found = columns(&answer, &roles, 1).unwrap();
        assert_eq!(names(&found), [PREDICTION, "probability:yes"]);
        let unclear = columns(
            &json(r#"{"predictions": {"a": [1], "b": [2]}}"#),
            &ColumnRoles::default(),
            1,
        );
        assert!(unclear.unwrap_err().to_string().contains("roles.prediction"));
        let short = columns(&json(r#"{"predictions": [1]}"#), &ColumnRoles::default(), 2).unwrap_err();
        assert!(short.to_string().contains("for 2 rows"), "{short}");
    }
}
