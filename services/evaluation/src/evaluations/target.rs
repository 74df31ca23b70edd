//! What is measured, as something that can be asked about rows.

use std::time::Duration;

use lodeway_domain::{
    Error, Reason, ResourceKind, Result,
    evaluation::{ColumnRoles, EndpointTarget, EvaluatedModel, Target, Usage},
    signature::DataType,
};
use lodeway_inference::{Column as FrameColumn, Frame, Params, Payload, matrix};
use lodeway_proto::{
    inference::{
        ModelInferRequest, ModelMetadataRequest, grpc_inference_service_client::GrpcInferenceServiceClient,
    },
    registry::v1::{ResolveModelRequest, registry_service_client::RegistryServiceClient},
    serving::v1::{
        CreateDeploymentRequest, DeploymentState, deployment_service_client::DeploymentServiceClient,
    },
};
use lodeway_rpc::{CallContext, Transport, inference, status};
use lodeway_tables::{Batch, Column, Schema};

use super::{
    answers::{self, Answer},
    calls::{CALL_TIMEOUT, MAX_MESSAGE_BYTES, absent},
    llm::{LlmAsker, Memory},
};
use crate::Site;

/// How long a model may take to load.
const LOAD_WAIT: Duration = Duration::from_secs(600);
/// The most rows of a part that an LLM answers, one call a row.
const LLM_PART_ROWS: usize = 16;

/// Something that answers rows.
#[derive(Clone)]
pub(super) enum Asker {
    /// A model or an endpoint.
    Inference(Box<Inference>),
    /// An LLM.
    Llm(Box<LlmAsker>),
}

/// Something that speaks the inference protocol.
#[derive(Clone)]
pub(super) struct Inference {
    client: GrpcInferenceServiceClient<Transport>,
    /// A deployment or an endpoint.
    name: String,
    /// A target of an endpoint; empty: by the split.
    version: String,
    inputs: Vec<Input>,
    roles: ColumnRoles,
}

/// A column or tensor that the target takes.
#[derive(Clone)]
struct Input {
    name: String,
    datatype: Option<DataType>,
    rank: usize,
}

/// What the registry says of a version now. Errors: `NOT_FOUND`, and those of the registry.
pub(crate) async fn resolve(site: &Site, cx: &CallContext, uri: &str) -> Result<EvaluatedModel> {
    let registry = site.peers.registry.clone().ok_or_else(|| absent("a registry"))?;
    let message = ResolveModelRequest {
        uri: uri.to_owned(),
        as_of_time: None,
    };
    let reply = RegistryServiceClient::new(registry)
        .resolve_model(cx.request(message))
        .await;
    let reply = reply.map_err(|s| status::into_error(&s))?.into_inner();
    let version = reply
        .model_version
        .ok_or_else(|| Error::not_found(ResourceKind::ModelVersion, uri))?;
    Ok(EvaluatedModel {
        name: version.name,
        uid: version.model_uid,
        version: version.version,
        content_digest: version.content_digest,
        model_id: version.model_id,
    })
}

/// A model of the model host, loaded, with the digest of the files that it really holds.
///
/// Errors: `PRECONDITION` if uid or digest are not those that `known` has, `MODEL_NOT_READY` if it cannot be loaded.
pub(super) async fn model(
    site: &Site,
    cx: &CallContext,
    known: &EvaluatedModel,
    roles: &ColumnRoles,
) -> Result<(Inference, EvaluatedModel)> {
    let serving = site.peers.serving.clone().ok_or_else(|| absent("a model host"))?;
    let message = CreateDeploymentRequest {
        source: known.uri(),
        settings: None,
        wait: prost_types::Duration::try_from(LOAD_WAIT).ok(),
    };
    let mut host = DeploymentServiceClient::new(serving.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let reply = host.create_deployment(cx.request(message)).await;
    let deployment = reply.map_err(|s| status::into_error(&s))?.into_inner().deployment;
    let deployment = deployment.unwrap_or_default();
    if deployment.state() != DeploymentState::Ready {
        let (uri, why) = (known.uri(), &deployment.state_reason);
        return Err(Error::precondition(
            Reason::ModelNotReady,
            format!("`{uri}` is not ready: {why}"),
            vec![("resource_name", uri.clone())],
        ));
    }
    let is_same = deployment.model_uid == known.uid
        && (known.content_digest.is_empty() || deployment.content_digest == known.content_digest);
    if !is_same {
        let uri = known.uri();
        let text = format!("`{uri}` is not what it was when it was resolved: its files or its model changed");
        return Err(Error::precondition(
            Reason::DigestMismatch,
            text,
            vec![("resource_name", uri)],
        ));
    }
    let inputs = deployment.inputs.iter().map(|input| Input {
        name: input.name.clone(),
        datatype: DataType::parse("datatype", &input.datatype).ok(),
        rank: input.shape.len(),
    });
    let asker = Inference {
        client: GrpcInferenceServiceClient::new(serving)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES),
        name: deployment.deployment_id,
        version: String::new(),
        inputs: inputs.collect(),
        roles: roles.clone(),
    };
    let model = EvaluatedModel {
        content_digest: deployment.content_digest,
        ..known.clone()
    };
    Ok((asker, model))
}

/// An endpoint of the gateway. Errors: those of the gateway.
pub(super) async fn endpoint(
    site: &Site,
    cx: &CallContext,
    endpoint: &EndpointTarget,
    roles: &ColumnRoles,
) -> Result<Inference> {
    let gateway = site.peers.gateway.clone().ok_or_else(|| absent("a gateway"))?;
    let mut client = GrpcInferenceServiceClient::new(gateway)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let message = ModelMetadataRequest {
        name: endpoint.endpoint.clone(),
        version: endpoint.target.clone(),
    };
    let reply = client.model_metadata(cx.request(message)).await;
    let metadata = reply.map_err(|s| status::into_error(&s))?.into_inner();
    let inputs = metadata.inputs.into_iter().map(|input| Input {
        datatype: DataType::parse("datatype", &input.datatype).ok(),
        rank: input.shape.len(),
        name: input.name,
    });
    Ok(Inference {
        client,
        name: endpoint.endpoint.clone(),
        version: endpoint.target.clone(),
        inputs: inputs.collect(),
        roles: roles.clone(),
    })
}

/// What a spec says is to be asked, but for models.
pub(super) async fn other(
    site: &Site,
    cx: &CallContext,
    target: &Target,
    roles: &ColumnRoles,
) -> Result<Asker> {
    match target {
        Target::Endpoint(target) => Ok(endpoint(site, cx, target, roles).await?.into()),
        Target::Llm(llm) => {
            let asker = LlmAsker::open(site, cx, llm, roles.prompt.as_ref()).await?;
            Ok(Asker::Llm(Box::new(asker)))
        }
        Target::Data | Target::Model(_) => Err(Error::internal("this target is not asked")),
    }
}

impl From<Inference> for Asker {
    fn from(inference: Inference) -> Self {
        Self::Inference(Box::new(inference))
    }
}

impl Asker {
    /// How many rows of a part of `wanted` one call takes, and how many the part.
    pub(super) fn sizes(&self, wanted: usize) -> (usize, usize) {
        match self {
            Self::Inference(_) => (wanted, wanted),
            Self::Llm(_) => (1, wanted.min(LLM_PART_ROWS)),
        }
    }

    /// The same, which keeps each answer that costs as it comes.
    pub(super) fn remembering(self, memory: Memory) -> Self {
        match self {
            Self::Llm(asker) => Self::Llm(Box::new(asker.remembering(memory))),
            other => other,
        }
    }

    /// The columns that it is sent of data with this schema. Errors: as [`Inference::sent`].
    pub(super) fn features(&self, schema: &Schema) -> Result<Vec<String>> {
        let columns: Vec<&str> = schema.fields().iter().map(|field| &*field.name).collect();
        match self {
            Self::Inference(asker) => asker.sent(&columns),
            // What it is sent is of its prompt.
            Self::Llm(_) => Ok(Vec::new()),
        }
    }

    /// Asks about some rows, the first one being the `first`-th of the dataset. Errors: those of the target, and answers that
    /// are none.
    pub(super) async fn ask(&self, cx: &CallContext, rows: &Batch, first: u64) -> Result<Answer> {
        match self {
            Self::Inference(asker) => asker.ask(cx, rows).await,
            Self::Llm(asker) => asker.ask(cx, rows, first).await,
        }
    }
}

impl Inference {
    /// The columns of the dataset that are sent: the features; else those that the target declares; else every one
    /// without another role.
    ///
    /// Errors: what the target declares and would tell it what it is to predict, which only `spec.roles.features` may ask
    /// for (the truth itself not even that, see `data::check_roles`).
    fn sent(&self, columns: &[&str]) -> Result<Vec<String>> {
        if !self.roles.features.is_empty() {
            return Ok(self.roles.features.clone());
        }
        let roles = &self.roles;
        let declared: Vec<_> = self.inputs.iter().map(|input| input.name.clone()).collect();
        if declared.iter().any(|name| columns.contains(&name.as_str())) {
            let telling = [
                ("target", &roles.target),
                ("expected_answer", &roles.expected_answer),
                ("prediction", &roles.prediction),
            ];
            for (role, column) in telling {
                if let Some(name) = column.as_ref().filter(|name| declared.contains(name)) {
                    let why = format!(
                        "the model takes `{name}`, which is the {role} of the evaluation; it is not told that"
                    );
                    return Err(Error::invalid(format!("inputs[\"{name}\"]"), why));
                }
            }
            return Ok(declared);
        }
        let single = [
            &roles.target,
            &roles.prediction,
            &roles.weight,
            &roles.query,
            &roles.expected_answer,
        ];
        let is_taken = |name: &str| {
            single.into_iter().flatten().any(|role| role == name)
                || roles.slices.iter().any(|role| role == name)
                || roles.probabilities.iter().any(|role| role.column == name)
        };
        let names = columns.iter().filter(|name| !is_taken(name));
        Ok(names.map(|name| (*name).to_owned()).collect())
    }

    /// The rows as the target takes them: numbers in the width that it declares; one matrix where it takes that.
    fn payload(&self, rows: &Batch) -> Result<Payload> {
        let columns: Vec<_> = rows.columns().iter().map(Column::name).collect();
        let names = self.sent(&columns)?;
        if let Some(missing) = names.iter().find(|name| rows.column(name).is_none()) {
            return Err(Error::invalid(
                format!("inputs[\"{missing}\"]"),
                format!("the data have no column `{missing}`, which the target takes"),
            ));
        }
        let wrong = |e: lodeway_tables::TableError| Error::invalid("inputs", e.to_string());
        let some = rows.select(names.iter().map(String::as_str)).map_err(wrong)?;
        let frame = some.to_frame().map_err(wrong)?;
        if let [
            Input {
                name,
                datatype: Some(datatype),
                rank: 2,
            },
        ] = self.inputs.as_slice()
            && rows.column(name).is_none()
        {
            let tensor = matrix::frame_to_matrix(&frame, *datatype)?.renamed(name);
            return Ok(Payload::Tensors(vec![tensor]));
        }
        let columns = frame.into_columns().into_iter().map(|column| self.fitted(column));
        Ok(Payload::Frame(Frame::new(columns.collect::<Result<_>>()?)?))
    }

    /// A column in the type that the target declares, where that is another type of number: a file of texts cannot say
    /// that `1` is a float.
    fn fitted(&self, column: FrameColumn) -> Result<FrameColumn> {
        let declared = self
            .inputs
            .iter()
            .find(|input| input.name == column.values.name());
        let Some(datatype) = declared.and_then(|input| input.datatype) else {
            return Ok(column);
        };
        let is_text = |datatype| datatype == DataType::Bytes;
        if datatype == column.values.datatype() || is_text(datatype) || is_text(column.values.datatype()) {
            return Ok(column);
        }
        let is_float = matches!(datatype, DataType::Fp64 | DataType::Fp32);
        if column.nulls.is_some() && !is_float {
            return Ok(column);
        }
        Ok(FrameColumn::new(matrix::column_to(&column, datatype)?))
    }

    /// What the column of texts has to be called that is all the target takes.
    ///
    /// Errors: a target that declares several inputs, or one that is not of texts, by `field`.
    pub(super) fn text_input(&self, field: &str) -> Result<String> {
        match self.inputs.as_slice() {
            [] => Ok("text".to_owned()),
            [only] if only.datatype.is_none_or(|datatype| datatype == DataType::Bytes) => {
                // A matrix is made of columns that have other names than it.
                Ok(format!("{}{}", only.name, if only.rank == 2 { "_" } else { "" }))
            }
            inputs => {
                let inputs = inputs.iter().map(|input| match input.datatype {
                    Some(datatype) => format!("`{}` of {datatype}", input.name),
                    None => format!("`{}`", input.name),
                });
                let why = format!(
                    "takes {}, and not one column of texts",
                    inputs.collect::<Vec<_>>().join(", ")
                );
                Err(Error::invalid(field, why))
            }
        }
    }

    /// Asks about some rows; the outputs as they came, and the id of the prediction if there is one.
    pub(super) async fn infer(&self, cx: &CallContext, rows: &Batch) -> Result<(Payload, String)> {
        let payload = self.payload(rows)?;
        let mut message: ModelInferRequest = inference::request_of(payload, &Params::new())?;
        message.model_name.clone_from(&self.name);
        message.model_version.clone_from(&self.version);
        let mut client = self.client.clone();
        let reply = tokio::time::timeout(CALL_TIMEOUT, client.model_infer(cx.request(message))).await;
        let reply = reply.map_err(|_| Error::DeadlineExceeded)?;
        let reply = reply.map_err(|s| status::into_error(&s))?.into_inner();
        let prediction_id = reply.parameters.get("prediction_id").and_then(inference::text_of);
        let prediction_id = prediction_id.unwrap_or_default().to_owned();
        Ok((inference::answer_of(reply)?, prediction_id))
    }

    /// Asks about some rows. Errors: those of the target, and answers that are none.
    async fn ask(&self, cx: &CallContext, rows: &Batch) -> Result<Answer> {
        let (payload, prediction_id) = self.infer(cx, rows).await?;
        Ok(Answer {
            columns: answers::columns(&payload, &self.roles, rows.rows())?,
            prediction_id,
            usage: Usage {
                calls: 1,
                ..Usage::default()
            },
        })
    }
}
