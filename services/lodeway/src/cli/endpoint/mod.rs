//! `lodeway endpoint`.

mod create;
mod flags;
mod monitor;
mod render;
mod set;
mod watch;

use clap::Subcommand;
use lodeway_proto::gateway::v1::{
    DeleteEndpointRequest, DiffRevisionsRequest, Endpoint, GetEndpointProtoRequest, GetEndpointRequest,
    ListEndpointsRequest, ListRevisionsRequest, RollbackEndpointRequest, ServedAtRequest,
    UpdateEndpointRequest,
};
use serde_json::{Value, json};

pub use self::flags::Settings;
use super::{Done, Failure, connect::Client, output, paging, parse, refused};

/// What can be done with endpoints.
#[derive(Subcommand)]
pub enum Verb {
    /// Creates an endpoint once its models are ready: `create iris --model models:/iris@champion`.
    Create(Box<create::Create>),
    /// Lists endpoints by name.
    List {
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one endpoint and how its targets stand.
    Show {
        /// The endpoint.
        name: String,
    },
    /// Changes what is behind an endpoint: `set iris --add models:/iris/7 --weight champion=90 --weight v7=10`.
    Set(Box<set::Set>),
    /// Changes description and tags.
    Describe {
        /// The endpoint.
        name: String,
        /// Free text.
        #[arg(long)]
        description: Option<String>,
        /// A label; an empty value removes it; repeatable.
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = output::key_value)]
        tags: Vec<(String, String)>,
    },
    /// Removes an endpoint; calls in flight are answered.
    Delete {
        /// The endpoint.
        name: String,
    },
    /// Lists the revisions of an endpoint, newest first.
    History {
        /// The endpoint.
        name: String,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Says what differs between two revisions.
    Diff {
        /// The endpoint.
        name: String,
        /// The earlier revision.
        from: i64,
        /// The later one; without it, the one that serves.
        to: Option<i64>,
    },
    /// Makes an earlier revision serve again.
    Rollback {
        /// The endpoint.
        name: String,
        /// Which revision; by default the one before the one that serves, or before the first step of the rollout that made it.
        #[arg(long, value_name = "REVISION")]
        to: Option<i64>,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Says what was behind an endpoint at a moment.
    ServedAt {
        /// The endpoint.
        name: String,
        /// The moment, for example `2026-11-25T14:00:00Z`.
        #[arg(value_parser = parse::moment)]
        time: prost_types::Timestamp,
    },
    /// Prints the .proto file of an endpoint's typed service.
    Proto {
        /// The endpoint.
        name: String,
    },
    /// Shows all endpoints, then every change as it happens.
    Watch(watch::Watch),
    /// Shows what was measured of each target: calls, errors, latency, drift.
    Monitor(monitor::Monitor),
}

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    match verb {
        Verb::Create(create) => {
            let request = create.request()?;
            let reply = client.endpoints.clone().create_endpoint(request).await?;
            show(client, reply.into_inner().endpoint)
        }
        Verb::List { limit } => list(client, limit).await,
        Verb::Show { name } => show(client, Some(get(client, name).await?)),
        Verb::Set(set) => {
            let endpoint = get(client, set.name.clone()).await?;
            let request = set.request(&endpoint)?;
            let reply = client.endpoints.clone().create_revision(request).await?;
            show(client, reply.into_inner().endpoint)
        }
        Verb::Describe {
            name,
            description,
            tags,
        } => describe(client, name, description, tags).await,
        Verb::Delete { name } => {
            let message = format!("deleted endpoint `{name}`");
            let request = DeleteEndpointRequest {
                name,
                request_id: String::new(),
            };
            client.endpoints.clone().delete_endpoint(request).await?;
            output::done(client.format, &message, &json!({}))
        }
        Verb::History { name, limit } => history(client, name, limit).await,
        Verb::Diff { name, from, to } => diff(client, name, from, to).await,
        Verb::Rollback { name, to, comment } => {
            let request = RollbackEndpointRequest {
                name,
                number: to.unwrap_or_default(),
                comment,
                request_id: String::new(),
            };
            let reply = client.endpoints.clone().rollback_endpoint(request).await?;
            show(client, reply.into_inner().endpoint)
        }
        Verb::ServedAt { name, time } => served_at(client, name, time).await,
        Verb::Proto { name } => {
            let request = GetEndpointProtoRequest { name };
            let reply = client
                .endpoints
                .clone()
                .get_endpoint_proto(request)
                .await?
                .into_inner();
            let item = json!({ "service": reply.service, "proto": reply.proto });
            output::document(client.format, reply.proto.trim_end(), &item)
        }
        Verb::Watch(watch) => watch.run(client).await,
        Verb::Monitor(monitor) => monitor.run(client).await,
    }
}

async fn get(client: &Client, name: String) -> Result<Endpoint, Failure> {
    let reply = client
        .endpoints
        .clone()
        .get_endpoint(GetEndpointRequest { name })
        .await?;
    Ok(reply.into_inner().endpoint.unwrap_or_default())
}

fn show(client: &Client, endpoint: Option<Endpoint>) -> Done {
    output::one(client.format, &render(client, &endpoint.unwrap_or_default()))
}

fn render(client: &Client, endpoint: &Endpoint) -> Value {
    render::endpoint(client.format, endpoint, &client.address)
}

async fn list(client: &Client, limit: usize) -> Done {
    let page_size = paging::page_size(limit, 1_000);
    let found = paging::collect(limit, |page_token| {
        let request = ListEndpointsRequest {
            page_size,
            page_token,
        };
        async move {
            let page = client
                .endpoints
                .clone()
                .list_endpoints(request)
                .await?
                .into_inner();
            let endpoints = page.endpoints.iter().map(|endpoint| render(client, endpoint));
            Ok((endpoints.collect(), page.next_page_token))
        }
    })
    .await?;
    output::list(client.format, render::ENDPOINTS, &found)
}

async fn describe(
    client: &Client,
    name: String,
    description: Option<String>,
    tags: Vec<(String, String)>,
) -> Done {
    if description.is_none() && tags.is_empty() {
        return Err(refused("nothing to change; give --description or --tag"));
    }
    let mut endpoint = get(client, name).await?;
    let mut paths = Vec::new();
    if let Some(description) = description {
        endpoint.description = description;
        paths.push("description".to_owned());
    }
    if !tags.is_empty() {
        endpoint.tags.extend(tags);
        endpoint.tags.retain(|_, value| !value.is_empty());
        paths.push("tags".to_owned());
    }
    // With the etag of what was read: tags are replaced whole.
    let request = UpdateEndpointRequest {
        endpoint: Some(endpoint),
        update_mask: Some(prost_types::FieldMask { paths }),
        request_id: String::new(),
    };
    let reply = client.endpoints.clone().update_endpoint(request).await?;
    show(client, reply.into_inner().endpoint)
}

async fn history(client: &Client, name: String, limit: usize) -> Done {
    let page_size = paging::page_size(limit, 1_000);
    let found = paging::collect(limit, |page_token| {
        let request = ListRevisionsRequest {
            name: name.clone(),
            page_size,
            page_token,
        };
        async move {
            let page = client
                .endpoints
                .clone()
                .list_revisions(request)
                .await?
                .into_inner();
            let revisions = page.revisions.iter();
            let revisions = revisions.map(|revision| render::revision(client.format, revision));
            Ok((revisions.collect(), page.next_page_token))
        }
    })
    .await?;
    output::list(client.format, render::REVISIONS, &found)
}

async fn diff(client: &Client, name: String, from: i64, to: Option<i64>) -> Done {
    let request = DiffRevisionsRequest {
        name,
        from_number: from,
        to_number: to.unwrap_or_default(),
    };
    let reply = client
        .endpoints
        .clone()
        .diff_revisions(request)
        .await?
        .into_inner();
    let changes: Vec<_> = reply
        .changes
        .into_iter()
        .map(|change| change.description)
        .collect();
    let item = json!({ "changes": changes, "moved_share": reply.moved_share });
    match changes.is_empty() {
        true => output::done(client.format, "nothing differs", &item),
        false => output::lines(client.format, &changes, &item),
    }
}

async fn served_at(client: &Client, name: String, time: prost_types::Timestamp) -> Done {
    let request = ServedAtRequest {
        endpoint: name,
        time: Some(time),
    };
    let reply = client.monitor.clone().served_at(request).await?.into_inner();
    let mut shown = render::revision(client.format, &reply.revision.unwrap_or_default());
    let resolved = reply.targets.iter().map(render::status).collect::<Vec<_>>();
    shown["resolved"] = match client.format {
        output::Format::Json => Value::Array(resolved),
        output::Format::Table => {
            let lines = reply.targets.iter();
            let lines =
                lines.map(|of| json!(format!("{} = {} {}", of.target, of.model_name, of.model_version)));
            lines.collect()
        }
    };
    output::one(client.format, &shown)
}
