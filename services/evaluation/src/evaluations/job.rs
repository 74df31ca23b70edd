//! One job, phase by phase: what is there already is not done again.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use lodeway_domain::{
    Error, Reason, Result,
    evaluation::{
        Baseline, ColumnRoles, EvaluatedModel, EvaluationRecord, EvaluationSpec, EvaluationState,
        MetricValue, Part, PartOf, Phase, Target, Verdict,
    },
};
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::EvaluationStore as _;
use tokio_util::sync::CancellationToken;

use super::{
    asked::context,
    data::{self, Data},
    definition, files,
    judge::{self, Bench, ScorerModels},
    keeper::Keeper,
    kept::{Failures, Kept, measured},
    llm::Memory,
    measure::Measured,
    predict::Predict,
    record, report, results,
    target::{self, Asker, Inference},
    toll::Toll,
};
use crate::Site;

/// A job that this replica has the lease of.
pub(super) struct Job {
    site: Arc<Site>,
    keeper: Arc<Keeper>,
    stop: CancellationToken,
    work: PathBuf,
}

impl Job {
    pub(super) fn new(site: Arc<Site>, keeper: Arc<Keeper>) -> Self {
        let work = site
            .config
            .work_dir
            .join("jobs")
            .join(&keeper.lease().evaluation_id);
        Self {
            site,
            keeper,
            stop: CancellationToken::new(),
            work,
        }
    }

    /// Ends work that blocks.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Forgets what only a job that goes on needs.
    pub(super) async fn forget(&self) -> Result<()> {
        let record = self.keeper.record().await;
        if !matches!(record.spec.target, Target::Llm(_)) {
            return Ok(());
        }
        let cx = context(&record)?;
        Memory::new(&self.site, &cx, &record.evaluation_id).clear().await
    }

    /// Removes the files at work.
    pub(super) async fn clean(&self) {
        // What stays is removed with the next start.
        drop(tokio::fs::remove_dir_all(&self.work).await);
    }

    /// Does what is still to be done.
    pub(super) async fn run(&self) -> Result<()> {
        let io = |e: std::io::Error| Error::internal(format!("cannot make a folder to work in: {e}"));
        tokio::fs::create_dir_all(&self.work).await.map_err(io)?;
        let record = self.keeper.record().await;
        let cx = context(&record)?;
        let data = self.data(&cx, &record).await?;
        let (asker, baseline) = self.models(&cx, &data).await?;
        let scorers = self.scorer_models(&cx).await?;
        record::open_run(&self.site, &self.keeper, &data).await?;
        match &asker {
            Some(asker) => self.predict(&cx, &data, asker, PartOf::Target).await?,
            // The answers are in the data.
            None => self.keeper.note(|record| record.progress.rows_done = data.rows),
        }
        if let Some(asker) = &baseline {
            self.predict(&cx, &data, asker, PartOf::Baseline).await?;
        }
        self.judge(&cx, &data, &scorers).await?;
        self.keeper
            .save(None, |record| record.progress.phase = Phase::Measure)
            .await?;
        self.keeper.note(|record| record.progress.phase = Phase::Measure);
        let kept = self.kept(&cx).await?;
        let record = self.keeper.record().await;
        let measured = self.measure(&record.spec, &data, &kept).await?;
        let features = match &asker {
            Some(asker) => asker.features(&data.schema)?,
            None => data.roles.features.clone(),
        };
        let definition = definition::digest(&record.spec, &record.scorer_models, &data.roles, &features)?;
        self.finish(&cx, &data, &kept, measured, definition).await
    }

    async fn data(&self, cx: &CallContext, record: &EvaluationRecord) -> Result<Data> {
        let data = data::open(&self.site, cx, &record.spec, record.dataset_version).await?;
        if !record.data_digest.is_empty() && record.data_digest != data.digest {
            return Err(Error::DataLoss(
                "the dataset is not what it was when the evaluation began".to_owned(),
            ));
        }
        // Said of whatever is measured, before a target is asked for nothing.
        if data.rows == 0 {
            return Err(Error::invalid("spec.dataset", "has no rows"));
        }
        self.keeper.note(|record| record.progress.rows_total = data.rows);
        self.keeper
            .save(None, |record| {
                record.dataset_version = data.version;
                record.data_digest.clone_from(&data.digest);
                record.dataset_rows = data.all_rows;
                record.progress.rows_total = data.rows;
            })
            .await?;
        Ok(data)
    }

    /// What is asked, with the version pinned the first time.
    async fn models(&self, cx: &CallContext, data: &Data) -> Result<(Option<Asker>, Option<Asker>)> {
        let record = self.keeper.record().await;
        let asker = match &record.spec.target {
            Target::Data => None,
            Target::Model(uri) => {
                let (asker, model) = self.model(cx, uri, record.model.as_ref(), &data.roles).await?;
                self.keeper
                    .save(None, |record| record.model = Some(model))
                    .await?;
                Some(asker.into())
            }
            other => Some(target::other(&self.site, cx, other, &data.roles).await?),
        };
        let baseline = match &record.spec.baseline {
            Some(Baseline::Model(uri)) => {
                let pinned = record.baseline_model.as_ref();
                let (asker, model) = self.model(cx, uri, pinned, &data.roles).await?;
                self.keeper
                    .save(None, |record| record.baseline_model = Some(model))
                    .await?;
                Some(asker.into())
            }
            _ => None,
        };
        Ok((asker, baseline))
    }

    async fn model(
        &self,
        cx: &CallContext,
        uri: &str,
        pinned: Option<&EvaluatedModel>,
        roles: &ColumnRoles,
    ) -> Result<(Inference, EvaluatedModel)> {
        let known = match pinned {
            None => target::resolve(&self.site, cx, uri).await?,
            // What the name means may have changed since; the version that was begun with counts.
            Some(pinned) => pinned.clone(),
        };
        target::model(&self.site, cx, &known, roles).await
    }

    /// The models that scorers ask, loaded before anything is asked, with their versions pinned the first time.
    async fn scorer_models(&self, cx: &CallContext) -> Result<ScorerModels> {
        let record = self.keeper.record().await;
        let mut found = ScorerModels::new();
        for scorer in &record.spec.scorers {
            let Some(uri) = judge::model_uri(scorer) else {
                continue;
            };
            let pinned = record.scorer_models.get(&scorer.name);
            let loaded = self.model(cx, uri, pinned, &ColumnRoles::default()).await?;
            found.insert(scorer.name.clone(), loaded);
        }
        let pinned = found
            .iter()
            .map(|(name, (_, model))| (name.clone(), model.clone()));
        let pinned: BTreeMap<_, _> = pinned.collect();
        if pinned != record.scorer_models {
            self.keeper
                .save(None, |record| record.scorer_models = pinned)
                .await?;
        }
        Ok(found)
    }

    async fn predict(&self, cx: &CallContext, data: &Data, asker: &Asker, of: PartOf) -> Result<()> {
        let record = self.keeper.record().await;
        let id = &record.evaluation_id;
        let done = self.site.store.parts(id).await?;
        self.keeper.note(|record| {
            record.progress.phase = Phase::Predict;
            record.usage = lodeway_domain::evaluation::Usage::default();
            done.iter().for_each(|part| record.usage.add(&part.usage));
            if of == PartOf::Target {
                let own = done.iter().filter(|part| part.of == of);
                record.progress.rows_done = own.clone().map(|part| part.rows - part.failed_rows).sum();
                record.progress.rows_failed = own.map(|part| part.failed_rows).sum();
            }
        });
        let predict = Predict {
            site: self.site.clone(),
            cx: cx.clone(),
            lease: self.keeper.lease().clone(),
            asker: asker.clone().remembering(Memory::new(&self.site, cx, id)),
            data: data.clone(),
            of,
            options: record.spec.options.clone(),
            location: files::location(&cx.caller.workspace, id),
            work: self.work.clone(),
            subject: match (of, &record.baseline_model) {
                (PartOf::Baseline, Some(model)) => format!("the baseline {}", model.uri()),
                _ => "the target".to_owned(),
            },
            failed: {
                let keeper = self.keeper.clone();
                Box::new(move |rows| {
                    if of == PartOf::Target {
                        keeper.note(|record| record.progress.rows_failed += rows);
                    }
                })
            },
            toll: Toll::default(),
        };
        let kept = |part: &Part| {
            self.keeper.note(|record| {
                record.usage.add(&part.usage);
                if of == PartOf::Target {
                    record.progress.rows_done += part.rows - part.failed_rows;
                }
            });
        };
        Arc::new(predict).run(&done, kept).await
    }

    /// Has answers judged, where a scorer does that.
    async fn judge(&self, cx: &CallContext, data: &Data, models: &ScorerModels) -> Result<()> {
        let record = self.keeper.record().await;
        let (id, spec) = (&record.evaluation_id, &record.spec);
        if !judge::is_wanted(spec) {
            return Ok(());
        }
        let kept = self.kept(cx).await?;
        let (replay, wanted) = kept.answers(spec, data)?;
        if wanted.is_compared() && kept.of(PartOf::Judge).is_empty() {
            // What cannot be measured is said before judges cost anything.
            self.measure(spec, data, &kept).await?;
        }
        let place = (files::location(&cx.caller.workspace, id), self.work.clone());
        let bench = Bench::open(&self.site, cx, self.keeper.lease(), spec, models, &wanted, place).await?;
        let done = self.site.store.parts(id).await?;
        self.keeper.note(|record| {
            record.progress.phase = Phase::Judge;
            record.usage = lodeway_domain::evaluation::Usage::default();
            done.iter().for_each(|part| record.usage.add(&part.usage));
            let judged = done.iter().filter(|part| part.of == PartOf::Judge);
            record.progress.judgements_done = judged.map(|part| part.rows * bench.judges()).sum();
        });
        let kept = |part: &Part| {
            self.keeper.note(|record| {
                record.usage.add(&part.usage);
                record.progress.judgements_done += part.rows * bench.judges();
            });
        };
        bench.run(replay, &wanted, data.rows, &done, kept).await
    }

    /// Everything that parts keep, on this machine.
    async fn kept(&self, cx: &CallContext) -> Result<Kept> {
        Kept::fetch(&self.site, cx, &self.keeper.lease().evaluation_id, &self.work).await
    }

    async fn measure(&self, spec: &EvaluationSpec, data: &Data, kept: &Kept) -> Result<Measured> {
        measured(spec, data, kept, &self.stop).await
    }

    async fn finish(
        &self,
        cx: &CallContext,
        data: &Data,
        kept: &Kept,
        measured: Measured,
        definition: String,
    ) -> Result<()> {
        let record = self.keeper.record().await;
        let baseline = self.baseline(cx, &record, &measured).await?;
        let verdict = Verdict::of(&record.spec.thresholds, &measured.metrics, &baseline, |metric| {
            record.spec.more_is_better(metric)
        });
        let rows_scored = measured.rows_of_all();
        let record = self
            .keeper
            .save(None, |record| {
                record.definition_digest = definition;
                record.rows_scored = rows_scored;
            })
            .await?;
        let failures = Failures {
            target: kept.failures(PartOf::Target),
            baseline: kept.failures(PartOf::Baseline),
        };
        let report = record::report(&record, &measured, verdict.as_ref(), &failures)?;
        self.keeper.note(|record| record.progress.phase = Phase::Record);
        let overall: Vec<_> = measured
            .metrics
            .iter()
            .filter(|metric| metric.slice.is_empty())
            .cloned()
            .collect();
        let record = self
            .keeper
            .save(Some(report.to_string()), |record| {
                record.metrics = overall;
                record.verdict = verdict;
            })
            .await?;
        let file = self.work.join("results.parquet");
        results::write(&record.spec, data, kept, file.clone(), self.stop.clone()).await?;
        record::artifacts(&self.site, cx, &record, &report, (&measured, &failures), &file).await?;
        record::log(&self.site, &record, data, &measured).await?;
        let is_recorded =
            record::verdict(&self.site, &record, &measured.metrics, record.verdict.as_ref()).await?;
        record::close_run(&self.site, &record, EvaluationState::Succeeded).await?;
        let ended = self.site.clock.now();
        self.keeper
            .save(None, |record| {
                if let Some(verdict) = &mut record.verdict {
                    verdict.recorded = is_recorded;
                }
                record.state = EvaluationState::Succeeded;
                record.ended = Some(ended);
            })
            .await
            .map(drop)
    }

    /// The metrics that relative thresholds compare with.
    async fn baseline(
        &self,
        cx: &CallContext,
        record: &EvaluationRecord,
        measured: &Measured,
    ) -> Result<Vec<MetricValue>> {
        let (id, is_paired) = match &record.spec.baseline {
            Some(Baseline::Evaluation(id)) => (id, true),
            Some(Baseline::Earlier(id)) => (id, false),
            _ => return Ok(measured.baseline.clone()),
        };
        let other = self.site.store.evaluation(&cx.caller.workspace, id).await?;
        if other.state != EvaluationState::Succeeded {
            return Err(Error::precondition(
                Reason::EvaluationState,
                format!("evaluation `{id}` has not succeeded, so nothing can be compared with it"),
                vec![("resource_name", id.clone())],
            ));
        }
        if is_paired && other.data_digest != record.data_digest {
            return Err(Error::invalid(
                "spec.baseline.evaluation_id",
                format!("evaluation `{id}` was made on other data"),
            ));
        }
        let mut metrics = other.metrics;
        // The record holds what is over all rows.
        if record
            .spec
            .thresholds
            .iter()
            .any(|threshold| !threshold.slice.is_empty())
            && let Some(report) = self.site.store.report(id).await?
        {
            let report = serde_json::from_str(&report).map_err(Error::internal)?;
            metrics.extend(report::metrics_of_slices(&report));
        }
        Ok(metrics)
    }
}
