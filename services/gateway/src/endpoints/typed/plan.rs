//! What a typed service looks like: its messages, and what of the model's inputs and outputs stands in which field.

use std::sync::Arc;

use lodeway_domain::{
    serving::EndpointName,
    signature::{ColumnType, DataType},
};

use super::shape::Shape;

/// A typed service.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) package: String,
    /// Its name within the package.
    pub(super) service: String,
    pub(super) endpoint: EndpointName,
    pub(super) inputs: Inputs,
    pub(super) outputs: Outputs,
    /// Fields of the inputs in their order, then the params.
    pub(super) request: Arc<Shape>,
    /// Fields of the outputs in their order, then the id and the version.
    pub(super) response: Arc<Shape>,
    pub(super) params: Option<Arc<Shape>>,
    /// The messages of tensors.
    pub(super) tensors: Vec<Arc<Shape>>,
    /// Whether calls can be joined.
    pub(super) has_batch: bool,
}

/// What one request holds.
#[derive(Debug)]
pub(super) enum Inputs {
    /// One row of these columns.
    Row(Vec<ColumnIn>),
    /// These tensors, rows and all.
    Tensors(Vec<TensorIn>),
}

/// A column of a request.
#[derive(Debug)]
pub(super) struct ColumnIn {
    /// As the model knows it, or its place.
    pub(super) name: String,
    pub(super) is_named: bool,
    pub(super) column_type: ColumnType,
    pub(super) is_required: bool,
}

/// A tensor of a request.
#[derive(Debug)]
pub(super) struct TensorIn {
    pub(super) name: String,
    pub(super) datatype: DataType,
    /// −1 for a dimension of any size.
    pub(super) shape: Vec<i64>,
}

/// What one answer holds: by row, or of the whole call.
#[derive(Debug)]
pub(super) struct Outputs {
    /// For each field the name that the model gives, if it gives one.
    pub(super) names: Vec<Option<String>>,
    /// Whether each answer is of one row.
    pub(super) by_row: bool,
}

impl Plan {
    /// The full name of the service.
    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", self.package, self.service)
    }

    /// The number of the params in a request.
    pub(super) fn params_number(&self) -> Option<u32> {
        self.params.as_ref()?;
        self.request.fields.last().map(|field| field.number)
    }

    /// Whether requests hold lists or objects.
    pub(super) fn takes_nested(&self) -> bool {
        match &self.inputs {
            Inputs::Row(columns) => columns
                .iter()
                .any(|column| column.column_type.datatype().is_none()),
            Inputs::Tensors(_) => false,
        }
    }
}
