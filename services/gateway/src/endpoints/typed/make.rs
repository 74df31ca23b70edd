//! A signature made into the plan of a typed service.

use std::sync::Arc;

use lodeway_domain::{
    serving::EndpointName,
    signature::{Column, ColumnType, Dtype, ModelSignature, ParamSpec, Property, Tensor},
};

use super::{
    names::{MessageNames, camel},
    plan::{ColumnIn, Inputs, Outputs, Plan, TensorIn},
    shape::{Kind, Open, PARAMS, Shape},
};

/// So many fields has a service at most, nested ones included.
const MAX_FIELDS: usize = 5_000;
/// So deep are messages nested at most; decoders of other languages stop at 100.
const MAX_DEPTH: usize = 32;

const PREDICTION_ID: &str = "prediction_id";
const MODEL_VERSION: &str = "model_version";
/// The field of an answer that has no name.
const PREDICTION: &str = "prediction";

impl Plan {
    /// The service of an endpoint. `Err` says why there is none.
    pub(super) fn of(endpoint: &EndpointName, signature: &ModelSignature) -> Result<Self, String> {
        let inputs = signature.inputs.as_ref().ok_or("its model declares no inputs")?;
        let package = format!("lodeway.endpoints.{}", endpoint.ident());
        let mut maker = Maker::new(package.clone());
        let params = match signature.params.as_slice() {
            [] => None,
            params => Some(maker.params(params)?),
        };
        let by_row = inputs.columns().is_some();
        let (inputs, request) = match (inputs.columns(), inputs.tensors()) {
            (Some(columns), _) => maker.row(columns, params.as_ref())?,
            (None, tensors) => maker.tensors_in(tensors.unwrap_or_default(), params.as_ref()),
        };
        let lead_with_rows = |tensors: &[Tensor]| tensors.iter().all(|t| t.shape.first() == Some(&-1));
        let can_divide = signature
            .outputs
            .as_ref()
            .and_then(|outputs| outputs.tensors())
            .is_none_or(lead_with_rows);
        let (outputs, response) = maker.outputs(signature, by_row && can_divide)?;
        let can_join = match &inputs {
            Inputs::Row(_) => true,
            Inputs::Tensors(tensors) => tensors.iter().all(|t| t.shape.first() == Some(&-1)),
        };
        if maker.fields > MAX_FIELDS {
            return Err(format!(
                "its signature makes {} fields; {MAX_FIELDS} are the most",
                maker.fields
            ));
        }
        Ok(Self {
            service: format!("{}Service", camel(endpoint.as_str())),
            package,
            endpoint: endpoint.clone(),
            inputs,
            outputs,
            request,
            response,
            params,
            tensors: maker.tensors,
            has_batch: can_join && can_divide,
        })
    }
}

/// A name in a comment; nothing in it can end the comment.
fn quoted(name: &str) -> String {
    format!("`{}`", name.escape_debug())
}

/// The type of an output in which objects of which only their `type` is declared are any value: so MLflow declares objects of
/// several kinds (the items of an agent's answer), and a message with that field alone would lose all the rest of them.
fn with_open_kinds(column_type: &ColumnType) -> ColumnType {
    match column_type {
        ColumnType::Array(items) => ColumnType::Array(Box::new(with_open_kinds(items))),
        ColumnType::Map(values) => ColumnType::Map(Box::new(with_open_kinds(values))),
        ColumnType::Object(properties) => {
            let is_kind = |(name, property): (&String, &Property)| {
                name == "type" && property.column_type == ColumnType::String
            };
            if properties.len() == 1 && properties.iter().all(is_kind) {
                return ColumnType::Any;
            }
            let open = properties.iter().map(|(name, property)| {
                let column_type = with_open_kinds(&property.column_type);
                let required = property.required;
                (
                    name.clone(),
                    Property {
                        column_type,
                        required,
                    },
                )
            });
            ColumnType::Object(open.collect())
        }
        other => other.clone(),
    }
}

/// Which part of the signature it is, as its name or else its place says.
fn which(what: &str, name: Option<&str>, at: usize) -> String {
    match name {
        Some(name) => format!("its {what} {}", quoted(name)),
        None => format!("its {what} {}", at + 1),
    }
}

struct Maker {
    package: String,
    names: MessageNames,
    tensors: Vec<Arc<Shape>>,
    fields: usize,
    /// Whether what is made now is of the request.
    is_asked: bool,
}

const REQUEST_COLUMNS: &str = "One row.";
const REQUEST_TENSORS: &str = "One input.";

impl Maker {
    fn new(package: String) -> Self {
        let words = [
            "Bool", "Int32", "Int64", "Uint32", "Uint64", "Float", "Double", "String", "Bytes",
        ];
        let tensors: Vec<_> = words.iter().map(|word| format!("{word}Tensor")).collect();
        let own = [
            "PredictRequest",
            "PredictResponse",
            "PredictBatchRequest",
            "PredictBatchResponse",
            "PredictStreamResponse",
            "Params",
        ];
        let taken: Vec<_> = own
            .into_iter()
            .chain(tensors.iter().map(String::as_str))
            .collect();
        Self {
            package,
            names: MessageNames::new(&taken),
            tensors: Vec::new(),
            fields: 0,
            is_asked: false,
        }
    }

    fn full(&self, name: &str) -> String {
        format!("{}.{name}", self.package)
    }

    fn row(
        &mut self,
        columns: &[Column],
        params: Option<&Arc<Shape>>,
    ) -> Result<(Inputs, Arc<Shape>), String> {
        let names = columns.iter().filter_map(|column| column.name.as_deref());
        let mut open = Open::new(self.full("PredictRequest"), own_of(params), names);
        let mut inputs = Vec::with_capacity(columns.len());
        self.is_asked = true;
        for (at, column) in columns.iter().enumerate() {
            let source = column.name.clone().unwrap_or_default();
            let is_optional = !column.required;
            let comment = match &column.name {
                Some(name) => {
                    let demand = if is_optional { "optional" } else { "required" };
                    format!(
                        "Column {}, {}, {demand}.",
                        quoted(name),
                        column.column_type.as_str()
                    )
                }
                None => format!("Column {}, {}.", at + 1, column.column_type.as_str()),
            };
            self.add(
                &mut open,
                &source,
                "column",
                &column.column_type,
                is_optional,
                comment,
            )
            .map_err(|why| format!("{} {why}", which("column", column.name.as_deref(), at)))?;
            inputs.push(ColumnIn {
                name: column.name.clone().unwrap_or_else(|| at.to_string()),
                is_named: column.name.is_some(),
                column_type: column.column_type.clone(),
                is_required: column.required,
            });
        }
        self.is_asked = false;
        add_params(&mut open, params);
        Ok((Inputs::Row(inputs), open.close(REQUEST_COLUMNS.to_owned())))
    }

    fn tensors_in(&mut self, tensors: &[Tensor], params: Option<&Arc<Shape>>) -> (Inputs, Arc<Shape>) {
        let names = tensors.iter().filter_map(|tensor| tensor.name.as_deref());
        let mut open = Open::new(self.full("PredictRequest"), own_of(params), names);
        let mut inputs = Vec::with_capacity(tensors.len());
        for (at, tensor) in tensors.iter().enumerate() {
            let source = tensor.name.as_deref().unwrap_or("input");
            let names = open.name(source, "tensor");
            let comment = format!("{}.", described(tensor));
            let kind = self.tensor(&Kind::of_dtype(tensor.dtype));
            self.fields += 1;
            open.push(names, source, kind, false, comment);
            inputs.push(TensorIn {
                name: tensor.name.clone().unwrap_or_else(|| format!("input-{at}")),
                datatype: tensor.dtype.datatype(),
                shape: tensor.shape.clone(),
            });
        }
        add_params(&mut open, params);
        (Inputs::Tensors(inputs), open.close(REQUEST_TENSORS.to_owned()))
    }

    fn params(&mut self, params: &[ParamSpec]) -> Result<Arc<Shape>, String> {
        let names = params.iter().map(|param| param.name.as_str());
        let mut open = Open::new(self.full("Params"), &[], names);
        for param in params {
            let comment = format!(
                "Param {}, {}; {} unless given.",
                quoted(&param.name),
                param.param_type.as_str(),
                quoted(&param.default.to_string())
            );
            let list = ColumnType::Array(Box::new(param.param_type.clone()));
            let param_type = if param.is_list { &list } else { &param.param_type };
            self.add(&mut open, &param.name, "param", param_type, true, comment)
                .map_err(|why| format!("{} {why}", which("param", Some(&param.name), 0)))?;
        }
        Ok(open.close("Settings of one call; what is left out has its default.".to_owned()))
    }

    fn outputs(&mut self, signature: &ModelSignature, by_row: bool) -> Result<(Outputs, Arc<Shape>), String> {
        const OWN: [&str; 2] = [PREDICTION_ID, MODEL_VERSION];
        let schema = signature.outputs.as_ref();
        let (columns, tensors) = (
            schema.and_then(|s| s.columns()).unwrap_or_default(),
            schema.and_then(|s| s.tensors()).unwrap_or_default(),
        );
        let names: Vec<_> = columns
            .iter()
            .map(|column| column.name.clone())
            .chain(tensors.iter().map(|tensor| tensor.name.clone()))
            .collect();
        let sources = names.iter().flatten().map(String::as_str);
        let mut open = Open::new(self.full("PredictResponse"), &OWN, sources.chain([PREDICTION]));
        let source = |name: &Option<String>, count: usize| match name {
            Some(name) => name.clone(),
            None if count == 1 => PREDICTION.to_owned(),
            None => String::new(),
        };
        for (at, column) in columns.iter().enumerate() {
            let told = |why: String| format!("{} {why}", which("output", column.name.as_deref(), at));
            let source = source(&column.name, columns.len());
            let comment = match &column.name {
                Some(name) => format!("Output {}, {}.", quoted(name), column.column_type.as_str()),
                None => format!("The answer, {}.", column.column_type.as_str()),
            };
            if by_row {
                let is_optional = !column.required;
                self.add(
                    &mut open,
                    &source,
                    PREDICTION,
                    &with_open_kinds(&column.column_type),
                    is_optional,
                    comment,
                )
                .map_err(told)?;
            } else {
                let items = match column.column_type.datatype() {
                    Some(_) => column.column_type.clone(),
                    None => ColumnType::Any,
                };
                let list = ColumnType::Array(Box::new(items));
                self.add(
                    &mut open,
                    &source,
                    PREDICTION,
                    &list,
                    false,
                    comment + " One a row.",
                )
                .map_err(told)?;
            }
        }
        for tensor in tensors {
            let source = source(&tensor.name, 1);
            let names = open.name(&source, PREDICTION);
            let kind = self.tensor_out(tensor, by_row);
            self.fields += 1;
            let what = match &tensor.name {
                Some(_) => described(tensor).replacen("Tensor", "Output", 1),
                None => described(tensor).replacen("Tensor", "The answer", 1),
            };
            let row = if by_row { "; here one row of it" } else { "" };
            open.push(names, &source, kind, false, format!("{what}{row}."));
        }
        let mut names = names;
        if open.fields.is_empty() {
            let field = open.name(PREDICTION, PREDICTION);
            let comment = "The answer; the model does not declare what it gives.".to_owned();
            open.push(field, PREDICTION, Kind::Any, true, comment);
            names.push(None);
        }
        open.push_own(
            PREDICTION_ID,
            Kind::Text,
            "Names this call, for outcomes and explanations; empty in the rows of a batch, which has one of its own.",
        );
        open.push_own(
            MODEL_VERSION,
            Kind::Text,
            "The version of the model that answered; empty in the rows of a batch.",
        );
        let comment = if by_row {
            "The answer for one row."
        } else {
            "The answer."
        };
        let outputs = Outputs { names, by_row };
        Ok((outputs, open.close(comment.to_owned())))
    }

    /// What a tensor is in an answer: a value a row for `[-1]`, a list a row for `[-1, n]`, else shape and values.
    fn tensor_out(&mut self, tensor: &Tensor, by_row: bool) -> Kind {
        let kind = match tensor.dtype {
            Dtype::Object if by_row && tensor.shape.len() <= 2 => Kind::Any,
            dtype => Kind::of_dtype(dtype),
        };
        match tensor.shape.as_slice() {
            [-1] if by_row => kind,
            [-1, _] if by_row => Kind::List(Box::new(kind)),
            _ => self.tensor(&Kind::of_dtype(tensor.dtype)),
        }
    }

    /// The message of tensors with such elements.
    fn tensor(&mut self, kind: &Kind) -> Kind {
        let full_name = self.full(&format!("{}Tensor", kind.word()));
        if let Some(known) = self.tensors.iter().find(|shape| shape.full_name == full_name) {
            return Kind::Tensor(known.clone());
        }
        let mut open = Open::new(full_name, &[], std::iter::empty());
        open.push_own(
            "shape",
            Kind::List(Box::new(Kind::Int64)),
            "Dimensions, outermost first; may be left out in a request if at most one of them varies.",
        );
        open.push_own(
            "values",
            Kind::List(Box::new(kind.clone())),
            "Elements, row-major.",
        );
        self.fields += 2;
        let shape = open.close("A tensor.".to_owned());
        self.tensors.push(shape.clone());
        Kind::Tensor(shape)
    }

    /// Adds a field of a column type.
    fn add(
        &mut self,
        open: &mut Open,
        source: &str,
        stem: &str,
        column_type: &ColumnType,
        is_optional: bool,
        comment: String,
    ) -> Result<(), String> {
        let names = open.name(source, stem);
        let (scope, depth) = (open.full_name.clone(), open.full_name.matches('.').count());
        let kind = self.kind(&scope, &mut open.nested, &names.0, column_type, depth)?;
        let empty = if is_optional && kind.is_repeated() {
            " Empty is left out."
        } else {
            ""
        };
        open.push(names, source, kind, is_optional, comment + empty);
        if let Some(field) = open.fields.last_mut() {
            field.is_told = is_optional || self.is_asked;
        }
        Ok(())
    }

    fn kind(
        &mut self,
        scope: &str,
        nested: &mut Vec<Arc<Shape>>,
        field: &str,
        column_type: &ColumnType,
        depth: usize,
    ) -> Result<Kind, String> {
        self.fields += 1;
        if depth > MAX_DEPTH || self.fields > MAX_FIELDS {
            return Err(format!(
                "makes more than {MAX_FIELDS} fields, or messages nested deeper than {MAX_DEPTH}"
            ));
        }
        Ok(match column_type {
            ColumnType::Boolean => Kind::Bool,
            ColumnType::Integer => Kind::Int32,
            ColumnType::Long => Kind::Int64,
            ColumnType::Float => Kind::Float,
            ColumnType::Double => Kind::Double,
            ColumnType::String => Kind::Text,
            ColumnType::Binary => Kind::Bytes,
            ColumnType::Datetime => Kind::Time,
            ColumnType::Any => Kind::Any,
            ColumnType::Array(items) => {
                let items = self.item(scope, nested, field, items, depth)?;
                Kind::List(Box::new(items))
            }
            ColumnType::Map(values) => {
                let values = self.item(scope, nested, field, values, depth)?;
                Kind::Map(Box::new(values))
            }
            ColumnType::Object(properties) => {
                let full_name = format!("{scope}.{}", self.names.take(field, ""));
                let sources = properties.keys().map(String::as_str);
                let mut open = Open::new(full_name, &[], sources);
                for (name, property) in properties {
                    let is_optional = !property.required;
                    let optional = if is_optional { ", optional" } else { "" };
                    let word = property.column_type.as_str();
                    let comment = format!("Property {}, {word}{optional}.", quoted(name));
                    self.add(
                        &mut open,
                        name,
                        "property",
                        &property.column_type,
                        is_optional,
                        comment,
                    )?;
                }
                let shape = open.close(format!("A value of `{field}`."));
                nested.push(shape.clone());
                Kind::Message(shape)
            }
            ColumnType::SparkMlVector => {
                return Err("holds a vector of Spark ML, which only Spark can fill".to_owned());
            }
        })
    }

    /// What stands in a list or map: a message round it if it is a list or map itself.
    fn item(
        &mut self,
        scope: &str,
        nested: &mut Vec<Arc<Shape>>,
        field: &str,
        items: &ColumnType,
        depth: usize,
    ) -> Result<Kind, String> {
        if !matches!(items, ColumnType::Array(_) | ColumnType::Map(_)) {
            return self.kind(scope, nested, field, items, depth);
        }
        let full_name = format!("{scope}.{}", self.names.take(field, "Item"));
        let mut open = Open::new(full_name.clone(), &[], std::iter::empty());
        let kind = self.kind(&full_name, &mut open.nested, "values", items, depth + 1)?;
        open.push_own("values", kind, "What it holds.");
        let shape = open.close(format!("An item of `{field}`."));
        nested.push(shape.clone());
        Ok(Kind::Wrapped(shape))
    }
}

fn own_of(params: Option<&Arc<Shape>>) -> &'static [&'static str] {
    if params.is_some() { &[PARAMS] } else { &[] }
}

fn add_params(open: &mut Open, params: Option<&Arc<Shape>>) {
    if let Some(params) = params {
        open.push_own(
            PARAMS,
            Kind::Message(params.clone()),
            "Settings of the call; a batch has them once for all rows.",
        );
        if let Some(field) = open.fields.last_mut() {
            field.is_optional = true;
        }
    }
}

fn described(tensor: &Tensor) -> String {
    let shape: Vec<_> = tensor.shape.iter().map(i64::to_string).collect();
    let name = tensor.name.as_deref().map(|name| format!(" {}", quoted(name)));
    let (name, dtype) = (name.unwrap_or_default(), tensor.dtype);
    format!(
        "Tensor{name}, {dtype} of shape [{}], -1 for any size",
        shape.join(", ")
    )
}
