//! Reflection over what a listener really serves, services that come and go included.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream::BoxStream};
use http::{Request as HttpRequest, Uri};
use lodeway_domain::Caller;
use prost::{DecodeError, Message as _};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic::{Code, Request, Response, Status, Streaming, service::Routes};
use tonic_reflection::{
    pb::{
        v1::{
            ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
            ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        },
        v1alpha,
    },
    server::v1::{ServerReflection, ServerReflectionServer},
};
use tower::Service;

use crate::context;

mod symbols;

const V1: &str = "grpc.reflection.v1.ServerReflection";
const V1_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";
const HEALTH: &str = "grpc.health.v1.Health";

/// Services that come and go while a listener runs.
pub trait ChangingFiles: Send + Sync + 'static {
    /// The files that define them now, as far as they concern this caller. Each holds services of its own; what they import
    /// is in the descriptor sets of [`Reflection::new`].
    fn files(&self, caller: &Caller) -> Vec<Arc<FileDescriptorProto>>;
}

/// What reflection tells of one listener. Clones are cheap.
#[derive(Clone)]
pub struct Reflection(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    fixed: Arc<Fixed>,
    changing: Option<Arc<dyn ChangingFiles>>,
    only_for_known: bool,
}

/// What does not change while the listener runs.
#[derive(Default)]
struct Fixed {
    services: BTreeSet<String>,
    files: HashMap<String, Bytes>,
    /// The file that defines a symbol.
    symbols: HashMap<String, Bytes>,
}

impl Reflection {
    /// Health and reflection, and of these encoded descriptor sets the services that are `served`, by full name, with what
    /// belongs to them: files that only other services need are left out. Errors: bytes that are no descriptor set.
    pub fn new(descriptor_sets: &[&[u8]], served: &[&str]) -> Result<Self, DecodeError> {
        let platform = [
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut files = HashMap::new();
        for set in descriptor_sets.iter().copied().chain(platform) {
            for file in FileDescriptorSet::decode(set)?.file {
                files.entry(file.name().to_owned()).or_insert(file);
            }
        }
        let served: HashSet<_> = served.iter().copied().chain([V1, V1_ALPHA, HEALTH]).collect();
        Ok(Self(Arc::new(Inner {
            fixed: Arc::new(Fixed::of(files, &served)),
            changing: None,
            only_for_known: false,
        })))
    }

    /// The same with services that come and go. With `only_for_known` a caller without credentials is not told of them:
    /// their fields are the columns of somebody's data.
    #[must_use]
    pub fn with_changing(self, files: Arc<dyn ChangingFiles>, only_for_known: bool) -> Self {
        Self(Arc::new(Inner {
            fixed: self.0.fixed.clone(),
            changing: Some(files),
            only_for_known,
        }))
    }

    /// Both versions of the reflection service.
    pub(super) fn routes(&self) -> Routes {
        let server = crate::unpacking!(ServerReflectionServer::new(self.clone()));
        let older = Router::new().route_service(&format!("/{V1_ALPHA}/{{*method}}"), AsV1(server.clone()));
        let newer = Routes::new(server).into_axum_router().reset_fallback();
        newer.merge(older).into()
    }

    fn changing(&self, caller: &Caller) -> Vec<Arc<FileDescriptorProto>> {
        match &self.0.changing {
            Some(changing) if caller.verified || !self.0.only_for_known => changing.files(caller),
            _ => Vec::new(),
        }
    }

    fn answer(&self, caller: &Caller, asked: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = match &asked.message_request {
            None => Err((Code::InvalidArgument, "asks nothing".to_owned())),
            Some(request) => self.look_up(caller, request),
        };
        // Within the stream, as the protocol has it: the caller may go on asking.
        let answer = answer.unwrap_or_else(|(code, error_message)| {
            MessageResponse::ErrorResponse(ErrorResponse {
                error_code: code as i32,
                error_message,
            })
        });
        ServerReflectionResponse {
            valid_host: asked.host.clone(),
            original_request: Some(asked),
            message_response: Some(answer),
        }
    }

    fn look_up(&self, caller: &Caller, asked: &MessageRequest) -> Result<MessageResponse, (Code, String)> {
        let not_found =
            |what: &str, name: &str| (Code::NotFound, format!("{what} `{name}` is not known here"));
        match asked {
            MessageRequest::ListServices(_) => Ok(self.list(caller)),
            MessageRequest::FileByFilename(name) => {
                let changing = || {
                    let files = self.changing(caller);
                    let file = files.iter().find(|file| file.name() == name)?;
                    Some(Bytes::from(file.encode_to_vec()))
                };
                let file = self.0.fixed.files.get(name).cloned().or_else(changing);
                file.map(one_file).ok_or_else(|| not_found("file", name))
            }
            MessageRequest::FileContainingSymbol(symbol) => self
                .file_of(caller, symbol)
                .map(one_file)
                .ok_or_else(|| not_found("symbol", symbol)),
            MessageRequest::FileContainingExtension(asked) => {
                let name = format!("{}:{}", asked.containing_type, asked.extension_number);
                Err(not_found("extension", &name))
            }
            // No file here extends anything. Clients ask for it before they print options, and give up on an error.
            MessageRequest::AllExtensionNumbersOfType(name) => Ok(
                MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                    base_type_name: name.clone(),
                    extension_number: Vec::new(),
                }),
            ),
        }
    }

    fn list(&self, caller: &Caller) -> MessageResponse {
        let mut names = self.0.fixed.services.clone();
        for file in self.changing(caller) {
            let full = |name: &str| format!("{}.{name}", file.package());
            names.extend(file.service.iter().map(|service| full(service.name())));
        }
        let service = names.into_iter().map(|name| ServiceResponse { name }).collect();
        MessageResponse::ListServicesResponse(ListServiceResponse { service })
    }

    fn file_of(&self, caller: &Caller, symbol: &str) -> Option<Bytes> {
        // Some clients write names as they stand in descriptors.
        let symbol = symbol.strip_prefix('.').unwrap_or(symbol);
        let fixed = self.0.fixed.symbols.get(symbol).cloned();
        fixed.or_else(|| {
            let files = self.changing(caller);
            let file = files.iter().find(|file| symbols::defines(file, symbol))?;
            Some(Bytes::from(file.encode_to_vec()))
        })
    }
}

fn one_file(file: Bytes) -> MessageResponse {
    MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
        file_descriptor_proto: vec![file.into()],
    })
}

impl Fixed {
    fn of(files: HashMap<String, FileDescriptorProto>, served: &HashSet<&str>) -> Self {
        let services = |file: &FileDescriptorProto| {
            let full = |name: &str| format!("{}.{name}", file.package());
            file.service.iter().map(|s| full(s.name())).collect::<Vec<_>>()
        };
        let is_absent = |file: &FileDescriptorProto| {
            let services = services(file);
            !services.is_empty() && !services.iter().any(|name| served.contains(name.as_str()))
        };
        let roots = |keep: &dyn Fn(&FileDescriptorProto) -> bool| {
            let roots = files.values().filter(|file| keep(file));
            with_imports(&files, roots.map(|file| file.name().to_owned()).collect())
        };
        let of_absent = roots(&is_absent);
        let of_served = roots(&|file| !is_absent(file) && !file.service.is_empty());
        let mut fixed = Self::default();
        for (name, file) in &files {
            // What comes with the language is everybody's.
            let is_common = name.starts_with("google/protobuf/");
            if of_absent.contains(name) && !of_served.contains(name) && !is_common {
                continue;
            }
            let encoded = Bytes::from(file.encode_to_vec());
            let own = services(file);
            fixed
                .services
                .extend(own.into_iter().filter(|name| served.contains(name.as_str())));
            for symbol in symbols::of(file) {
                fixed.symbols.insert(symbol, encoded.clone());
            }
            fixed.files.insert(name.clone(), encoded);
        }
        fixed
    }
}

/// These files and everything that they import.
fn with_imports(files: &HashMap<String, FileDescriptorProto>, roots: Vec<String>) -> HashSet<String> {
    let (mut found, mut open) = (HashSet::new(), roots);
    while let Some(name) = open.pop() {
        let imports = files.get(&name).map(|file| file.dependency.clone());
        if found.insert(name) {
            open.extend(imports.unwrap_or_default());
        }
    }
    found
}

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = BoxStream<'static, Result<ServerReflectionResponse, Status>>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        // A listener without the layers tells everybody what it tells nobody in particular.
        let caller = context::of(&request).map_or_else(|_| Caller::anonymous().into(), |cx| cx.caller);
        Ok(Response::new(
            self.clone().answers(caller, request.into_inner()).boxed(),
        ))
    }
}

impl Reflection {
    fn answers(
        self,
        caller: Arc<Caller>,
        asked: Streaming<ServerReflectionRequest>,
    ) -> impl Stream<Item = Result<ServerReflectionResponse, Status>> + Send {
        asked.map(move |asked| Ok(self.answer(&caller, asked?)))
    }
}

/// Serves v1alpha: the same messages under an older name.
#[derive(Clone)]
struct AsV1(ServerReflectionServer<Reflection>);

impl Service<HttpRequest<Body>> for AsV1 {
    type Response = <ServerReflectionServer<Reflection> as Service<HttpRequest<Body>>>::Response;
    type Error = <ServerReflectionServer<Reflection> as Service<HttpRequest<Body>>>::Error;
    type Future = <ServerReflectionServer<Reflection> as Service<HttpRequest<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<HttpRequest<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, mut request: HttpRequest<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        // A path that cannot be one stays as it is, and is no method of v1 either.
        if let Ok(path) = format!("/{V1}/{method}").parse::<Uri>() {
            *request.uri_mut() = path;
        }
        self.0.call(request)
    }
}
