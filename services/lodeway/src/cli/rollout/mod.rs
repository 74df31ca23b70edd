//! `lodeway rollout`.

mod plan;
mod render;

use std::time::Duration;

use clap::{Args, Subcommand};
use lodeway_proto::gateway::v1::{
    AbortRolloutRequest, GetRolloutRequest, ListRolloutsRequest, PauseRolloutRequest, ResumeRolloutRequest,
    Rollout, RolloutEvent, RolloutState, StartRolloutRequest,
};
use tonic::Status;

use super::{
    Done, Failure,
    connect::Client,
    endpoint::Settings,
    output::{self, Format},
    paging,
    parse::{self, Named},
};

/// What can be done with rollouts.
#[derive(Subcommand)]
pub enum Verb {
    /// Begins to move the traffic of an endpoint to a new version by steps: `start iris --model models:/iris/7`.
    Start(Box<Start>),
    /// Lists rollouts, newest first.
    List {
        /// Only of this endpoint.
        #[arg(default_value = "")]
        endpoint: String,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one rollout, what its guards measured and what happened.
    Show {
        /// Its id.
        rollout_id: String,
        /// Goes on with what happens until it ends; fails (exit code 4) unless it ends well.
        #[arg(long)]
        watch: bool,
    },
    /// Holds a rollout at its step; guards still work.
    Pause {
        /// Its id.
        rollout_id: String,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Lets a paused rollout go on.
    Resume {
        /// Its id.
        rollout_id: String,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Ends a rollout and returns the traffic to what served before it.
    Abort {
        /// Its id.
        rollout_id: String,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
}

/// A new rollout.
#[derive(Args)]
pub struct Start {
    /// The endpoint.
    endpoint: String,
    /// What to move the traffic to: `models:/NAME/3`, `models:/NAME@alias`, or an address; `v7=…` names the target.
    #[arg(long, value_name = "[TARGET=]MODEL", value_parser = parse::named)]
    model: Named,
    #[command(flatten)]
    plan: plan::Plan,
    #[command(flatten)]
    settings: Settings,
    /// Why.
    #[arg(long, default_value = "")]
    comment: String,
}

/// How often a watched rollout is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    let mut endpoints = client.endpoints.clone();
    match verb {
        Verb::Start(start) => {
            let request = StartRolloutRequest {
                name: start.endpoint,
                target: Some(start.settings.target(&start.model, 0)),
                plan: start.plan.plan(),
                comment: start.comment,
                request_id: String::new(),
            };
            show(
                client,
                endpoints.start_rollout(request).await?.into_inner().rollout,
            )
        }
        Verb::List { endpoint, limit } => list(client, endpoint, limit).await,
        Verb::Show {
            rollout_id,
            watch: true,
        } => watch(client, rollout_id).await,
        Verb::Show { rollout_id, .. } => show(client, Some(get(client, rollout_id).await?)),
        Verb::Pause { rollout_id, comment } => {
            let request = PauseRolloutRequest { rollout_id, comment };
            show(
                client,
                endpoints.pause_rollout(request).await?.into_inner().rollout,
            )
        }
        Verb::Resume { rollout_id, comment } => {
            let request = ResumeRolloutRequest { rollout_id, comment };
            show(
                client,
                endpoints.resume_rollout(request).await?.into_inner().rollout,
            )
        }
        Verb::Abort { rollout_id, comment } => {
            let request = AbortRolloutRequest { rollout_id, comment };
            show(
                client,
                endpoints.abort_rollout(request).await?.into_inner().rollout,
            )
        }
    }
}

async fn get(client: &Client, rollout_id: String) -> Result<Rollout, Failure> {
    let reply = client
        .endpoints
        .clone()
        .get_rollout(GetRolloutRequest { rollout_id })
        .await?;
    Ok(reply.into_inner().rollout.unwrap_or_default())
}

fn show(client: &Client, rollout: Option<Rollout>) -> Done {
    output::one(
        client.format,
        &render::rollout(client.format, &rollout.unwrap_or_default()),
    )
}

async fn list(client: &Client, name: String, limit: usize) -> Done {
    let page_size = paging::page_size(limit, 1_000);
    let found = paging::collect(limit, |page_token| {
        let request = ListRolloutsRequest {
            name: name.clone(),
            page_size,
            page_token,
        };
        async move {
            let page = client
                .endpoints
                .clone()
                .list_rollouts(request)
                .await?
                .into_inner();
            let rollouts = page
                .rollouts
                .iter()
                .map(|one| render::rollout(client.format, one));
            Ok((rollouts.collect(), page.next_page_token))
        }
    })
    .await?;
    output::list(client.format, render::COLUMNS, &found)
}

/// Shows a rollout and what happens to it until it ends. There is no stream of rollouts, so it is asked for.
async fn watch(client: &Client, rollout_id: String) -> Done {
    let mut shown = get(client, rollout_id.clone()).await?;
    match client.format {
        Format::Table => show(client, Some(shown.clone()))?,
        Format::Json => output::event(client.format, "", &render::rollout(client.format, &shown))?,
    }
    while !is_ended(&shown) {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = get(client, rollout_id.clone()).await?;
        match client.format {
            Format::Table => {
                for line in news(&shown, &now) {
                    output::event(client.format, &line, &serde_json::Value::Null)?;
                }
            }
            Format::Json if now != shown => {
                output::event(client.format, "", &render::rollout(client.format, &now))?;
            }
            Format::Json => {}
        }
        shown = now;
    }
    match shown.state() {
        RolloutState::Completed => Ok(()),
        _ => {
            let why = format!(
                "traffic is back at revision {}: {}",
                shown.base_revision, shown.reason
            );
            Err(Status::failed_precondition(why).into())
        }
    }
}

fn is_ended(rollout: &Rollout) -> bool {
    use RolloutState as S;
    matches!(rollout.state(), S::Completed | S::RolledBack | S::Aborted)
}

/// What happened between two looks, a line each.
fn news(before: &Rollout, now: &Rollout) -> Vec<String> {
    // Old events go when there are too many, so the last one seen is looked for and not counted.
    let last = before.events.last();
    let seen = last.and_then(|last| now.events.iter().rposition(|event| event == last));
    let fresh = now.events.iter().skip(seen.map_or(0, |at| at + 1));
    let mut lines: Vec<_> = fresh.map(line).collect();
    if (before.state, before.step) != (now.state, now.step) {
        lines.push(render::standing(now));
    } else if before.reason != now.reason && !now.reason.is_empty() {
        lines.push(format!("holds: {}", now.reason));
    }
    lines
}

fn line(event: &RolloutEvent) -> String {
    let time = output::time(event.time.as_ref());
    format!("{}  {}", time.as_str().unwrap_or_default(), event.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(messages: &[&str], state: RolloutState, step: i32, reason: &str) -> Rollout {
        let event = |(at, message): (i64, &&str)| RolloutEvent {
            time: Some(prost_types::Timestamp {
                seconds: at,
                nanos: 0,
            }),
            message: (*message).to_owned(),
        };
        Rollout {
            events: (0..).zip(messages).map(event).collect(),
            state: state.into(),
            step,
            reason: reason.to_owned(),
            ..Rollout::default()
        }
    }

    #[test]
    fn only_news_are_told() {
        use RolloutState::Running;
        let before = rollout(&["begun"], Running, 0, "");
        assert_eq!(news(&before, &before), Vec::<String>::new());
        let now = rollout(&["begun", "step 1"], Running, 0, "");
        assert_eq!(news(&before, &now), ["1970-01-01T00:00:01Z  step 1"]);
        let holds = rollout(&["begun"], Running, 0, "3 of 10 samples");
        assert_eq!(news(&before, &holds), ["holds: 3 of 10 samples"]);
    }

    #[test]
    fn a_rollout_ends_in_three_ways() {
        use RolloutState as S;
        for (state, ended) in [
            (S::Running, false),
            (S::Paused, false),
            (S::Completing, false),
            (S::RollingBack, false),
            (S::Completed, true),
            (S::RolledBack, true),
            (S::Aborted, true),
        ] {
            assert_eq!(is_ended(&rollout(&[], state, 0, "")), ended, "{state:?}");
        }
    }
}
