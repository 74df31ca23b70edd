//! Reflection as clients ask it, over services that come and go.

use std::sync::{Arc, Mutex};

use lodeway_domain::Caller;
use lodeway_proto::DESCRIPTOR_SET;
use lodeway_rpc::{
    auth::{Authenticator, TokenTable, hash_token},
    serve::{ChangingFiles, Reflection, ServeConfig},
};
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};
use tonic_reflection::pb::{
    v1::{
        ExtensionRequest, ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

use crate::common::House;

const REGISTRY: &str = "lodeway.registry.v1.RegistryService";

/// The services of the workspace that the caller names.
#[derive(Default)]
struct Changing(Mutex<Vec<(&'static str, Arc<FileDescriptorProto>)>>);

impl Changing {
    fn set(&self, files: Vec<(&'static str, FileDescriptorProto)>) {
        let files = files.into_iter().map(|(space, file)| (space, Arc::new(file)));
        *self.0.lock().unwrap() = files.collect();
    }
}

impl ChangingFiles for Changing {
    fn files(&self, caller: &Caller) -> Vec<Arc<FileDescriptorProto>> {
        let files = self.0.lock().unwrap();
        let mine = files
            .iter()
            .filter(|(space, _)| *space == caller.workspace.as_str());
        mine.map(|(_, file)| file.clone()).collect()
    }
}

fn file(name: &str) -> FileDescriptorProto {
    let message = |name: &str| DescriptorProto {
        name: Some(name.to_owned()),
        ..DescriptorProto::default()
    };
    FileDescriptorProto {
        name: Some(format!("lodeway/endpoints/{name}.proto")),
        package: Some(format!("lodeway.endpoints.{name}")),
        dependency: vec!["google/protobuf/struct.proto".to_owned()],
        message_type: vec![message("Asked")],
        service: vec![ServiceDescriptorProto {
            name: Some("Typed".to_owned()),
            method: vec![MethodDescriptorProto {
                name: Some("Predict".to_owned()),
                ..MethodDescriptorProto::default()
            }],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    }
}

fn of_registry(changing: &Arc<Changing>, only_for_known: bool) -> Reflection {
    Reflection::new(&[DESCRIPTOR_SET], &[REGISTRY])
        .unwrap()
        .with_changing(changing.clone(), only_for_known)
}

/// All answers of one stream; `headers` are of the call.
async fn ask(
    house: &House,
    headers: &[(&'static str, &str)],
    asked: impl IntoIterator<Item = MessageRequest>,
) -> Vec<MessageResponse> {
    let asked: Vec<_> = asked
        .into_iter()
        .map(|message| ServerReflectionRequest {
            host: "h".to_owned(),
            message_request: Some(message),
        })
        .collect();
    let mut request = Request::new(tokio_stream::iter(asked.clone()));
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let mut client = ServerReflectionClient::new(house.remote());
    let answers = client.server_reflection_info(request).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    for (answer, asked) in answers.iter().zip(&asked) {
        assert_eq!(
            (&answer.valid_host, answer.original_request.as_ref()),
            (&asked.host, Some(asked))
        );
    }
    answers
        .into_iter()
        .filter_map(|answer| answer.message_response)
        .collect()
}

fn symbol(name: &str) -> MessageRequest {
    MessageRequest::FileContainingSymbol(name.to_owned())
}

async fn services(house: &House, headers: &[(&'static str, &str)]) -> Vec<String> {
    match &ask(house, headers, [MessageRequest::ListServices(String::new())]).await[..] {
        [MessageResponse::ListServicesResponse(list)] => {
            list.service.iter().map(|service| service.name.clone()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn name_of(answer: &MessageResponse) -> String {
    match answer {
        MessageResponse::FileDescriptorResponse(files) => {
            let file = FileDescriptorProto::decode(&files.file_descriptor_proto[0][..]).unwrap();
            file.name().to_owned()
        }
        MessageResponse::ErrorResponse(error) => Code::from_i32(error.error_code).to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_what_is_served_is_told() {
    let house = House::telling(
        &of_registry(&Arc::default(), false),
        Authenticator::open(),
        ServeConfig::default(),
    )
    .await;
    let platform = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    assert_eq!(services(&house, &[]).await, [&platform[..], &[REGISTRY]].concat());
    let file = |name: &str| MessageRequest::FileByFilename(name.to_owned());
    let unknown = Code::NotFound.to_string();
    let asked = [
        (symbol(REGISTRY), "lodeway/registry/v1/registry_service.proto"),
        (
            symbol("lodeway.registry.v1.RegistryService.SetAlias"),
            "lodeway/registry/v1/registry_service.proto",
        ),
        (
            symbol(".google.protobuf.Timestamp.seconds"),
            "google/protobuf/timestamp.proto",
        ),
        (
            symbol("google.protobuf.NULL_VALUE"),
            "google/protobuf/struct.proto",
        ),
        // Words of every error belong to every service.
        (
            symbol("lodeway.common.v1.ErrorReason"),
            "lodeway/common/v1/error_reason.proto",
        ),
        (
            file("lodeway/registry/v1/model_version.proto"),
            "lodeway/registry/v1/model_version.proto",
        ),
        (symbol("lodeway.tracking.v1.TrackingService"), &unknown),
        (symbol("lodeway.tracking.v1.Metric"), &unknown),
        (file("lodeway/tracking/v1/tracking_service.proto"), &unknown),
        (symbol("lodeway.endpoints.iris.Typed"), &unknown),
        (symbol(""), &unknown),
    ];
    let answers = ask(&house, &[], asked.iter().map(|(request, _)| request.clone())).await;
    let told: Vec<_> = answers.iter().map(name_of).collect();
    assert_eq!(told, asked.map(|(_, wanted)| wanted));
}

#[tokio::test]
async fn services_that_come_and_go_are_told_while_they_are_there() {
    let changing = Arc::new(Changing::default());
    let reflection = of_registry(&changing, false);
    let house = House::telling(&reflection, Authenticator::open(), ServeConfig::default()).await;
    let typed = |names: Vec<String>| -> Vec<String> {
        names
            .into_iter()
            .filter(|name| name.contains("endpoints"))
            .collect()
    };
    assert!(typed(services(&house, &[]).await).is_empty());
    changing.set(vec![
        ("default", file("iris")),
        ("default", file("iris_2")),
        ("other", file("wine")),
    ]);
    assert_eq!(
        typed(services(&house, &[]).await),
        ["lodeway.endpoints.iris.Typed", "lodeway.endpoints.iris_2.Typed"]
    );
    let other = [("x-mlflow-workspace", "other")];
    assert_eq!(
        typed(services(&house, &other).await),
        ["lodeway.endpoints.wine.Typed"]
    );
    let asked = [
        symbol("lodeway.endpoints.iris.Typed.Predict"),
        symbol("lodeway.endpoints.iris_2.Asked"),
        symbol("lodeway.endpoints.wine.Typed"),
        MessageRequest::FileByFilename("lodeway/endpoints/iris.proto".to_owned()),
    ];
    let answers = ask(&house, &[], asked).await;
    assert_eq!(
        answers.iter().map(name_of).collect::<Vec<_>>(),
        [
            "lodeway/endpoints/iris.proto",
            "lodeway/endpoints/iris_2.proto",
            &Code::NotFound.to_string(),
            "lodeway/endpoints/iris.proto",
        ]
    );
    changing.set(Vec::new());
    assert!(typed(services(&house, &[]).await).is_empty());
}

#[tokio::test]
async fn fields_of_models_are_not_for_callers_without_credentials() {
    let changing = Arc::new(Changing::default());
    changing.set(vec![("default", file("iris"))]);
    let token = hash_token("t0ken");
    let table = TokenTable::parse(&format!("[[token]]\nprincipal = \"ci\"\nsha256 = \"{token}\"\n")).unwrap();
    let reflection = of_registry(&changing, true);
    let house = House::telling(
        &reflection,
        Authenticator::with_table(table),
        ServeConfig::default(),
    )
    .await;
    assert_eq!(services(&house, &[]).await.len(), 4);
    let known = [("authorization", "Bearer t0ken")];
    assert_eq!(services(&house, &known).await.len(), 5);
}

#[tokio::test]
async fn questions_about_extensions_have_an_answer() {
    let house = House::telling(
        &of_registry(&Arc::default(), false),
        Authenticator::open(),
        ServeConfig::default(),
    )
    .await;
    let extended = "google.protobuf.MessageOptions".to_owned();
    let asked = [
        MessageRequest::AllExtensionNumbersOfType(extended.clone()),
        MessageRequest::FileContainingExtension(ExtensionRequest {
            containing_type: extended.clone(),
            extension_number: 1,
        }),
    ];
    match &ask(&house, &[], asked).await[..] {
        [MessageResponse::AllExtensionNumbersResponse(numbers), error] => {
            assert_eq!(
                (&numbers.base_type_name, numbers.extension_number.len()),
                (&extended, 0)
            );
            assert_eq!(name_of(error), Code::NotFound.to_string());
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_older_version_says_the_same() {
    let house = House::platform(ServeConfig::default()).await;
    let asked = |message| v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    use v1alpha::server_reflection_request::MessageRequest as Asked;
    let asked = [
        asked(Asked::FileContainingSymbol("grpc.health.v1.Health".to_owned())),
        asked(Asked::ListServices(String::new())),
    ];
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(house.remote());
    let answers = client
        .server_reflection_info(tokio_stream::iter(asked))
        .await
        .unwrap();
    let answers: Vec<_> = answers.into_inner().map(Result::unwrap).collect().await;
    let shown = format!("{answers:?}");
    assert!(
        shown.contains("FileDescriptorResponse") && shown.contains("grpc.health.v1.Health"),
        "{shown}"
    );
}
