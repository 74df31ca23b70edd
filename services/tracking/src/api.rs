//! The generated trait, a few lines a method.

use std::{future::Future, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use lodeway_domain::{Result, id::RequestId};
use lodeway_proto::tracking::v1::{self as pb, tracking_service_server::TrackingService};
use lodeway_rpc::{CallContext, context};
use lodeway_store::tracking::Write;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Tracking,
    convert::{self, answer, datasets, done, experiments, logged_models as models, metrics, purge, runs},
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Tracking {
    /// A write of this caller; `encode` makes the answer to keep for a repetition.
    pub(crate) fn write<T>(
        &self,
        cx: &CallContext,
        method: &'static str,
        request_id: &str,
        message: &impl Message,
        encode: fn(&T) -> Vec<u8>,
    ) -> Result<Write<T>> {
        let request = RequestId::parse(request_id)?;
        let caller = std::sync::Arc::clone(&cx.caller);
        Ok(Write::new(
            caller,
            method,
            request,
            || message.encode_to_vec(),
            self.clock.now(),
            encode,
        ))
    }
}

async fn reply<T>(cx: &CallContext, work: impl Future<Output = Result<T>>) -> Result<Response<T>, Status> {
    work.await.map(Response::new).map_err(|e| cx.status(e))
}

fn empty((): &()) -> Vec<u8> {
    Vec::new()
}

#[tonic::async_trait]
impl TrackingService for Tracking {
    async fn create_experiment(
        &self,
        request: Request<pb::CreateExperimentRequest>,
    ) -> Result<Response<pb::CreateExperimentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "CreateExperiment", &message.request_id, &message, |e| {
                experiments::created(Clone::clone(e)).encode_to_vec()
            })?;
            let new = experiments::new(message)?;
            answer(self.experiments.create(write, new).await?, experiments::created)
        };
        reply(&cx, work).await
    }

    async fn get_experiment(
        &self,
        request: Request<pb::GetExperimentRequest>,
    ) -> Result<Response<pb::GetExperimentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let by = experiments::by(message)?;
            let found = self.experiments.get(&cx.caller.workspace, by).await?;
            Ok(pb::GetExperimentResponse {
                experiment: Some(experiments::experiment(found)),
            })
        };
        reply(&cx, work).await
    }

    async fn search_experiments(
        &self,
        request: Request<pb::SearchExperimentsRequest>,
    ) -> Result<Response<pb::SearchExperimentsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let search = experiments::search(&cx.caller.workspace, &message)?;
            let page = self.experiments.search(&cx.caller.workspace, &search).await?;
            Ok(experiments::found(page, search.page.query))
        };
        reply(&cx, work).await
    }

    async fn update_experiment(
        &self,
        request: Request<pb::UpdateExperimentRequest>,
    ) -> Result<Response<pb::UpdateExperimentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "UpdateExperiment", &message.request_id, &message, |e| {
                experiments::updated(Clone::clone(e)).encode_to_vec()
            })?;
            let (id, name, if_revision) = experiments::update(message)?;
            answer(
                self.experiments.rename(write, id, name, if_revision).await?,
                experiments::updated,
            )
        };
        reply(&cx, work).await
    }

    async fn delete_experiment(
        &self,
        request: Request<pb::DeleteExperimentRequest>,
    ) -> Result<Response<pb::DeleteExperimentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "DeleteExperiment", &message.request_id, &message, empty)?;
            let id = convert::experiment_id(&message.experiment_id)?;
            self.experiments.delete(write, id).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn restore_experiment(
        &self,
        request: Request<pb::RestoreExperimentRequest>,
    ) -> Result<Response<pb::RestoreExperimentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "RestoreExperiment", &message.request_id, &message, empty)?;
            let id = convert::experiment_id(&message.experiment_id)?;
            self.experiments.restore(write, id).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn set_experiment_tags(
        &self,
        request: Request<pb::SetExperimentTagsRequest>,
    ) -> Result<Response<pb::SetExperimentTagsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "SetExperimentTags", &message.request_id, &message, empty)?;
            let (id, tags) = experiments::set_tags(message)?;
            self.experiments.set_tags(write, id, tags).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn delete_experiment_tag(
        &self,
        request: Request<pb::DeleteExperimentTagRequest>,
    ) -> Result<Response<pb::DeleteExperimentTagResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "DeleteExperimentTag", &message.request_id, &message, empty)?;
            let (id, key) = experiments::delete_tag(message)?;
            self.experiments.delete_tag(write, id, key).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn create_run(
        &self,
        request: Request<pb::CreateRunRequest>,
    ) -> Result<Response<pb::CreateRunResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "CreateRun", &message.request_id, &message, |r| {
                runs::created(Clone::clone(r)).encode_to_vec()
            })?;
            let new = runs::new(message, write.now)?;
            answer(self.runs.create(write, new).await?, runs::created)
        };
        reply(&cx, work).await
    }

    async fn get_run(
        &self,
        request: Request<pb::GetRunRequest>,
    ) -> Result<Response<pb::GetRunResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let (id, projection) = runs::get(&message)?;
            let found = self.runs.get(&cx.caller.workspace, &id, &projection).await?;
            Ok(pb::GetRunResponse {
                run: Some(runs::projected(found, &projection)),
            })
        };
        reply(&cx, work).await
    }

    async fn update_run(
        &self,
        request: Request<pb::UpdateRunRequest>,
    ) -> Result<Response<pb::UpdateRunResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "UpdateRun", &message.request_id, &message, |r| {
                runs::updated(Clone::clone(r)).encode_to_vec()
            })?;
            let (id, update) = runs::update(message)?;
            answer(self.runs.update(write, id, update).await?, runs::updated)
        };
        reply(&cx, work).await
    }

    async fn delete_run(
        &self,
        request: Request<pb::DeleteRunRequest>,
    ) -> Result<Response<pb::DeleteRunResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "DeleteRun", &message.request_id, &message, empty)?;
            let id = convert::run_id(&message.run_id)?;
            self.runs.delete(write, id).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn restore_run(
        &self,
        request: Request<pb::RestoreRunRequest>,
    ) -> Result<Response<pb::RestoreRunResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "RestoreRun", &message.request_id, &message, empty)?;
            let id = convert::run_id(&message.run_id)?;
            self.runs.restore(write, id).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn search_runs(
        &self,
        request: Request<pb::SearchRunsRequest>,
    ) -> Result<Response<pb::SearchRunsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let search = runs::search(&cx.caller.workspace, &message)?;
            let page = self.runs.search(&cx.caller.workspace, &search).await?;
            Ok(runs::found(page, search.page.query, &search.projection))
        };
        reply(&cx, work).await
    }

    async fn delete_run_tag(
        &self,
        request: Request<pb::DeleteRunTagRequest>,
    ) -> Result<Response<pb::DeleteRunTagResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "DeleteRunTag", &message.request_id, &message, empty)?;
            let (id, key) = runs::delete_tag(&message)?;
            self.runs.delete_tag(write, id, key).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn log_batch(
        &self,
        request: Request<pb::LogBatchRequest>,
    ) -> Result<Response<pb::LogBatchResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "LogBatch", &message.request_id, &message, empty)?;
            let (run, batch) = metrics::log_batch(message, write.now)?;
            self.metrics.log_batch(write, &run, batch).await?;
            Ok(pb::LogBatchResponse {})
        };
        reply(&cx, work).await
    }

    async fn log_inputs(
        &self,
        request: Request<pb::LogInputsRequest>,
    ) -> Result<Response<pb::LogInputsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "LogInputs", &message.request_id, &message, empty)?;
            let (id, inputs) = runs::inputs(message)?;
            self.runs.log_inputs(write, id, inputs).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn log_outputs(
        &self,
        request: Request<pb::LogOutputsRequest>,
    ) -> Result<Response<pb::LogOutputsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "LogOutputs", &message.request_id, &message, empty)?;
            let (id, outputs) = runs::outputs(&message)?;
            self.runs.log_outputs(write, id, outputs).await.map(done)
        };
        reply(&cx, work).await
    }

    type StreamMetricsStream = Answers<pb::StreamMetricsResponse>;

    async fn stream_metrics(
        &self,
        request: Request<Streaming<pb::StreamMetricsRequest>>,
    ) -> Result<Response<Self::StreamMetricsStream>, Status> {
        let (cx, messages) = context::split(request)?;
        let incoming = metrics::Messages {
            messages,
            clock: Arc::clone(&self.clock),
        };
        let answers = self.streams.clone().serve(&cx, incoming);
        let answers = answers.map(move |durable| match durable {
            Ok(durable_sequence) => Ok(pb::StreamMetricsResponse { durable_sequence }),
            Err(error) => Err(cx.status(error)),
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_metric_history(
        &self,
        request: Request<pb::ListMetricHistoryRequest>,
    ) -> Result<Response<pb::ListMetricHistoryResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let workspace = &cx.caller.workspace;
            let asked = metrics::history(workspace, &message)?;
            let found = self
                .metrics
                .history(workspace, &asked.run, &asked.key, asked.order, &asked.page)
                .await?;
            Ok(metrics::history_page(&asked, found))
        };
        reply(&cx, work).await
    }

    async fn sample_metric_history(
        &self,
        request: Request<pb::SampleMetricHistoryRequest>,
    ) -> Result<Response<pb::SampleMetricHistoryResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let found = self
                .metrics
                .sample(&cx.caller.workspace, &metrics::sample(&message)?)
                .await?;
            Ok(metrics::sampled(found))
        };
        reply(&cx, work).await
    }

    type WatchRunStream = Answers<pb::WatchRunResponse>;

    async fn watch_run(
        &self,
        request: Request<pb::WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        let (cx, message) = context::split(request)?;
        let begin = async {
            let (run, cursor, keys) = metrics::watch(&message)?;
            self.watches.clone().serve(&cx, run, cursor, keys).await
        };
        let news = begin.await.map_err(|e| cx.status(e))?;
        let answers = news.map(move |message| match message {
            Ok((tail, run)) => Ok(metrics::watched(tail, run)),
            Err(error) => Err(cx.status(error)),
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn search_datasets(
        &self,
        request: Request<pb::SearchDatasetsRequest>,
    ) -> Result<Response<pb::SearchDatasetsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let (ids, page) = datasets::search(&cx.caller.workspace, &message)?;
            let found = self.datasets.search(&cx.caller.workspace, &ids, &page).await?;
            Ok(datasets::found(found, page.query))
        };
        reply(&cx, work).await
    }

    async fn create_logged_model(
        &self,
        request: Request<pb::CreateLoggedModelRequest>,
    ) -> Result<Response<pb::CreateLoggedModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "CreateLoggedModel", &message.request_id, &message, |m| {
                models::created(Clone::clone(m)).encode_to_vec()
            })?;
            let new = models::new(message)?;
            answer(self.models.create(write, new).await?, models::created)
        };
        reply(&cx, work).await
    }

    async fn get_logged_model(
        &self,
        request: Request<pb::GetLoggedModelRequest>,
    ) -> Result<Response<pb::GetLoggedModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let id = models::model_id(&message.model_id)?;
            let found = self
                .models
                .get(&cx.caller.workspace, &id, message.allow_deleted)
                .await?;
            Ok(pb::GetLoggedModelResponse {
                model: Some(models::model(found)),
            })
        };
        reply(&cx, work).await
    }

    async fn finalize_logged_model(
        &self,
        request: Request<pb::FinalizeLoggedModelRequest>,
    ) -> Result<Response<pb::FinalizeLoggedModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "FinalizeLoggedModel", &message.request_id, &message, |m| {
                models::finalized(Clone::clone(m)).encode_to_vec()
            })?;
            let (id, status) = (
                models::model_id(&message.model_id)?,
                models::status(message.status)?,
            );
            answer(self.models.finalize(write, id, status).await?, models::finalized)
        };
        reply(&cx, work).await
    }

    async fn delete_logged_model(
        &self,
        request: Request<pb::DeleteLoggedModelRequest>,
    ) -> Result<Response<pb::DeleteLoggedModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "DeleteLoggedModel", &message.request_id, &message, empty)?;
            let id = models::model_id(&message.model_id)?;
            self.models.delete(write, id).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn search_logged_models(
        &self,
        request: Request<pb::SearchLoggedModelsRequest>,
    ) -> Result<Response<pb::SearchLoggedModelsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let search = models::search(&cx.caller.workspace, &message)?;
            let page = self.models.search(&cx.caller.workspace, &search).await?;
            Ok(models::found(page, search.page.query))
        };
        reply(&cx, work).await
    }

    async fn log_logged_model_params(
        &self,
        request: Request<pb::LogLoggedModelParamsRequest>,
    ) -> Result<Response<pb::LogLoggedModelParamsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "LogLoggedModelParams", &message.request_id, &message, empty)?;
            let (id, params) = (
                models::model_id(&message.model_id)?,
                models::params(message.params)?,
            );
            self.models.log_params(write, id, params).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn set_logged_model_tags(
        &self,
        request: Request<pb::SetLoggedModelTagsRequest>,
    ) -> Result<Response<pb::SetLoggedModelTagsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "SetLoggedModelTags", &message.request_id, &message, |m| {
                models::tagged(Clone::clone(m)).encode_to_vec()
            })?;
            let (id, tags) = models::tags(message)?;
            answer(self.models.set_tags(write, id, tags).await?, models::tagged)
        };
        reply(&cx, work).await
    }

    async fn delete_logged_model_tag(
        &self,
        request: Request<pb::DeleteLoggedModelTagRequest>,
    ) -> Result<Response<pb::DeleteLoggedModelTagResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let write = self.write(&cx, "DeleteLoggedModelTag", &message.request_id, &message, empty)?;
            let id = models::model_id(&message.model_id)?;
            lodeway_domain::tracking::check_no_nul("key", &message.key)?;
            self.models.delete_tag(write, id, message.key).await.map(done)
        };
        reply(&cx, work).await
    }

    async fn record_model_version(
        &self,
        request: Request<pb::RecordModelVersionRequest>,
    ) -> Result<Response<pb::RecordModelVersionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            self.models
                .record_version(&cx.caller, models::reference(message)?)
                .await?;
            Ok(pb::RecordModelVersionResponse {})
        };
        reply(&cx, work).await
    }

    async fn record_model_versions(
        &self,
        request: Request<pb::RecordModelVersionsRequest>,
    ) -> Result<Response<pb::RecordModelVersionsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let references = models::new_references(message)?;
            let purged_event_ids = self.models.record_new_versions(&cx.caller, references).await?;
            Ok(pb::RecordModelVersionsResponse { purged_event_ids })
        };
        reply(&cx, work).await
    }

    async fn purge(&self, request: Request<pb::PurgeRequest>) -> Result<Response<pb::PurgeResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let work = async {
            let filter = purge::filter(&message)?;
            if message.dry_run {
                return Ok(purge::purged(&self.purge.dry_run(&cx, filter).await?));
            }
            let write = self.write(&cx, "Purge", &message.request_id, &message, Clone::clone)?;
            answer(self.purge.purge(&cx, &write, filter, purge::encode).await?, |p| {
                purge::purged(&p)
            })
        };
        reply(&cx, work).await
    }
}
